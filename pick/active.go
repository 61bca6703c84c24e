package pick

import (
	"cmp"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/portolan-lb/portolan/status"
)

// activeSet is who takes part, for the rows it was made from.
type activeSet struct {
	members  []*Member
	reason   Reason // Chosen when members is not empty
	lapsed   bool   // all that take part are busy
	panicked bool   // health is ignored
	waiting  bool   // a member's first result is still to come

	busy     []*status.Row // that count as busy for these clients (see shed.go)
	sheds    []shedding    // rows that may count as busy for others
	variants variants      // the sets for those

	rows  []*status.Row                // of Group.needs, in that order
	valid atomic.Pointer[status.Table] // the last table in which these rows stood
}

// Active gives the members that take part and are not left out as busy or
// full, in stable order. The slice is shared.
func (g *Group) Active(t *status.Table) []*Member { return g.active(t).members }

// Lapsed says whether busy protection lapsed, for all that take part are busy
// (FAQ 1.2.26).
func (g *Group) Lapsed(t *status.Table) bool { return g.active(t).lapsed }

// LapsedBy gives the rows that are busy, each once, where busy protection
// lapsed; nil where it did not.
func (g *Group) LapsedBy(t *status.Table) []status.ID {
	if !g.Lapsed(t) {
		return nil
	}
	return g.appendBusy(nil, t)
}

func (g *Group) appendBusy(into []status.ID, t *status.Table) []status.ID {
	for _, m := range g.Active(t) {
		for _, id := range m.Needs {
			if r := t.Row(id); (r.Busy || r.Shed >= status.Slices) && !slices.Contains(into, id) {
				into = append(into, id)
			}
		}
		if m.Group != nil {
			into = m.Group.appendBusy(into, t)
		}
	}
	return into
}

// Epoch is what a group's choices rest on for one table, besides the client:
// as long as it is the same, equal input gets equal shares.
type Epoch struct {
	set    *activeSet
	gauges *status.Gauges // nil where no slot reads them
}

// Epoch gives the epoch for a table and live numbers. Tables in which the same
// rows stand share one, and so do all gauges where no slot reads them.
func (g *Group) Epoch(t *status.Table, live *status.Gauges) Epoch {
	e := Epoch{set: g.active(t)}
	if g.live {
		e.gauges = live
	}
	return e
}

// Leaves gives the members that take part, with nested groups opened.
func (g *Group) Leaves(t *status.Table) []*Member { return g.appendLeaves(nil, t) }

func (g *Group) appendLeaves(into []*Member, t *status.Table) []*Member {
	for _, m := range g.Active(t) {
		if m.Group != nil {
			into = m.Group.appendLeaves(into, t)
		} else {
			into = append(into, m)
		}
	}
	return into
}

// Usable gives the leaves that are up or unknown and not held, of every
// priority, nested ones included.
func (g *Group) Usable(t *status.Table) []*Member {
	return g.appendMembers(nil, t, (*status.Row).Usable)
}

// State gives how a choice that no algorithm declines would end, and whether a
// member's first result is still to come.
func (g *Group) State(t *status.Table) (reason Reason, waiting bool) {
	a := g.active(t)
	return a.reason, a.waiting
}

// Use makes the set for t the one that Active gives without work. The owner
// calls it when a row of Needs changes, for nested groups first, so that no
// query has to.
func (g *Group) Use(t *status.Table) { g.current.Store(g.evaluate(t, nil, nil, nil)) }

// active gives the set for t: the current one if no row that it was made from
// has moved (T25), else a new one.
func (g *Group) active(t *status.Table) *activeSet {
	a := g.current.Load()
	if a != nil {
		if a.valid.Load() == t {
			return a
		}
		if a.standsIn(t, g.needs) {
			a.valid.Store(t)
			return a
		}
	}
	fresh := g.evaluate(t, nil, nil, nil)
	if a == nil {
		g.current.CompareAndSwap(nil, fresh)
	}
	return fresh
}

func (a *activeSet) standsIn(t *status.Table, needs []status.ID) bool {
	for i, id := range needs {
		if t.Row(id) != a.rows[i] {
			return false
		}
	}
	return true
}

// standing is one member's state, from the rows it needs.
type standing struct {
	*Member
	down, held, busy, full bool
	row                    *status.Row // that takes it out, held or down; nil if usable
	busyRow, fullRow       *status.Row // that load it; nil if only a group below is so
	shed                   bool        // busyRow is busy for this client alone
	own                    Condition   // what the owner says beside the rows
}

func (s standing) out() bool { return s.down || s.held }

// stand combines the rows of a member: the first bad one speaks for it, an
// operator's word before a probe's. The rows of shed count as busy.
func (m *Member) stand(t *status.Table, shed []*status.Row, own []Condition) (s standing, waiting bool) {
	s.Member = m
	for _, id := range m.Needs {
		r := t.Row(id)
		waiting = waiting || r.Waiting
		switch {
		case s.busy:
		case r.Busy || r.Shed >= status.Slices:
			s.busy, s.busyRow = true, r
		case slices.Contains(shed, r):
			s.busy, s.busyRow, s.shed = true, r, true
		}
		if r.Full && !s.full {
			s.full, s.fullRow = true, r
		}
		switch {
		case r.Held() && !s.held:
			s.held, s.row = true, r
		case !r.Usable() && !s.out():
			s.down, s.row = true, r
		}
	}
	if m.Index < len(own) {
		s.own = own[m.Index]
		s.down = s.down || s.own.Aside && !s.held
		s.busy, s.full = s.busy || s.own.Busy, (s.full || s.own.Full) && !s.own.Unbounded
	}
	if m.Group != nil && !s.out() {
		a := m.Group.activeAs(t, shed, own)
		waiting = waiting || a.waiting
		s.busy = s.busy || a.lapsed
		s.full = s.full || a.reason == Full
		s.down, s.held = a.reason == Down, a.reason == Held
	}
	return s, waiting
}

// evaluate says who takes part:
//
//	all members ── held or down? ──────────────── out, unless panic ignores health
//	     │         fewer than the quorum are left: all are out
//	     │ usable
//	weight 0? ──── reserve: only if no other member is usable
//	     │
//	levels, highest priority first; whole levels until min, cut at max (1.1.14)
//	     │            spill decides whether down, busy, full members hold their
//	     │            place in a level or make room (1.2.13, 1.2.14, C3)
//	     ├─ full ── out; all full: Full, no lower level (T24)
//	     └─ busy ── out; all busy: protection lapses, all in (1.2.26)
//
// The rows of shed count as busy, for clients whom they shed; own is what the
// owner says of members beside their rows.
func (g *Group) evaluate(t *status.Table, shed []*status.Row, own []Condition, tr *Trace) *activeSet {
	a := &activeSet{rows: make([]*status.Row, len(g.needs)), busy: shed, sheds: g.shedding(t)}
	for i, id := range g.needs {
		a.rows[i] = t.Row(id)
	}
	a.valid.Store(t)
	e := evaluation{group: g, set: a, all: make([]standing, len(g.members))}
	for i, m := range g.members {
		var waiting bool
		e.all[i], waiting = m.stand(t, shed, own)
		a.waiting = a.waiting || waiting
	}
	e.panicked = g.ignoreHealth(e.all)
	e.short = !e.panicked && g.tooFew(e.all)
	first, reserve := splitReserve(e.all)
	if !slices.ContainsFunc(first, usable) && slices.ContainsFunc(reserve, usable) {
		first, e.reserve = reserve, true
	}
	e.part = g.participants(first)
	a.members, a.lapsed = g.filter(e.part)
	a.reason, a.panicked = e.reason(), e.panicked
	if tr != nil {
		tr.standings(t, &e)
	}
	return a
}

// evaluation is the work of one evaluate, for the trace.
type evaluation struct {
	group    *Group
	set      *activeSet
	all      []standing
	part     []standing // those that take part, before filter
	panicked bool       // health was ignored
	short    bool       // fewer are usable than the quorum
	reserve  bool       // the reserves serve
}

func usable(s standing) bool { return !s.out() }

// ignoreHealth applies panic: with fewer usable members than the share, all
// that nobody holds count as up.
func (g *Group) ignoreHealth(all []standing) bool {
	if !below(g.rules.Panic, all) {
		return false
	}
	for i := range all {
		if all[i].Group == nil { // a nested group with nobody in it has nobody to give
			all[i].down = false
		}
	}
	return true
}

// below says whether the usable members are fewer than a share, in percent, of
// those that nobody holds.
func below(share int, all []standing) bool {
	up, free := 0, 0
	for _, s := range all {
		if !s.held {
			free++
		}
		if !s.out() {
			up++
		}
	}
	return up*100 < share*free
}

// tooFew applies the quorum: with fewer usable members than the share, all that
// nobody holds count as down, so that whoever nests the group goes on.
func (g *Group) tooFew(all []standing) bool {
	if !below(g.rules.Quorum, all) {
		return false
	}
	for i := range all {
		all[i].down = true
	}
	return true
}

func splitReserve(all []standing) (first, reserve []standing) {
	for _, s := range all {
		if s.Weight == 0 {
			reserve = append(reserve, s)
		} else {
			first = append(first, s)
		}
	}
	return first, reserve
}

// participants takes whole levels until min is reached and cuts at max. A
// member that its state makes room for (spill) takes no place; busy ones make
// room only while somebody else is there to serve.
func (g *Group) participants(all []standing) []standing {
	var part []standing
	for _, s := range all {
		switch {
		case s.out() && g.rules.Spill&SpillDown != 0:
		case s.full && g.rules.Spill&SpillFull != 0:
		default:
			part = append(part, s)
		}
	}
	if g.rules.Spill&SpillBusy != 0 && g.rules.BusyProtection {
		idle := slices.DeleteFunc(slices.Clone(part), func(s standing) bool { return s.busy && !s.out() })
		if slices.ContainsFunc(idle, func(s standing) bool { return !s.out() && !s.full }) {
			part = idle
		}
	}
	if len(part) == 0 { // those that made room for nobody: full ones say so
		part = slices.DeleteFunc(slices.Clone(all), standing.out)
	}
	slices.SortStableFunc(part, func(a, b standing) int { return cmp.Compare(b.Priority, a.Priority) })
	n := 0
	for n < len(part) && (n < max(g.rules.Min, 1) || part[n].Priority == part[n-1].Priority) {
		n++
	}
	if g.rules.Max > 0 {
		n = min(n, g.rules.Max)
	}
	return part[:n]
}

// filter leaves out what is down, full or busy among those that take part.
func (g *Group) filter(part []standing) (members []*Member, lapsed bool) {
	var free, busy []*Member
	for _, s := range part {
		switch {
		case s.out(), s.full:
		case s.busy && g.rules.BusyProtection, s.own.Busy:
			busy = append(busy, s.Member)
		default:
			free = append(free, s.Member)
		}
	}
	if len(free) > 0 {
		return free, false
	}
	return busy, len(busy) > 0
}

// reason says why nobody is left: Held only if an operator holds every member
// of the group, so that a hold beside a failure still fails open.
func (e *evaluation) reason() Reason {
	switch {
	case len(e.set.members) > 0:
		return Chosen
	case slices.ContainsFunc(e.part, func(s standing) bool { return !s.out() && s.full }):
		return Full
	case len(e.all) > 0 && !slices.ContainsFunc(e.all, func(s standing) bool { return !s.held }):
		return Held
	default:
		return Down
	}
}

// Free gives the leaves that no operator holds, nested ones included: who may
// answer when health is to be ignored.
func (g *Group) Free(t *status.Table) []*Member {
	return g.appendMembers(nil, t, func(r *status.Row) bool { return !r.Held() })
}

// appendMembers appends the leaves whose rows are all good.
func (g *Group) appendMembers(into []*Member, t *status.Table, good func(*status.Row) bool) []*Member {
	for _, m := range g.members {
		switch {
		case slices.ContainsFunc(m.Needs, func(id status.ID) bool { return !good(t.Row(id)) }):
		case m.Group != nil:
			into = m.Group.appendMembers(into, t, good)
		default:
			into = append(into, m)
		}
	}
	return into
}

// why says in one sentence whether a member takes part.
func (e *evaluation) why(s standing) (active bool, why string) {
	active = slices.Contains(e.set.members, s.Member)
	inPart := slices.ContainsFunc(e.part, func(p standing) bool { return p.Member == s.Member })
	switch {
	case active && e.set.lapsed:
		return true, s.tellLoad(s.busyWord()+", but all that take part are", s.busyRow)
	case active && e.panicked && s.row != nil:
		return true, s.blame("health ignored")
	case active:
		return true, s.own.Why
	case s.held:
		return false, s.blame("held")
	case s.down && s.own.Aside && s.row == nil:
		return false, s.own.told("not yet in service")
	case s.down && e.short && s.row == nil:
		return false, "usable, but fewer than the quorum are"
	case s.down:
		return false, s.blame("down")
	case inPart && s.full, s.full && e.group.rules.Spill&SpillFull != 0:
		return false, s.tellLoad("full", s.fullRow)
	case inPart && (s.busy || s.own.Busy), s.busy && e.group.rules.Spill&SpillBusy != 0:
		return false, s.tellLoad(s.busyWord(), s.busyRow)
	case s.Weight == 0 && !e.reserve:
		return false, "a reserve (weight 0): others are usable"
	case s.Weight != 0 && e.reserve:
		return false, "not usable: the reserves serve"
	default:
		return false, fmt.Sprintf("priority %d: enough members of higher priority take part", s.Priority)
	}
}

// blame adds the row that takes a member out.
func (s standing) blame(what string) string {
	r := s.row
	switch {
	case r == nil || r.ID == "":
		return what
	case s.held && r.Hold != nil:
		return fmt.Sprintf("%s: %s is held %s by %s: %s", what, r.ID, r.Hold.State, r.Hold.By, r.Hold.Reason)
	default:
		return fmt.Sprintf("%s: %s is %s: %s", what, r.ID, r.Health, r.Why)
	}
}

// busyWord says for whom a member is busy.
func (s standing) busyWord() string {
	if s.shed {
		return "busy for this client's slice"
	}
	return "busy"
}

// tellLoad adds who says so: a row, or else the owner.
func (s standing) tellLoad(what string, r *status.Row) string {
	if r == nil && s.own != (Condition{}) {
		return s.own.told(what)
	}
	return loaded(what, r)
}

// loaded adds the row that is busy or full, with its figures.
func loaded(what string, r *status.Row) string {
	if r == nil || r.ID == "" {
		return what
	}
	why := r.LoadWhy
	if why == "" { // a row that was not written by [status.Board.Mark]
		why = r.Why
	}
	return fmt.Sprintf("%s: %s: %s", what, r.ID, why)
}
