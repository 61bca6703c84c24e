package slots

import (
	"math"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/pick"
)

func slowly(g *Spec) {
	g.Slow = pick.SlowOnline{Standby: 5 * time.Second, Ramp: 10 * time.Second}
}

// fail takes a link down for a while and brings it back at the time of the tick.
func (w *world) fail(link string) {
	w.say(link + ":down")
	w.tick(10 * time.Second)
	w.say(link + ":up")
	w.tick(time.Second)
}

// T31: nothing in standby, then a share that grows evenly until it is whole;
// whoever looks on sees where it stands and when that ends.
func TestSlowOnline_T31(t *testing.T) {
	w := newWorld(t, RoundRobin, slowly, "a", "b", "c")
	w.tick(0)
	w.wants("at start nobody is slow", "a 86 b 85 c 85", "a b c")
	w.fail("a")
	back := w.now
	for _, step := range []struct {
		after     time.Duration // since it is back
		phase     Phase
		until     time.Duration
		ramp      float64
		table     string
		available string
	}{
		{0, StandingBy, 5 * time.Second, 0, "b 128 c 128", "b c"},
		{4999 * time.Millisecond, StandingBy, 5 * time.Second, 0, "b 128 c 128", "b c"},
		{5 * time.Second, Ramping, 15 * time.Second, 0, "b 128 c 128", "b c"},
		{6 * time.Second, Ramping, 15 * time.Second, .1, "a 8 b 124 c 124", "a b c"},
		{10 * time.Second, Ramping, 15 * time.Second, .5, "a 43 b 107 c 106", "a b c"},
		{12500 * time.Millisecond, Ramping, 15 * time.Second, .75, "a 64 b 96 c 96", "a b c"},
		{15 * time.Second, Serving, 0, 1, "a 86 b 85 c 85", "a b c"},
		{16 * time.Second, Serving, 0, 1, "a 86 b 85 c 85", "a b c"},
	} {
		r := w.tick(back.Add(step.after).Sub(w.now))
		w.wants(step.after.String(), step.table, step.available)
		m := r.Members[0]
		if m.Phase != step.phase || math.Abs(m.Ramp-step.ramp) > 1e-9 {
			t.Errorf("%v: %v with %v of its share, want %v with %v", step.after, m.Phase, m.Ramp, step.phase, step.ramp)
		}
		next := step.until // of the group
		if step.phase == Ramping {
			next = min(next, step.after+w.every)
		}
		if want := back.Add(step.until); step.until == 0 && !(m.Until.IsZero() && r.Next.IsZero()) || step.until != 0 && !(m.Until.Equal(want) && r.Next.Equal(back.Add(next))) {
			t.Errorf("%v: until %v, next %v", step.after, m.Until, r.Next)
		}
		if !r.Alive.Equal(w.ids("a b c")) {
			t.Errorf("%v: alive %v", step.after, r.Alive)
		}
	}
}

// T31: the ramp holds for every algorithm: never more than its part of the share
// that the link is going to have, and in the end all of it. Least-connections
// would give all to a link that comes back with none.
func TestSlowOnlineHoldsForAll_T31(t *testing.T) {
	for _, a := range []Algorithm{RoundRobin, Random, LeastConnections, WeightedLeastConnections, MemberLeastConnections, WeightedMemberLeastConnections, LeastTime,
		SourceHash, DestinationHash, SourceDestinationHash, SourcePortHash, Bandwidth, MaxBandwidth} {
		t.Run(string(a), func(t *testing.T) {
			w := newWorld(t, a, slowly, "a 2", "b 1", "c 1")
			w.live = []float64{0, 0, 300, 300}
			w.load.Members = w.live[1:]
			w.load.Arrivals = Arrivals{Mean: 100, Last: 100, Known: true}
			w.rates("a:0/300 b:100/200 c:100/200")
			w.tick(0)
			whole := float64(w.last.Members[0].Slots)
			w.fail("a")
			before := w.last
			for range 40 {
				r := w.tick(500 * time.Millisecond)
				m := r.Members[0]
				due := m.Ramp * whole
				far := 1.5
				switch {
				case a.Hashes(): // which of its slots come early is by lot
					far += 3 + .25*min(due, whole-due)
				case a == Bandwidth:
					far += max(noiseSlots(256), noise*due)
				}
				if got := float64(m.Slots); math.Abs(got-due) > far {
					t.Errorf("%v after it is back: %v slots, due are %.1f", w.now.Sub(at0()), got, due)
				}
				if m.Slots < before.Members[0].Slots-1 {
					t.Errorf("its share falls from %d to %d", before.Members[0].Slots, m.Slots)
				}
				before = r
			}
			if got := float64(before.Members[0].Slots); got != whole && a != Bandwidth || math.Abs(got-whole) > noise*whole {
				t.Errorf("in the end it has %v slots, before it failed %v", got, whole)
			}
			if !before.Next.IsZero() || before.Members[0].Phase != Serving {
				t.Errorf("still %v", before.Members[0].Phase)
			}
		})
	}
}

// T31, T32: a hash that ramps moves clients to the link one after another, once,
// and only its own ones.
func TestHashRamps_T32(t *testing.T) {
	w := newWorld(t, SourceHash, slowly, "a", "b", "c", "d")
	w.tick(0)
	home := w.last.Slots
	w.fail("a")
	before := w.last.Slots
	for slot := range home {
		if before[slot] != home[slot] && home[slot] != 1 {
			t.Fatalf("slot %d of link %d moved though it is 1 that failed", slot, home[slot])
		}
	}
	for range 30 {
		w.tick(500 * time.Millisecond)
		for _, slot := range w.last.Slots.Changed(before) {
			if w.last.Slots[slot] != 1 || home[slot] != 1 {
				t.Fatalf("slot %d went from %d to %d", slot, before[slot], w.last.Slots[slot])
			}
		}
		before = w.last.Slots
	}
	if !before.Equal(home) {
		t.Error("in the end the table is not as before")
	}
}

// T31 and priority: a link of higher priority that comes back takes over from
// the lower one by and by, and not before its standby is over.
func TestSlowOnlineAndPriority_T31(t *testing.T) {
	w := newWorld(t, RoundRobin, slowly, "a 1 8", "b 1 4")
	w.tick(0)
	w.fail("a")
	w.wants("standby", "b 256", "b")
	w.tick(9 * time.Second)
	w.wants("40 %", "a 102 b 154", "a b") // what persistence learns of b is to last
	w.tick(6 * time.Second)
	w.wants("whole", "a 256", "a")
}

// T31: where nobody else is left, who ramps carries all, and who stands by too.
func TestSlowOnlineEmptiesNothing_T31(t *testing.T) {
	w := newWorld(t, RoundRobin, slowly, "a", "b")
	w.tick(0)
	w.say("a:down b:down")
	if r := w.tick(time.Second); r.Reason != pick.Down || !r.Slots.Empty() || r.Up {
		t.Errorf("all down: %v, %s", r.Reason, w.table())
	}
	w.say("a:up")
	r := w.tick(time.Second)
	w.wants("the only one stands by", "a 256", "a")
	if r.Up || r.Members[0].Phase != StandingBy {
		t.Errorf("while it stands by a backup group is to serve: available %v, %v", r.Up, r.Members[0].Phase)
	}
	if r = w.tick(6 * time.Second); !r.Up {
		t.Error("not available while it ramps")
	}
	w.wants("the only one ramps", "a 256", "a")
	w.say("b:up")
	w.tick(time.Second)
	w.wants("another stands by", "a 256", "a")
	w.tick(6 * time.Second) // a at 80 %, b at 10 %
	w.wants("both ramp", "a 243 b 13", "a b")
	w.say("a:full")
	w.tick(time.Second)
	w.wants("1.2.13 beside one that is full", "b 256", "b")
}

// T31: who fails again begins anew; who was held down comes back slowly, who was
// drained does not; a reload is no failure, nor is a link that it adds.
func TestWhoIsSlow_T31(t *testing.T) {
	w := newWorld(t, RoundRobin, slowly, "a", "b", "c")
	phase := func(what string, want Phase) {
		t.Helper()
		if got := w.last.Members[0].Phase; got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	w.say("a:down")
	w.tick(0)
	phase("down at start", Out)
	w.say("a:up")
	w.tick(time.Second)
	phase("up after that", StandingBy)
	w.tick(8 * time.Second)
	phase("later", Ramping)
	w.say("ifa:down")
	w.tick(time.Second)
	phase("its interface fails", Out)
	w.say("ifa:up")
	w.tick(time.Second)
	phase("it begins anew", StandingBy)
	w.tick(5 * time.Second)
	phase("its standby is over", Ramping)
	w.compile()
	w.tick(time.Second)
	phase("a reload goes on with it", Ramping)
	w.tick(20 * time.Second)
	phase("through", Serving)
	w.compile()
	w.tick(time.Second)
	phase("a reload", Serving)
	w.say("a:drain")
	w.tick(time.Second)
	phase("drained", Draining)
	w.say("a:release")
	w.tick(time.Second)
	phase("released from drain", Serving)
	w.say("a:held")
	w.tick(time.Second)
	phase("held", Out)
	w.say("a:release")
	w.tick(time.Second)
	phase("released", StandingBy)

	w.tick(time.Hour)
	w.add("d")
	w.compile()
	w.tick(time.Second)
	w.wants("added by a reload", "a 64 b 64 c 64 d 64", "a b c d")
	w.conf.Members = w.conf.Members[1:]
	w.compile()
	w.tick(time.Second)
	w.wants("removed by a reload", "b 86 c 85 d 85", "b c d")
}

// Who sheds some of its clients gives up that part of its share, by and by the
// same slots of a hash.
func TestShed(t *testing.T) {
	w := newWorld(t, SourceHash, func(g *Spec) { g.BusyProtection = true }, "a", "b")
	w.tick(0)
	home := w.last.Slots
	had := home
	for _, shed := range []string{"a:shed=64", "a:shed=128", "a:shed=256"} {
		w.say(shed)
		w.tick(time.Second)
		for _, slot := range w.last.Slots.Changed(had) {
			if had[slot] != 1 || w.last.Slots[slot] != 2 {
				t.Errorf("%s: slot %d went from %d to %d", shed, slot, had[slot], w.last.Slots[slot])
			}
		}
		had = w.last.Slots
	}
	w.wants("all of it", "b 256", "b")
	w.say("a:shed=0")
	if w.tick(time.Second); !w.last.Slots.Equal(home) {
		t.Error("the table is not as before")
	}
	w.say("a:shed=256 b:shed=256")
	if r := w.tick(time.Second); !r.Slots.Equal(home) || len(r.Lapsed) != 2 {
		t.Errorf("all shed all: protection lapses: %s, %v", w.table(), r.Lapsed)
	}
}

// T31: where a link that ramps would leave a group with nobody, for one that is
// down keeps its place (spill without down), the reserves that serve in the rest
// of the table serve there too.
func TestSlowOnlineLends_T31(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) {
		slowly(g)
		g.Spill = 0
	}, "a 0 0", "b 1 0", "c 1 1")
	w.say("b:down c:down")
	w.tick(0)
	w.wants("the reserve serves", "a 256", "a")
	w.say("b:up")
	w.tick(time.Second)
	w.tick(10 * time.Second)
	w.wants("half of the ramp", "a 256", "a")
}
