package status

import (
	"maps"
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

// load is a Load with the time since when it stands so.
type load struct {
	Load
	since time.Time
}

func (l load) into(r *Row) {
	r.Busy, r.Full, r.Shed, r.LoadSince, r.LoadWhy = l.Busy, l.Full, l.Shed, l.since, l.Why
}

func (l load) same(o Load) bool { return l.Busy == o.Busy && l.Full == o.Full && l.Shed == o.Shed }

// Mark says how loaded things are, until the next Mark or [Board.Unmark]. What
// stands as before makes no new table, whatever its sentence says. A thing that
// has no row gets one, unknown, so that the word is not lost.
func (b *Board) Mark(loads map[ID]Load) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	e := b.edit()
	for _, id := range slices.Sorted(maps.Keys(loads)) {
		was, marked := b.loads[id]
		if marked && was.same(loads[id]) {
			continue
		}
		b.loads[id] = load{loads[id], now}
		e.reload(id, now, loads[id].By)
	}
	e.publish()
}

// Unmark takes back what Mark said of things that nobody meters any more. by is
// why: a reload, as a rule.
func (b *Board) Unmark(by string, ids ...ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	e := b.edit()
	for _, id := range ids {
		if _, marked := b.loads[id]; marked {
			delete(b.loads, id)
			e.reload(id, now, by)
		}
	}
	e.publish()
}

// edit is a change of the table by load alone. The caller holds Board.mu.
type edit struct {
	*Board
	next    *Table
	changed []ID
	removed bool
}

func (b *Board) edit() *edit { return &edit{Board: b, next: b.table.Load()} }

// reload writes what is in force on a thing into its row, or removes a bare row
// on which nothing is.
func (e *edit) reload(id ID, now time.Time, by string) {
	if e.changed == nil {
		e.next = e.next.clone()
	}
	e.changed = append(e.changed, id)
	old, ok := e.next.Lookup(id)
	row := e.bare(id, now)
	if ok && !old.isBare() {
		copied := *old
		row = &copied
		e.loads[id].into(row)
	}
	if row == nil {
		e.next.rows[e.next.index[id]], e.removed = nil, true
		e.note(old, &Row{ID: id, By: by}, now)
		return
	}
	e.next.set(row)
	told := *row
	told.Why, told.By = row.LoadWhy, by
	e.note(old, &told, now)
}

func (e *edit) publish() {
	if e.removed {
		e.next.compact()
	}
	e.Board.publish(e.next, e.changed)
}
