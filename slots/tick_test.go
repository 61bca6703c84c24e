package slots

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// world is a group with what it looks at. Its members are links a, b, c, ... with
// numbers from 1 on, interfaces ifa, ifb, ...
type world struct {
	t     testing.TB
	conf  Spec
	names []string // by number, from 1 on
	group *Group
	board *status.Board
	load  Load
	live  []float64 // by number: connections of the link
	now   time.Time
	every time.Duration
	state State
	last  Result
}

func at0() time.Time { return time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC) }

// newWorld makes a group of 256 slots and of members "name weight priority". set
// may change it.
func newWorld(t testing.TB, algorithm Algorithm, set func(*Spec), members ...string) *world {
	t.Helper()
	w := &world{t: t, board: status.NewBoard(10), now: at0(), every: time.Second, live: make([]float64, 1),
		conf: Spec{Name: "g", Algorithm: algorithm, Size: 256, Spill: pick.SpillDown, Words: Words{Members: "links"}}}
	for _, words := range members {
		w.add(words)
	}
	if set != nil {
		set(&w.conf)
	}
	w.compile()
	return w
}

func (w *world) add(words string) {
	m := Member{Weight: 1}
	if _, err := fmt.Sscan(words, &m.Name, &m.Weight, &m.Priority); err != nil && m.Name == "" {
		w.t.Fatal(err)
	}
	w.names, w.live = append(w.names, m.Name), append(w.live, 0)
	m.ID, m.Row = w.id(m.Name), status.MakeID(status.KindLink, m.Name)
	m.Needs = []status.ID{m.Row, status.MakeID(status.KindLinkGroup, "g", m.Name), status.MakeID(status.KindInterface, "if"+m.Name)}
	w.conf.Members = append(w.conf.Members, m)
}

func (w *world) compile() {
	w.t.Helper()
	s := w.conf
	s.Members = slices.Clone(s.Members)
	g, err := New(s)
	if err != nil {
		w.t.Fatal(err)
	}
	w.group = g
}

func (w *world) id(name string) ID { return ID(slices.Index(w.names, name)) + 1 }

func (w *world) ids(names string) IDs {
	set := IDs{}
	for _, n := range strings.Fields(names) {
		set = append(set, w.id(n))
	}
	slices.Sort(set)
	return set
}

// say changes rows: "a:down", "b:busy", "c:up", "a:free", "b:full", "a:drain",
// "a:held", "a:forced", "a:release", "a:shed=64", "ifa:down" the interface of a,
// "g/a:drain" the membership.
func (w *world) say(words string) {
	w.t.Helper()
	for _, word := range strings.Fields(words) {
		name, what, _ := strings.Cut(word, ":")
		id := status.MakeID(status.KindLink, name)
		switch {
		case strings.HasPrefix(name, "if"):
			id = status.MakeID(status.KindInterface, name)
		case strings.Contains(name, "/"):
			id = status.MakeID(status.KindLinkGroup, name)
		}
		hold := func(s status.HoldState) {
			if err := w.board.Hold(id, status.Hold{State: s, By: "test"}); err != nil {
				w.t.Fatal(err)
			}
		}
		load := func(l status.Load) { w.board.Mark(map[status.ID]status.Load{id: l}) }
		shed := 0
		switch what {
		case "up", "down", "unknown":
			w.board.Update(status.Row{ID: id, Health: map[string]status.Health{"up": status.Up, "down": status.Down}[what]})
		case "busy":
			load(status.Load{Busy: true})
		case "full":
			load(status.Load{Full: true})
		case "free":
			load(status.Load{})
		case "drain":
			hold(status.HoldDrain)
		case "held":
			hold(status.HoldDown)
		case "forced":
			hold(status.HoldUp)
		case "release":
			w.board.Release(id, "", "test")
		default:
			if _, err := fmt.Sscanf(what, "shed=%d", &shed); err != nil {
				w.t.Fatalf("%q: %v", word, err)
			}
			load(status.Load{Shed: uint16(shed)})
		}
	}
}

// rates measures links, in Mbit/s of all directions: "a:70/100" flows 70 and has
// 30 left. "a:?" is not known.
func (w *world) rates(words string) {
	w.t.Helper()
	now := map[status.ID]status.Gauge{}
	for _, word := range strings.Fields(words) {
		name, what, _ := strings.Cut(word, ":")
		g := status.NoGauge()
		var rate, limit float64
		if what != "?" {
			if _, err := fmt.Sscanf(what, "%f/%f", &rate, &limit); err != nil {
				w.t.Fatalf("%q: %v", word, err)
			}
			for d := range g.Rate {
				g.Rate[d], g.Remaining[d] = rate*1e6, (limit-rate)*1e6
			}
		}
		now[status.MakeID(status.KindLink, name)] = g
	}
	w.board.Measure(now)
}

func (w *world) input() Input {
	return Input{Table: w.board.Table(), Gauges: w.board.Gauges(), Now: w.now, Every: w.every}
}

// tick ticks so long after the one before.
func (w *world) tick(after time.Duration) Result {
	w.now = w.now.Add(after)
	w.load.Everywhere = make([]float64, len(w.group.spec.Members))
	for i, m := range w.group.spec.Members {
		w.load.Everywhere[i] = w.live[m.ID]
	}
	w.state, w.last = w.group.Tick(w.input(), w.load, w.state)
	return w.last
}

// table prints the slots: "a 128 b 85 c 43".
func (w *world) table() string {
	var words []string
	for _, s := range w.last.Members {
		if s.Slots > 0 {
			words = append(words, fmt.Sprint(s.Name, " ", s.Slots))
		}
	}
	return strings.Join(words, " ")
}

// wants checks the table and who is available after a tick.
func (w *world) wants(what, table, available string) {
	w.t.Helper()
	if got := w.table(); got != table {
		w.t.Errorf("%s: table %q, want %q", what, got, table)
	}
	if !w.last.Available.Equal(w.ids(available)) {
		w.t.Errorf("%s: available %v, want %v", what, w.last.Available, w.ids(available))
	}
}

// Test 25, T24-T27, 1.1.14, 1.1.15, 1.2.13-1.2.16, 1.2.26, C3: who takes part,
// with how many slots, for one tick of a group that has just been made.
func TestTick(t *testing.T) {
	three := []string{"a 3", "b 2", "c 1"}
	levels := []string{"a 1 8", "b 1 8", "c 1 4", "d 1 4"}
	protect := func(g *Spec) { g.BusyProtection = true }
	rr, ba, mb := RoundRobin, Bandwidth, MaxBandwidth
	tests := []struct {
		rule      string
		algorithm Algorithm
		set       func(*Spec)
		members   []string
		rows      string
		rates     string
		table     string
		available string
		alive     string
	}{
		{"1.1.15 weights 3:2:1 to a slot", rr, nil, three, "", "", "a 128 b 85 c 43", "a b c", "a b c"},
		{"1.1.15 by lot weights do not count", Random, nil, three, "", "", "a 86 b 85 c 85", "a b c", "a b c"},
		{"1.1.15 nor by a hash", SourceHash, nil, []string{"a 9", "b 1"}, "", "", "a 128 b 128", "a b", "a b"},
		{"1.2.14 failure", rr, nil, three, "a:down", "", "b 171 c 85", "b c", "b c"},
		{"1.2.14 failure of the interface", rr, nil, three, "ifa:down", "", "b 171 c 85", "b c", "b c"},
		{"C1 unknown is usable", rr, nil, three, "a:unknown", "", "a 128 b 85 c 43", "a b c", "a b c"},
		{"hold down: out of both", rr, nil, three, "a:held", "", "b 171 c 85", "b c", "b c"},
		{"drain: out of the slots, alive", rr, nil, three, "a:drain", "", "b 171 c 85", "b c", "a b c"},
		{"drain in this group alone", rr, nil, three, "g/a:drain", "", "b 171 c 85", "b c", "a b c"},
		{"drain of a link that is down", rr, nil, three, "a:down a:drain", "", "b 171 c 85", "b c", "b c"},
		{"forced up", rr, nil, three, "a:down a:forced", "", "a 128 b 85 c 43", "a b c", "a b c"},
		{"a reserve", rr, nil, []string{"a 0", "b 2"}, "", "", "b 256", "b", "a b"},
		{"a reserve serves", rr, nil, []string{"a 0", "b 2"}, "b:down", "", "a 256", "a", "a"},
		{"nobody", rr, nil, three, "a:down b:down c:down", "", "", "", ""},

		{"1.2.16 the highest priority", rr, nil, levels, "", "", "a 128 b 128", "a b", "a b c d"},
		{"1.2.14 T24 failure spills", rr, nil, levels, "a:down b:down", "", "c 128 d 128", "c d", "c d"},
		{"1.2.14 T24 failure of one does not", rr, nil, levels, "a:down", "", "b 256", "b", "b c d"},
		{"1.2.13 T24 full does not spill", rr, nil, levels, "a:full b:full", "", "", "", "a b c d"},
		{"1.2.13 full beside one that is not", rr, nil, levels, "a:full", "", "b 256", "b", "a b c d"},
		{"1.2.13 unless spill says so", rr, func(g *Spec) {
			g.Spill = pick.SpillDown | pick.SpillFull
		}, levels, "a:full b:full", "", "c 128 d 128", "c d", "a b c d"},
		{"1.1.14 min adds whole levels", rr, func(g *Spec) { g.Min = 3 }, levels, "", "", "a 64 b 64 c 64 d 64", "a b c d", "a b c d"},
		{"1.1.14 max cuts", rr, func(g *Spec) { g.Min, g.Max = 3, 3 }, levels, "", "", "a 86 b 85 c 85", "a b c", "a b c d"},
		{"1.1.14 fewer than min: all", rr, func(g *Spec) { g.Min = 9 }, levels, "a:down", "", "b 86 c 85 d 85", "b c d", "b c d"},
		{"T24 full within min does not make room", rr, func(g *Spec) { g.Min, g.Max = 2, 2 }, levels, "a:full b:full", "", "", "", "a b c d"},

		{"1.2.12 busy", rr, protect, three, "a:busy", "", "b 171 c 85", "b c", "a b c"},
		{"1.2.12 busy without protection", rr, nil, three, "a:busy", "", "a 128 b 85 c 43", "a b c", "a b c"},
		{"1.2.26 T19 all busy: it lapses", rr, protect, three, "a:busy b:busy c:busy", "", "a 128 b 85 c 43", "a b c", "a b c"},
		{"C3 busy does not spill", rr, protect, levels, "a:busy b:busy", "", "a 128 b 128", "a b", "a b c d"},
		{"C3 unless spill says so", rr, func(g *Spec) {
			g.BusyProtection, g.Spill = true, pick.SpillDown|pick.SpillBusy
		}, levels, "a:busy b:busy", "", "c 128 d 128", "c d", "a b c d"},
		{"busy to a quarter of the clients", rr, protect, []string{"a", "b"}, "a:shed=64", "", "a 96 b 160", "a b", "a b"},
		{"busy to all clients", rr, protect, []string{"a", "b"}, "a:shed=256", "", "b 256", "b", "a b"},
		{"a quarter, unheeded", rr, nil, []string{"a", "b"}, "a:shed=64", "", "a 128 b 128", "a b", "a b"},

		{"1.2.15 T27 weight times what remains", ba, nil, three, "", "a:0/100 b:0/200 c:0/300", "a 77 b 102 c 77", "a b c", "a b c"},
		{"T27 nothing remains, nothing is given", ba, nil, three, "", "a:100/100 b:0/200 c:0/300", "b 146 c 110", "a b c", "a b c"},
		{"T28 not known: by weight", ba, nil, three, "", "", "a 128 b 85 c 43", "a b c", "a b c"},
		{"T28 one is not known", ba, nil, []string{"a", "b", "c"}, "", "a:0/100 b:0/300 c:?", "a 43 b 128 c 85", "a b c", "a b c"},
		{"T27 a link that failed", ba, nil, three, "c:down", "a:0/100 b:0/200 c:0/300", "a 110 b 146", "a b", "a b"},
		{"1.2.15 C6 the one with most", mb, nil, three, "", "a:0/100 b:0/200 c:0/300", "c 256", "a b c", "a b c"},
		{"T26 the first of equals", mb, nil, three, "", "a:0/100 b:0/300 c:0/300", "b 256", "a b c", "a b c"},
		{"1.2.26(a) it is busy: the next", mb, protect, three, "c:busy", "a:0/100 b:0/200 c:0/300", "b 256", "a b", "a b c"},
		{"T26 with a debit", mb, func(g *Spec) { g.Debit = 150e6 }, three, "", "a:0/300 b:0/200 c:0/100", "a 213 b 43", "a b c", "a b c"},
		{"T28 nobody is known", mb, nil, three, "", "", "a 128 b 85 c 43", "a b c", "a b c"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			w := newWorld(t, tt.algorithm, tt.set, tt.members...)
			w.say(tt.rows)
			w.rates(tt.rates)
			r := w.tick(0)
			w.wants("first tick", tt.table, tt.available)
			if !r.Alive.Equal(w.ids(tt.alive)) {
				t.Errorf("alive %v, want %v", r.Alive, w.ids(tt.alive))
			}
			explained, tr := w.group.Explain(w.input(), w.load, State{})
			if !explained.Slots.Equal(r.Slots) || tr.Reason != r.Reason.String() || len(tr.Members) != len(tt.members) {
				t.Errorf("explain: %+v %+v", explained, tr)
			}
			before := w.last.Slots
			for range 3 {
				if w.tick(time.Second); !w.last.Slots.Equal(before) {
					t.Error("a tick that finds all as before changes slots")
				}
			}
		})
	}
}

// 1.2.26(c), C2: persistence with overrideBusy keeps to a busy link, but not to
// one at a limit, that drains or is of no priority now.
func TestAvailableOrBusy_C2(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) {
		g.BusyProtection, g.Members[1].MaxEverywhere = true, 10
	}, "a 1 8", "b 1 8", "c 1 8", "d 1 8", "e 1 4")
	w.say("a:busy b:busy c:busy c:drain")
	w.live[2] = 10
	r := w.tick(0)
	w.wants("", "d 256", "d")
	if !r.AvailableOrBusy.Equal(w.ids("a d")) || !r.Alive.Equal(w.ids("a b c d e")) {
		t.Errorf("available or busy %v, alive %v", r.AvailableOrBusy, r.Alive)
	}
	w.say("d:busy")
	r = w.tick(time.Second)
	w.wants("all busy", "a 128 d 128", "a d")
	if !slices.Equal(r.Lapsed, []status.ID{"link/a", "link/d"}) {
		t.Errorf("T19: lapsed by %v", r.Lapsed)
	}
	w.say("a:free")
	if r = w.tick(time.Second); r.Lapsed != nil {
		t.Errorf("T19: still lapsed by %v", r.Lapsed)
	}
}

// T17, T18: a sawtooth of load between the thresholds changes no slot; a busy
// link leaves at the one and comes back at the other. (The thresholds are those
// of package busy; the tick must not add any of its own.)
func TestBusyGoesByTheRow_T17(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) { g.BusyProtection = true }, "a", "b", "c")
	w.tick(0)
	before := w.last.Slots
	for i := range 20 {
		w.rates(fmt.Sprintf("a:%d/100 b:0/100 c:0/100", 60+i%11))
		if w.tick(time.Second); !w.last.Slots.Equal(before) {
			t.Fatal("rates alone change a table of weights")
		}
	}
	w.say("a:busy")
	w.tick(time.Second)
	w.wants("busy", "b 128 c 128", "b c")
	if changed := len(w.last.Slots.Changed(before)); changed != 86 {
		t.Errorf("%d slots change, those of a are 86", changed)
	}
	w.say("a:free")
	w.tick(time.Second)
	w.wants("free", "a 86 b 85 c 85", "a b c")
}

// 1.2.19, T22: a link at its rateLimit gets nothing new, by proximity,
// persistence or the algorithm, and comes back below it; if all are at theirs
// none is left out. It needs no busy protection, which is of maxBandwidth. Noise at the limit does
// not let it come and go.
func TestCapped_1_2_19(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) {
		g.Members[0].RateLimit[busy.Total], g.Members[1].RateLimit[busy.In] = 100e6, 50e6
	}, "a", "b")
	for _, step := range []struct {
		rates, available, table string
	}{
		{"a:10/100 b:10/50", "a b", "a 128 b 128"},
		{"a:99/100 b:10/50", "a b", "a 128 b 128"},
		{"a:101/100 b:10/50", "b", "b 256"},
		{"a:96/100 b:10/50", "b", "b 256"},
		{"a:100/100 b:10/50", "b", "b 256"},
		{"a:? b:10/50", "b", "b 256"}, // T28: not known is not free
		{"a:90/100 b:10/50", "a b", "a 128 b 128"},
		{"a:? b:10/50", "a b", "a 128 b 128"},
		{"a:100/100 b:50/50", "a b", "a 128 b 128"},
	} {
		w.rates(step.rates)
		w.tick(time.Second)
		w.wants(step.rates, step.table, step.available)
	}
}

// 1.2.13, 1.2.8: at the limit of connections, the link's or the membership's, a
// link is out; all out: nobody, and never a lower priority.
func TestConnectionLimits_1_2_13(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) {
		g.Members[0].MaxEverywhere, g.Members[1].MaxConnections = 100, 50
	}, "a 1 8", "b 1 8", "c 1 4")
	if w.group.Pace() != Fast {
		t.Error("a group with limits wants quick ticks")
	}
	w.load.Members = []float64{math.NaN(), 0, math.NaN()}
	for _, step := range []struct {
		a, b  float64
		table string
	}{
		{0, 0, "a 128 b 128"}, {99, 49, "a 128 b 128"}, {100, 49, "b 256"}, {99.5, 49, "b 256"},
		{150, 50, ""}, {150, 60, ""}, {99, 50, "a 256"}, {math.NaN(), 50, "a 256"}, {100, math.NaN(), "b 256"},
	} {
		w.live[1], w.load.Members[1] = step.a, step.b
		r := w.tick(200 * time.Millisecond)
		if w.table() != step.table {
			t.Errorf("%v %v: table %q, want %q", step.a, step.b, w.table(), step.table)
		}
		if step.table == "" && (r.Reason != pick.Full || !r.Slots.Empty() || len(r.Available) > 0 || !r.Up) {
			t.Errorf("full: %v, up %v, available %v", r.Reason, r.Up, r.Available)
		}
		if !r.Alive.Equal(w.ids("a b c")) {
			t.Errorf("alive %v", r.Alive)
		}
	}
	_, tr := w.group.Explain(w.input(), w.load, w.state)
	if got, want := tr.Members[0].Why, "full: 100 connections of at most 100"; got != want {
		t.Errorf("explain says %q, want %q", got, want)
	}
}

// A link gets no more than it has room for before the next tick, unless all
// together have less than is expected.
func TestClipToLimits(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) {
		g.Members[0].MaxEverywhere = 1000
	}, "a 2", "b", "c")
	w.load.Arrivals = Arrivals{Mean: 400, Last: 400, Known: true}
	for _, step := range []struct {
		live  float64
		table string
	}{{0, "a 128 b 64 c 64"}, {799, "a 128 b 64 c 64"}, {900, "a 64 b 96 c 96"}, {996, "a 2 b 127 c 127"}, {1000, "b 128 c 128"}} {
		w.live[1] = step.live
		w.tick(time.Second)
		if w.table() != step.table {
			t.Errorf("%v: table %q, want %q", step.live, w.table(), step.table)
		}
	}
}
