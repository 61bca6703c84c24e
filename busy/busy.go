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

// Rates is what flows, in bits a second, by direction. NaN is unknown, which
// is not 0 (T28).
type Rates [Directions]float64

// Limit bounds one direction, in bits a second. The zero Limit judges nothing.
type Limit struct {
	Threshold float64 // busy above it
	Recovery  float64 // free below it; at most Threshold
}

// LimitOf gives the bounds for maxBandwidth in bits a second and two shares of
// it in percent, recovery at most rate. A maxBandwidth of 0 judges nothing: such
// a link is never busy (T21).
func LimitOf(maxBandwidth uint64, rate, recovery int) Limit {
	of := func(percent int) float64 { return float64(maxBandwidth) * float64(percent) / 100 }
	return Limit{Threshold: of(rate), Recovery: of(recovery)}
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
	Bound     float64   // that the rate passed: a threshold or a recovery, bits a second; 0: the rule judges nothing any more
}

// Next gives how a link stands after a measurement, from how it stood before
// (1.2.12, 1.2.26, C5, T17, T20):
//
//	     one known direction above its threshold
//	free ----------------------------------------> busy
//	     <----------------------------------------
//	     all judged directions known, and below their recovery;
//	     or no direction is judged, since a reload say
//
// An unknown rate moves nothing: it makes no link busy, and no busy link free
// (T28). A change names the direction furthest past its bound: on recovery, the
// one that held the link up last.
func (r *Rule) Next(busy bool, now Rates) Change {
	c := Change{Busy: busy}
	judged, unknown, worst := false, false, math.Inf(-1)
	for d := range Directions {
		bound := r[d].Threshold
		if busy {
			bound = r[d].Recovery
		}
		switch load := now[d] / bound; {
		case !r.judges(d):
		case math.IsNaN(now[d]):
			judged, unknown = true, true
		case bound <= 0: // a recovery of 0: nothing is below it
			return c
		case load > worst:
			judged, worst = true, load
			c.Direction, c.Rate, c.Bound = d, now[d], bound
		}
	}
	switch {
	case !judged:
		c.Busy = false
	case !busy:
		c.Busy = c.Rate > c.Bound
	case !unknown:
		c.Busy = c.Rate >= c.Bound
	}
	c.Changed = c.Busy != busy
	return c
}
