// Package busy holds busy protection's rule: when is a link too loaded to be
// given anything new, and when may it be again? It is arithmetic on rates and
// nothing else: who measures is link, who obeys is pick.
//
//	rate
//	 ^
//	 |        busy        one direction above its threshold is enough
//	 |- - - - - - - - - - threshold: maxBandwidth x rate
//	 |   as it was before
//	 |- - - - - - - - - - recovery: maxBandwidth x recovery
//	 |        free        every direction has to be below its recovery
//	 +------------------>
//
// Between the two nothing changes, so that a rate that swings there moves
// nobody (T17). Start reading at [Rule.Next].
package busy

import "math"

// Direction is a way that a link's traffic goes.
type Direction uint8

// The directions that a rule may judge.
const (
	Total Direction = iota // in and out together
	In                     // received from the line
	Out                    // sent into the line
	Directions
)

func (d Direction) String() string { return [...]string{"total", "in", "out"}[d] }

// Rates is what flows, in bits a second, by direction.
type Rates [Directions]float64

// Limit bounds one direction, in bits a second. The zero Limit judges nothing:
// a link without maxBandwidth is never busy (T21).
type Limit struct {
	Threshold float64 // busy above it
	Recovery  float64 // free below it; at most Threshold
}

// LimitOf gives the bounds for a bandwidth in bits a second and two shares of
// it, 0 to 1. A bandwidth of 0 judges nothing.
func LimitOf(maxBandwidth, rate, recovery float64) Limit {
	return Limit{Threshold: maxBandwidth * rate, Recovery: maxBandwidth * recovery}
}

// Rule is the bounds of one link, by direction.
type Rule [Directions]Limit

// judges says whether a direction has bounds.
func (r *Rule) judges(d Direction) bool { return r[d].Threshold > 0 }

// Change is what a measurement does to a link.
type Change struct {
	Busy      bool      // how the link stands now
	Changed   bool      // it stood otherwise before
	Direction Direction // that decided, if Changed
	Rate      float64   // of that direction, bits a second
	Bound     float64   // that the rate passed: a threshold or a recovery, bits a second
}

// Next gives how a link stands after a measurement, from how it stood before
// (1.2.12, 1.2.26, C5, T17, T20). A change names the direction furthest past
// its bound; on recovery, which needs every direction, the one that came
// closest to holding it up. An unknown rate is no measurement: it is not given
// to Next, and the link stays as it was (T28).
func (r *Rule) Next(busy bool, now Rates) Change {
	c := Change{Busy: busy}
	worst := -1.0
	for d := range Directions {
		bound := r[d].Threshold
		if busy {
			bound = r[d].Recovery
		}
		if !r.judges(d) {
			continue
		}
		load := math.Inf(1) // of a bound of 0: nothing is below it
		if bound > 0 {
			load = now[d] / bound
		}
		if load > worst {
			worst, c.Direction, c.Rate, c.Bound = load, d, now[d], bound
		}
	}
	switch {
	case worst < 0: // nothing is judged, perhaps since a reload
		c.Busy = false
	case busy:
		c.Busy = c.Rate >= c.Bound
	default:
		c.Busy = c.Rate > c.Bound
	}
	c.Changed = c.Busy != busy
	return c
}
