package dnsserver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// randomModel makes a configuration of pools that nest, fall back and hash,
// and of topology rules over a small universe of client networks.
func randomModel(r *rand.Rand) *config.Model { return randomModelOf(r, true) }

// randomModelOf makes one without slots that read live numbers, if not live.
func randomModelOf(r *rand.Rand, live bool) *config.Model {
	ties := []string{"random", "first", "source-hash"}
	if live {
		ties = append(ties, "bandwidth", "least-connections")
	}
	slot := func() config.Slot {
		s := config.Slot{Algorithm: []string{"round-robin", "random", "first", "source-hash", "topology", "topology"}[r.IntN(6)]}
		if live && r.IntN(3) == 0 {
			s = liveSlot(r)
		}
		if r.IntN(2) == 0 {
			weighted := r.IntN(2) == 0
			s.Weighted = &weighted
		}
		s.Mask = config.Mask{V4: []int{0, 4, 6, 8, 24}[r.IntN(5)], V6: []int{0, 20, 34, 56}[r.IntN(4)]}
		if s.Algorithm == "topology" && r.IntN(3) == 0 {
			s.Tie = ties[r.IntN(len(ties))]
		}
		return s
	}
	var made []*config.Pool
	for i := range 3 {
		p := &config.Pool{Name: fmt.Sprintf("p%d", i), Preferred: slot(), Answers: 1 + r.IntN(2), Min: r.IntN(3), Max: r.IntN(4),
			BusyProtection: r.IntN(2) == 0, Panic: config.Percent([]int{0, 0, 60}[r.IntN(3)])}
		if r.IntN(2) == 0 {
			p.Alternate = slot()
		}
		if r.IntN(2) == 0 {
			p.Fallback = slot()
		}
		p.OnDecline = []config.OnDecline{config.DeclineRefused, config.DeclineAny, config.DeclineNodata, config.DeclineDrop, config.DeclineServfail}[r.IntN(5)]
		for _, j := range r.Perm(6)[:1+r.IntN(4)] {
			p.Members = append(p.Members, &config.Member{VirtualServer: string(rune('a' + j)), Weight: r.IntN(4), Priority: r.IntN(2)})
		}
		if i > 0 && r.IntN(2) == 0 {
			p.Members = append(p.Members, &config.Member{Pool: made[r.IntN(i)].Name, Weight: 1 + r.IntN(3), Priority: r.IntN(2)})
		}
		if r.IntN(8) == 0 {
			p.Answers = 1
			p.Members = append(p.Members, &config.Member{CNAME: "cdn.example.net.", Weight: 1})
		}
		rungs := []config.Rung{{Action: config.RungLastGood}, {Action: config.RungAll}, {Action: config.RungNodata}, {Action: config.RungDrop},
			{Addresses: []netip.Addr{v4(77)}}, {CNAME: "sorry.example.net."}}
		if i > 0 {
			rungs = append(rungs, config.Rung{Pool: made[r.IntN(i)].Name}, config.Rung{Pool: made[r.IntN(i)].Name})
		}
		for range r.IntN(4) {
			p.OnDown = append(p.OnDown, rungs[r.IntN(len(rungs))])
		}
		made = append(made, p)
	}
	m := pooled(made...)
	for i := range r.IntN(8) {
		rule := &config.TopologyRule{Priority: r.IntN(3), Prefer: config.Place{VirtualServer: string(rune('a' + r.IntN(6)))}}
		switch r.IntN(3) {
		case 0:
			rule.Prefer = config.Place{Site: "site-" + string(rune('a'+r.IntN(6)))}
		case 1:
			rule.Prefer = config.Place{Prefix: netip.PrefixFrom(v4(r.IntN(8)), 30).Masked()}
		}
		rule.Client = netip.PrefixFrom(clientIn(r, i%4 == 3), 0)
		bits := r.IntN(9)
		if i%4 == 3 {
			bits = 32 + r.IntN(4)
		}
		rule.Client, _ = rule.Client.Addr().Prefix(bits)
		m.Topology = append(m.Topology, rule)
	}
	return m
}

// clientIn gives an address of a small universe: 256 networks a family, so
// that brute force can visit all of them.
func clientIn(r *rand.Rand, six bool) netip.Addr {
	if six {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, byte(r.IntN(256))})
	}
	return netip.AddrFrom4([4]byte{byte(r.IntN(224)), byte(r.IntN(2)), 2, 1})
}

// randomRows changes the state of some rows.
func (w *world) randomRows(r *rand.Rand) {
	for range 1 + r.IntN(4) {
		id := status.ID([]string{"virtualServer/", "link/link-", "site/site-"}[r.IntN(3)] + string(rune('a'+r.IntN(6))))
		switch r.IntN(8) {
		case 0:
			_ = w.board.Hold(id, status.Hold{State: status.HoldState(r.IntN(3)), By: "random", Until: time.Now().Add(time.Hour)})
		case 1, 2:
			w.board.Release(id, "random", "random")
		}
		w.board.Update(status.Row{ID: id, Health: status.Health(r.IntN(3)), Waiting: r.IntN(25) == 0})
		w.board.Mark(map[status.ID]status.Load{id: {Busy: r.IntN(4) == 0, Full: r.IntN(10) == 0, Shed: uint16(max(0, r.IntN(512)-256))}})
	}
	w.randomGauges(r)
	w.table.Ready(w.board.Table(), nil)
}

var questions = []struct{ name, qtype string }{
	{"p0.example.com", "A"}, {"p1.example.com", "A"}, {"p2.example.com", "AAAA"}, {"p2.example.com", "A"},
	{"p2.example.com", "ANY"}, {"p0.example.com", "TXT"}, {"ns.example.com", "A"}, {"no.example.com", "A"},
	{"example.com", "MX"}, {"svc.example.com", "HTTPS"},
}

// An explanation is the answer: over random configurations, states and
// clients, what explain says is what the next query gets, and explaining
// changes nothing.
func TestExplainedIsServed(t *testing.T) {
	configs := 1000
	if testing.Short() || raceEnabled {
		configs = 100
	}
	r := rand.New(rand.NewPCG(2, 3))
	asked := 0
	for range configs {
		w := newWorld(t, nearer(randomModel(r), r))
		w.distances(r)
		for range 10 {
			w.randomRows(r)
			for range 10 {
				w.explainAndServe(r)
				asked++
			}
		}
	}
	t.Logf("%d questions", asked)
}

func (w *world) explainAndServe(r *rand.Rand) {
	q := questions[r.IntN(len(questions))]
	ask := Ask{Name: q.name, Type: q.qtype, Client: clientIn(r, r.IntN(3) == 0), At: w.now, Gauges: w.board.Gauges()}
	if r.IntN(2) == 0 {
		ask.ECS = netip.PrefixFrom(clientIn(r, r.IntN(3) == 0), r.IntN(33)).Masked()
	}
	e, err := w.table.Explain(w.board.Table(), ask)
	if err != nil {
		w.t.Fatal(err)
	}
	served := &Explanation{}
	served.setReply(w.askECS(ask.Name, ask.Type, ask.Client, ask.ECS))
	if e.Dropped != served.Dropped || e.Rcode != served.Rcode || e.EDE != served.EDE || e.ECS != served.ECS ||
		!slices.Equal(e.Answer, served.Answer) || !slices.Equal(e.Additional, served.Additional) || !slices.Equal(e.Authority, served.Authority) {
		w.t.Fatalf("%+v\nexplained %+v\nserved %+v", ask, e, served)
	}
}

// The scope of an answer is right: everybody inside has the same distribution;
// and shortest: one bit less, and somebody differs, or a network that is
// measured is answered for with others. Proved by visiting every network of a
// small universe.
func TestScopeAgainstBruteForce(t *testing.T) {
	configs := 100
	if testing.Short() || raceEnabled {
		configs = 30
	}
	r := rand.New(rand.NewPCG(5, 7))
	shortened := 0
	for range configs {
		w := newWorld(t, nearer(randomModel(r), r))
		w.distances(r)
		for range 3 {
			w.randomRows(r)
			for _, p := range w.table.pools.order {
				shortened += w.checkScopes(r, p)
			}
			// Live numbers alone have moved: what was kept for the others is stale.
			w.randomGauges(r)
			for _, p := range w.table.pools.order {
				shortened += w.checkScopes(r, p)
			}
		}
	}
	if shortened == 0 {
		t.Error("no scope was shorter than its topology leaf: the test shows nothing")
	}
}

// universe gives every /9 of 0.0.0.0/0, which is as fine as the masks and
// rules of randomModel below /9 reach, apart from the /24 mask.
func universe(bits int) (networks []netip.Prefix) {
	for i := range 1 << bits {
		a := uint32(i) << (32 - bits)
		networks = append(networks, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(a >> 24), byte(a >> 16), byte(a >> 8), byte(a)}), bits))
	}
	return networks
}

func (w *world) checkScopes(r *rand.Rand, p *pool) (shortened int) {
	const bits = 9
	networks := universe(bits)
	outcomes := make([]outcome, len(networks))
	b := &binding{fqdn: "x.", group: "x", pool: p, memo: newMemo(), count: newCount("x"), topology: w.table.topology}
	choose := func(net netip.Prefix) *choosing {
		class, _ := w.table.topology.Lookup(net.Addr())
		c := &choosing{b: b, q: &question{}, d: &decision{}}
		c.in.Table, c.in.Client.Addr, c.in.Client.Class, c.in.Now = w.board.Table(), net.Addr(), uint32(class), w.now
		c.in.Gauges = w.board.Gauges()
		return c
	}
	for i, net := range networks {
		outcomes[i] = p.outcome(choose(net).in, nil)
		if outcomes[i].width() > bits {
			return 0 // a mask finer than the universe
		}
	}
	for range 8 {
		net := networks[r.IntN(len(networks))]
		_, leaf := w.table.topology.Lookup(net.Addr())
		c := choose(net)
		o := p.outcome(c.in, nil)
		scope := c.scope(o, leaf)
		if o.shares.Wants && scope < o.width() {
			w.t.Fatalf("pool %s, client %s: scope /%d is wider than a network that is measured, /%d", p.Name, net, scope, o.width())
		}
		uniform := func(bits int) bool {
			within, _ := net.Addr().Prefix(bits)
			for i, other := range networks {
				if within.Contains(other.Addr()) && !outcomes[i].equal(p.outcome(choose(net).in, nil)) {
					return false
				}
			}
			return true
		}
		if !uniform(scope) {
			w.t.Fatalf("pool %s, client %s: scope /%d holds clients with other answers", p.Name, net, scope)
		}
		spent := o.width() > scope && 4<<(o.width()-scope) > maxCompare // it may have run out of comparisons
		if scope > 0 && !spent && (scope > o.width() || !o.shares.Wants) && uniform(scope-1) {
			w.t.Fatalf("pool %s, client %s: scope /%d could be shorter", p.Name, net, scope)
		}
		if scope < leaf {
			shortened++
		}
	}
	return shortened
}

func TestScopeIsZeroForStaticData(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b")}))
	ecs := netip.MustParsePrefix("203.0.113.0/24")
	for name, want := range map[string]int{"ns.example.com": 0, "nothing.example.com": 0, "www.example.com": 0} {
		if got := scopeOf(w.askECS(name, "A", v4(200), ecs)); got != want {
			t.Errorf("%s: scope %d, want %d", name, got, want)
		}
	}
}

// When health leaves one choice the scope falls to 0, and widens again when it
// returns.
func TestScopeFollowsHealth(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Preferred: config.Slot{Algorithm: "topology"}, Fallback: config.Slot{Algorithm: "first"}, Members: servers("a", "b")})
	m.Topology = []*config.TopologyRule{{Client: netip.MustParsePrefix("203.0.112.0/20"), Prefer: config.Place{VirtualServer: "b"}}}
	w := newWorld(t, m)
	ecs := netip.MustParsePrefix("203.0.113.0/24")
	for _, step := range []struct {
		row  string
		want int
	}{{"virtualServer/a:up", 20}, {"virtualServer/a:down", 0}, {"virtualServer/a:up", 20}, {"virtualServer/b:down", 0}} {
		w.set(step.row)
		if got := scopeOf(w.askECS("www.example.com", "A", v4(200), ecs)); got != step.want {
			t.Errorf("%s: scope %d, want %d", step.row, got, step.want)
		}
	}
}

func BenchmarkAnswer(b *testing.B) {
	m := randomModelOf(rand.New(rand.NewPCG(1, 1)), false)
	m.Pools[0].Preferred = config.Slot{Algorithm: "topology"}
	w := newWorld(b, m)
	ask := Ask{Name: "p0.example.com", Client: v4(1)}
	msg, _ := ask.message()
	for _, traced := range []bool{false, true} {
		b.Run(fmt.Sprintf("traced=%v", traced), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				q := parseQuery(msg, ask.Client, w.table, true).at(w.now, w.board.Table())
				if traced {
					q.question.trace = &Trace{}
				}
				answer(w.table, q)
			}
		})
	}
}
