package gateway

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// whose remembers which ISP each key has, and tells of keys with two.
type whose struct {
	mu    sync.Mutex
	isp   map[string]int
	split map[string]bool
	g     *nettest.Gateway
}

func newWhose(g *nettest.Gateway) *whose {
	return &whose{isp: map[string]int{}, split: map[string]bool{}, g: g}
}

func (w *whose) saw(key string, source netip.Addr) {
	isp := w.g.ISPOf(source)
	w.mu.Lock()
	defer w.mu.Unlock()
	if was, ok := w.isp[key]; ok && was != isp {
		w.split[key] = true
	}
	w.isp[key] = isp
}

// spread says how many keys each ISP has.
func (w *whose) spread() []int {
	by := make([]int, len(w.g.ISPs)+1)
	for _, isp := range w.isp {
		by[isp]++
	}
	return by
}

// connects makes n TCP connections and n UDP flows, and notes each by its key.
func (w *whose) connects(t *testing.T, n int, route nettest.Route, key func(from, to netip.Addr) string) {
	t.Helper()
	tcp := w.g.Many(n, func(i int) (netip.Addr, error) {
		from, to := route(i)
		s, source, err := nettest.TCP(w.g.LAN, from, to)
		if err != nil {
			return netip.Addr{}, err
		}
		w.saw(key(from, to.Addr()), source.Addr())
		return source.Addr(), s.Close()
	})
	udp := w.g.Many(n, func(i int) (netip.Addr, error) {
		from, to := route(i)
		s, err := nettest.UDP(w.g.LAN, from, to)
		if err != nil {
			return netip.Addr{}, err
		}
		defer s.Close()
		source, err := s.Say()
		if err == nil {
			w.saw(key(from, to.Addr()), source.Addr())
		}
		return source.Addr(), err
	})
	if tcp.Failed+udp.Failed > 0 {
		t.Errorf("TCP %v, UDP %v", tcp, udp)
	}
}

func bySource(from, _ netip.Addr) string { return from.String() }
func byPair(from, to netip.Addr) string  { return from.String() + " " + to.String() }

// Persistence by source and by source and destination, of both families: no key
// has two links, and keys are spread. An entry ages, and is renewed by use. A
// burst of first connections is not split.
func TestA06_Persistence_Root(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		by  string
		key func(from, to netip.Addr) string
	}{{"source", bySource}, {"source-destination", byPair}} {
		t.Run(c.by, func(t *testing.T) {
			g := three(t)
			p := start(t, g, setup{Gateway: g, rest: equal("", ", persistence: same", "persistence: [{name: same, by: "+c.by+", timeout: 1h}]\n")}.String())
			p.up("isp1", "isp2", "isp3")
			four, six := newWhose(g), newWhose(g)
			four.connects(t, 3000, web4, c.key)
			six.connects(t, 600, web6, c.key)
			for _, w := range []*whose{four, six} {
				by := w.spread()
				if len(w.split) > 0 || by[0] > 0 || by[1]*by[2]*by[3] == 0 {
					t.Errorf("%d keys, %d of them split; by ISP %v", len(w.isp), len(w.split), by[1:])
				}
			}
			clean(t, g)
		})
	}
	t.Run("time", testAgeing)
	t.Run("burst", testBurst)
}

// testAgeing: with three equal links and 19 clients in turn, a second round
// begins where the first ended, so that all move who have no entry any more.
func testAgeing(t *testing.T) {
	g := three(t)
	p := start(t, g, setup{Gateway: g, rest: equal("", ", persistence: same", "persistence: [{name: same, timeout: 5s}]\n")}.String())
	p.up("isp1", "isp2", "isp3")
	const clients = 19 // and one more: 20 draws in a round, which 3 do not divide
	round := func() (by [clients + 1]int) {
		for n := range clients + 1 {
			tally := g.Connect(1, one(n))
			if tally.OK() != 1 {
				t.Fatal(tally)
			}
			for isp, count := range tally.By {
				if count == 1 {
					by[n] = isp
				}
			}
		}
		return by
	}
	first := round()
	for range 4 { // the last client goes on, each time before its entry has aged
		p.Pause(1500 * time.Millisecond)
		if tally := g.Connect(1, one(clients)); tally.By[first[clients]] != 1 {
			t.Errorf("a client that goes on left isp%d: %v", first[clients], tally)
		}
	}
	second := round()
	moved := 0
	for n := range clients {
		if first[n] != second[n] {
			moved++
		}
	}
	if moved == 0 {
		t.Errorf("no entry has aged: %v, then %v", first, second)
	}
}

// testBurst: 150 times 16 connections at once from a client without an entry.
func testBurst(t *testing.T) {
	g := three(t)
	p := start(t, g, setup{Gateway: g, rest: equal("", ", persistence: same", "persistence: [{name: same}]\n")}.String())
	p.up("isp1", "isp2", "isp3")
	split := 0
	for n := range 150 {
		sources, err := g.Burst(16, nettest.Client4(100+n), netip.AddrPortFrom(nettest.Server4(0, 1), 80))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range sources {
			if g.ISPOf(s) != g.ISPOf(sources[0]) {
				split++
				break
			}
		}
	}
	if split > 0 {
		t.Errorf("%d of 150 bursts were split", split)
	}
}

// A session beats persistence, persistence beats proximity, proximity beats the
// algorithm (1.2.2, 1.2.18, T39).
func TestA07_Precedence_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	config := func(best string, sticky string) string {
		return setup{Gateway: g, rest: equal(", proximity: true", sticky, fmt.Sprintf(`
persistence: [{name: same, timeout: 1h}]
proximity: {methods: [icmp], static: [{prefix: %s/24, link: %s}, {prefix: "%s/56", link: %s}]}
`, nettest.Server4(0, 0), best, nettest.Server6(0, 0), best))}.String()
	}
	p := start(t, g, config("isp3", ", persistence: same"))
	p.up("isp1", "isp2", "isp3")
	near := func(from int) nettest.Route { return one(from) }
	far := func(from int) nettest.Route {
		return func(int) (netip.Addr, netip.AddrPort) {
			return nettest.Client4(from), netip.AddrPortFrom(nettest.Server4(9, 1), 80)
		}
	}
	// 59 clients that nothing is known of go to a network that is nearest by isp3:
	// the first may come before its entry is in the kernel.
	p.goes(longEnough, 3, 0)
	for stranger := nettest.Clients6 - 1; ; stranger-- { // the distance of that network is asked for, too
		tally := g.Connect(1, func(int) (netip.Addr, netip.AddrPort) {
			return nettest.Client6(stranger), netip.AddrPortFrom(nettest.Server6(0, 1), 80)
		})
		if tally.By[3] == 1 && g.Connect(1, func(int) (netip.Addr, netip.AddrPort) {
			return nettest.Client6(stranger - 1), netip.AddrPortFrom(nettest.Server6(0, 1), 80)
		}).By[3] == 1 && stranger < nettest.Clients6-3 {
			break
		}
		if stranger -= 1; stranger < 24 {
			t.Fatalf("IPv6 goes %v, want isp3", tally)
		}
		p.Pause(500 * time.Millisecond)
	}
	shared(t, "proximity before the algorithm", g.Connect(59, func(i int) (netip.Addr, netip.AddrPort) { return near(i)(i) }), 0, 0, 0, 1)
	shared(t, "proximity before the algorithm, IPv6", g.Connect(20, func(i int) (netip.Addr, netip.AddrPort) {
		return nettest.Client6(i), netip.AddrPortFrom(nettest.Server6(0, 1), 80)
	}), 0, 0, 0, 1)
	// Others go elsewhere first, by the algorithm, and have their link from that.
	var sticky [60]int
	for n := range sticky {
		tally := g.Connect(1, far(100+n))
		for isp, count := range tally.By {
			if count == 1 {
				sticky[n] = isp
			}
		}
	}
	if fmt.Sprint(sticky) == fmt.Sprint([60]int{}) {
		t.Fatal("nobody connected")
	}
	elsewhere := 0
	for n, isp := range sticky {
		if isp != 3 {
			elsewhere++
		}
		if tally := g.Connect(1, near(100+n)); tally.By[isp] != 1 {
			t.Errorf("client %d has isp%d by persistence, but goes %v", n, isp, tally)
		}
	}
	if elsewhere < 20 {
		t.Errorf("only %d of 60 clients were given another link than the nearest", elsewhere)
	}
	s, source, err := nettest.TCP(g.LAN, nettest.Client4(500), netip.AddrPortFrom(nettest.Server4(0, 1), 80))
	if err != nil || g.ISPOf(source.Addr()) != 3 {
		t.Fatalf("seen %s, %v", source, err)
	}
	defer s.Close()
	p.Apply(config("isp1", ""))
	p.goes(longEnough, 1, 0)
	if now, err := s.Say(); err != nil || now != source {
		t.Errorf("the session was on %s and is on %s (%v)", source, now, err)
	}
	clean(t, g)
}

// Clients whose entry has a dead link move at once and stay where they are then;
// others do not move. With override-limit an entry stands on a busy link, without
// it is passed over (1.2.8, C2, T23).
func TestA08_PersistenceOfTheDead_Root(t *testing.T) {
	t.Parallel()
	t.Run("dead", func(t *testing.T) {
		g := three(t)
		p := start(t, g, setup{Gateway: g, rest: equal("", ", persistence: same", "persistence: [{name: same}]\n")}.String())
		p.up("isp1", "isp2", "isp3")
		before := learn(t, g, 60)
		g.ISPs[0].Silence(true)
		p.row("isp1", longEnough, "down", func(r status.Row) bool { return r.Health == status.Down })
		p.Until(longEnough, func() error { // the row comes first, the kernel's tables next
			if tally := g.Connect(12, p.strangers(0)); tally.By[1]+tally.Failed > 0 {
				return fmt.Errorf("%v", tally)
			}
			return nil
		})
		during := learn(t, g, 60)
		g.ISPs[0].Silence(false)
		p.up("isp1")
		after := learn(t, g, 60)
		for n := range before {
			switch {
			case before[n] != 1 && during[n] != before[n]:
				t.Errorf("client %d had isp%d, which lives, and moved to isp%d", n, before[n], during[n])
			case during[n] == 1:
				t.Errorf("client %d was given isp1, which is dead", n)
			case after[n] != during[n]:
				t.Errorf("client %d moved from isp%d to isp%d when isp1 came back", n, during[n], after[n])
			}
		}
	})
	for _, c := range []struct {
		name, keys string
		stays      bool
	}{{"busy, override-limit", ", overrideLimit: true", true}, {"busy, override-busy", ", overrideBusy: true", true}, {"busy, neither", "", false}} {
		t.Run(c.name, func(t *testing.T) {
			g := three(t)
			p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", maxBandwidth: {out: 8Mbps}, busy: {rate: 50%, recovery: 40%}"},
				rest: equal(", busyProtection: true", ", persistence: same", "persistence: [{name: same"+c.keys+"}]\n")}.String())
			p.up("isp1", "isp2", "isp3")
			before := learn(t, g, 30)
			f := fill(t, g, 1, 7_000_000)
			defer f.stop()
			p.row("isp1", longEnough, "busy", func(r status.Row) bool { return r.Busy })
			p.parts("all", 1, 0, 1, 1) // in the kernel's tables, too
			for n, isp := range learn(t, g, 30) {
				switch {
				case before[n] != 1 && isp != before[n]:
					t.Errorf("client %d had isp%d and moved to isp%d", n, before[n], isp)
				case before[n] == 1 && (isp == 1) != c.stays:
					t.Errorf("client %d of the busy link goes by isp%d", n, isp)
				}
			}
		})
	}
}

// learn connects from n clients and gives the ISP of each.
func learn(t *testing.T, g *nettest.Gateway, n int) []int {
	t.Helper()
	by := make([]int, n)
	tally := g.Many(n, func(i int) (netip.Addr, error) {
		from, to := one(i)(i)
		s, source, err := nettest.TCP(g.LAN, from, to)
		if err != nil {
			return netip.Addr{}, err
		}
		by[i] = g.ISPOf(source.Addr())
		return source.Addr(), s.Close()
	})
	if tally.Failed > 0 {
		t.Errorf("learning: %v", tally)
	}
	return by
}
