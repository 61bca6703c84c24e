package gateway

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/deploy/peers"
	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
)

// oracle answers every question with one address, as fast as it may: it is what
// all forwarders ask. It ends with the benchmark.
func oracle(b *testing.B, s *nettest.Space, at netip.AddrPort) {
	var all []net.PacketConn
	for range 2 {
		var c net.PacketConn
		var err error
		s.Do(func() {
			c, err = (&net.ListenConfig{Control: reusePort}).ListenPacket(context.Background(), "udp", at.String())
		})
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, c)
	}
	var wg sync.WaitGroup
	for _, c := range all {
		wg.Go(func() {
			buf := make([]byte, 4096)
			for {
				n, from, err := c.ReadFrom(buf)
				if err != nil {
					return
				}
				end := 12
				for end < n && buf[end] != 0 {
					end += int(buf[end]) + 1
				}
				if end += 5; n < 12 || end > n {
					continue
				}
				m := append(buf[:end:len(buf)], 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
				m[2], m[3] = m[2]|0x80, 0x80
				copy(m[6:], []byte{0, 1, 0, 0, 0, 0})
				_, _ = c.WriteTo(m, from) // whoever asked may have gone
			}
		})
	}
	b.Cleanup(func() {
		for _, c := range all {
			_ = c.Close()
		}
		wg.Wait()
	})
}

func reusePort(_, _ string, c syscall.RawConn) (err error) {
	inner := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	return cmp.Or(err, inner)
}

func least(list []float64) float64 { return slices.Min(list) }
func most(list []float64) float64  { return slices.Max(list) }

// forwarder is a program that sends queries on, in a gateway of its own.
type forwarder struct {
	name string
	g    *nettest.Gateway
	ask  netip.Addr // whom the clients ask
	pid  int        // 0: there is none, and they ask the oracle itself
}

// run starts a forwarder in its gateway until the benchmark ends.
func (f *forwarder) run(b *testing.B, program string, args ...string) {
	ctx, stop := context.WithCancel(context.Background())
	s := &peers.Server{Name: f.name}
	cmd := peers.Command(ctx, program, args...)
	var err error
	f.g.Do(func() { err = s.Start(cmd) })
	if err != nil {
		stop()
		b.Fatal(err)
	}
	f.pid = cmd.Process.Pid
	b.Cleanup(func() {
		stop()
		s.Wait()
		if b.Failed() {
			b.Logf("%s said: %s", f.name, s.Said())
		}
	})
}

// cpu is the CPU time that the forwarder has had.
func (f *forwarder) cpu(b *testing.B) time.Duration {
	if f.pid == 0 {
		return 0
	}
	return nettest.Worked(b, f.pid)
}

// heard is what dnsperf saw, and what the forwarder needed for it.
type heard struct{ rate, latency, cpu, lost float64 }

var dnsperfSays = map[string]*regexp.Regexp{
	"completed": regexp.MustCompile(`Queries completed:\s+(\d+)`),
	"lost":      regexp.MustCompile(`Queries lost:\s+(\d+)`),
	"good":      regexp.MustCompile(`NOERROR (\d+)`),
	"rate":      regexp.MustCompile(`Queries per second:\s+([\d.]+)`),
	"latency":   regexp.MustCompile(`Average Latency \(s\):\s+([\d.]+)`),
}

// load has dnsperf ask for a while, from the LAN.
func (f *forwarder) load(b *testing.B, file string, args ...string) heard {
	args = append([]string{"-s", f.ask.String(), "-d", file}, args...)
	before := f.cpu(b)
	var out bytes.Buffer
	cmd := exec.Command("dnsperf", args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	var err error
	f.g.LAN.Do(func() { err = cmd.Run() })
	if err != nil {
		b.Fatalf("%v: %s", err, out.String())
	}
	used := f.cpu(b) - before
	v := map[string]float64{}
	for what, says := range dnsperfSays {
		if m := says.FindStringSubmatch(out.String()); m != nil {
			v[what], _ = strconv.ParseFloat(m[1], 64) // of digits
		}
	}
	if v["completed"] == 0 || v["good"] != v["completed"] {
		b.Fatalf("%s: %s", f.name, out.String())
	}
	return heard{v["rate"], v["latency"] * 1e6, float64(used.Nanoseconds()) / 1e3 / v["completed"], v["lost"]}
}

// forwarders are Portolan, dnsmasq and unbound, each in a gateway of its own,
// with one upstream server at an ISP, and none of them with a cache; and the
// way to that server without any of them.
func forwarders(b *testing.B) (all []*forwarder) {
	dir := b.TempDir()
	add := func(name string) (*forwarder, netip.Addr) {
		g := gateway(b, nettest.Layout{ISPs: 1})
		four, _ := at53(g.ISPs[0])
		g.ISPs[0].Batch(fmt.Sprintf("addr add %s/24 dev gw", four))
		oracle(b, g.ISPs[0].Space, netip.AddrPortFrom(four, 53))
		f := &forwarder{name: name, g: g, ask: nettest.Gate4}
		all = append(all, f)
		return f, four
	}
	f, upstream := add("no forwarder")
	f.ask = upstream
	f.g.Must(plainRules, "nft", "-f", "-")

	f, upstream = add("portolan")
	f.ask = netip.MustParseAddr("8.8.8.8") // who need not exist
	p := start(b, f.g, setup{Gateway: f.g, rest: grouped("[isp1]", "", "", fmt.Sprintf(`dnsServers: [{name: r1, address: %s, link: isp1}]
dnsServerPools: [{name: all, members: [r1]}]
dnsProxy: {interfaces: [lan0], pool: all}
`, upstream))}.String())
	p.up("isp1")
	f.pid = p.Cmd.Process.Pid

	f, upstream = add("dnsmasq")
	f.run(b, "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--cache-size=0", "--dns-forward-max=2000",
		"--pid-file="+filepath.Join(dir, "dnsmasq.pid"), "--user=root", "--listen-address="+nettest.Gate4.String(), "--bind-interfaces", "--server="+upstream.String())

	f, upstream = add("unbound")
	conf := filepath.Join(dir, "unbound.conf")
	text := fmt.Sprintf(`server:
	interface: %s
	access-control: 0.0.0.0/0 allow
	do-daemonize: no
	use-syslog: no
	username: ""
	chroot: ""
	directory: %q
	pidfile: ""
	module-config: "iterator"
	msg-cache-size: 0
	rrset-cache-size: 0
	cache-max-ttl: 0
	outgoing-range: 4096
	num-queries-per-thread: 4096
	do-ip6: no
remote-control:
	control-enable: no
forward-zone:
	name: "."
	forward-addr: %s
`, nettest.Gate4, dir, upstream)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
	f.run(b, "unbound", "-d", "-c", conf)
	return all
}

// Queries a second, CPU of a query and what a forwarder adds to the time until
// a client has its answer, when there is little to do.
func BenchmarkDNSForwarders_Root(b *testing.B) {
	all := forwarders(b)
	file := filepath.Join(b.TempDir(), "queries")
	var text strings.Builder
	r := rand.New(rand.NewPCG(1, 2))
	for range 50_000 {
		fmt.Fprintf(&text, "h%d.d%d.example A\n", r.Uint32(), r.IntN(1000))
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, f := range all {
		if _, err := program.Within(b.Context(), 10*time.Second, func() error {
			_, err := f.g.LAN.Run("", "dig", "+tries=1", "+time=1", "@"+f.ask.String(), "ready.example", "A")
			return err
		}); err != nil {
			b.Fatal(f.name, err)
		}
	}
	const rounds = 5
	for _, load := range []struct {
		name string
		args []string
	}{
		{"as fast as it goes, 100 queries in flight from 16 sockets", []string{"-l", "2", "-c", "16", "-q", "100"}},
		{"1,000 queries a second", []string{"-l", "2", "-c", "4", "-q", "50", "-Q", "1000"}},
	} {
		fmt.Println(load.name)
		got := make([][]heard, len(all))
		for round := range rounds {
			for k := range all {
				i := k
				if round%2 == 1 {
					i = len(all) - 1 - k
				}
				got[i] = append(got[i], all[i].load(b, file, load.args...))
			}
		}
		for i, f := range all {
			of := func(figure func(heard) float64) (list []float64) {
				for _, h := range got[i] {
					list = append(list, figure(h))
				}
				return list
			}
			lost := 0.0
			for _, h := range got[i] {
				lost += h.lost
			}
			rate, latency, cpu := of(func(h heard) float64 { return h.rate }), of(func(h heard) float64 { return h.latency }), of(func(h heard) float64 { return h.cpu })
			fmt.Printf("%-14s %6.0f queries/s (best %6.0f); mean latency %5.0f us (best %5.0f); CPU a query %5.1f us (best %5.1f); lost %.0f\n", f.name,
				nettest.Median(rate), most(rate), nettest.Median(latency), least(latency), nettest.Median(cpu), least(cpu), lost)
		}
	}
}
