package busy

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

const mega = 1e6

var unknown = math.NaN()

// rule of a 100 Mbps line: busy above 70, free below 60 (defaults of G1).
func rule(directions ...Direction) (r Rule) {
	for _, d := range directions {
		r[d] = LimitOf(100*mega, 70, 60)
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
		{"T21 no maxBandwidth is never busy", Rule{LimitOf(0, 70, 60)}, Total, []float64{0, 1e6}, ".."},
		{"T28 unknown makes nobody busy", rule(Total), Total, []float64{unknown, unknown, 71}, "..+"},
		{"T28 unknown makes nobody free", rule(Total), Total, []float64{71, unknown, unknown, 59}, "+..-"},
		{"C5 recovery equal to the threshold: the old behaviour", Rule{LimitOf(100*mega, 70, 70)}, Total, []float64{71, 70, 69.9, 70, 71}, "+.-.+"},
		{"recovery 0: nothing is below it, not even silence", Rule{LimitOf(100*mega, 70, 0)}, Total, []float64{71, 1, 0}, "+.."},
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

// T28: one direction is known, the other is not, as with a meter that counts
// one way only: what is known makes busy, what is not cannot make free.
func TestNext_UnknownDirection(t *testing.T) {
	r := rule(In, Out)
	for _, test := range []struct {
		was     bool
		in, out float64
		want    bool
	}{
		{false, 71 * mega, unknown, true},
		{false, 69 * mega, unknown, false},
		{true, 10 * mega, unknown, true},
		{true, unknown, 10 * mega, true},
		{true, 10 * mega, 10 * mega, false},
	} {
		if c := r.Next(test.was, Rates{Total: unknown, In: test.in, Out: test.out}); c.Busy != test.want || c.Changed != (test.was != test.want) {
			t.Errorf("%+v: %+v", test, c)
		}
	}
}

// T22, T21: the shares are of whole bits a second; a rate exactly at a bound is
// not past it, for every percentage.
func TestLimitOf_IsExact(t *testing.T) {
	for _, maxBandwidth := range []uint64{100 * mega, 1e9, 155_520_000, 999_999_900} {
		for percent := 1; percent <= 100; percent++ {
			at := float64(maxBandwidth / 100 * uint64(percent))
			r := Rule{LimitOf(maxBandwidth, percent, percent)}
			if r.Next(false, Rates{at}).Busy || !r.Next(true, Rates{at}).Busy {
				t.Errorf("%d%% of %d: at %v the state changes", percent, maxBandwidth, at)
			}
			if !r.Next(false, Rates{at + 1}).Busy || r.Next(true, Rates{at - 1}).Busy {
				t.Errorf("%d%% of %d: one bit past %v the state does not change", percent, maxBandwidth, at)
			}
		}
	}
}

// A rule that judges nothing any more, since a reload say, frees the link.
func TestNext_NoRule(t *testing.T) {
	var r Rule
	if c := r.Next(true, Rates{unknown, unknown, unknown}); c.Busy || !c.Changed || c.Bound != 0 {
		t.Errorf("%+v", c)
	}
}

// judgement is Next as two plain sentences, its slow twin.
func judgement(r Rule, busy bool, now Rates) bool {
	over, under := false, true
	for d := range Directions {
		if r[d].Threshold > 0 {
			over = over || now[d] > r[d].Threshold // false for NaN
			under = under && now[d] < r[d].Recovery
		}
	}
	if r == (Rule{}) {
		return false
	}
	return over || busy && !under
}

// Any rule over any rates, some unknown: the twin agrees; a change names a
// direction that is past the bound that it names; between recovery and
// threshold there is never a transition (T17).
func TestNext_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Rule
		for d := range Directions {
			if rapid.Bool().Draw(t, "judged") {
				rate := rapid.IntRange(1, 100).Draw(t, "rate")
				r[d] = LimitOf(rapid.Uint64Range(1e3, 1e12).Draw(t, "max"), rate, rapid.IntRange(1, rate).Draw(t, "recovery"))
			}
		}
		busy := false
		for range 50 {
			var now Rates
			between := r != Rule{}
			for d := range Directions {
				if now[d] = unknown; rapid.IntRange(0, 9).Draw(t, "known") > 0 {
					now[d] = rapid.Float64Range(0, 2).Draw(t, "load") * max(r[d].Threshold, 1)
				}
				between = between && (!r.judges(d) || now[d] >= r[d].Recovery && now[d] <= r[d].Threshold)
			}
			c := r.Next(busy, now)
			if want := judgement(r, busy, now); c.Busy != want || c.Changed != (busy != want) {
				t.Fatalf("%v at %v from %v: %+v", r, now, busy, c)
			}
			if between && c.Changed {
				t.Fatalf("%v at %v: a transition between recovery and threshold: %+v", r, now, c)
			}
			past := c.Busy && c.Rate > c.Bound || !c.Busy && c.Rate < c.Bound
			if c.Changed && c.Bound > 0 && (!past || now[c.Direction] != c.Rate) {
				t.Fatalf("%v at %v from %v: it names what is not so: %+v", r, now, busy, c)
			}
			busy = c.Busy
		}
	})
}
