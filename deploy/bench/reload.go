package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/deploy/peers"
)

const (
	reloadRate    = 10_000 // queries a second: the server is awake, and no queue hides what a reload does
	reloadSeconds = 10
)

// reloadUnderLoad loads Portolan with and without a reload every second, each
// of a changed configuration, all on one core: the worst case for answers.
func reloadUnderLoad(ctx context.Context, o *options) error {
	if _, err := exec.LookPath("dnsperf"); err != nil {
		fmt.Println("skipped: dnsperf is not installed (Debian: apt install dnsperf)")
		return nil
	}
	return peers.InTemp("portolan-bench-", func(dir string) error {
		addr, err := peers.FreePort()
		if err != nil {
			return err
		}
		s := &server{Server: peers.Server{Name: "portolan", Addr: addr}}
		if err := peers.WriteFiles(dir, large(addr, 30)); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		if err := s.serve(ctx, o.program, dir); err != nil {
			cancel()
			return err
		}
		defer func() { cancel(); s.Wait() }()
		if err := s.Ready(ctx, s.has(30)); err != nil {
			return err
		}
		return reloads(ctx, s, dir)
	})
}

// has says whether the first dynamic name is answered with a TTL: whether the
// configuration that gave it is in use.
func (s *server) has(ttl uint32) func() error {
	return func() error {
		_, got, err := address(s.Addr, "d0", netip.Prefix{})
		if err == nil && got != ttl {
			err = fmt.Errorf("the TTL is %d, not %d", got, ttl)
		}
		return err
	}
}

func reloads(ctx context.Context, s *server, dir string) error {
	all, err := newWorld(largeNames, 1000).scenarios(dir)
	if err != nil {
		return err
	}
	l := load{file: all[2].file, seconds: reloadSeconds, rate: reloadRate}
	fmt.Printf("%d records, %d names, %d pools; %d queries/s for %d s; server on one core\n\n", largeNames, largeNames, largePools, reloadRate, reloadSeconds)
	fmt.Print("| reloads | answers | lost | mean latency us | worst ms | SIGHUP to served, ms |\n|---|---|---|---|---|---|\n")
	lost := 0
	for _, hangups := range []bool{false, true, true, false} {
		h, served, err := l.during(ctx, s, dir, hangups)
		if err != nil {
			return err
		}
		lost += h.lost
		when := "-"
		if t := spreadOf(served); hangups {
			when = fmt.Sprintf("%.0f (%.0f-%.0f)", t.median, t.low, t.high)
		}
		fmt.Printf("| %d | %d | %d | %d | %.1f | %s |\n", len(served), h.completed, h.lost,
			h.mean.Microseconds(), float64(h.worst.Microseconds())/1000, when)
	}
	if lost > 0 {
		return fmt.Errorf("%d queries were lost", lost)
	}
	return nil
}

// during loads the server, with reloads meanwhile if hangups is set. It gives
// how many milliseconds each took to be seen in an answer.
func (l load) during(ctx context.Context, s *server, dir string, hangups bool) (h heard, served []float64, err error) {
	loading, loaded := context.WithCancel(ctx)
	var g errgroup.Group
	g.Go(func() (err error) {
		defer loaded()
		h, err = l.send(ctx, s.Addr)
		if err == nil && !h.only("NOERROR") {
			err = fmt.Errorf("want only NOERROR, got %s of %d", h.rcodes, h.completed)
		}
		return err
	})
	if hangups {
		g.Go(func() (err error) {
			served, err = s.hangUp(loading, dir)
			return err
		})
	}
	err = g.Wait()
	return h, served, err
}

// hangUp changes the configuration and sends SIGHUP every second until ctx
// ends, and waits each time until the change is served.
func (s *server) hangUp(ctx context.Context, dir string) (served []float64, err error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return served, nil
		case <-tick.C:
		}
		ttl := 31 + n%2
		if err := replace(filepath.Join(dir, "portolan.yaml"), large(s.Addr, ttl)["portolan.yaml"]); err != nil {
			return served, err
		}
		start := time.Now()
		if err := s.Signal(syscall.SIGHUP); err != nil {
			return served, err
		}
		// Not ended by ctx: a reload that has begun is waited for.
		if err := s.Ready(context.WithoutCancel(ctx), s.has(uint32(ttl))); err != nil {
			return served, err
		}
		served = append(served, float64(time.Since(start).Milliseconds()))
	}
}

// replace writes a file as an editor should: whoever reads it meanwhile gets
// the old one or the new one.
func replace(name, text string) error {
	if err := os.WriteFile(name+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
