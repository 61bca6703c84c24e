package slots

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
	"pgregory.net/rapid"
)

func TestNew(t *testing.T) {
	plain := func() Spec {
		return Spec{Name: "g", Algorithm: RoundRobin, Size: 64, Members: []Member{{Name: "a", ID: 7}, {Name: "b", ID: 1<<32 - 1}}}
	}
	for _, tt := range []struct {
		change func(*Spec)
		want   string
	}{
		{func(*Spec) {}, "<nil>"},
		{func(s *Spec) { s.Members = nil }, "<nil>"},
		{func(s *Spec) { s.Algorithm = "fastest" }, `group g: no algorithm is called "fastest"`},
		{func(s *Spec) { s.Size, s.Words = 100, Words{"servers", "farm"} }, "farm g: 100 slots are not one of [16 64 256 1024]"},
		{func(s *Spec) { s.Members[1].ID = 0 }, `group g: "b" has no number`},
		{func(s *Spec) { s.Members[1].ID = 7 }, `group g: "a" and "b" have the number 7`},
		{func(s *Spec) { s.Members[1].Name = "a" }, `group g: "a" is in it twice`},
		{func(s *Spec) { s.Members = make([]Member, 1<<16) }, "group g: more than 65534 members"},
	} {
		s := plain()
		tt.change(&s)
		if _, err := New(s); fmt.Sprint(err) != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// A farm whose servers are not known yet, as by a name that has no address, is a
// farm of which nobody is usable.
func TestNoMembers(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, LeastTime, SourceHash, MaxBandwidth} {
		g, err := New(Spec{Name: "f", Algorithm: a, Size: 16, Force: true, Words: Words{"servers", "farm"}})
		if err != nil {
			t.Fatal(err)
		}
		_, r := g.Tick(Input{Table: status.NewBoard(1).Table(), Now: at0()}, Load{}, State{})
		if r.Up || r.Why != "it has no servers" || r.Reason != pick.Down || len(r.Slots) != 16 || !r.Slots.Empty() || !r.Forced.Empty() {
			t.Errorf("%s: %+v", a, r)
		}
	}
}

// Who wants ticks, and how often.
func TestPace(t *testing.T) {
	for _, tt := range []struct {
		algorithm Algorithm
		set       func(*Spec)
		want      Pace
	}{
		{RoundRobin, nil, Static}, {Random, nil, Static}, {SourceHash, nil, Static},
		{Bandwidth, nil, Metered}, {MaxBandwidth, nil, Metered},
		{RoundRobin, func(g *Spec) { g.Members[1].RateLimit[busy.In] = 1 }, Metered},
		{RoundRobin, func(g *Spec) { g.Members[1].MaxConnections = 1 }, Fast},
		{Bandwidth, func(g *Spec) { g.Members[1].MaxEverywhere = 1 }, Fast},
		{LeastConnections, nil, Fast}, {WeightedMemberLeastConnections, nil, Fast}, {LeastTime, nil, Fast},
	} {
		if got := newWorld(t, tt.algorithm, tt.set, "a", "b").group.Pace(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.algorithm, got, tt.want)
		}
	}
}

// 1.1.15: weights count in round-robin, bandwidth and the two weighted
// least-connections, and nowhere else.
func TestWeightsCount_1_1_15(t *testing.T) {
	counts := []Algorithm{RoundRobin, Bandwidth, WeightedLeastConnections, WeightedMemberLeastConnections}
	for _, a := range []Algorithm{RoundRobin, Random, LeastConnections, WeightedLeastConnections, MemberLeastConnections, WeightedMemberLeastConnections,
		LeastTime, SourceHash, DestinationHash, SourceDestinationHash, SourcePortHash, Bandwidth, MaxBandwidth} {
		split := func(weights ...string) string {
			w := newWorld(t, a, nil, weights...)
			w.load.Members, w.load.Arrivals = []float64{0, 0}, Arrivals{Mean: 1000, Known: true}
			w.rates("a:0/100 b:0/100")
			w.tick(0)
			return w.table()
		}
		even, uneven := split("a 1", "b 1"), split("a 1", "b 3")
		if got, want := even != uneven, slices.Contains(counts, a); got != want || got != a.Weighs() {
			t.Errorf("%s: weights 1:1 give %s, 1:3 give %s", a, even, uneven)
		}
	}
}

// Least connections goes by those of the real server in whatever farm, its
// member-based kin by those of this farm alone.
func TestWhoseConnections(t *testing.T) {
	for _, tt := range []struct {
		algorithm Algorithm
		table     string
	}{
		{LeastConnections, "b 256"}, {WeightedLeastConnections, "b 256"},
		{MemberLeastConnections, "a 256"}, {WeightedMemberLeastConnections, "a 256"},
	} {
		w := newWorld(t, tt.algorithm, nil, "a", "b")
		w.live[1], w.live[2], w.load.Members = 500, 100, []float64{0, 100}
		w.load.Arrivals = Arrivals{Mean: 50, Known: true}
		w.tick(0)
		w.wants(string(tt.algorithm), tt.table, "a b")
	}
}

// times has members answer within so many milliseconds; below 0: not known.
func (w *world) times(ms ...float64) {
	now := map[status.ID]status.Gauge{}
	for i, t := range ms {
		g := status.NoGauge()
		if t >= 0 {
			g.Latency = t / 1000
		}
		now[w.conf.Members[i].Row] = g
	}
	w.board.Measure(now)
}

// Least-time evens out time x (live + 1); a time that is not known is as the mean
// of the others, and with none known the fewest connections decide (T28).
func TestLeastTime(t *testing.T) {
	for _, tt := range []struct {
		what     string
		ms, live []float64
		arrivals float64
		table    string
	}{
		{"equally quick", []float64{5, 5, 5}, []float64{10, 10, 10}, 300, "a 86 b 85 c 85"},
		{"by how quick they are", []float64{10, 20, 20}, []float64{0, 0, 0}, 4000, "a 128 b 64 c 64"},
		{"the quick one has its share", []float64{10, 20, 20}, []float64{1999, 0, 0}, 2001, "b 128 c 128"},
		{"a lone connection goes to the quickest", []float64{10, 200, 200}, []float64{0, 0, 0}, 1, "a 256"},
		{"one is not known", []float64{10, -1, 30}, []float64{0, 0, 0}, 11000, "a 139 b 70 c 47"},
		{"none is known: fewest connections", []float64{-1, -1, -1}, []float64{300, 0, 0}, 300, "b 128 c 128"},
		{"connections are not known", []float64{10, 20, 20}, []float64{math.NaN(), math.NaN(), math.NaN()}, 4000, "a 128 b 64 c 64"},
		{"nothing is known", []float64{-1, -1, -1}, []float64{math.NaN(), math.NaN(), math.NaN()}, 100, "a 86 b 85 c 85"},
		{"no time at all is not endless speed", []float64{0, 0.005, 100}, []float64{0, 0, 0}, 4000, "a 128 b 128"},
	} {
		w := newWorld(t, LeastTime, nil, "a 9", "b 1", "c 1")
		w.times(tt.ms...)
		copy(w.live[1:], tt.live)
		w.load.Arrivals = Arrivals{Mean: tt.arrivals, Known: true}
		w.tick(0)
		w.wants(tt.what, tt.table, "a b c")
	}
}

// Servers of 10, 20 and 20 ms settle at connections of 2:1:1, and do not swing.
func TestLeastTimeSettles(t *testing.T) {
	w := newWorld(t, LeastTime, nil, "a", "b", "c")
	w.times(10, 20, 20)
	s := simulate(w, 5)
	sum, worst, all := 0., 0., 0.
	for s.clock < 40 {
		if s.step(400); s.clock > 10 {
			share := s.live[1] / (s.live[1] + s.live[2] + s.live[3])
			sum, all, worst = sum+share, all+1, max(worst, math.Abs(share-.5))
		}
	}
	if mean := sum / all; math.Abs(mean-.5) > .02 || worst > .1 {
		t.Errorf("the quickest has %.3f of all, and strays by %.3f", mean, worst)
	}
}

// 1.2.13 and a busy action force: where all are at their limits nobody has a
// slot, and Forced is who would have one without them, a link that is down not
// among them.
func TestForced(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, LeastConnections, SourceHash} {
		w := newWorld(t, a, func(g *Spec) {
			g.Force = true
			for i := range g.Members {
				g.Members[i].MaxConnections = 100
			}
		}, "a", "b", "c")
		w.say("c:down")
		w.load.Members = []float64{50, 50, 0}
		r := w.tick(0)
		w.wants(string(a), "a 128 b 128", "a b")
		if !r.Forced.Equal(r.Slots) {
			t.Errorf("%s: forced are others, though nobody is at a limit: %v", a, r.Forced)
		}
		home := r.Slots
		w.load.Members = []float64{100, 50, 0}
		r = w.tick(time.Second)
		w.wants(string(a), "b 256", "b")
		if !r.Forced.Equal(home) {
			t.Errorf("%s: one is full: forced changes in %v", a, r.Forced.Changed(home))
		}
		w.load.Members = []float64{100, 100, 0}
		r = w.tick(time.Second)
		w.wants(string(a), "", "")
		if !r.Forced.Equal(home) || r.Reason != pick.Full {
			t.Errorf("%s: all are full: %v, forced changes in %v", a, r.Reason, r.Forced.Changed(home))
		}
		w.say("a:full")
		if r = w.tick(time.Second); !r.Forced.Equal(home) {
			t.Errorf("%s: a row says full: forced changes in %v", a, r.Forced.Changed(home))
		}
	}
}

// Forced is what the group without limits would have.
func TestForcedAsTwin(t *testing.T) {
	full := 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		w.conf.Force = true
		w.compile()
		for range rapid.IntRange(1, 4).Draw(rt, "ticks") {
			drawStep(rt, w)
			w.state.Slots, w.state.Forced = nil, nil // counts do not hang on what was
			was := w.state
			r := w.tick(0)
			free := w.conf
			free.Members = slices.Clone(free.Members)
			in := w.input()
			for i := range free.Members {
				m := &free.Members[i]
				m.MaxConnections, m.MaxEverywhere = 0, 0
				row := *in.Table.Row(m.Row)
				row.ID, row.Full = m.Row, false
				in.Table = in.Table.With(row)
			}
			g, err := New(free)
			if err != nil {
				rt.Fatal(err)
			}
			_, twin := g.Tick(in, w.load, was)
			switch {
			case r.Reason == pick.Full:
				full++
			case twin.Reason != pick.Chosen: // nobody but those for whom a full one made room
				twin.Slots = r.Slots
			}
			for _, id := range w.group.ids {
				if got, want := r.Forced.Count(id), twin.Slots.Count(id); got != want {
					rt.Fatalf("%d has %d forced slots, without limits %d", id, got, want)
				}
			}
		}
	})
	if full == 0 {
		t.Error("never were all at their limits")
	}
}

// Whenever Same says so, a tick is spared that would have changed nothing.
func TestSameAsTwin(t *testing.T) {
	spared, needed := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		drawStep(rt, w)
		w.tick(0)
		drawLoad := func() Load {
			l := Load{Arrivals: Arrivals{Mean: rapid.SampledFrom([]float64{0, 10, 30}).Draw(rt, "arrivals"), Known: true}}
			for range w.names {
				number := rapid.OneOf(rapid.Just(math.NaN()), rapid.SampledFrom([]float64{0, 1, 2, 49, 99, 100}))
				l.Members, l.Everywhere = append(l.Members, number.Draw(rt, "here")), append(l.Everywhere, number.Draw(rt, "everywhere"))
			}
			return l
		}
		a, b := drawLoad(), drawLoad()
		if rapid.Bool().Draw(rt, "alike") {
			b = Load{a.Arrivals, slices.Clone(a.Members), slices.Clone(a.Everywhere)}
			b.Everywhere[rapid.IntRange(0, len(w.names)-1).Draw(rt, "but")]++
		}
		next, ra := w.group.Tick(w.input(), a, w.state)
		_, rb := w.group.Tick(w.input(), b, next)
		_, again := w.group.Tick(w.input(), a, next)
		same := reflect.DeepEqual(again, rb)
		switch {
		case w.group.Same(a, b, w.every) && !same:
			rt.Fatalf("said to be the same: %+v of %v, %+v of %v", ra, a, rb, b)
		case w.group.Same(a, b, w.every):
			spared++
		case !same:
			needed++
		}
	})
	if spared == 0 || needed == 0 {
		t.Errorf("%d ticks are spared, %d needed", spared, needed)
	}
	w := newWorld(t, RoundRobin, func(g *Spec) { g.Members[0].MaxEverywhere = 1000 }, "a", "b")
	few, more, many := Load{Everywhere: []float64{5, 0}}, Load{Everywhere: []float64{500, 9}}, Load{Everywhere: []float64{999.5, 9}}
	if !w.group.Same(few, more, time.Second) || w.group.Same(more, many, time.Second) || w.group.Same(many, more, time.Second) {
		t.Error("a limit is heeded when it is far, or not when it is near")
	}
}

// Between a tick and Next nothing changes by itself but what is less than a slot,
// and then something does.
func TestNext_T31(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rapid.SampledFrom([]Algorithm{RoundRobin, SourceHash, LeastConnections}).Draw(rt, "algorithm"), func(g *Spec) {
			g.Size = drawSize(rt)
			g.Slow = pick.SlowOnline{Standby: time.Duration(rapid.IntRange(0, 9).Draw(rt, "standby")) * time.Second, Ramp: time.Duration(rapid.IntRange(0, 60).Draw(rt, "ramp")) * time.Second}
		}, "a", "b", "c")
		w.every = time.Duration(rapid.IntRange(1, 1000).Draw(rt, "every")) * time.Millisecond
		w.tick(0)
		w.fail("a")
		for ticks := 0; !w.last.Next.IsZero(); ticks++ {
			r, next := w.last, w.last.Next
			step := next.Sub(w.now)
			if step < w.every && !next.Equal(r.Members[0].Until) {
				rt.Fatalf("the next tick is to be after %v, they come every %v", step, w.every)
			}
			_, before := w.group.Tick(func() Input { in := w.input(); in.Now = next.Add(-1); return in }(), w.load, w.state)
			most := 1 + int(w.every.Seconds()/max(w.conf.Slow.Ramp.Seconds(), 1e-9)*float64(w.conf.Size))
			if w.conf.Algorithm.Hashes() {
				most *= 3 // which of its slots come early is by lot
			}
			if got := before.Members[0].Slots - r.Members[0].Slots; r.Members[0].Phase == StandingBy && got != 0 || got > most+1 {
				rt.Fatalf("it gains %d slots before the next tick is due, %d at most", got, most)
			}
			if w.tick(step); ticks > 3*w.conf.Size+100 {
				rt.Fatal("it does not end")
			}
		}
		if w.last.Members[0].Phase != Serving {
			rt.Fatalf("no tick is due, and it is %v", w.last.Members[0].Phase)
		}
	})
}

// 1.2.15: of a small table a slot is much, so that it follows a change that a
// large one takes for noise only if it is not; rounding alone moves nothing.
func TestBandwidthOfFewSlots_1_2_15(t *testing.T) {
	w := newWorld(t, Bandwidth, func(g *Spec) { g.Size = 16 }, "a", "b")
	for _, step := range []struct{ rates, table string }{
		{"a:0/100 b:0/100", "a 8 b 8"},
		{"a:0/100 b:0/85", "a 8 b 8"}, // due are 8.6 and 7.4
		{"a:0/100 b:0/72", "a 9 b 7"}, // due are 9.3 and 6.7
		{"a:0/100 b:0/79", "a 9 b 7"}, // due are 8.9 and 7.1
		{"a:0/100 b:0/85", "a 9 b 7"},
		{"a:0/100 b:0/99", "a 8 b 8"},
	} {
		w.rates(step.rates)
		w.tick(time.Second)
		w.wants(step.rates, step.table, "a b")
	}
}

// T60: a reload that changes the size lays the table out anew, and keeps all else.
func TestSizeChanges_T60(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, SourceHash, Bandwidth, LeastConnections} {
		w := newWorld(t, a, slowly, "a", "b", "c")
		w.rates("a:0/100 b:0/100 c:0/100")
		w.tick(0)
		w.fail("a")
		w.tick(10 * time.Second)
		until := w.last.Members[0].Until
		w.conf.Size = 64
		w.compile()
		r := w.tick(0)
		if len(r.Slots) != 64 || r.Members[0].Phase != Ramping || !r.Members[0].Until.Equal(until) || r.Reason != pick.Chosen {
			t.Errorf("%s: %d slots, %+v", a, len(r.Slots), r.Members[0])
		}
		if slices.Contains(r.Slots, 0) {
			t.Errorf("%s: a slot is empty", a)
		}
	}
}

// T32 and the few slots of a change: by a hash whoever is lost moves his own slots
// and no others, for all sizes, and takes them back when he is found; by weight as
// many move as somebody gains, which is seldom more.
func TestLossMovesTheLeast_T32(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var members []string
		for i := range rapid.IntRange(2, 12).Draw(rt, "members") {
			members = append(members, fmt.Sprint(string(rune('a'+i)), " ", rapid.IntRange(1, 4).Draw(rt, "weight")))
		}
		w := newWorld(t, rapid.SampledFrom([]Algorithm{RoundRobin, Random, SourceHash}).Draw(rt, "algorithm"), func(g *Spec) { g.Size = drawSize(rt) }, members...)
		before := w.tick(0).Slots
		who := w.names[rapid.IntRange(0, len(members)-1).Draw(rt, "who")]
		w.say(who + ":down")
		lost := w.tick(time.Second).Slots
		w.say(who + ":up")
		found := w.tick(time.Second).Slots
		for _, step := range []struct{ was, is Slots }{{before, lost}, {lost, found}} {
			counts, least := w.countsOf(step.is), 0
			for i, had := range w.countsOf(step.was) {
				least += max(counts[i]-had, 0)
			}
			if w.conf.Algorithm.Hashes() {
				least = before.Count(w.id(who))
			} else if step.is.Equal(layOut(w.group.ids, counts, w.conf.Size)) {
				continue // anew, for its lumps
			}
			if got := len(step.is.Changed(step.was)); got != least {
				rt.Fatalf("%d slots move, %d have to", got, least)
			}
		}
		if w.conf.Algorithm.Hashes() && !found.Equal(before) {
			rt.Fatal("a hash is not as before")
		}
	})
}

func (w *world) countsOf(s Slots) []int {
	counts := make([]int, len(w.group.ids))
	s.counts(&w.group.place, counts)
	return counts
}

// Slow offline: who drains gets nothing new and is alive, and is told apart, so
// that persistence may outlast it; not at his limit, nor when he is down.
func TestDraining(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) { g.Members[0].MaxConnections = 10 }, "a", "b", "c")
	w.load.Members = []float64{9, 0, 0}
	for _, step := range []struct {
		rows     string
		here     float64
		draining string
	}{{"a:drain b:drain", 9, "a b"}, {"b:down", 9, "a"}, {"a:up", 10, ""}, {"a:release b:up", 9, "b"}, {"b:release", 9, ""}} {
		w.say(step.rows)
		w.load.Members[0] = step.here
		r := w.tick(time.Second)
		if !r.Draining.Equal(w.ids(step.draining)) || slices.ContainsFunc(r.Draining, func(id ID) bool { return r.Slots.Count(id) > 0 || r.Available.Has(id) || !r.Alive.Has(id) }) {
			t.Errorf("%s: %v drain, want %v", step.rows, r.Draining, w.ids(step.draining))
		}
	}
}

// An operator's word on the group.
func TestObey(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) { g.Force, g.Activate = true, Activation{Lower: 90} }, "a", "b")
	w.say("b:down")
	for _, tt := range []struct {
		hold      *status.Hold
		up, slots bool
		alive     IDs // that the kernel is told
		draining  IDs
	}{
		{nil, false, true, IDs{1}, nil},
		{&status.Hold{State: status.HoldUp}, true, true, IDs{1}, nil},
		{&status.Hold{State: status.HoldDrain}, false, false, IDs{1}, IDs{1}},
		{&status.Hold{State: status.HoldDown}, false, false, nil, nil},
	} {
		r := w.tick(0)
		told := r.Obey(tt.hold)
		if r.Up != tt.up || told.Slots.Empty() == tt.slots || told.Forced.Empty() == tt.slots || len(told.Slots) != 256 || len(told.Forced) != 256 || !told.Alive.Equal(tt.alive) || !r.Alive.Equal(IDs{1}) || !told.Draining.Equal(tt.draining) {
			t.Errorf("%+v: %+v, told %+v", tt.hold, r, told)
		}
		if !tt.slots && (told.Available != nil || r.Members[0].Active || r.Members[0].Share > 0 || r.Reason != pick.Held) {
			t.Errorf("%+v: %+v", tt.hold, r)
		}
		if w.state.Slots.Empty() {
			t.Error("a hold changes the state")
		}
	}
}

// A tick allocates a handful of lists, however large the table.
func TestTickAllocates(t *testing.T) {
	for _, size := range Sizes {
		for _, a := range algorithms {
			w := tenLinks(t, a)
			w.conf.Size = size
			w.compile()
			w.tick(0)
			in, least := w.input(), math.Inf(1)
			for range 3 { // another test's garbage may come in between
				least = min(least, testing.AllocsPerRun(20, func() { w.group.Tick(in, w.load, w.state) }))
			}
			if least > 24 {
				t.Errorf("%s of %d slots: %v allocations", a, size, least)
			}
		}
	}
}
