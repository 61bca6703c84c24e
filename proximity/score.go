package proximity

import (
	"fmt"
	"math"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// Factor is one thing that makes a link better or worse.
type Factor uint8

// The factors. Of all of them less is better (FAQ 1.2.3).
const (
	RTT  Factor = iota // microseconds there and back
	TTL                // hops on the way
	Cost               // of the link
	In                 // share of the link's rateLimit that is used, received
	Out                // the same, sent
	Factors
)

var factorNames = [Factors]string{"rtt", "ttl", "cost", "in", "out"}

func (f Factor) String() string { return factorNames[f] }

// Standing is why a link is not one of those to choose among.
type Standing uint8

// The standings.
const (
	Measured   Standing = iota // it is
	Unmeasured                 // no round has been made yet
	Hindered                   // it could not be measured, for a reason of our side
	Silent                     // nobody answered over it
	Old                        // it was measured too long ago
	Capped                     // at its rate limit: passed over for the second best (FAQ 1.2.19)
)

// Rated is a candidate and what became of it.
type Rated struct {
	Link     int // number in the plan
	Standing Standing
	Static   bool // configured as the best for this network
	Last     bool // the best at the last answer: others must be better by the margin
	Score    float64
	Raw      [Factors]float64 // as measured; NaN: not known
	Parts    [Factors]float64 // of the score

	measured bool
	hitch    uint8
	missed   uint8
}

// Ranking is what became of candidates.
type Ranking struct {
	Rated  []Rated // in the order of the candidates
	Best   int     // place in Rated of the one to choose; -1: none was measured or configured
	Circle uint16  // names those to choose among, for [Chosen]
	Lapsed bool    // all are at their rate limits, so none is passed over
}

// Rank rates candidates, different links by their numbers in the plan, appended
// to into. It allocates nothing if into has room.
//
//	score = sum over factors of weight * part
//	  rtt, ttl, cost   raw / the largest of the candidates, for rtt at least 1 ms
//	  in, out          the used share of the link's own limit, as it is
//	  not known        the mean of those that are known; of none: 0
//
//	configured, usable, below its limit      -> best
//	else the lowest score, equal: the first
//	     unless the last best is among them, and not worse by more than the margin
//
// Used shares are not divided by the largest: between two links that are used by
// 1 % and 2 % that would make a difference as large as between idle and full,
// and noise would decide (T16).
//
// Who is passed over at its limit is not of the circle, as a busy link is not: the
// second best does not take its place as the last best, and it is chosen again
// when it falls under its limit (FAQ 1.2.19).
func (v *View) Rank(links []int, gauges *status.Gauges, into []Rated) (r Ranking) {
	return v.rank(v.plan.circle(links), links, gauges, into)
}

// rank is Rank in a circle.
func (v *View) rank(circle uint16, links []int, gauges *status.Gauges, into []Rated) Ranking {
	start, lapsed := len(into), false
	var found []distance // loaded once: a block never changes
	if v.State == Ready {
		found = v.entry.distances()
	}
	for _, l := range links {
		into = append(into, v.rate(l, found, gauges))
	}
	rated := into[start:]
	open := false
	for i := range rated {
		open = open || rated[i].chooseable()
	}
	if !open {
		for i := range rated {
			if r := &rated[i]; r.Standing == Capped && (r.measured || r.Static) {
				lapsed = true
				r.Standing = Measured
			}
		}
	}
	for i := range rated {
		if r := &rated[i]; r.Standing == Capped {
			circle ^= folded(v.plan.names[r.Link])
		}
	}
	v.score(rated)
	return Ranking{Rated: rated, Best: v.best(circle, rated), Circle: circle, Lapsed: lapsed}
}

// chooseable says whether a candidate may be the best.
func (r *Rated) chooseable() bool {
	return r.Standing == Measured || r.Static && r.Standing != Capped
}

// rate finds what is known of a candidate.
func (v *View) rate(link int, found []distance, gauges *status.Gauges) Rated {
	r := Rated{Link: link, Standing: Unmeasured, Static: link == v.static}
	l, unknown := v.plan.Links[link], math.NaN()
	r.Raw = [Factors]float64{unknown, unknown, float64(l.Cost), 0, 0}
	v.distanceOf(&r, found)
	if l.RateLimit != (config.Bandwidths{}) {
		if v.plan.load(link, gauges, &r) && (r.Standing == Measured || r.Static) {
			r.Standing = Capped
		}
	}
	return r
}

// distanceOf fills in what was measured of a candidate.
func (v *View) distanceOf(r *Rated, found []distance) {
	for i := range found {
		d, id := &found[i], v.in.ids[r.Link]
		if d.link != id || id == 0 {
			continue
		}
		r.hitch, r.missed = d.hitch, d.missed
		switch {
		case d.counts(v.now, v.plan.maxAge):
			r.Standing, r.measured = Measured, true
		case d.missed > 0:
			r.Standing = Silent
		case d.rtt > 0:
			r.Standing = Old
		default:
			r.Standing = Hindered
		}
		if d.rtt > 0 {
			r.Raw[RTT] = float64(d.rtt)
		}
		if d.hops > 0 {
			r.Raw[TTL] = float64(d.hops)
		}
		return
	}
}

// The directions of a gauge.
const (
	total = iota
	in
	out
)

// load fills in what of a link's limits is used, and says whether it is at one.
// What has no limit of its own direction goes by the total. It goes by what flows
// and not by what remains: that is of the limit that the meter's last tick knew,
// and right after a change of rateLimit would take a free link for a full one (FAQ 1.2.5).
func (p *Plan) load(link int, gauges *status.Gauges, r *Rated) (capped bool) {
	limits := [3]float64{float64(p.Links[link].RateLimit.Total), float64(p.Links[link].RateLimit.In), float64(p.Links[link].RateLimit.Out)}
	g, _ := gauges.Get(p.rows[link])
	used := func(direction int) float64 {
		if limits[direction] == 0 {
			direction = total
		}
		if limits[direction] == 0 {
			return 0 // not limited: nothing of it is used up
		}
		return g.Rate[direction] / limits[direction]
	}
	r.Raw[In], r.Raw[Out] = used(in), used(out)
	for direction, limit := range limits {
		capped = capped || limit > 0 && g.Rate[direction] >= limit // not of NaN (T28)
	}
	return capped
}

// leastRTT is a millisecond: below it the differences are those of machines, not
// of ways, and are not stretched to the whole weight (T16).
const leastRTT = 1000

// score sums up the parts of those that may be chosen.
func (v *View) score(rated []Rated) {
	for f := range Factors {
		weight := v.plan.weights[f]
		if weight == 0 {
			continue // FAQ 1.2.29
		}
		largest, sum, known := 0.0, 0.0, 0
		for i := range rated {
			if r := &rated[i]; r.Standing == Measured && r.Raw[f] == r.Raw[f] {
				largest, sum, known = max(largest, r.Raw[f]), sum+r.Raw[f], known+1
			}
		}
		switch f {
		case RTT:
			largest = max(largest, leastRTT)
		case In, Out:
			largest = 1
		}
		if known == 0 || largest == 0 {
			continue
		}
		mean := sum / float64(known)
		for i := range rated {
			r := &rated[i]
			if r.Standing != Measured {
				continue
			}
			raw := r.Raw[f]
			if raw != raw {
				raw = mean
			}
			r.Parts[f] = weight * raw / largest
			r.Score += r.Parts[f]
		}
	}
}

// best chooses among rated.
func (v *View) best(circle uint16, rated []Rated) int {
	last := uint16(0)
	if v.entry != nil {
		last = v.entry.settled(circle)
	}
	best, incumbent := -1, -1
	for i := range rated {
		r := &rated[i]
		if !r.chooseable() {
			continue
		}
		if r.Static {
			return i
		}
		if last != 0 && v.in.ids[r.Link] == last {
			r.Last, incumbent = true, i
		}
		if best < 0 || r.Score < rated[best].Score {
			best = i
		}
	}
	if incumbent >= 0 && rated[best].Score >= rated[incumbent].Score*(1-v.plan.margin) {
		return incumbent
	}
	return best
}

// Text says in a sentence how a candidate stands.
func (r *Rated) Text() string {
	switch {
	case r.Static && r.Standing != Capped:
		return "configured as the best for this network"
	case r.Standing == Measured:
		return fmt.Sprintf("score %.1f = %s", r.Score, r.sum())
	case r.Standing == Capped:
		return "at its rate limit: passed over for the second best"
	case r.Standing == Silent:
		if r.missed == 1 {
			return "nobody answered over it in the last round"
		}
		return fmt.Sprintf("nobody answered over it, %d rounds in a row", r.missed)
	case r.Standing == Old:
		return "measured too long ago"
	case r.Standing == Hindered:
		return "not measured: " + hitches[r.hitch].text
	default:
		return "not measured yet"
	}
}

// sum writes the parts of a score.
func (r *Rated) sum() (text string) {
	for f := range Factors {
		if text != "" {
			text += " + "
		}
		text += fmt.Sprintf("%s %.1f (%s)", f, r.Parts[f], f.raw(r.Raw[f]))
	}
	if r.Last {
		text += "; the best so far"
	}
	return text
}

// raw writes a raw value with its unit.
func (f Factor) raw(v float64) string {
	switch {
	case v != v:
		return "not known"
	case f == RTT:
		return time.Duration(v * float64(time.Microsecond)).String()
	case f == TTL:
		return fmt.Sprintf("%.0f hops", v)
	case f == Cost:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.0f%% used", v*100)
	}
}
