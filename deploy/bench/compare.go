package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/deploy/peers"
)

// compareServers starts Portolan, once more as a control, and the peers that
// are installed; holds their answers against the map; and times them.
func compareServers(ctx context.Context, o *options) error {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		fmt.Println("skipped: dnsperf is not installed (Debian: apt install dnsperf)")
		return nil
	}
	return peers.InTemp("portolan-bench-", func(dir string) error {
		ctx, cancel := context.WithCancel(ctx)
		c := &comparison{opts: o, dir: dir, world: newWorld(o.names, o.nets)}
		defer c.wait()
		defer cancel()
		return c.run(ctx)
	})
}

// comparison is one run.
type comparison struct {
	opts    *options
	dir     string
	world   *world
	servers []*server
}

// wait waits for the servers to end; their context is done.
func (c *comparison) wait() {
	for _, s := range c.servers {
		s.Wait()
	}
}

func (c *comparison) run(ctx context.Context) error {
	port, closeMembers, err := listenAsMembers(ctx)
	if err != nil {
		return err
	}
	defer closeMembers()
	all := append([]contender{portolan("portolan", c.opts.program), portolan("portolan again", c.opts.again)}, others...)
	for i, one := range all {
		if err := c.add(ctx, one, filepath.Join(c.dir, fmt.Sprint("server", i)), port); err != nil {
			return err
		}
	}
	for _, s := range c.servers {
		if err := s.Ready(ctx, func() error { return c.world.settled(s) }); err != nil {
			return err
		}
	}
	if err := c.world.agree(os.Stdout, c.servers, c.opts.clients); err != nil {
		return err
	}
	return c.time(ctx)
}

// add starts one server, if it is there.
func (c *comparison) add(ctx context.Context, one contender, dir string, port int) error {
	if _, err := exec.LookPath(one.program); err != nil {
		fmt.Printf("skipped: %s: %v\n", one.name, err)
		return nil
	}
	addr, err := peers.FreePort()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	s := &server{Server: peers.Server{Name: one.name, Addr: addr}, geoOnly: one.geoOnly}
	if err := one.start(ctx, c.world, dir, s, port); err != nil {
		return fmt.Errorf("%s: %w", one.name, err)
	}
	c.servers = append(c.servers, s)
	return nil
}

// listenAsMembers opens a port on the addresses of all members but those that
// are to be found down.
func listenAsMembers(ctx context.Context) (port int, stop func(), err error) {
	var listeners []net.Listener
	var serving errgroup.Group
	stop = func() {
		for _, l := range listeners {
			_ = l.Close()
		}
		_ = serving.Wait()
	}
	for r := range regions {
		for m := range weights {
			if m == downMember {
				continue
			}
			addr := netip.AddrPortFrom(member(r, m), uint16(port))
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr.String())
			if err != nil {
				stop()
				return 0, nil, err
			}
			port = l.Addr().(*net.TCPAddr).Port
			listeners = append(listeners, l)
			serving.Go(func() error { return acceptAll(l) })
		}
	}
	return port, stop, nil
}

// acceptAll lets probes connect and hangs up.
func acceptAll(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
}

// time runs all scenarios and prints the table.
func (c *comparison) time(ctx context.Context) error {
	all, err := c.world.scenarios(c.dir)
	if err != nil {
		return err
	}
	fmt.Printf("\n%d cores, %s, Linux %s; %d rounds of %d s; %d static names, %d dynamic names and pools, %d client networks\n",
		runtime.NumCPU(), runtime.GOARCH, peers.FirstLine("uname", "-r"), c.opts.rounds, c.opts.seconds, c.opts.names, c.opts.names, len(c.world.list))
	for _, s := range c.servers {
		fmt.Printf("%s: %s\n", s.Name, s.Version)
	}
	fmt.Print("\n| scenario | server | queries/s | CPU us/query | best | core busy | mean latency us | lost | portolan / it, CPU a query | best / best |\n",
		"|---|---|---|---|---|---|---|---|---|---|\n")
	for _, sc := range all {
		got, err := rounds(ctx, c.servers, sc, c.opts)
		if err != nil {
			return err
		}
		for i, s := range c.servers {
			printRow(sc.name, s.Name, got[0], got[i])
		}
	}
	return nil
}

// printRow prints one server's figures, and Portolan's over them.
func printRow(scenario, name string, own, its []sample) {
	lost := 0
	for _, s := range its {
		lost += s.lost
	}
	qps, cpu := spreadOf(over(its, ofQPS)), spreadOf(over(its, ofCPU))
	ratio, bests := "-", "-"
	if &own[0] != &its[0] {
		ratio = spreadOf(ratios(over(own, ofCPU), over(its, ofCPU))).ratio()
		bests = fmt.Sprintf("%.2f", spreadOf(over(own, ofCPU)).low/cpu.low)
	}
	fmt.Printf("| %s | %s | %.0f (%.0f-%.0f) | %.2f (%.2f-%.2f) | %.2f | %.0f%% | %.0f | %d | %s | %s |\n", scenario, name,
		qps.median, qps.low, qps.high, cpu.median, cpu.low, cpu.high, cpu.low,
		100*spreadOf(over(its, ofBusy)).median, spreadOf(over(its, ofMean)).median, lost, ratio, bests)
}
