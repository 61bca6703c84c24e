package slots

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// A member that comes back slowly takes part in a piece of the table that grows,
// and so does one that sheds some of its clients, in one that is not whole. In
// the rest it is as if it were down, or busy; so whatever follows from that
// follows there: another priority serves, the water is poured over the others,
// a hash gives its next place. With a at 30 % of its ramp, and b shedding a
// quarter:
//
//	0          0.3                        0.75        1
//	├─ a b c ───┼─ b c ────────────────────┼─ c ──────┤
//
// A piece in which nobody is left is given as the one before it, or else the one
// after: who ramps carries all if nobody else can, and who stands by too (T31).
type piece struct {
	from, to float64 // of the table

	asked  float64 // the place of the table for which it was asked who takes part
	eager  bool    // nobody had to stand by
	reason pick.Reason
	lapsed bool
	active []bool    // who takes part
	parts  []float64 // of the piece; sum 1
}

// divide fills in the pieces, at least one.
func (w *work) divide() {
	cuts := []float64{0}
	for i := range w.out.Members {
		for _, c := range [...]float64{w.out.Members[i].Ramp, w.calm[i]} {
			if 0 < c && c < 1 {
				cuts = append(cuts, c)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	w.pieces = make([]piece, 0, len(cuts))
	for k, from := range cuts {
		p := w.piece(from, false, nil)
		switch {
		case p.reason == pick.Chosen:
		case k > 0:
			p = w.pieces[k-1]
		default:
			p = w.piece(from, true, nil)
		}
		if p.from, p.to = from, 1; k+1 < len(cuts) {
			p.to = cuts[k+1]
		}
		w.pieces = append(w.pieces, p)
	}
	first := w.lend()
	if w.trace != nil { // the first piece with anybody tells of all
		w.piece(w.pieces[first].asked, w.pieces[first].eager, w.trace)
	}
}

// lend gives the pieces that come before any with somebody in it as that one,
// and says which it is; 0 if there is none.
func (w *work) lend() (first int) {
	first = max(slices.IndexFunc(w.pieces, func(p piece) bool { return p.reason == pick.Chosen }), 0)
	for k := range first {
		p := w.pieces[first]
		p.from, p.to = w.pieces[k].from, w.pieces[k].to
		w.pieces[k] = p
	}
	return first
}

// piece says who takes part from a place of the table on. eager: nobody has to
// stand by.
func (w *work) piece(from float64, eager bool, tr *pick.Trace) piece {
	for i := range w.own {
		s, c := &w.out.Members[i], &w.own[i]
		*c = pick.Condition{
			Full:      w.room[i] < 1,
			Unbounded: w.forcing,
			Busy:      w.calm[i] <= from || s.Capped,
			Aside:     !eager && s.Ramp <= from && (s.Phase == StandingBy || s.Phase == Ramping),
		}
		if tr != nil {
			c.Why = w.why(i)
		}
	}
	in := pick.Input{Table: w.in.Table, Gauges: w.in.Gauges, Now: w.in.Now, Own: w.own}
	d, reason := w.who.Shares(in, make([]pick.Share, 0, len(w.spec.Members)), tr)
	p := piece{asked: from, eager: eager, reason: reason, lapsed: d.Lapsed}
	if reason != pick.Chosen {
		return p
	}
	p.active, p.parts = make([]bool, len(w.spec.Members)), make([]float64, len(w.spec.Members))
	for _, m := range w.who.ActiveFor(in) {
		p.active[m.Index] = true
	}
	if w.spec.Algorithm.Counts() {
		w.pourOver(&p)
		return p
	}
	sum := 0.0
	for _, s := range d.Shares {
		sum += float64(s.Weight)
	}
	for _, s := range d.Shares {
		p.parts[s.Member.Index] = float64(s.Weight) / sum
	}
	return p
}

// pourOver gives the parts of the algorithms that go by connections.
func (w *work) pourOver(p *piece) {
	n := len(w.spec.Members)
	at := make([]int, 0, n)
	numbers, portions := make([]float64, 0, 2*n), make([]int, n)
	live, weights := numbers[:0:n], numbers[n:n:2*n]
	for i, active := range p.active {
		if !active {
			continue
		}
		weight := 1.0
		if w.spec.Algorithm.Weighs() {
			weight = w.spec.Members[i].weight()
		}
		at, live, weights = append(at, i), append(live, w.live[i]), append(weights, weight)
	}
	if w.spec.Algorithm == LeastTime {
		w.byTime(at, live, weights)
	}
	pour(live, weights, w.load.Arrivals.Expect(w.in.Every), portions[:len(at)], w.spec.Size)
	for k, i := range at {
		p.parts[i] = float64(portions[k]) / float64(w.spec.Size)
	}
}

// timeLeast bounds from below what counts as a time, in seconds: it is what
// there is of noise.
const timeLeast = 10e-6

// byTime has members weigh as much as they are quick: what is levelled out is
// the time that a connection more would take, time x (live + 1). A time that is
// not known counts as the mean of the others (T28); with none known all are
// equally quick, and the fewest connections decide.
func (w *work) byTime(at []int, live, weights []float64) {
	sum, known := 0.0, 0
	for k, i := range at {
		live[k]++
		t := w.time(w.in.Gauges, i)
		if weights[k] = t; !math.IsNaN(t) {
			sum, known = sum+t, known+1
		}
	}
	for k, t := range weights {
		if math.IsNaN(t) {
			t = 1
			if known > 0 {
				t = sum / float64(known)
			}
		}
		weights[k] = 1 / t
	}
}

// time is a member's to a first byte, in seconds; NaN: not known.
func (g *Group) time(gauges *status.Gauges, i int) float64 {
	v, _ := gauges.Get(g.spec.Members[i].Row)
	if math.IsNaN(v.Latency) || v.Latency < 0 {
		return math.NaN()
	}
	return max(v.Latency, timeLeast)
}

// hash gives each slot to the first of its preferences that takes part in it.
func (w *work) hash() Slots {
	s, of := make(Slots, w.spec.Size), make([]int, w.spec.Size)
	w.prefer.assign(of, func(slot int) []bool {
		k := 0
		for m := moment(slot, len(s)); k+1 < len(w.pieces) && m >= w.pieces[k].to; {
			k++
		}
		return w.pieces[k].active
	})
	for slot, i := range of {
		if i >= 0 {
			s[slot] = w.ids[i]
		}
	}
	return s
}

// heedless gives who would take part if nobody minded that members are busy; nil
// if that is who does.
func (w *work) heedless() []bool {
	if w.whoBusy == nil || !w.anyBusy() {
		return nil
	}
	for i := range w.own {
		s := &w.out.Members[i]
		w.own[i] = pick.Condition{Full: w.room[i] < 1, Busy: s.Capped, Aside: s.Phase == StandingBy}
	}
	open := make([]bool, len(w.spec.Members))
	for _, m := range w.whoBusy.ActiveFor(pick.Input{Table: w.in.Table, Own: w.own}) {
		open[m.Index] = true
	}
	return open
}

func (w *work) anyBusy() bool {
	for i := range w.out.Members {
		if w.out.Members[i].Busy || w.calm[i] == 0 {
			return true
		}
	}
	return false
}

// busyRows gives the busy rows of those that take part, each once.
func (w *work) busyRows(p *piece) (rows []status.ID) {
	for i, active := range p.active {
		if !active {
			continue
		}
		for _, id := range w.spec.Members[i].Needs {
			if r := w.in.Table.Row(id); (r.Busy || r.Shed >= status.Slices) && !slices.Contains(rows, id) {
				rows = append(rows, id)
			}
		}
	}
	return rows
}

// why says for explain what no row says of a member.
func (w *work) why(i int) string {
	m, s := &w.spec.Members[i], &w.out.Members[i]
	switch {
	case w.room[i] < 1 && limit(m.MaxEverywhere)-at(w.load.Everywhere, i) < 1:
		return fmt.Sprintf("%.0f connections of at most %d", at(w.load.Everywhere, i), m.MaxEverywhere)
	case w.room[i] < 1:
		return fmt.Sprintf("%.0f connections of this %s, of at most %d", at(w.load.Members, i), w.spec.Words.Group, m.MaxConnections)
	case s.Capped:
		return "at its rateLimit"
	case s.Phase == StandingBy:
		return "back, and stands by until " + s.Until.Format(time.RFC3339)
	case s.Phase == Ramping:
		return fmt.Sprintf("back, with %.0f%% of its share, all of it at %s", 100*s.Ramp, s.Until.Format(time.RFC3339))
	case w.calm[i] < 1:
		return fmt.Sprintf("sheds %.0f%% of its share", 100*(1-w.calm[i]))
	}
	return ""
}
