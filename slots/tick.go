package slots

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Tick says what the group is to be from now on. It is a function of what it is
// given:
//
//	rows ── who is alive, drains, stands by, ramps
//	  │
//	pick ── who takes part: priority, min, max, spill, busy, limits
//	  │      (for a member that ramps: in how much of the table)
//	  ├── by weight, by what remains, by lot ── parts ─┐
//	  ├── by connections: pour ─────────────── parts ──┼─ clip ── slots
//	  └── by a hash: who has which slot ───────────────┼───────── slots
//	  └── available, alive: sets ──────────────────────┘
func (g *Group) Tick(in Input, load Load, was State) (State, Result) {
	return g.tick(in, load, was, nil)
}

// Explain is Tick with the reasons: who takes part, and why others do not. What
// it gives is what Tick gives for the same.
func (g *Group) Explain(in Input, load Load, was State) (Result, *pick.Trace) {
	tr := &pick.Trace{}
	_, r := g.tick(in, load, was, tr)
	g.tell(in, &load, &r, tr)
	return r, tr
}

// tell has the trace say what the table says: pick knows only who takes part of
// a group that goes by connections or a hash, and nothing of ramps and limits.
func (g *Group) tell(in Input, load *Load, r *Result, tr *pick.Trace) {
	if r.Reason != pick.Chosen || len(tr.Slots) == 0 {
		return
	}
	slot := tr.Slots[len(tr.Slots)-1] // who chose
	slot.Shares = nil
	for i := range r.Members {
		s := &r.Members[i]
		if s.Slots > 0 {
			slot.Shares = append(slot.Shares, pick.ShareTrace{Member: s.Name, Percent: 100 * s.Share})
		}
		if g.spec.Algorithm.Counts() && s.Active {
			live := load.live(&g.spec, i)
			c := pick.CandidateTrace{Member: s.Name, Matched: !math.IsNaN(live), Text: "its connections are not known"}
			if c.Matched {
				c.Text = fmt.Sprintf("%.0f connections", live)
			}
			if g.spec.Algorithm == LeastTime {
				c.Text += ", " + timeText(g.time(in.Gauges, i))
			}
			slot.Candidates = append(slot.Candidates, c)
		}
	}
}

func timeText(seconds float64) string {
	if math.IsNaN(seconds) {
		return "its time is not known"
	}
	return fmt.Sprintf("%.4g ms to a first byte", 1000*seconds)
}

func (g *Group) tick(in Input, load Load, was State, tr *pick.Trace) (State, Result) {
	n := len(g.spec.Members)
	w := &work{Group: g, in: in, load: load, was: was, trace: tr,
		next: State{Ran: true, Members: make([]MemberState, n)},
		out:  Result{Members: make([]Standing, n)},
		own:  make([]pick.Condition, n)}
	numbers := make([]float64, 3*n)
	w.live, w.room, w.calm = numbers[:n], numbers[n:2*n], numbers[2*n:]
	usable := 0
	for i := range g.spec.Members {
		w.stand(i)
		if p := w.out.Members[i].Phase; p == Serving || p == Ramping {
			usable++
		}
	}
	w.choose()
	w.sets()
	if g.spec.Force {
		w.force()
	}
	w.next.Up, w.out.Why = g.spec.Activate.next(was, usable, n, g.spec.Words.Members)
	w.out.Up = w.next.Up
	w.next.Slots, w.next.Forced = w.out.Slots, w.out.Forced
	counts := make([]int, n)
	w.out.Slots.counts(&g.place, counts)
	for i, c := range counts {
		w.out.Members[i].Slots, w.out.Members[i].Share = c, float64(c)/float64(g.spec.Size)
	}
	return w.next, w.out
}

// work is one tick of a group.
type work struct {
	*Group
	in    Input
	load  Load
	was   State
	next  State
	out   Result
	trace *pick.Trace

	live []float64 // connections that the algorithm goes by; NaN: not known
	room []float64 // below the limits; +Inf: there is none
	calm []float64 // in how much of the table a member is not busy, 0 to 1
	own  []pick.Condition

	forcing bool // limits of connections do not count
	pieces  []piece
}

// stand finds how a member stands by itself.
func (w *work) stand(i int) {
	m, s, now := &w.spec.Members[i], &w.out.Members[i], &w.next.Members[i]
	before, known := w.was.member(m.ID, i)
	s.Name, s.ID, s.Ramp, w.calm[i] = m.Name, m.ID, 1, 1
	now.ID, now.Down, now.Back = m.ID, false, before.Back
	draining := false
	for _, id := range m.Needs {
		r := w.in.Table.Row(id)
		switch {
		case r.Hold != nil && r.Hold.State == status.HoldUp:
		case r.Hold != nil && r.Hold.State == status.HoldDown, r.Health == status.Down:
			now.Down = true
		case r.Hold != nil:
			draining = true
		}
		s.Busy, s.Full = s.Busy || r.Busy, s.Full || r.Full
		w.calm[i] = min(w.calm[i], 1-float64(min(r.Shed, status.Slices))/status.Slices)
	}
	if w.whoBusy == nil {
		w.calm[i] = 1
	}
	w.live[i], w.room[i] = w.load.live(&w.spec, i), m.room(&w.load, i)
	s.Full = s.Full || w.room[i] < 1
	s.Capped = m.capped(w.in.Gauges, before.Capped)
	now.Capped = s.Capped
	if known && before.Down && !now.Down {
		now.Back = w.in.Now
	}
	switch {
	case now.Down:
		s.Phase, s.Ramp, now.Back = Out, 0, time.Time{}
		return
	case draining:
		s.Phase, s.Ramp = Draining, 0
		return
	case now.Back.IsZero():
		return
	}
	s.Ramp, s.Until = w.spec.Slow.Share(now.Back, w.in.Now)
	switch {
	case s.Until.IsZero():
		now.Back = time.Time{}
		return
	case w.in.Now.Before(now.Back.Add(w.spec.Slow.Standby)):
		s.Phase = StandingBy
	default:
		s.Phase = Ramping
	}
	w.due(s)
}

// due notes when a member that comes back slowly next changes what the group is:
// when its standby ends, or its share may have grown by a slot, but not before
// the next tick.
func (w *work) due(s *Standing) {
	next := s.Until
	if s.Phase == Ramping {
		step := max(w.spec.Slow.Ramp/time.Duration(w.spec.Size), w.in.Every)
		if soon := w.in.Now.Add(step); step > 0 && soon.Before(next) {
			next = soon
		}
	}
	if w.out.Next.IsZero() || next.Before(w.out.Next) {
		w.out.Next = next
	}
}

// member finds what is kept of a member; it is looked for at its place first.
func (s *State) member(id ID, place int) (MemberState, bool) {
	if place < len(s.Members) && s.Members[place].ID == id {
		return s.Members[place], true
	}
	for i := range s.Members {
		if s.Members[i].ID == id {
			return s.Members[i], true
		}
	}
	return MemberState{}, false
}

// A member that is at its rate limit is so until it is below this share of it: a
// line that is shaped carries now a little more, now a little less than all.
const cappedUntil = 0.95

// capped says whether a member is at its rate limit in any direction: then it gets
// nothing new, neither by proximity (FAQ 1.2.19) nor by persistence without
// overrideLimit (FAQ 1.2.8, C2) nor by an algorithm (T27), unless all are so: the
// limit itself is the shaper's. It goes by what flows and not by what remains,
// which is of the limit that was when it was measured. What is not known changes
// nothing (T28).
func (m *Member) capped(gauges *status.Gauges, was bool) bool {
	if m.RateLimit == [busy.Directions]float64{} {
		return false
	}
	g, _ := gauges.Get(m.Row)
	bound, known := 1.0, false
	if was {
		bound = cappedUntil
	}
	for d, limit := range m.RateLimit {
		if limit > 0 && g.Rate[d] >= bound*limit {
			return true
		}
		known = known || limit > 0 && !math.IsNaN(g.Rate[d])
	}
	return was && !known
}

// choose finds who has which slot.
func (w *work) choose() {
	w.divide()
	w.out.Reason = w.pieces[0].reason
	active := w.active()
	for i := range active {
		w.out.Members[i].Active = active[i]
	}
	if p := &w.pieces[0]; p.lapsed && w.whoBusy != nil {
		w.out.Lapsed = w.busyRows(p)
	}
	w.out.Slots = w.table(active, w.was.Slots)
}

// force finds who would have which slot if nobody were at a limit.
func (w *work) force() {
	w.out.Forced = w.out.Slots
	most := max(w.load.Arrivals.Expect(w.in.Every), 1)
	if !slices.ContainsFunc(w.out.Members, func(s Standing) bool { return s.Full }) &&
		!slices.ContainsFunc(w.room, func(room float64) bool { return room < most }) {
		return
	}
	w.forcing, w.trace = true, nil
	for i := range w.room {
		w.room[i] = math.Inf(1)
	}
	// Somebody who is both down and full may have made room for others by the
	// latter alone: then these serve.
	if w.divide(); w.pieces[0].reason == pick.Chosen {
		w.out.Forced = w.table(w.active(), w.was.Forced)
	}
}

// active says who takes part in any piece: who has slots is available, or
// persistence would not keep what it learns.
func (w *work) active() []bool {
	active := make([]bool, len(w.spec.Members))
	for i := range active {
		active[i] = slices.ContainsFunc(w.pieces, func(p piece) bool { return p.active != nil && p.active[i] })
	}
	return active
}

// table gives the slots of the pieces, with as few moves from those before as
// can be.
func (w *work) table(active []bool, was Slots) Slots {
	size := w.spec.Size
	switch {
	case w.pieces[0].reason != pick.Chosen:
		return make(Slots, size)
	case w.prefer != nil:
		return w.hash()
	case len(was) != size:
		was = make(Slots, size)
	}
	parts := make([]float64, len(w.spec.Members))
	for _, p := range w.pieces {
		for i := range parts {
			parts[i] += (p.to - p.from) * p.parts[i]
		}
	}
	clip(parts, w.room, active, w.load.Arrivals.Expect(w.in.Every))
	counts := make([]int, len(parts))
	if w.spec.Algorithm == Bandwidth {
		if was.counts(&w.place, counts); near(parts, counts, size) {
			return was
		}
	}
	apportion(parts, counts, size)
	return was.toward(w.ids, &w.place, counts)
}

// near says whether a table with these counts is near enough to what it should
// be that to write it would follow nothing but the noise of rates. Who has
// nothing gets nothing, and who has something does.
func near(parts []float64, counts []int, size int) bool {
	for i, p := range parts {
		have, due := float64(counts[i]), p*float64(size)
		if (have == 0) != (due == 0) || math.Abs(due-have) > max(noiseSlots(size), noise*due) {
			return false
		}
	}
	return sum(counts) == size
}

// The bandwidth algorithm leaves a member's slots as they are while they differ
// from what is due by no more than noiseSlots, or by this part of it.
const noise = 0.04

// noiseSlots is more than what rounding makes of a share, and less than what
// would be seen: a slot of a small table is much.
func noiseSlots(size int) float64 {
	if size < 256 {
		return 0.75
	}
	return 1.5
}

// sets fills in who is alive, available and drains.
func (w *work) sets() {
	open := w.heedless()
	n := len(w.spec.Members)
	memory := make(IDs, 4*n)
	alive, available, orBusy, draining := memory[:0:n], memory[n:n:2*n], memory[2*n:2*n:3*n], memory[3*n:3*n]
	for _, i := range w.rising {
		s := &w.out.Members[i]
		if s.Phase != Out {
			alive = append(alive, s.ID)
		}
		if s.Active {
			available = append(available, s.ID)
		}
		if s.Active || open != nil && open[i] {
			orBusy = append(orBusy, s.ID)
		}
		if s.Phase == Draining && !s.Full {
			draining = append(draining, s.ID)
		}
	}
	w.out.Alive, w.out.Available, w.out.AvailableOrBusy, w.out.Draining = alive, available, orBusy, draining
}
