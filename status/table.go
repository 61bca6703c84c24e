package status

import (
	"iter"
	"maps"
	"slices"
)

// Table is all rows at one moment. It is immutable and safe for any number of
// readers. A row that did not change keeps its address from one table to the
// next, so a reader can compare pointers to see whether anything it depends on
// has moved.
type Table struct {
	gen   uint64
	index map[ID]int // shared between tables until a row is added or removed
	owned bool       // index is this table's own copy; only while it is being made
	rows  []*Row     // nil where a row was removed
}

var noRow = &Row{Why: "nothing probes it"}

// Row gives the row of id. For an id that nobody writes it gives an unknown,
// usable row that is the same pointer every time (C1), so that a reference is
// never nil.
func (t *Table) Row(id ID) *Row {
	if i, ok := t.index[id]; ok && t.rows[i] != nil {
		return t.rows[i]
	}
	return noRow
}

// Lookup is Row for those who must tell a missing row from an unknown one.
func (t *Table) Lookup(id ID) (*Row, bool) {
	if i, ok := t.index[id]; ok && t.rows[i] != nil {
		return t.rows[i], true
	}
	return nil, false
}

// Generation counts tables of one board; it rises by one with each.
func (t *Table) Generation() uint64 { return t.gen }

// All yields every row, ordered by id.
func (t *Table) All() iter.Seq[*Row] {
	return func(yield func(*Row) bool) {
		for _, id := range slices.Sorted(maps.Keys(t.index)) {
			if r, ok := t.Lookup(id); ok && !yield(r) {
				return
			}
		}
	}
}

// With gives a table in which the given rows take the place of the present
// ones: for explain and plan, which ask what would be. The board knows nothing
// of it.
func (t *Table) With(rows ...Row) *Table {
	next := t.clone()
	for i := range rows {
		r := rows[i]
		next.set(&r)
	}
	return next
}

func (t *Table) clone() *Table {
	return &Table{gen: t.gen, index: t.index, rows: slices.Clone(t.rows)}
}

// set puts a row into a table that is still being made.
func (t *Table) set(r *Row) {
	if i, ok := t.index[r.ID]; ok {
		t.rows[i] = r
		return
	}
	if !t.owned {
		index := make(map[ID]int, len(t.index)+1)
		maps.Copy(index, t.index)
		t.index, t.owned = index, true
	}
	t.index[r.ID] = len(t.rows)
	t.rows = append(t.rows, r)
}
