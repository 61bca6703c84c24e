package slots

import (
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

var algorithms = []Algorithm{
	RoundRobin, Random, LeastConnections, WeightedLeastConnections, MemberLeastConnections, WeightedMemberLeastConnections, LeastTime,
	SourceHash, Bandwidth, MaxBandwidth,
}

// drawWorld makes a random group.
func drawWorld(t *rapid.T, tb testing.TB) *world {
	var members []string
	for i := range rapid.IntRange(1, 6).Draw(t, "members") {
		members = append(members, string(rune('a'+i)))
	}
	return newWorld(tb, rapid.SampledFrom(algorithms).Draw(t, "algorithm"), func(g *Spec) {
		g.Size = drawSize(t)
		g.BusyProtection, g.Force = rapid.Bool().Draw(t, "protect"), rapid.Bool().Draw(t, "force")
		g.Min, g.Max = rapid.IntRange(0, 3).Draw(t, "min"), rapid.IntRange(0, 3).Draw(t, "max")
		g.Spill = pick.Spill(rapid.IntRange(0, 7).Draw(t, "spill"))
		if rapid.Bool().Draw(t, "slow") {
			g.Slow = pick.SlowOnline{Standby: time.Duration(rapid.IntRange(0, 3).Draw(t, "standby")) * time.Second, Ramp: time.Duration(rapid.IntRange(0, 8).Draw(t, "ramp")) * time.Second}
		}
		for i := range g.Members {
			m := &g.Members[i]
			m.Weight, m.Priority = rapid.SampledFrom([]int{0, 1, 1, 2, 5}).Draw(t, "weight"), rapid.IntRange(0, 1).Draw(t, "priority")
			m.MaxEverywhere = rapid.SampledFrom([]int{0, 0, 100}).Draw(t, "most")
			m.MaxConnections = rapid.SampledFrom([]int{0, 0, 50}).Draw(t, "most of the group")
			m.RateLimit[busy.Total] = rapid.SampledFrom([]float64{0, 100e6}).Draw(t, "limit")
		}
	}, members...)
}

// drawStep changes rows, counts and rates at random, and passes time.
func drawStep(t *rapid.T, w *world) {
	now := map[status.ID]status.Gauge{}
	w.load.Members = make([]float64, len(w.names))
	for i, name := range w.names {
		if rapid.Bool().Draw(t, "change") {
			w.say(name + ":" + rapid.SampledFrom([]string{"up", "up", "up", "down", "busy", "free", "full", "drain", "held", "release", "forced", "shed=100", "shed=256"}).Draw(t, "row"))
		}
		w.live[i+1] = rapid.SampledFrom([]float64{0, 10, 50, 99, 100, 120, math.NaN()}).Draw(t, "live")
		w.load.Members[i] = rapid.SampledFrom([]float64{0, 10, 49, 50, math.NaN()}).Draw(t, "live of the group")
		g := status.NoGauge()
		g.Latency = rapid.SampledFrom([]float64{0, .001, .02, math.NaN()}).Draw(t, "time")
		if rate := rapid.SampledFrom([]float64{0, 50e6, 96e6, 100e6, math.NaN()}).Draw(t, "rate"); !math.IsNaN(rate) {
			for d := range g.Rate {
				g.Rate[d], g.Remaining[d] = rate, 100e6-rate
			}
		}
		now[status.MakeID(status.KindLink, name)] = g
	}
	w.board.Measure(now)
	w.load.Arrivals = Arrivals{Mean: rapid.SampledFrom([]float64{0, 10, 1000}).Draw(t, "arrivals"), Known: true}
	w.now = w.now.Add(time.Duration(rapid.IntRange(0, 3000).Draw(t, "ms")) * time.Millisecond)
}

// whole says what every tick must hold, whatever it is given.
func (w *world) whole(t *rapid.T, was State, r Result) {
	active, slots := IDs{}, 0
	for i, s := range r.Members {
		m := &w.conf.Members[i]
		slots += s.Slots
		if s.Active {
			active = append(active, s.ID)
		}
		if s.Slots > 0 && !s.Active || s.Active && (s.Phase == Out || s.Phase == Draining) {
			t.Fatalf("%+v", s)
		}
		if s.Active && (w.live[s.ID] >= 100 && m.MaxEverywhere == 100 || w.load.Members[i] >= 50 && m.MaxConnections == 50) {
			t.Fatalf("1.2.13: %s takes part at its limit", s.Name)
		}
	}
	// Somebody who is down as well as full or busy made room by the latter alone.
	lends := w.conf.Spill != 0 && w.conf.Spill&pick.SpillDown == 0
	within := func(a, b IDs) bool { return !slices.ContainsFunc(a, func(id ID) bool { return !b.Has(id) }) }
	switch {
	case !slices.IsSorted(r.Alive) || !slices.IsSorted(r.Available) || !slices.IsSorted(r.AvailableOrBusy):
		t.Fatalf("%v %v %v", r.Available, r.AvailableOrBusy, r.Alive)
	case !within(r.Available, active) || !within(r.Available, r.AvailableOrBusy) || !within(r.AvailableOrBusy, r.Alive):
		t.Fatalf("%v within %v; within %v within %v", r.Available, active, r.AvailableOrBusy, r.Alive)
	case (r.Reason == pick.Chosen) != (slots == w.conf.Size) || (r.Reason != pick.Chosen) != r.Slots.Empty():
		t.Fatalf("%v with %d slots", r.Reason, slots)
	case !slices.Equal(active, r.Available):
		t.Fatalf("available %v, active %v", r.Available, active)
	case !slices.IsSorted(r.Draining) || !within(r.Draining, r.Alive) || slices.ContainsFunc(r.Draining, r.Available.Has):
		t.Fatalf("%v drain, available %v, alive %v", r.Draining, r.Available, r.Alive)
	case r.Lapsed != nil && (!w.conf.BusyProtection || r.Reason != pick.Chosen):
		t.Fatalf("lapsed: %v", r.Lapsed)
	case len(r.Slots) != w.conf.Size || w.conf.Force != (r.Forced != nil):
		t.Fatalf("%d slots, %d are forced", len(r.Slots), len(r.Forced))
	case w.conf.Force && r.Forced.Empty() && (r.Reason == pick.Chosen || r.Reason == pick.Full && !lends):
		t.Fatalf("%v, forced %v", r.Reason, r.Forced)
	case r.Why == "" || r.Up && len(r.Alive) == 0:
		t.Fatalf("available %v: %q", r.Up, r.Why)
	case !r.Next.IsZero() && !r.Next.After(w.now):
		t.Fatalf("next is %v ago", w.now.Sub(r.Next))
	}
	next, again := w.group.Tick(w.input(), w.load, was)
	if !reflect.DeepEqual(again, r) || !reflect.DeepEqual(next, w.state) {
		t.Fatal("not a function of what it is given")
	}
	explained, tr := w.group.Explain(w.input(), w.load, was)
	if !reflect.DeepEqual(explained, r) || tr.Reason != r.Reason.String() {
		t.Fatalf("explain says %s: %+v, served is %+v", tr.Reason, explained, r)
	}
	if _, same := w.group.Tick(w.input(), w.load, w.state); !same.Slots.Equal(r.Slots) || !same.Forced.Equal(r.Forced) {
		t.Fatalf("once more changes %v", same.Slots.Changed(r.Slots))
	}
}

// Random operations: what holds of every tick, holds.
func TestTickHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		for range rapid.IntRange(1, 12).Draw(rt, "ticks") {
			was := w.state
			kept := State{was.Ran, was.Up, slices.Clone(was.Slots), slices.Clone(was.Forced), slices.Clone(was.Members)}
			drawStep(rt, w)
			r := w.tick(0)
			if !reflect.DeepEqual(was, kept) {
				rt.Fatal("the state before was changed")
			}
			w.whole(rt, was, r)
		}
	})
}

// twin gives each member's part of the table without dividing it into pieces: for
// each of many places, it writes into the rows what is so there, and asks pick. A
// member's own row of the group says that it is down or busy; where nobody is
// left the place is as the nearest before it, or else after it, and at the first
// place nobody stands by if somebody would have to alone. A place ends where
// somebody's ramp or calm does, however narrow it is: all that follows may be as
// it is.
func (w *world) twin(places int) []float64 {
	rules := pick.Rules{Min: w.conf.Min, Max: w.conf.Max, Spill: w.conf.Spill, BusyProtection: w.conf.BusyProtection}
	parts := make([]float64, len(w.names))
	table := w.board.Table()
	var ends []float64
	for k := range places {
		ends = append(ends, float64(k+1)/float64(places))
	}
	for i, m := range w.group.spec.Members {
		ends = append(ends, w.last.Members[i].Ramp, 1-min(float64(table.Row(m.Row).Shed)/256, 1))
	}
	slices.Sort(ends)
	var last []pick.Share
	from, wide := 0., 0. // the place, with those before it that wait for the first with somebody in it
	for _, to := range slices.Compact(ends) {
		if to <= 0 {
			continue
		}
		u, begins := (from+to)/2, from == 0
		wide += to - from
		from = to
		ask := func(heed bool) bool {
			there := table
			members, own := make([]*pick.Member, len(w.names)), make([]pick.Condition, len(w.names))
			for i, m := range w.group.spec.Members {
				s := w.last.Members[i]
				row := status.Row{ID: status.MakeID(status.KindLinkGroup, "g", m.Name), Full: s.Full,
					Busy: w.conf.BusyProtection && float64(table.Row(m.Row).Shed) >= 256*(1-u)}
				if heed && (s.Phase == StandingBy || s.Phase == Ramping) && s.Ramp < u {
					row.Health = status.Down
				}
				there = there.With(row)
				own[i].Busy = s.Capped
				members[i] = &pick.Member{Index: i, Name: m.Name, Weight: m.Weight, Priority: m.Priority, Needs: m.Needs, Link: m.Row}
			}
			d, reason := pick.NewGroup(members, rules, w.conf.chain()...).Shares(pick.Input{Table: there, Gauges: w.board.Gauges(), Own: own}, nil, nil)
			if reason == pick.Chosen {
				last = d.Shares
			}
			return reason == pick.Chosen
		}
		if !ask(true) && last == nil && begins {
			ask(false)
		}
		if last == nil {
			continue
		}
		sum := 0.
		for _, s := range last {
			sum += float64(s.Weight)
		}
		for _, s := range last {
			parts[s.Member.Index] += float64(s.Weight) / sum * wide
		}
		wide = 0
	}
	return parts
}

// T24-T27, T31, C3, 1.2.13-1.2.16, 1.2.26: the table is what a slow and obvious
// reading of the rules makes it, whatever ramps and sheds.
func TestTickAsTwin(t *testing.T) {
	const places = 16
	busy, moved := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		w := drawWorld(rt, t)
		for w.group.spec.Algorithm.Counts() || w.group.prefer != nil {
			w.conf.Algorithm = rapid.SampledFrom([]Algorithm{RoundRobin, Random, Bandwidth, MaxBandwidth}).Draw(rt, "algorithm")
			w.compile()
		}
		if rapid.Bool().Draw(rt, "failed") { // and all come back at once or one after another
			w.conf.Slow = pick.SlowOnline{Standby: time.Second, Ramp: 6 * time.Second}
			w.compile()
			for _, name := range w.names {
				if rapid.Bool().Draw(rt, "down") {
					w.say(name + ":down")
				}
			}
			w.tick(0)
		}
		for range rapid.IntRange(1, 5).Draw(rt, "ticks") {
			drawStep(rt, w)
			w.load.Arrivals = Arrivals{} // no clipping: TestClip holds that
			w.state.Slots = nil          // and no heed to noise
			r := w.tick(0)
			parts := w.twin(places)
			for i, s := range r.Members {
				// A slot is the least that anybody gets, which the others pay for.
				if due := parts[i] * float64(w.conf.Size); math.Abs(float64(s.Slots)-due) > 1+float64(len(w.names)) {
					rt.Fatalf("%s has %d slots, due are %.2f of %v", s.Name, s.Slots, due, parts)
				}
				if s.Phase == Ramping {
					moved++
				}
			}
			if r.Lapsed != nil {
				busy++
			}
		}
	})
	t.Logf("%d ramping members and %d lapses seen", moved, busy)
}

// Noise of what remains writes nothing; a change that matters moves about as many
// slots as the shares move, and the table stays within the noise of what is due
// (1.2.15: 5 %).
func TestBandwidthIsQuietUnderNoise_1_2_15(t *testing.T) {
	w := newWorld(t, Bandwidth, nil, "a 3", "b 2", "c 1")
	rapid.Check(t, func(t *rapid.T) {
		w.state = State{}
		w.rates("a:0/100 b:0/200 c:0/300")
		w.tick(time.Second)
		first := w.last.Slots
		for range 20 {
			now := map[status.ID]status.Gauge{}
			remains := [3]float64{100e6, 200e6, 300e6}
			sum, due := 0., [3]float64{}
			for i := range remains {
				g := status.NoGauge()
				remains[i] *= rapid.Float64Range(.985, 1.015).Draw(t, "noise")
				g.Remaining[0] = remains[i]
				now[w.group.spec.Members[i].Row] = g
				due[i] = remains[i] * w.group.spec.Members[i].weight()
				sum += due[i]
			}
			w.board.Measure(now)
			w.tick(time.Second)
			for i, s := range w.last.Members {
				if share := due[i] / sum; math.Abs(s.Share-share) > .05*share {
					t.Fatalf("%s has %.4f, due are %.4f", s.Name, s.Share, share)
				}
			}
			if n := len(w.last.Slots.Changed(first)); n > 0 {
				t.Fatalf("noise of 1.5 %% changes %d slots", n)
			}
		}
		w.rates("a:0/100 b:100/200 c:0/300") // 3:4:3 becomes 3:2:3
		w.tick(time.Second)
		if n := len(w.last.Slots.Changed(first)); n < 36 || n > 42 {
			t.Fatalf("%d slots change, b loses 38", n)
		}
	})
}
