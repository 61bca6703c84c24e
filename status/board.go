package status

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Board owns the current [Table]. Its methods may be called from any
// goroutine; [Board.Table] never waits for the others.
type Board struct {
	table  atomic.Pointer[Table]
	events *ring

	mu      sync.Mutex // guards everything that makes a new table
	holds   map[ID]*Hold
	expiry  map[ID]*time.Timer
	prepare []func(*Table, []ID)
	onHolds func(map[ID]Hold)
}

// NewBoard gives an empty board that remembers the last events of it.
func NewBoard(events int) *Board {
	b := &Board{events: newRing(events), holds: map[ID]*Hold{}, expiry: map[ID]*time.Timer{}}
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
	i := len(b.prepare)
	b.prepare = append(b.prepare, f)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.prepare[i] = nil
	}
}

// Update writes rows and publishes a new table if any of them changed. Hold is
// the board's own: what rows carry there is ignored. A zero Since means now if
// Health changed, else the old Since.
func (b *Board) Update(rows ...Row) {
	b.change(rows, nil)
}

// Replace is Update for a new plan: rows in gone leave the table in the same
// step. Their holds stay, for the thing may come back.
func (b *Board) Replace(rows []Row, gone []ID) {
	b.change(rows, gone)
}

func (b *Board) change(rows []Row, gone []ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	cur := b.table.Load()
	next := cur.clone()
	var changed []ID
	for i := range rows {
		r := rows[i]
		r.Hold = b.holds[r.ID]
		old, known := next.Lookup(r.ID)
		if r.Since.IsZero() {
			r.Since = now
			if known && old.Health == r.Health {
				r.Since = old.Since
			}
		}
		if known && old.same(&r) {
			continue
		}
		next.set(&r)
		changed = append(changed, r.ID)
		b.note(old, &r, now)
	}
	for _, id := range gone {
		if i, ok := next.index[id]; ok && next.rows[i] != nil {
			next.rows[i] = nil
			changed = append(changed, id)
		}
	}
	if len(gone) > 0 {
		next.compact()
	}
	b.publish(next, changed)
}

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
	for _, f := range b.prepare {
		if f != nil {
			f(next, changed)
		}
	}
	b.table.Store(next)
}

// note records what happened to a row as an event.
func (b *Board) note(old, r *Row, now time.Time) {
	from := "new"
	if old != nil {
		from = old.describe()
	}
	if to := r.describe(); to != from && !(old == nil && r.Health == Unknown) {
		b.events.add(Event{Time: now, ID: r.ID, Old: from, New: to, Why: r.Why, By: r.By})
	}
}

// describe names the state of a row in one short text, as events show it.
func (r *Row) describe() string {
	s := r.Health.String()
	if r.Waiting {
		s = "waiting"
	}
	if r.Busy {
		s += " busy"
	}
	if r.Full {
		s += " full"
	}
	return s
}

// Hold puts an operator's word on a row; the row need not exist yet. A hold
// whose Until has passed is refused.
func (b *Board) Hold(id ID, h Hold) error {
	if !h.Until.IsZero() && !h.Until.After(time.Now()) {
		return fmt.Errorf("hold on %s would end in the past, at %s", id, h.Until.Format(time.RFC3339))
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

// setHold changes the hold of a row, publishes, and tells the keeper.
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
	if r, ok := b.table.Load().Lookup(id); ok {
		next := b.table.Load().clone()
		row := *r
		row.Hold = h
		next.set(&row)
		b.publish(next, []ID{id})
	}
	if b.onHolds != nil {
		b.onHolds(b.copyHolds())
	}
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

// OnHolds registers the one keeper of holds: f is called with all of them
// after each change, under the board's lock.
func (b *Board) OnHolds(f func(map[ID]Hold)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onHolds = f
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
