package status

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Board owns the current [Table]. Its methods may be called from any
// goroutine; [Board.Table] never waits for the others.
type Board struct {
	table  atomic.Pointer[Table]
	gauges atomic.Pointer[Gauges]
	events *ring

	mu      sync.Mutex // guards everything that makes a new table
	holds   map[ID]*Hold
	loads   map[ID]load // what Mark said
	expiry  map[ID]*time.Timer
	prepare []*preparer
}

// preparer is one registration with Prepare; a pointer, so that it can be
// found again among others that registered the same function.
type preparer struct {
	f func(next *Table, changed []ID)
}

// NewBoard gives an empty board that remembers the last events of it.
func NewBoard(events int) *Board {
	b := &Board{events: newRing(events), holds: map[ID]*Hold{}, loads: map[ID]load{}, expiry: map[ID]*time.Timer{}}
	b.table.Store(&Table{})
	return b
}

// Table gives the rows as they stand: one atomic load.
func (b *Board) Table() *Table { return b.table.Load() }

// Prepare registers f to be called with each new table and the ids that
// changed in it, before readers see it. f runs under the board's lock: it must
// be quick and must not call the board's writing methods. It returns a
// function that takes f out again.
func (b *Board) Prepare(f func(next *Table, changed []ID)) (cancel func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &preparer{f}
	b.prepare = append(b.prepare, p)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.prepare = slices.DeleteFunc(b.prepare, func(o *preparer) bool { return o == p })
	}
}

// Still calls f with the current table while no other can be published: for
// those who put something new beside it. f must be quick and must not call the
// board's writing methods.
func (b *Board) Still(f func(t *Table)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b.table.Load())
}

// Update writes rows and publishes a new table if any of them changed. Hold and
// load are the board's own, from [Board.Hold] and [Board.Mark]: what rows carry
// there is ignored. A zero Since means now if
// Health changed, else the old Since.
func (b *Board) Update(rows ...Row) {
	b.change(rows, nil)
}

// Replace is Update for a new plan: rows in gone leave the table in the same
// step. Those that are held or loaded stay, unknown, for the thing may come back.
func (b *Board) Replace(rows []Row, gone []ID) {
	b.change(rows, gone)
}

func (b *Board) change(rows []Row, gone []ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	// Most updates change nothing, so the table is copied only when one does.
	cur := b.table.Load()
	next := cur
	var changed []ID
	edit := func(id ID) *Table {
		if next == cur {
			next = cur.clone()
		}
		changed = append(changed, id)
		return next
	}
	for i := range rows {
		old, _ := next.Lookup(rows[i].ID)
		r := b.complete(rows[i], old, now)
		if old == nil || !old.same(r) {
			edit(r.ID).set(r)
			b.note(old, r, now)
		}
	}
	for _, id := range gone {
		if _, ok := next.Lookup(id); ok {
			t := edit(id)
			t.rows[t.index[id]] = b.bare(id, now)
		}
	}
	if len(gone) > 0 && next != cur {
		next.compact()
	}
	b.publish(next, changed)
}

// complete fills in what the board itself knows of a row that is written over
// old, which is nil for a new one.
func (b *Board) complete(r Row, old *Row, now time.Time) *Row {
	r.Hold = b.holds[r.ID]
	b.loads[r.ID].into(&r)
	if r.Since.IsZero() {
		r.Since = now
		if old != nil && old.Health == r.Health {
			r.Since = old.Since
		}
	}
	return &r
}

// byHold and byLoad mark the bare row of a thing that is held or loaded and
// that nobody writes.
const (
	byHold = "hold"
	byLoad = "meter"
)

// bare is the row of a thing that nobody writes and that is held or loaded: it
// is there so that this is respected from the first moment that something needs
// it. It is nil if it is neither.
func (b *Board) bare(id ID, now time.Time) *Row {
	r := &Row{ID: id, Since: now, Why: noRow.Why, By: byLoad, Hold: b.holds[id]}
	l, loaded := b.loads[id]
	switch {
	case r.Hold != nil:
		r.By = byHold
	case !loaded:
		return nil
	}
	l.into(r)
	return r
}

func (r *Row) isBare() bool { return r.By == byHold || r.By == byLoad }

// compact drops the slots of removed rows, so that churn leaves nothing behind.
func (t *Table) compact() {
	index := make(map[ID]int, len(t.index))
	rows := make([]*Row, 0, len(t.rows))
	for _, r := range t.rows {
		if r != nil {
			index[r.ID] = len(rows)
			rows = append(rows, r)
		}
	}
	t.index, t.rows = index, rows
}

func (b *Board) publish(next *Table, changed []ID) {
	if len(changed) == 0 {
		return
	}
	next.gen = b.table.Load().gen + 1
	for _, p := range b.prepare {
		p.f(next, changed)
	}
	b.table.Store(next)
}

// note records what happened to a row as an event.
func (b *Board) note(old, r *Row, now time.Time) {
	from := "new"
	if old != nil {
		from = old.describe()
	}
	quiet := old == nil && r.Health == Unknown && !r.Busy && !r.Full && r.Shed == 0
	if to := r.describe(); to != from && !quiet {
		b.events.add(Event{Time: now, ID: r.ID, Old: from, New: to, Why: r.Why, By: r.By})
	}
}

// describe names the state of a row in one short text, as events show it.
func (r *Row) describe() string {
	s := r.Health.String()
	if r.Waiting {
		s = "waiting"
	}
	if load := r.Load(); load != "" {
		s += " " + load
	}
	return s
}

// Load names how loaded a row is: busy, full, the slices that it sheds, or
// several of these; empty if nothing of it.
func (r *Row) Load() string {
	var words []string
	if r.Busy {
		words = append(words, "busy")
	}
	if r.Full {
		words = append(words, "full")
	}
	if r.Shed > 0 {
		words = append(words, fmt.Sprintf("sheds %d/%d", r.Shed, Slices))
	}
	return strings.Join(words, " ")
}

// Hold puts an operator's word on a row. If nobody writes that row yet it comes
// into being, unknown but held, and stays until it is released. A hold whose Until has passed is refused. A zero At means now.
func (b *Board) Hold(id ID, h Hold) error {
	now := time.Now()
	if !h.Until.IsZero() && !h.Until.After(now) {
		return fmt.Errorf("hold on %s would end in the past, at %s", id, h.Until.Format(time.RFC3339))
	}
	if h.At.IsZero() {
		h.At = now
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setHold(id, &h, "held "+h.State.String(), h.Reason, h.By)
	if !h.Until.IsZero() {
		b.expiry[id] = time.AfterFunc(time.Until(h.Until), func() { b.expire(id, &h) })
	}
	return nil
}

// Release ends a hold. It reports whether there was one.
func (b *Board) Release(id ID, reason, by string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holds[id] == nil {
		return false
	}
	b.setHold(id, nil, "released", reason, by)
	return true
}

// expire releases a hold whose time is over, unless another has taken its place.
func (b *Board) expire(id ID, h *Hold) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.holds[id] == h {
		b.setHold(id, nil, "released", "its time is over", "clock")
	}
}

// setHold changes the hold of a row and publishes.
// The caller holds b.mu.
func (b *Board) setHold(id ID, h *Hold, what, why, by string) {
	if t := b.expiry[id]; t != nil {
		t.Stop()
		delete(b.expiry, id)
	}
	if h == nil {
		delete(b.holds, id)
	} else {
		b.holds[id] = h
	}
	b.events.add(Event{Time: time.Now(), ID: id, Old: "", New: what, Why: why, By: by})
	next := b.table.Load().clone()
	switch r, ok := next.Lookup(id); {
	case !ok && h == nil:
		return
	case !ok:
		next.set(b.bare(id, time.Now()))
	case r.isBare():
		next.rows[next.index[id]] = b.bare(id, r.Since)
		next.compact()
	default:
		row := *r
		row.Hold = h
		next.set(&row)
	}
	b.publish(next, []ID{id})
}

// Holds gives every hold in force, also those on rows that do not exist now.
func (b *Board) Holds() map[ID]Hold {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.copyHolds()
}

func (b *Board) copyHolds() map[ID]Hold {
	holds := make(map[ID]Hold, len(b.holds))
	for id, h := range b.holds {
		holds[id] = *h
	}
	return holds
}

// RestoreHolds puts back holds that were kept from an earlier run. Those whose
// time has passed are left out.
func (b *Board) RestoreHolds(holds map[ID]Hold) {
	for _, id := range slices.Sorted(maps.Keys(holds)) {
		// An error here means its time is over, which is how a hold ends.
		_ = b.Hold(id, holds[id])
	}
}

// Events gives the remembered events, oldest first, that came after seq (0:
// all).
func (b *Board) Events(after uint64) []Event { return b.events.list(after) }
