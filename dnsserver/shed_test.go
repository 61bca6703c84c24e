package dnsserver

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// shedSome marks links and virtual servers with slices to shed.
func (w *world) shedSome(r *rand.Rand) {
	loads := map[status.ID]status.Load{}
	for range 1 + r.IntN(3) {
		id := status.ID([]string{"virtualServer/", "link/link-"}[r.IntN(2)] + string(rune('a'+r.IntN(6))))
		loads[id] = status.Load{Shed: uint16([]int{2, 40, 128, 250}[r.IntN(4)])}
	}
	w.board.Mark(loads)
	w.table.Ready(w.board.Table(), nil)
}

// The scope is right and shortest where links shed slices of clients, by /24:
// proved by visiting every /24 of the scope and of the prefix one bit shorter,
// as far as one answer may compare.
func TestScopeAgainstBruteForce_Shed(t *testing.T) {
	configs := 150
	if testing.Short() || raceEnabled {
		configs = 15
	}
	r := rand.New(rand.NewPCG(11, 13))
	checked := 0
	for range configs {
		m := randomModel(r)
		for _, p := range m.Pools {
			p.BusyProtection = true
			p.Spill = []config.Spill{config.SpillDown, config.SpillBusy}[:1+r.IntN(2)]
		}
		w := newWorld(t, m)
		for range 2 {
			w.randomRows(r)
			w.shedSome(r)
			for _, p := range w.table.pools.order {
				checked += w.checkShedScope(r, p)
			}
		}
	}
	if checked < configs {
		t.Errorf("%d scopes were between /17 and /24: the test shows little", checked)
	}
}

// checkShedScope gives 1 if it could visit all networks of the scope.
func (w *world) checkShedScope(r *rand.Rand, p *pool) int {
	b := &binding{fqdn: "x.", group: "x", pool: p, memo: newMemo(), count: newCount("x"), topology: w.table.topology}
	choose := func(addr netip.Addr) (*choosing, int) {
		class, leaf := w.table.topology.Lookup(addr)
		c := &choosing{b: b, q: &question{}, d: &decision{}}
		c.in.Table, c.in.Client.Addr, c.in.Client.Class = w.board.Table(), addr, uint32(class)
		return c, leaf
	}
	client := netip.AddrFrom4([4]byte{byte(r.IntN(224)), byte(r.IntN(256)), byte(r.IntN(256)), 0})
	c, leaf := choose(client)
	want := p.outcome(c.in, nil)
	scope := c.scope(want, leaf)
	uniform := func(bits int) bool {
		within, _ := client.Prefix(bits)
		a := within.Addr().As4()
		for i := range 1 << (24 - bits) {
			n := uint32(a[0])<<16 | uint32(a[1])<<8 | uint32(a[2]) + uint32(i)
			other, _ := choose(netip.AddrFrom4([4]byte{byte(n >> 16), byte(n >> 8), byte(n), 9}))
			if o := p.outcome(other.in, nil); !o.equal(want) {
				return false
			}
		}
		return true
	}
	if scope > 24 {
		w.t.Fatalf("pool %s, client %s: scope /%d is longer than any mask", p.Name, client, scope)
	}
	if scope <= 16 {
		return 0
	}
	if !uniform(scope) {
		w.t.Fatalf("pool %s, client %s: scope /%d holds clients with other answers", p.Name, client, scope)
	}
	if scope > 17 && uniform(scope-1) { // maxCompare reaches to /17
		w.t.Fatalf("pool %s, client %s: scope /%d could be shorter", p.Name, client, scope)
	}
	return 1
}

// The same answers are given whether the cache of outcomes is warm, and it is
// dropped as soon as a link sheds another number of slices.
func TestScopeFollowsShed(t *testing.T) {
	p := &config.Pool{Name: "p0", Preferred: config.Slot{Algorithm: "round-robin"}, BusyProtection: true, Answers: 1,
		Members: []*config.Member{{VirtualServer: "a", Weight: 1}, {VirtualServer: "b", Weight: 1}}}
	w := newWorld(t, pooled(p))
	b := &binding{fqdn: "x.", group: "x", pool: w.table.pools.byName["p0"], memo: newMemo(), count: newCount("x"), topology: w.table.topology}
	scope := func() int {
		c := &choosing{b: b, q: &question{}, d: &decision{}}
		c.in.Table, c.in.Client.Addr = w.board.Table(), netip.MustParseAddr("198.51.100.7")
		return c.scope(b.pool.outcome(c.in, nil), 0)
	}
	shed := func(n uint16) {
		w.board.Mark(map[status.ID]status.Load{"link/link-a": {Shed: n}})
		w.table.Ready(w.board.Table(), nil)
	}
	if got := scope(); got != 0 {
		t.Errorf("nobody sheds: scope /%d", got)
	}
	shed(128)
	if got := scope(); got < 17 || got > 24 {
		t.Errorf("half is shed: scope /%d", got)
	}
	shed(256)
	if got := scope(); got != 0 {
		t.Errorf("all is shed: scope /%d", got)
	}
	shed(0)
	if got := scope(); got != 0 {
		t.Errorf("nobody sheds any more: scope /%d", got)
	}
}

// The dead time of a link is the largest TTL of the names whose pools heed it:
// by a member, by a nested pool, by a pool that onDown goes to; not where the
// pool has no busyProtection.
func TestDeadTime(t *testing.T) {
	rr := config.Slot{Algorithm: "round-robin"}
	m := pooled(
		&config.Pool{Name: "p0", Preferred: rr, BusyProtection: true, Answers: 1, Members: servers("a", "b")},
		&config.Pool{Name: "p1", Preferred: rr, BusyProtection: true, Answers: 1, Members: servers("b", "c")},
		&config.Pool{Name: "p2", Preferred: rr, Answers: 1, Members: append(servers("d"), &config.Member{Pool: "p1", Weight: 1}),
			OnDown: []config.Rung{{Pool: "p0"}}},
	)
	for i, seconds := range []int{30, 60, 300} {
		m.Zones[0].Names[i].TTL = config.TTL{Max: config.Duration(time.Duration(seconds) * time.Second)}
	}
	w := newWorld(t, m)
	for link, want := range map[string]time.Duration{"link-a": 300 * time.Second, "link-b": 300 * time.Second, "link-c": 300 * time.Second, "link-d": 0, "link-e": 0, "no": 0} {
		if got := w.table.DeadTime(link); got != want {
			t.Errorf("%s: %s, want %s", link, got, want)
		}
	}
	m.Zones[0].Names = m.Zones[0].Names[:2]
	w.compile(w.table)
	for link, want := range map[string]time.Duration{"link-a": 30 * time.Second, "link-b": 60 * time.Second, "link-c": 60 * time.Second} {
		if got := w.table.DeadTime(link); got != want {
			t.Errorf("without p2's name, %s: %s, want %s", link, got, want)
		}
	}
	if got := newTable(&config.DNS{}).DeadTime("link-a"); got != 0 {
		t.Errorf("a table without pools: %s", got)
	}
}

// A client that a link sheds is not sent over it for the other family either,
// where what was chosen lacks that; and the scope heeds it, for A and AAAA are
// one decision. The same where onDecline gives any.
func TestShed_OtherFamilyAndAny(t *testing.T) {
	top := config.Slot{Algorithm: "topology"}
	m := pooled(&config.Pool{Name: "p0", Preferred: top, BusyProtection: true, Answers: 1, Members: servers("a", "b", "c")},
		&config.Pool{Name: "p1", Preferred: top, BusyProtection: true, Answers: 1, Members: servers("a", "c"), OnDecline: config.DeclineAny})
	m.DNS.ECS = true
	m.VirtualServers[1].Addresses = []netip.Addr{v4(2)}
	m.Topology = []*config.TopologyRule{{Client: netip.MustParsePrefix("0.0.0.0/0"), Prefer: config.Place{VirtualServer: "b"}}}
	w := newWorld(t, m)
	w.board.Mark(map[status.ID]status.Load{"link/link-a": {Shed: 128}})
	w.table.Ready(w.board.Table(), nil)
	for _, name := range []string{"p0.example.com", "p1.example.com"} {
		a, c := v6(1).String(), v6(3).String()
		seen, gets, scopes := map[bool]int{}, map[netip.Addr]bool{}, map[netip.Addr]int{}
		for i := range 64 {
			addr := netip.AddrFrom4([4]byte{10, 0, byte(i), 0})
			got := map[string]bool{}
			for range 8 {
				msg := w.askECS(name, "AAAA", addr, netip.PrefixFrom(addr, 24))
				got[short(msg)] = true
				scopes[addr] = scopeOf(msg)
			}
			if !got["NOERROR "+c] {
				t.Fatalf("%s, %s: %v", name, addr, got)
			}
			gets[addr] = got["NOERROR "+a]
			seen[gets[addr]]++
		}
		for addr, scope := range scopes {
			within, _ := addr.Prefix(scope)
			for other, gets2 := range gets {
				if within.Contains(other) && gets2 != gets[addr] {
					t.Fatalf("%s: the scope of %s, /%d, holds %s, which gets other answers", name, addr, scope, other)
				}
			}
		}
		if seen[true] < 16 || seen[false] < 16 {
			t.Errorf("%s: link-a serves the other family to %d of 64, is shed by %d", name, seen[true], seen[false])
		}
	}
}
