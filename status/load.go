package status

import (
	"slices"
	"time"
)

// Slices is how many slices clients are cut into, by a hash of their network,
// for links that shed some of them.
const Slices = 256

// Load is what who meters a thing says of it. It is a layer of its own over a
// row: who finds out its health does not touch it.
type Load struct {
	Busy bool   // over the threshold, not yet under recovery
	Full bool   // at its limit of connections
	Shed uint16 // how many of [Slices] slices of clients are to leave it, 0 to 256
	Why  string // one sentence with the figures
	By   string // who says so: link, a report, a node
}

// Mark says how loaded things are. What is the same as before makes no new
// table; a thing that has no row gets one, unknown, so that the word is not
// lost. It stands until the next Mark or [Board.Unmark].
func (b *Board) Mark(loads map[ID]Load) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mark(loads)
}

// Unmark takes back what Mark said of things that nobody meters any more.
func (b *Board) Unmark(ids ...ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := make(map[ID]Load, len(ids))
	for _, id := range ids {
		if _, ok := b.loads[id]; ok {
			free[id] = Load{Why: "nobody meters it", By: "config"}
		}
	}
	b.mark(free)
	for id := range free {
		delete(b.loads, id)
	}
	b.dropMarked(ids)
}

// mark writes loads into rows and publishes. The caller holds b.mu.
func (b *Board) mark(loads map[ID]Load) {
	now := time.Now()
	cur := b.table.Load()
	next := cur
	var changed []ID
	for _, id := range sortedIDs(loads) {
		l := loads[id]
		old, ok := next.Lookup(id)
		if ok && old.Busy == l.Busy && old.Full == l.Full && old.Shed == l.Shed {
			b.loads[id] = load{Load: l, since: old.LoadSince}
			continue
		}
		row := Row{ID: id, Since: now, Why: noRow.Why, By: byLoad}
		if ok {
			row = *old
		}
		b.loads[id] = load{Load: l, since: now}
		b.loads[id].into(&row)
		if next == cur {
			next = cur.clone()
		}
		next.set(&row)
		changed = append(changed, id)
		b.noteLoad(old, &row, l.By, now)
	}
	b.publish(next, changed)
}

// load is a Load with its time.
type load struct {
	Load
	since time.Time
}

func (l load) into(r *Row) {
	r.Busy, r.Full, r.Shed, r.LoadSince, r.LoadWhy = l.Busy, l.Full, l.Shed, l.since, l.Why
}

// byLoad marks the row of a thing that is metered and not known otherwise.
const byLoad = "meter"

// dropMarked removes rows that only a Mark had made. The caller holds b.mu.
func (b *Board) dropMarked(ids []ID) {
	next := b.table.Load()
	var changed []ID
	for _, id := range ids {
		if r, ok := next.Lookup(id); ok && r.By == byLoad && r.Hold == nil {
			if changed == nil {
				next = next.clone()
			}
			next.rows[next.index[id]] = nil
			changed = append(changed, id)
		}
	}
	if changed != nil {
		next.compact()
		b.publish(next, changed)
	}
}

// noteLoad records a change of load as an event, from one that was there to
// another. Slices that come and go one after another are told like the rest.
func (b *Board) noteLoad(old, r *Row, by string, now time.Time) {
	from := "new"
	if old != nil {
		from = old.describe()
	}
	if to := r.describe(); to != from && !(old == nil && !r.Busy && !r.Full && r.Shed == 0) {
		b.events.add(Event{Time: now, ID: r.ID, Old: from, New: to, Why: r.LoadWhy, By: by})
	}
}

func sortedIDs(loads map[ID]Load) []ID {
	ids := make([]ID, 0, len(loads))
	for id := range loads {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
