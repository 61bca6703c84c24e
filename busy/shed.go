package busy

import (
	"fmt"
	"math"
	"time"
)

// Slices is how many parts the clients of a link are cut into. The first n of
// them leave it when n are shed, so that who was shed stays shed when more are.
const Slices = 256

// Shed says how many slices of a link's clients to answer with other links, so
// that its load ends between recovery and threshold. It is what a link
// remembers from one measurement to the next; the zero Shed sheds nobody. It
// holds no reference: a copy is a state of its own.
//
// An answer that changes now is noticed only when caches let the old one go:
// after one TTL, the dead time, at the latest. A rule that looks at the rate
// alone goes on acting on what it has long done. This one forecasts, as in
// O. Smith's predictor:
//
//	slices  n  _______|~~~~~~~~~~~   shed now ...
//	away    a  _______/~~~~~~~~~~~   ... and away when caches have let go:
//	                  <dead>         the mean of n over the last dead time
//	demand   = rate / (1 - a)        what would flow if nobody were shed
//	forecast = (demand + trend over half the dead time) x (1 - n)
//
//	forecast over the threshold      shed more at once, to end at the aim,
//	                                 which is halfway between the two
//	         between                 wait
//	         under recovery          give some back, if for a dead time nothing
//	                                 was changed and the demand's highest mean
//	                                 would be under it too
//
// All is in shares of the threshold of the direction nearest to it. Where n
// moves more or less than its share (a large resolver in one slice, traffic
// that no answer moves, caches that keep longer) the demand is wrong, but not
// the end: the only rest is between the bounds. What was given back too early
// is given back later the next time, so that this ends too.
type Shed struct {
	slices int
	seen   time.Time          // when a rate was last known
	demand float64            // smoothed, in shares of the threshold
	trend  trend              // of the demand
	past   [maxChanges]change // the last changes, newest first
	early  int                // how often in a row slices were given back too early
}

// change is a moment from which on so many slices were shed.
type change struct {
	at     time.Time
	slices int
}

// The pace of a Shed. Spans of time are parts of the dead time, but no shorter
// than the least ones.
const (
	changesIn  = 64             // no more often within a dead time is more shed
	maxChanges = changesIn + 16 // and so many changes tell what is away
	smoothing  = 16             // the demand is smoothed over that part of it
	mostMore   = Slices / 4     // slices shed at once
	mostBack   = Slices / 8     // slices given back at once
	leastBack  = Slices / 64
	leastBand  = 0.9      // recovery counts as at most this share of the threshold
	leastKept  = 1.0 / 16 // of the clients: with fewer there is no telling the demand
	mostTrend  = 0.5      // of the demand, that a trend adds to it
	mostEarly  = 5        // at most 1<<mostEarly dead times pass until some is given back

	leastDead   = time.Second // of names that no cache keeps
	leastSmooth = 4 * time.Second
	leastGap    = 5 * time.Second // without a rate, after which the demand is not known
	leastWait   = time.Minute
	leastTrend  = 2 * time.Minute
)

// Verdict is what a Shed decided.
type Verdict struct {
	Slices  int    // to shed, 0 to Slices
	Changed bool   // it was another number before
	Why     string // one sentence; empty if not Changed
}

// Next gives the state after a measurement, by a clock that does not go back.
// dead is the largest TTL of the names that may answer with this link. As long
// as a rate that the rule judges is unknown, all stays as it is (T28); a rule
// that judges nothing sheds nobody (T21).
func (s Shed) Next(r Rule, now Rates, dead time.Duration, at time.Time) (Shed, Verdict) {
	dead = max(dead, leastDead)
	load, recovery, nearest := r.load(now)
	switch {
	case load < 0:
		return Shed{}, Verdict{Changed: s.slices > 0, Why: s.why(0, "the rule judges nothing any more")}
	case math.IsNaN(load):
		return s, Verdict{Slices: s.slices}
	}
	s.measure(load, dead, at)
	kept := float64(Slices-s.slices) / Slices
	forecast := (s.demand + s.trend.over(dead/2, s.demand)) * kept
	highest := s.trend.highest() * kept
	aim, since, n := (1+recovery)/2, at.Sub(s.past[0].at), s.slices
	switch {
	case forecast > 1 && since >= dead/changesIn:
		n = min(Slices-int(Slices*kept*aim/forecast), s.slices+mostMore)
	case s.slices > 0 && load < recovery && highest < recovery && since >= s.wait(dead):
		back := Slices * kept * (aim/max(highest, leastKept) - 1)
		n = max(s.slices-int(min(max(back, leastBack), mostBack)), 0)
	}
	if n == s.slices {
		return s, Verdict{Slices: n}
	}
	v := Verdict{n, true, s.why(n, fmt.Sprintf("%s will be at %.0f%% of its threshold in %s", nearest, forecast*100, dead))}
	s.note(change{at, n}, dead)
	return s, v
}

// why gives the sentence for a change to n; none if there is no change.
func (s *Shed) why(n int, because string) string {
	if n == s.slices {
		return ""
	}
	return fmt.Sprintf("%s: sheds %d of %d slices of its clients, not %d", because, n, Slices, s.slices)
}

// load gives the rate of the direction nearest to its threshold, as a share of
// it, and the lowest recovery likewise. The load is NaN if a rate that counts
// is unknown, and -1 if none counts.
func (r *Rule) load(now Rates) (load, recovery float64, nearest Direction) {
	load, recovery = -1, leastBand
	for d := range Directions {
		if !r.judges(d) {
			continue
		}
		recovery = min(recovery, r[d].Recovery/r[d].Threshold)
		share := now[d] / r[d].Threshold
		if math.IsNaN(share) {
			return share, recovery, d
		}
		if share > load {
			load, nearest = share, d
		}
	}
	return load, recovery, nearest
}

// measure takes a load into the demand and its trend.
func (s *Shed) measure(load float64, dead time.Duration, at time.Time) {
	demand := load / max(1-s.away(dead, at), leastKept)
	step := at.Sub(s.seen)
	if s.seen.IsZero() || step > max(dead/smoothing, leastGap) {
		s.demand, s.trend = demand, trend{}
	} else {
		s.demand += (demand - s.demand) * float64(step) / float64(step+max(dead/smoothing, leastSmooth))
	}
	s.seen = at
	s.trend.add(demand, dead, at)
}

// away gives the share of clients that caches keep away from the link: the mean
// of what was shed during the last dead time, since an answer in a cache is as
// likely of any age up to it.
func (s *Shed) away(dead time.Duration, at time.Time) float64 {
	sum, until, start := 0.0, at, at.Add(-dead)
	for _, c := range s.past {
		from := c.at
		if from.Before(start) {
			from = start
		}
		sum += float64(c.slices) * float64(until.Sub(from))
		if until = from; until.Equal(start) {
			break
		}
	}
	return sum / Slices / float64(dead)
}

// note remembers a change. If it takes again what was just given back, that was
// too early.
func (s *Shed) note(c change, dead time.Duration) {
	if c.slices > s.slices && s.returned() {
		s.early = min(s.early+1, mostEarly)
		if c.at.Sub(s.past[0].at) > max(dead, leastWait)<<mostEarly {
			s.early = 0
		}
	}
	copy(s.past[1:], s.past[:])
	s.past[0], s.slices = c, c.slices
}

// returned says whether the last change gave something back.
func (s *Shed) returned() bool { return s.past[0].slices < s.past[1].slices }

// wait gives how long nothing must have changed before something is given back.
// To go on with it takes no longer than a dead time.
func (s *Shed) wait(dead time.Duration) time.Duration {
	wait := max(dead, leastWait)
	if !s.returned() {
		wait <<= s.early
	}
	return wait
}
