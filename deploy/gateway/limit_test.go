package gateway

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// Busy protection: entered above the rate, held between the thresholds, left
// below recovery; it lapses when all are busy; in and out are judged alone; what
// flows goes on (1.2.12, 1.2.26, T17 to T20).
func TestA14_Busy_Root(t *testing.T) {
	t.Parallel()
	busy := func(r status.Row) bool { return r.Busy }
	free := func(r status.Row) bool { return !r.Busy }
	goes := func(p *portolan, what string, shares ...int) {
		p.T.Helper()
		p.Until(longEnough, func() error { // the row comes first, the kernel's tables next
			tally := p.Connect(60, web4)
			for n, s := range shares {
				if tally.Failed > 0 || (tally.By[n+1] > 0) != (s > 0) {
					return fmt.Errorf("%s: %v, want shares %v", what, tally, shares)
				}
			}
			return nil
		})
		shared(p.T, what, p.Connect(300, web4), 0.02, shares...)
	}
	t.Run("out", func(t *testing.T) {
		g := three(t)
		p := start(t, g, setup{Gateway: g, link: map[int]string{0: ", maxBandwidth: {out: 10Mbps}, busy: {rate: 70%, recovery: 30%}"}, rest: equal(", busyProtection: true", "", "")}.String())
		p.up("isp1", "isp2", "isp3")
		s, source, err := nettest.TCP(g.LAN, nettest.Client4(3), netip.AddrPortFrom(nettest.Server4(0, 1), 80))
		for ; err == nil && g.ISPOf(source.Addr()) != 1; s, source, err = nettest.TCP(g.LAN, nettest.Client4(3), netip.AddrPortFrom(nettest.Server4(0, 1), 80)) {
			s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f := fill(t, g, 1, 9_000_000)
		p.row("isp1", longEnough, "busy", busy)
		goes(p, "isp1 at 90 %", 0, 1, 1)
		if now, err := s.Say(); err != nil || now != source {
			t.Errorf("a session of the busy link: %s, then %s (%v)", source, now, err)
		}
		f.rate.Store(5_000_000)
		p.Pause(2500 * time.Millisecond)
		goes(p, "isp1 at 50 %, between the thresholds", 0, 1, 1)
		f.rate.Store(1_000_000)
		p.row("isp1", longEnough, "free", free)
		goes(p, "isp1 at 10 %", 1, 1, 1)
		f.rate.Store(9_000_000)
		loads := []*load{f, fill(t, g, 2, 9_000_000), fill(t, g, 3, 9_000_000)}
		for _, name := range []string{"isp1", "isp2", "isp3"} {
			p.row(name, longEnough, "busy", busy)
		}
		goes(p, "all at 90 %: it lapses", 1, 1, 1)
		for _, l := range loads {
			l.stop()
		}
		clean(t, g)
	})
	t.Run("in", func(t *testing.T) {
		g := three(t)
		p := start(t, g, setup{Gateway: g, link: map[int]string{0: ", maxBandwidth: {in: 10Mbps}"}, rest: equal(", busyProtection: true", "", "")}.String())
		p.up("isp1", "isp2", "isp3")
		f := fill(t, g, 1, 9_000_000)
		p.Pause(2500 * time.Millisecond)
		if l := p.link("isp1"); l.Row.Busy {
			t.Errorf("what goes out made it busy in: %s", l.Row.Why)
		}
		f.stop()
		e := echoes(t, g, 1, 9_000_000)
		defer e.stop()
		p.row("isp1", longEnough, "busy", busy)
		goes(p, "isp1 at 90 % in", 0, 1, 1)
		clean(t, g)
	})
}

// echoes is as fill, with datagrams that come back.
func echoes(t *testing.T, g *nettest.Gateway, isp int, bits int64) *load {
	t.Helper()
	l := fill(t, g, isp, 0)
	l.answered.Store(true)
	l.rate.Store(bits)
	return l
}

// A limit of connections is exact where the kernel counts, and within a tick's
// arrivals where the program does; what arrives beyond it does not slow the rest
// down. Both the virtual server's own limit and the policy's must admit (1.2.9),
// and the policy's has two bounds (T29).
func TestA15_ConnectionLimit_Root(t *testing.T) {
	t.Parallel()
	t.Run("100", func(t *testing.T) {
		g := three(t)
		p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", maxConnections: 100"}, rest: grouped("[isp1]", "", "", "")}.String())
		p.up("isp1")
		if by, dropped := hold(t, g, 150); by[1] != 100 || dropped != 50 {
			t.Errorf("of 150, %v and %d dropped, want 100 and 50", by[1:], dropped)
		}
	})
	t.Run("100 and others", func(t *testing.T) {
		g := three(t)
		p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", maxConnections: 100"}, rest: grouped("[isp1, isp2]", "", "", "")}.String())
		p.up("isp1", "isp2")
		by, dropped := hold(t, g, 300)
		for more := 0; by[1] < 100 && more < 20; more++ { // it gets less and less as there is less room
			again, lost := hold(t, g, 10)
			by[1], by[2], dropped = by[1]+again[1], by[2]+again[2], dropped+lost
		}
		if by[1] != 100 || by[2] < 200 || dropped != 0 {
			t.Errorf("%v and %d dropped, want 100, the rest by isp2", by[1:], dropped)
		}
	})
	t.Run("virtual server and policy", func(t *testing.T) {
		g := three(t)
		p := start(t, g, setup{Gateway: g, rest: `
linkGroups: [{name: all, members: [isp1, isp2, isp3]}]
outbound:
  interfaces: [lan0]
  limitPolicies: [{name: few, rules: [{per: [source], upper: 5, lower: 3}]}]
  virtualServers: [{name: all, linkGroup: all, maxConnections: 8, limitPolicy: few}]
`}.String())
		p.up("isp1", "isp2", "isp3")
		testTwoFilters(t, g)
	})
	t.Run("20,000", testManyConnections)
}

// testTwoFilters: 5 of each source by the policy, 8 in all by the virtual server.
func testTwoFilters(t *testing.T, g *nettest.Gateway) {
	open := func(from, n int) (all []*nettest.Session) {
		var mu sync.Mutex
		g.Many(n, func(int) (netip.Addr, error) {
			s, source, err := nettest.TCP(g.LAN, nettest.Client4(from), netip.AddrPortFrom(nettest.Server4(0, 1), 80))
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, s)
				t.Cleanup(func() { s.Close() })
			}
			return source.Addr(), err
		})
		return all
	}
	first := open(1, 8)
	if len(first) != 5 {
		t.Errorf("one source got %d connections, want 5", len(first))
	}
	if second := open(2, 8); len(second) != 3 {
		t.Errorf("another source got %d connections, want the 3 that the virtual server has left", len(second))
	}
	g.Must("", "conntrack", "-D", "-s", nettest.Client4(2).String())
	g.Must("", "conntrack", "-D", "-s", nettest.Client4(1).String(), "-p", "tcp", "--sport", port(first[0]))
	if more := open(1, 1); len(more) > 0 {
		t.Error("with 4 of 5 a source was let in again; the lower bound is 3")
	}
	for _, s := range first[1:3] {
		g.Must("", "conntrack", "-D", "-s", nettest.Client4(1).String(), "-p", "tcp", "--sport", port(s))
	}
	if _, err := program.Within(t.Context(), longEnough, func() error {
		if more := open(1, 1); len(more) != 1 {
			return fmt.Errorf("with 2 of 5 a source is not let in")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func port(s *nettest.Session) string {
	_, port, _ := strings.Cut(s.LocalAddr().String(), ":")
	return port
}

// testManyConnections offers 25,000 flows to a link that takes 20,000.
func testManyConnections(t *testing.T) {
	g := gateway(t, nettest.Layout{ISPs: 1})
	g.Set("netfilter/nf_conntrack_udp_timeout", "120")
	p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", maxConnections: 20000"}, rest: grouped("[isp1]", "", "", "")}.String())
	p.up("isp1")
	const offered, workers = 25_000, 8
	began, before := time.Now(), p.waited()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var rates []float64 // of each twentieth
	last := began
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	socks := make([]*nettest.Session, workers)
	for w := range workers {
		s, err := nettest.Unconnected(g.LAN, nettest.Client4(w))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		socks[w] = s
	}
	for n := 0; n < offered; { // 5,000 a second
		<-pace.C
		for range 5 {
			w, k := n%workers, n/workers
			wg.Go(func() {
				if err := socks[w].To(netip.AddrPortFrom(nettest.Server4(k/250, 1+k%250), 80), "!new"); err != nil {
					t.Error(err)
				}
			})
			n++
		}
		if n%(offered/20) == 0 {
			mu.Lock()
			rates = append(rates, float64(offered)/20/time.Since(last).Seconds())
			last = time.Now()
			mu.Unlock()
		}
	}
	wg.Wait()
	took := time.Since(began)
	rate := float64(offered) / took.Seconds()
	late := (p.waited() - before).Seconds()
	count := marked(t, g, 1)
	t.Logf("%d offered at %.0f/s, %d taken; rates %.0f", offered, rate, count, rates)
	if count < 20_000 || float64(count) > 20_000+(0.5+late)*rate { // ticks are fast where there is a limit, and the machine is busy
		t.Errorf("%d connections, want 20,000 and less than a tick's arrivals more", count)
	}
	if quarter := len(rates) / 4; nettest.Median(rates[len(rates)-quarter:]) < nettest.Median(rates[:quarter])/3 {
		t.Errorf("the rate of new connections fell: %.0f", rates)
	}
}

// marked counts what connection tracking has on a link, by its mark.
func marked(t *testing.T, g *nettest.Gateway, link int) int {
	t.Helper()
	out := g.Must("", "conntrack", "-L", "-m", strconv.Itoa(link)+"/0x3ff")
	return strings.Count(out, "mark=")
}

// A shaped link holds its rate in each direction within 5 %.
func TestA16_RateLimit_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", rateLimit: {in: 20Mbps, out: 10Mbps}, shape: true"}, rest: grouped("[isp1]", "", "", "")}.String())
	p.up("isp1")
	const seconds = 6
	// What TCP carries of a frame of 1514 octets, with timestamps.
	const goodput = 1448.0 / 1514
	for _, c := range []struct {
		what string
		bits float64
		do   func(*nettest.Session, int64) (time.Duration, error)
	}{{"in", 20e6, (*nettest.Session).Fetch}, {"out", 10e6, (*nettest.Session).Push}} {
		got := 0.0
		for try := 0; try < 4 && got < 0.95*c.bits; try++ { // a machine with other work makes it less, never more
			s, _, err := nettest.TCP(g.LAN, nettest.Client4(1), netip.AddrPortFrom(nettest.Server4(0, 1), 80))
			if err != nil {
				t.Fatal(err)
			}
			took, err := c.do(s, int64(c.bits*goodput/8*seconds))
			s.Close()
			if err != nil {
				t.Fatalf("%s: %v", c.what, err)
			}
			got = c.bits * seconds / took.Seconds()
			t.Logf("%s: %.2f Mbit/s of %.0f", c.what, got/1e6, c.bits/1e6)
		}
		if got < 0.95*c.bits || got > 1.05*c.bits {
			t.Errorf("%s: %.2f Mbit/s, want %.0f within 5 %%", c.what, got/1e6, c.bits/1e6)
		}
	}
	if got, err := g.Run("", "tc", "qdisc", "show", "dev", "wan2"); err != nil || strings.Contains(got, "htb") || strings.Contains(got, "tbf") {
		t.Errorf("a link without shape is shaped, or tc fails: %s, %v", got, err)
	}
	clean(t, g)
}
