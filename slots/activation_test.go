package slots

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// T30: below lower it is not available, from upper on it is again, between them
// it stays; at start it is where it may be.
func TestActivate_T30(t *testing.T) {
	w := newWorld(t, RoundRobin, func(g *Spec) {
		g.Activate = Activation{Lower: 40, Upper: 70}
	}, "a", "b", "c", "d")
	for _, step := range []struct {
		rows string
		up   bool
		why  string
	}{
		{"a:down b:down", true, "2 of 4 links are usable"}, // 50 % at start
		{"a:up", true, "3 of 4 links are usable"},
		{"a:down", true, "2 of 4 links are usable, which is not below 40%"},
		{"c:held", false, "1 of 4 links are usable, which is below 40%"},
		{"c:release", false, "2 of 4 links are usable: available again from 70% on"},
		{"c:busy d:full", false, "2 of 4 links are usable: available again from 70% on"},
		{"b:up", true, "3 of 4 links are usable"},
		{"b:drain", true, "2 of 4 links are usable, which is not below 40%"},
		{"a:down b:down c:down d:down", false, "none of 4 links is usable"},
	} {
		w.say(step.rows)
		if r := w.tick(time.Second); r.Up != step.up || r.Why != step.why {
			t.Errorf("%s: available %v: %s; want %v: %s", step.rows, r.Up, r.Why, step.up, step.why)
		}
	}
}

// T30, as a sawtooth: between the thresholds nothing ever changes, and without
// thresholds one usable link is enough.
func TestActivateHolds_T30(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lower := rapid.IntRange(0, 100).Draw(t, "lower")
		a := Activation{lower, max(lower, rapid.IntRange(0, 100).Draw(t, "upper"))}
		if rapid.IntRange(0, 4).Draw(t, "one") == 0 {
			a.Upper = 0 // stands for lower
		}
		upper := a.Upper
		if upper == 0 {
			upper = lower
		} else if a.Lower == 0 {
			lower = upper
		}
		all := rapid.IntRange(1, 12).Draw(t, "all")
		var was State
		for range rapid.IntRange(1, 20).Draw(t, "ticks") {
			usable := rapid.IntRange(0, all).Draw(t, "usable")
			up, why := a.next(was, usable, all, "links")
			share := float64(usable) / float64(all) * 100
			switch {
			case why == "":
				t.Fatal("no reason")
			case usable == 0 && up:
				t.Fatal("available without a link")
			case a == Activation{} && up != (usable > 0):
				t.Fatalf("plain: %v with %d", up, usable)
			case share < float64(lower)-1e-9 && up:
				t.Fatalf("available at %.1f %% of %v", share, a)
			case share >= float64(upper)+1e-9 && usable > 0 && !up:
				t.Fatalf("not available at %.1f %% of %v", share, a)
			case share > float64(lower) && share < float64(upper) && was.Ran && up != was.Up:
				t.Fatalf("changes at %.1f %% of %v", share, a)
			}
			was = State{Ran: true, Up: up}
		}
	})
}
