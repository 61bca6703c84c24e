package busy

import (
	"testing"

	"pgregory.net/rapid"
)

const mega = 1e6

// rule of a 100 Mbps line: busy above 70, free below 60 (defaults of G1).
func rule(directions ...Direction) (r Rule) {
	for _, d := range directions {
		r[d] = LimitOf(100*mega, 0.7, 0.6)
	}
	return r
}

// run feeds rates of one direction, in Mbps, and notes the transitions: + to
// busy, - to free, . none.
func run(r Rule, d Direction, rates ...float64) string {
	marks, busy := "", false
	for _, rate := range rates {
		var now Rates
		now[d] = rate * mega
		c := r.Next(busy, now)
		busy = c.Busy
		switch {
		case !c.Changed:
			marks += "."
		case c.Busy:
			marks += "+"
		default:
			marks += "-"
		}
	}
	return marks
}

func TestNext(t *testing.T) {
	tests := []struct {
		name  string
		rule  Rule
		dir   Direction
		rates []float64
		want  string
	}{
		{"T17 sawtooth between the bounds, from below", rule(Total), Total, []float64{61, 69, 61, 69, 70}, "....."},
		{"T17 sawtooth between the bounds, from above", rule(Total), Total, []float64{71, 61, 69, 61, 70}, "+...."},
		{"1.2.12 above the threshold, not at it", rule(Total), Total, []float64{70, 70.1}, ".+"},
		{"1.2.26 back below recovery, not at it", rule(Total), Total, []float64{90, 69, 60, 59.9}, "+..-"},
		{"T20 inbound alone", rule(Total, In, Out), In, []float64{71, 59}, "+-"},
		{"T20 outbound alone", rule(Out), Out, []float64{71, 59}, "+-"},
		{"a direction without bounds", rule(Out), In, []float64{1000}, "."},
		{"T21 no maxBandwidth is never busy", Rule{}, Total, []float64{0, 1e6}, ".."},
		{"C5 recovery equal to the threshold: the old behaviour", Rule{LimitOf(100*mega, 0.7, 0.7)}, Total, []float64{71, 70, 69.9, 70, 71}, "+.-.+"},
		{"recovery 0 never comes back but from silence", Rule{LimitOf(100*mega, 0.7, 0)}, Total, []float64{71, 1, 0}, "+.."},
	}
	for _, test := range tests {
		if got := run(test.rule, test.dir, test.rates...); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

// T20: recovery needs every direction; entering needs any.
func TestNext_EveryDirection(t *testing.T) {
	r := rule(Total, In, Out)
	c := r.Next(false, Rates{Total: 69 * mega, In: 5 * mega, Out: 75 * mega})
	if !c.Busy || c.Direction != Out || c.Rate != 75*mega || c.Bound != 70*mega {
		t.Errorf("any direction makes busy, and is named: %+v", c)
	}
	c = r.Next(true, Rates{Total: 10 * mega, In: 10 * mega, Out: 65 * mega})
	if !c.Busy || c.Changed {
		t.Errorf("one direction above its recovery holds it: %+v", c)
	}
	c = r.Next(true, Rates{Total: 10 * mega, In: 59 * mega, Out: 9 * mega})
	if c.Busy || !c.Changed || c.Direction != In || c.Bound != 60*mega {
		t.Errorf("all below: free, by the direction that was last: %+v", c)
	}
}

// A rule that judges nothing any more, since a reload say, frees the link.
func TestNext_NoRule(t *testing.T) {
	var r Rule
	if c := r.Next(true, Rates{}); c.Busy || !c.Changed {
		t.Errorf("%+v", c)
	}
}

// T17 for any rule: between recovery and threshold there is never a
// transition; above any threshold it is busy, below all recoveries free.
func TestNext_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Rule
		for d := range Directions {
			if rapid.Bool().Draw(t, "judged") {
				share := rapid.Float64Range(0.01, 1).Draw(t, "rate")
				r[d] = LimitOf(rapid.Float64Range(1e3, 1e12).Draw(t, "max"), share, share*rapid.Float64Range(0, 1).Draw(t, "recovery"))
			}
		}
		busy := false
		for range 50 {
			var now Rates
			over, under := false, true
			for d := range Directions {
				now[d] = rapid.Float64Range(0, 2).Draw(t, "load") * max(r[d].Threshold, 1)
				if r[d].Threshold > 0 {
					over = over || now[d] > r[d].Threshold
					under = under && now[d] < r[d].Recovery
				}
			}
			c := r.Next(busy, now)
			if r == (Rule{}) {
				over, under = false, true
			}
			want := busy && !under || over
			if c.Busy != want || c.Changed != (busy != want) {
				t.Fatalf("%v at %v from %v: %+v", r, now, busy, c)
			}
			busy = c.Busy
		}
	})
}
