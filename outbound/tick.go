package outbound

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Input is what a tick of any group looks at.
type Input struct {
	Table  *status.Table
	Gauges *status.Gauges // rates of links and what remains of their limits, of the last tick (T28)
	Now    time.Time
	Every  time.Duration // until the next tick

	// Connections is how many each link has now, by its number. NaN, or a link
	// beyond it: not known.
	Connections []float64
}

// Load is what is counted for one group.
type Load struct {
	Arrivals Arrivals // new connections of the group

	// Connections is how many each link has now that are of this group, by the
	// place of the member. NaN, or a member beyond it: not known; then the limit of
	// the membership is left to the kernel.
	Connections []float64
}

// State is what a group keeps from one tick to the next, and over a reload: of
// members that it knows nothing of it takes that they have always been there.
// The zero State is that of a group that has just been made. It is a value: a
// tick gives the next one and leaves the one before as it was.
type State struct {
	Ran     bool // there has been a tick
	Up      bool // the group was available
	Slots   Slots
	Members []MemberState // in no order that matters
}

// MemberState is what is kept of a link in a group.
type MemberState struct {
	ID     uint16
	Down   bool      // it was down, or held down
	Back   time.Time // since when it is back, as long as it comes back slowly; zero: it does not
	Capped bool      // it is at its rate limit
}

// Result is what a group is to be until the next tick.
type Result struct {
	// Slots is whom the kernel gives new connections. It is empty if all that take
	// part are at their limits, or nobody is usable: then the rule fails (FAQ
	// 1.2.10, 1.2.13). It does not look at Up: a rule without a backup group uses
	// what links there are.
	Slots Slots

	// Alive is who has not failed and is not held down, of every priority: what
	// persistence with overrideLimit goes by, and whose sessions go on. A link that
	// drains or stands by is alive.
	Alive IDs
	// Available is who takes new connections: what persistence and proximity go by
	// (FAQ 1.2.16, 1.2.19, C2). Whoever has a slot is available. A link that stands by is not available, so an
	// entry of persistence that outlived its failure is made anew elsewhere; one
	// that ramps is.
	Available IDs
	// AvailableOrBusy is Available and who only is not for he is busy: what
	// persistence with overrideBusy goes by (C2).
	AvailableOrBusy IDs

	Up     bool        // the group is available: activate (T30)
	Why    string      // why it is, or is not
	Reason pick.Reason // Chosen, or why Slots is empty
	Lapsed []status.ID // the busy rows, if all that take part are busy, so that busy protection lapsed (FAQ 1.2.26); else nil

	Members []Standing // in the order of the group
	Next    time.Time  // when standby or ramp of a member ends next; zero: none is scheduled
}

// Standing is how a link in a group stands.
type Standing struct {
	Link   string    `json:"link"`
	ID     uint16    `json:"id"`
	Phase  Phase     `json:"phase"`
	Until  time.Time `json:"until,omitzero"` // of StandingBy and Ramping: when it ends
	Ramp   float64   `json:"ramp"`           // how much of its own share it may have, 0 to 1
	Active bool      `json:"active"`         // it takes part
	Busy   bool      `json:"busy,omitempty"`
	Full   bool      `json:"full,omitempty"`   // at its limit of connections, or the membership's
	Capped bool      `json:"capped,omitempty"` // at its rateLimit
	Slots  int       `json:"slots"`            // of SlotCount
}

// Share is the part of new connections that the link gets, 0 to 1, if neither
// persistence nor proximity speaks.
func (s *Standing) Share() float64 { return float64(s.Slots) / SlotCount }

// Phase is where a link in a group stands in its life.
type Phase uint8

// The phases.
const (
	Serving    Phase = iota
	Ramping          // it comes back, with a part of its share
	StandingBy       // it has come back, and has to prove itself
	Draining         // no new connections: an operator's word
	Out              // down, or held down
)

var phaseNames = [...]string{"serving", "ramp", "standby", "drain", "out"}

func (p Phase) String() string { return phaseNames[p] }

// MarshalText writes the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Tick says what the group is to be from now on. It is a function of what it is
// given:
//
//	rows ── who is alive, drains, stands by, ramps
//	  │
//	pick ── who takes part: priority, min, max, spill, busy, limits
//	  │      (for a link that ramps: in how much of the table)
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
	g.tell(in, &r, tr)
	return r, tr
}

// tell has the trace say what the table says: pick knows only who takes part of
// a group that goes by connections or a hash, and nothing of ramps and limits.
func (g *Group) tell(in Input, r *Result, tr *pick.Trace) {
	if r.Reason != pick.Chosen || len(tr.Slots) == 0 {
		return
	}
	slot := tr.Slots[len(tr.Slots)-1] // who chose
	slot.Shares = nil
	for i := range r.Members {
		s := &r.Members[i]
		if s.Slots > 0 {
			slot.Shares = append(slot.Shares, pick.ShareTrace{Member: s.Link, Percent: 100 * s.Share()})
		}
		if g.algorithm.Counts() && s.Active {
			live := at(in.Connections, int(s.ID))
			c := pick.CandidateTrace{Member: s.Link, Matched: !math.IsNaN(live), Text: "its connections are not known"}
			if c.Matched {
				c.Text = fmt.Sprintf("%.0f connections", live)
			}
			slot.Candidates = append(slot.Candidates, c)
		}
	}
}

func (g *Group) tick(in Input, load Load, was State, tr *pick.Trace) (State, Result) {
	n := len(g.Members)
	w := &work{Group: g, in: in, load: load, was: was, trace: tr,
		next: State{Ran: true, Members: make([]MemberState, n)},
		out:  Result{Members: make([]Standing, n)},
		own:  make([]pick.Condition, n)}
	numbers := make([]float64, 3*n)
	w.live, w.room, w.calm = numbers[:n], numbers[n:2*n], numbers[2*n:]
	usable := 0
	for i := range g.Members {
		w.stand(i)
		if p := w.out.Members[i].Phase; p == Serving || p == Ramping {
			usable++
		}
	}
	w.choose()
	w.sets()
	w.next.Up, w.out.Why = g.activate.next(was, usable, n)
	w.out.Up = w.next.Up
	w.next.Slots = w.out.Slots
	counts := make([]int, n)
	w.out.Slots.counts(g.place, counts)
	for i, c := range counts {
		w.out.Members[i].Slots = c
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

	live []float64 // connections of members' links; NaN: not known
	room []float64 // below the limits; +Inf: there is none
	calm []float64 // in how much of the table a member is not busy, 0 to 1
	own  []pick.Condition

	pieces []piece
}

// stand finds how a member stands by itself.
func (w *work) stand(i int) {
	m, s, now := &w.Members[i], &w.out.Members[i], &w.next.Members[i]
	before, known := w.was.member(m.ID, i)
	s.Link, s.ID, s.Ramp, w.calm[i] = m.Link, m.ID, 1, 1
	now.ID, now.Down, now.Back = m.ID, false, before.Back
	draining := false
	for _, id := range m.needs {
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
	w.count(i)
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
	s.Ramp, s.Until = w.slow.Share(now.Back, w.in.Now)
	switch {
	case s.Until.IsZero():
		now.Back = time.Time{}
		return
	case w.in.Now.Before(now.Back.Add(w.slow.Standby)):
		s.Phase = StandingBy
	default:
		s.Phase = Ramping
	}
	if w.out.Next.IsZero() || s.Until.Before(w.out.Next) {
		w.out.Next = s.Until
	}
}

// member finds what is kept of a link; it is looked for at its place first.
func (s *State) member(id uint16, place int) (MemberState, bool) {
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

// count fills in a member's connections and how many more it may have.
func (w *work) count(i int) {
	m, s := &w.Members[i], &w.out.Members[i]
	w.live[i] = at(w.in.Connections, int(m.ID))
	w.room[i] = math.Inf(1)
	for _, r := range [...]float64{m.linkMost - w.live[i], m.most - at(w.load.Connections, i)} {
		if !math.IsNaN(r) {
			w.room[i] = min(w.room[i], max(r, 0))
		}
	}
	s.Full = s.Full || w.room[i] < 1
}

// at gives NaN beyond the list.
func at(list []float64, i int) float64 {
	if i < len(list) {
		return list[i]
	}
	return math.NaN()
}

// A link that is at its rateLimit is so until it is below this share of it: a
// line that is shaped carries now a little more, now a little less than all.
const cappedUntil = 0.95

// capped says whether a link is at its rate limit in any direction: then it gets
// nothing new, neither by proximity (FAQ 1.2.19) nor by persistence without
// overrideLimit (FAQ 1.2.8, C2) nor by an algorithm (T27), unless all are so: the
// limit itself is the shaper's. It goes by what flows and not by what remains,
// which is of the limit that was when it was measured. What is not known changes
// nothing (T28).
func (m *Member) capped(gauges *status.Gauges, was bool) bool {
	if m.rateLimit == [busy.Directions]float64{} {
		return false
	}
	g, _ := gauges.Get(m.row)
	bound, known := 1.0, false
	if was {
		bound = cappedUntil
	}
	for d, limit := range m.rateLimit {
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
	if w.out.Reason != pick.Chosen {
		return
	}
	active := make([]bool, len(w.Members)) // in any piece: who has slots is available, or persistence would not keep what it learns
	for i := range active {
		active[i] = slices.ContainsFunc(w.pieces, func(p piece) bool { return p.active[i] })
		w.out.Members[i].Active = active[i]
	}
	if w.prefer != nil {
		w.hash()
		return
	}
	parts := make([]float64, len(w.Members))
	for _, p := range w.pieces {
		for i := range parts {
			parts[i] += (p.to - p.from) * p.parts[i]
		}
	}
	clip(parts, w.room, active, w.load.Arrivals.Expect(w.in.Every))
	counts := make([]int, len(parts))
	if w.algorithm == config.LinkBandwidth {
		if w.was.Slots.counts(w.place, counts); near(parts, counts) {
			w.out.Slots = w.was.Slots
			return
		}
	}
	apportion(parts, counts)
	w.out.Slots = w.was.Slots.toward(w.ids, w.place, counts)
}

// near says whether a table with these counts is near enough to what it should
// be that to write it would follow nothing but the noise of rates. Who has
// nothing gets nothing, and who has something does.
func near(parts []float64, counts []int) bool {
	for i, p := range parts {
		have, due := float64(counts[i]), p*SlotCount
		if (have == 0) != (due == 0) || math.Abs(due-have) > max(noiseSlots, noise*due) {
			return false
		}
	}
	return sum(counts) == SlotCount
}

// The bandwidth algorithm leaves a link's slots as they are while they differ
// from what is due by no more than so many, or by that part of it.
const (
	noiseSlots = 1.5
	noise      = 0.04
)

// sets fills in who is alive and available.
func (w *work) sets() {
	open := w.heedless()
	n := len(w.Members)
	memory := make(IDs, 3*n)
	alive, available, orBusy := memory[:0:n], memory[n:n:2*n], memory[2*n:2*n]
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
	}
	w.out.Alive, w.out.Available, w.out.AvailableOrBusy = alive, available, orBusy
}
