package dnsserver

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// liveSlot is a random slot that looks at links or live numbers.
func liveSlot(r *rand.Rand) config.Slot {
	s := config.Slot{Algorithm: []string{"bandwidth", "max-bandwidth", "least-connections", "weighted-least-connections", "least-time", "cost"}[r.IntN(6)]}
	s.Direction = []string{"total", "in", "out"}[r.IntN(3)]
	if s.Algorithm == "max-bandwidth" && r.IntN(2) == 0 {
		s.Debit = config.Bandwidth(1 + r.IntN(500e6))
	}
	if s.Algorithm != "bandwidth" && s.Algorithm != "max-bandwidth" && r.IntN(2) == 0 {
		s.Tie = []string{"random", "first", "source-hash", "bandwidth", "max-bandwidth", "least-time"}[r.IntN(6)]
	}
	return s
}

// randomGauges measures some links and servers anew; some values are not known,
// some links are over their limit, and many are alike.
func (w *world) randomGauges(r *rand.Rand) {
	value := func(unit float64) float64 {
		switch r.IntN(6) {
		case 0:
			return math.NaN()
		case 1:
			return r.Float64() * unit
		}
		return float64(r.IntN(4)) * unit
	}
	gauges := map[status.ID]status.Gauge{}
	for range 1 + r.IntN(6) {
		name, g := string(rune('a'+r.IntN(6))), status.NoGauge()
		for d := range busy.Directions {
			g.Remaining[d] = value(100e6) - float64(r.IntN(2))*50e6
		}
		g.Connections, g.Latency = math.Trunc(value(10)), value(0.01)
		gauges[status.MakeID(status.KindLink, "link-"+name)] = g
		gauges[status.MakeID(status.KindVirtualServer, name)] = g
	}
	w.board.Measure(gauges)
}

// measure writes what remains of links, in Mbps, for every direction:
// "a:300 b:?"; or connections of servers: "a:c=7".
func (w *world) measure(words string) {
	gauges := map[status.ID]status.Gauge{}
	for _, word := range strings.Fields(words) {
		name, value, _ := strings.Cut(word, ":")
		g := status.NoGauge()
		number, isCount := strings.CutPrefix(value, "c=")
		var v float64
		if value == "?" {
			v = math.NaN()
		} else {
			v = mustFloat(w.t, number)
		}
		id := status.MakeID(status.KindLink, "link-"+name)
		if isCount {
			g.Connections, id = v, status.MakeID(status.KindVirtualServer, name)
		} else {
			g.Remaining = [3]float64{v * 1e6, v * 1e6, v * 1e6}
		}
		gauges[id] = g
	}
	w.board.Measure(gauges)
}

func mustFloat(t testing.TB, s string) (v float64) {
	t.Helper()
	d := config.Bandwidth(0)
	if err := d.UnmarshalText([]byte(s + "Mbps")); err != nil {
		t.Fatal(err)
	}
	return float64(d) / 1e6
}

// load says what a meter says of links: "a:busy", "b:free".
func (w *world) load(words string) {
	loads := map[status.ID]status.Load{}
	for _, word := range strings.Fields(words) {
		name, state, _ := strings.Cut(word, ":")
		id := status.MakeID(status.KindLink, "link-"+name)
		if state == "full" {
			id = status.MakeID(status.KindVirtualServer, name)
		}
		loads[id] = status.Load{Busy: state == "busy", Full: state == "full", Why: "750Mbps of 1Gbps", By: "link"}
	}
	w.board.Mark(loads)
	w.table.Ready(w.board.Table(), nil)
}

// who asks n times and gives the letters of those that answered.
func (w *world) who(client string, n int) string {
	var got []string
	for range n {
		m := short(w.ask("www.example.com", "A", client))
		number, ok := strings.CutPrefix(m, "NOERROR 192.0.2.")
		if !ok || strings.Contains(number, " ") {
			return m
		}
		got = append(got, string(rune('a'+mustInt(w.t, number)-1)))
	}
	return strings.Join(got, "")
}

func mustInt(t testing.TB, s string) (n int) {
	t.Helper()
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

func slot(algorithm string) config.Slot { return config.Slot{Algorithm: algorithm} }

// The rules of busy links, from a meter's word to the answer. Clients of
// 10.0.0.0/8 are those that topology prefers a and b for.
func TestBusyInPools(t *testing.T) {
	const south, north = "10.1.2.3", "20.1.2.3"
	rules := []*config.TopologyRule{
		{Client: netip.MustParsePrefix("10.0.0.0/8"), Prefer: config.Place{Link: "link-a"}, Priority: 20},
		{Client: netip.MustParsePrefix("10.0.0.0/8"), Prefer: config.Place{Link: "link-b"}, Priority: 10},
	}
	on := func(preferred, fallback config.Slot, members ...string) *config.Pool {
		return &config.Pool{Name: "www", BusyProtection: true, Preferred: preferred, Fallback: fallback, Members: servers(members...)}
	}
	spill := func(p *config.Pool, s ...config.Spill) *config.Pool { p.Spill = s; return p }
	topo, none := slot("topology"), config.Slot{}
	tests := []struct {
		rule   string
		pool   *config.Pool
		load   string
		client string
		want   string
	}{
		{"1.4.4 T3 all well", on(topo, none, "a", "b", "c"), "", south, "aaa"},
		{"1.4.4 T3 busy: the next that topology also matches", on(topo, none, "a", "b", "c"), "a:busy", south, "bbb"},
		{"1.4.4 T3 no other match: the slot fails, not a random idle one", on(topo, none, "a", "b", "c"), "a:busy b:busy", south, "REFUSED"},
		{"1.4.4 T3 no other match: the next slot", on(topo, slot("first"), "a", "b", "c", "d"), "a:busy b:busy", south, "ccc"},
		{"1.4.4 T3 topology matches nobody: the slot fails", on(topo, none, "a", "b", "c"), "", north, "REFUSED"},
		{"1.4.4 T3 topology matches nobody: the next slot, of the idle", on(topo, slot("first"), "a", "b", "c"), "a:busy", north, "bbb"},
		{"1.2.26 (e) T19 all busy: topology decides as if none were", on(topo, none, "a", "b", "c"), "a:busy b:busy c:busy", south, "aaa"},
		{"1.2.26 (e) T19 all busy: in turn as before", on(slot("round-robin"), none, "a", "b"), "a:busy b:busy", south, "abab"},
		{"1.2.12 (d) T18 the others have what it had", on(slot("round-robin"), none, "a", "b", "c"), "b:busy", south, "acac"},
		{"1.2.12 (c) without busyProtection nothing happens", &config.Pool{Name: "www", Members: servers("a", "b")}, "a:busy", south, "abab"},
		{"1.2.26 (a) max-bandwidth while all are free", on(slot("max-bandwidth"), none, "a", "b", "c"), "", south, "aaa"},
		{"1.2.26 (a) max-bandwidth, the best is busy", on(slot("max-bandwidth"), none, "a", "b", "c"), "a:busy", south, "bbb"},
		{"1.2.26 (a) (e) max-bandwidth, all busy", on(slot("max-bandwidth"), none, "a", "b", "c"), "a:busy b:busy c:busy", south, "aaa"},

		{"1.2.13 C3 busy does not spill: the lapse stays in the level", on(slot("first"), none, "a@8", "b@4"), "a:busy", south, "aaa"},
		{"C3 spill: [busy] does", spill(on(slot("first"), none, "a@8", "b@4"), config.SpillDown, config.SpillBusy), "a:busy", south, "bbb"},
		{"C3 spill: [busy], all busy: back to the highest", spill(on(slot("first"), none, "a@8", "b@4"), config.SpillDown, config.SpillBusy), "a:busy b:busy", south, "aaa"},
		{"C3 spill: [busy] without busyProtection", spill(&config.Pool{Name: "www", Members: servers("a@8", "b@4")}, config.SpillBusy), "a:busy", south, "aaa"},
		{"1.2.13 T24 full: dropped, no spill", on(slot("first"), none, "a@8", "b@4"), "a:full", south, "REFUSED"},
		{"T24 spill: [full] does", spill(on(slot("first"), none, "a@8", "b@4"), config.SpillDown, config.SpillFull), "a:full", south, "bbb"},
		{"T24 spill: [full], all full", spill(on(slot("first"), none, "a@8", "b@4"), config.SpillFull), "a:full b:full", south, "REFUSED"},
		{"T24 in a level the others go on", on(slot("round-robin"), none, "a@8", "b@8", "c@4"), "a:full", south, "bbb"},
		{"T24 busy and full are two states", on(slot("first"), none, "a@8", "b@8", "c@4"), "a:full b:busy", south, "bbb"},
		{"1.2.16 a higher priority outranks what remains", on(slot("max-bandwidth"), none, "c@8", "a@4"), "", south, "ccc"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			m := pooled(tt.pool)
			m.Topology = rules
			w := newWorld(t, m)
			w.measure("a:300 b:200 c:100")
			w.load(tt.load)
			if got := w.who(tt.client, len(tt.want)); got != tt.want && !strings.HasPrefix(got, tt.want) {
				t.Errorf("%q: got %q, want %q", tt.load, got, tt.want)
			}
		})
	}
}

// T25: who takes part follows the meter's word; a member leaves, comes back in
// its own place, and health says nothing of load nor load of health.
func TestMembersFollowTheMeter_T25(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", BusyProtection: true, Members: servers("a", "b", "c")}))
	for _, step := range []struct{ do, want string }{
		{"load a:busy", "bcbc"}, {"load a:free", "abc"}, {"load b:busy c:busy", "aaa"},
		{"row virtualServer/a:down", "bcbc"}, // all that is left is busy: lapse
		{"row virtualServer/a:up", "aaa"}, {"row link/link-b:up", "aaa"}, {"load b:free c:free", "abc"},
	} {
		kind, what, _ := strings.Cut(step.do, " ")
		if kind == "load" {
			w.load(what)
		} else {
			id, state, _ := strings.Cut(what, ":")
			health := map[string]status.Health{"up": status.Up, "down": status.Down}[state]
			w.board.Update(status.Row{ID: status.ID(id), Health: health}) // a prober's word
			w.table.Ready(w.board.Table(), nil)
		}
		for _, count := range w.table.pools.counts {
			count.Store(0)
		}
		if got := w.who(asker, len(step.want)); got != step.want {
			t.Errorf("%s: got %s, want %s", step.do, got, step.want)
		}
	}
}

// A lapse is a degraded answer, which nobody keeps longer than need be (T6).
func TestLapseHasTheLowerTTL(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", BusyProtection: true, Members: servers("a", "b")}))
	for _, step := range []struct {
		load string
		want uint32
	}{{"", 30}, {"a:busy", 30}, {"b:busy", 5}, {"a:free", 30}} {
		w.load(step.load)
		if got := w.ask("www.example.com", "A", asker).Answer[0].Header().Ttl; got != step.want {
			t.Errorf("%q: TTL %d, want %d", step.load, got, step.want)
		}
	}
}

// T28 after a start: nothing is measured, so the slot declines and the next one
// answers; with the first measurement it chooses.
func TestUnknownAfterStart_T28(t *testing.T) {
	for _, algorithm := range []string{"bandwidth", "max-bandwidth", "least-connections", "weighted-least-connections", "least-time"} {
		w := newWorld(t, pooled(&config.Pool{Name: "www", Preferred: slot(algorithm), Fallback: slot("first"), Members: servers("b", "a")}))
		if got := w.who(asker, 3); got != "bbb" {
			t.Errorf("%s, nothing measured: %s, want the fallback's bbb", algorithm, got)
		}
		w.measure("a:? b:?")
		if got := w.who(asker, 3); got != "bbb" {
			t.Errorf("%s, measured and unknown: %s, want the fallback's bbb", algorithm, got)
		}
		g := status.NoGauge()
		g.Remaining, g.Connections, g.Latency = [3]float64{5, 5, 5}, 5, 5
		w.board.Measure(map[status.ID]status.Gauge{"link/link-a": g, "virtualServer/a": g})
		if got := w.who(asker, 4); algorithm != "bandwidth" && got != "aaaa" || algorithm == "bandwidth" && got != "abab" && got != "baba" {
			t.Errorf("%s, a is measured: %s", algorithm, got)
		}
	}
	w := newWorld(t, pooled(&config.Pool{Name: "www", Preferred: slot("bandwidth"), Members: servers("a")}))
	if got := w.who(asker, 1); got != "REFUSED" {
		t.Errorf("no other slot: %s", got)
	}
}

// 1.2.15 at the wire: 300:400:300 of answers, and the next measurement counts at
// once.
func TestBandwidthAnswers_1_2_15(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Preferred: config.Slot{Algorithm: "bandwidth", Direction: "out"}, Members: servers("a*3", "b*2", "c")}))
	for _, tt := range []struct {
		gauges string
		want   map[rune]int
	}{
		{"a:100 b:200 c:300", map[rune]int{'a': 30, 'b': 40, 'c': 30}},
		{"a:100 b:0 c:700", map[rune]int{'a': 30, 'c': 70}},
		{"a:0 b:0 c:0", map[rune]int{'a': 50, 'b': 33, 'c': 17}}, // the limit lapses: by weight
	} {
		w.measure(tt.gauges)
		got := map[rune]int{}
		for _, who := range w.who(asker, 100) {
			got[who]++
		}
		for who, n := range tt.want {
			if math.Abs(float64(got[who]-n)) > 1 {
				t.Errorf("%s: %v, want %v", tt.gauges, got, tt.want)
				break
			}
		}
	}
}

func TestLinksDecide(t *testing.T) {
	inner := &config.Pool{Name: "site", Members: servers("c", "d")}
	tests := []struct {
		what   string
		pool   *config.Pool
		gauges string
		want   string
	}{
		{"cost: the cheapest link", &config.Pool{Preferred: slot("cost"), Members: servers("a", "b", "c")}, "", "bbb"},
		{"cost: equals in turn, weights aside (1.1.15)", &config.Pool{Preferred: slot("cost"), Members: servers("a*9", "c", "d")}, "", "acd"},
		{"cost: equals, weights if asked", &config.Pool{Preferred: config.Slot{Algorithm: "cost", Weighted: new(true)}, Members: servers("a*2", "c")}, "", "aca"},
		{"cost: a tie by bandwidth", &config.Pool{Preferred: config.Slot{Algorithm: "cost", Tie: "max-bandwidth"}, Members: servers("a", "c", "d")}, "a:1 c:2 b:9", "ccc"},
		{"cost: a tie that knows nothing", &config.Pool{Preferred: config.Slot{Algorithm: "cost", Tie: "max-bandwidth"}, Members: servers("a", "c", "b@1")}, "", "bbb"},
		{"cost: a member without a link", &config.Pool{Preferred: slot("cost"), Members: append(servers("a"), &config.Member{Address: v4(5), Weight: 1})}, "", "aaa"},
		{"cost: nobody has a link", &config.Pool{Preferred: slot("cost"), Members: []*config.Member{{Address: v4(5), Weight: 1}}}, "", "REFUSED"},
		{"cost: a nested pool, by its cheapest", &config.Pool{Preferred: slot("cost"), Members: append(servers("e"), &config.Member{Pool: "site", Weight: 1})}, "", "cdc"},
		{"max-bandwidth: a nested pool", &config.Pool{Preferred: slot("max-bandwidth"), Members: append(servers("a"), &config.Member{Pool: "site", Weight: 1})}, "a:5 c:4 d:6", "cdc"},
		{"topology's own tie is not theirs", &config.Pool{Preferred: slot("topology"), Fallback: slot("cost"), Members: servers("a", "b")}, "", "bbb"},
		{"least-connections: a reported address", &config.Pool{Name: "www", Preferred: slot("least-connections"), Members: append(servers("a"), &config.Member{Address: v4(5), Weight: 1})}, "a:c=9", "eee"},
	}
	for _, tt := range tests {
		t.Run(tt.what, func(t *testing.T) {
			tt.pool.Name = "www"
			m := pooled(tt.pool, inner)
			for i, cost := range []int{10, 5, 10, 10, 40, 50} {
				m.Links = append(m.Links, &config.Link{Name: "link-" + string(rune('a'+i)), Cost: cost})
			}
			w := newWorld(t, m)
			w.measure(tt.gauges)
			g := status.NoGauge()
			g.Connections = 2
			w.board.Measure(map[status.ID]status.Gauge{"pool/www/192.0.2.5": g})
			if got := w.who(asker, len(tt.want)); got != tt.want && !strings.HasPrefix(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// A scope that was worked out by one measurement is not handed out after the
// next: first everybody is sent to a, then some are not, and the nearest of them
// are half of 203.0.0.0/16 away.
func TestScopeFollowsGauges(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Preferred: slot("least-connections"), Fallback: slot("topology"), Members: servers("a", "b")})
	m.Topology = []*config.TopologyRule{
		{Client: netip.MustParsePrefix("0.0.0.0/0"), Prefer: config.Place{VirtualServer: "a"}},
		{Client: netip.MustParsePrefix("203.0.112.0/20"), Prefer: config.Place{VirtualServer: "b"}, Priority: 9}}
	w := newWorld(t, m)
	ecs := netip.MustParsePrefix("203.0.129.0/24")
	for _, step := range []struct {
		gauges string
		want   int
	}{{"a:c=1 b:c=2", 0}, {"a:? b:?", 17}, {"a:c=1", 0}} {
		if step.gauges == "a:? b:?" {
			w.board.Unmeasure("virtualServer/a", "virtualServer/b")
		} else {
			w.measure(step.gauges)
		}
		if got := scopeOf(w.askECS("www.example.com", "A", v4(200), ecs)); got != step.want {
			t.Errorf("%s: scope %d, want %d", step.gauges, got, step.want)
		}
	}
}

// What explain prints for people.
func TestExplainShowsNumbers(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", BusyProtection: true, Preferred: config.Slot{Algorithm: "cost", Tie: "bandwidth", Direction: "out"}, Members: servers("a*3", "b", "c", "d")})
	for i, cost := range []int{10, 10, 20, 10} {
		m.Links = append(m.Links, &config.Link{Name: "link-" + string(rune('a'+i)), Cost: cost})
	}
	w := newWorld(t, m)
	w.measure("a:340 b:680 c:900 d:1")
	w.load("d:busy")
	e, err := w.table.Explain(w.board.Table(), Ask{Name: "www.example.com", Client: v4(9), At: w.now, Gauges: w.board.Gauges()})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := e.WriteText(&b, w.now); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"d left out: busy: link/link-d: 750Mbps of 1Gbps",
		"preferred: cost -> a 60 %, b 40 %",
		"a: link/link-a costs 10", "c: link/link-c costs 20",
		"a: link/link-a: 340Mbps remain (out)", "b: link/link-b: 680Mbps remain (out)",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no line %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "c: link/link-c: 900Mbps") {
		t.Errorf("the tie was asked of a member that is dearer:\n%s", b.String())
	}
}
