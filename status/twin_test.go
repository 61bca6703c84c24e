package status

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// twin is the slow obvious board: a map a layer. A thing has a row as long as
// any layer says something of it.
type twin struct {
	rows  map[ID]Row
	holds map[ID]Hold
	loads map[ID]Load
}

func (w *twin) row(id ID) (Row, bool) {
	r, ok := w.rows[id]
	r.ID, r.Busy = id, false // load is not theirs to say
	if h, held := w.holds[id]; held {
		r.Hold, ok = &h, true
	}
	if l, loaded := w.loads[id]; loaded {
		r.Busy, r.Full, r.Shed, ok = l.Busy, l.Full, l.Shed, true
	}
	return r, ok
}

// look shows a row as far as decisions depend on it.
func look(r *Row) string {
	s := fmt.Sprint(r.ID, r.Health, r.Busy, r.Full, r.Shed, r.Waiting)
	if r.Hold != nil {
		s += fmt.Sprint(r.Hold.State, r.Hold.Reason)
	}
	return s
}

func show(t *Table) map[ID]string {
	m := map[ID]string{}
	for r := range t.All() {
		m[r.ID] = look(r)
	}
	return m
}

func TestBoardAgreesWithTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := NewBoard(16)
		w := &twin{map[ID]Row{}, map[ID]Hold{}, map[ID]Load{}}
		type kept struct {
			table *Table
			shown map[ID]string
		}
		var past []kept
		var prepared []ID
		b.Prepare(func(_ *Table, changed []ID) { prepared = append(prepared, changed...) })

		id := rapid.Custom(func(t *rapid.T) ID { return ID(fmt.Sprintf("link/%d", rapid.IntRange(0, 5).Draw(t, "id"))) })
		row := rapid.Custom(func(t *rapid.T) Row {
			return Row{ID: id.Draw(t, "row"), Health: Health(rapid.IntRange(0, 2).Draw(t, "health")), Busy: true}
		})

		load := rapid.Custom(func(t *rapid.T) Load {
			return Load{Busy: rapid.Bool().Draw(t, "busy"), Full: rapid.Bool().Draw(t, "full"), Shed: rapid.Uint16Range(0, Slices).Draw(t, "shed")}
		})

		check := func(before *Table) {
			now, want := show(b.Table()), map[ID]string{}
			for i := range 6 {
				if r, ok := w.row(ID(fmt.Sprintf("link/%d", i))); ok {
					want[r.ID] = look(&r)
				}
			}
			if !maps.Equal(now, want) {
				t.Fatalf("board %v\ntwin  %v", now, want)
			}
			if before != b.Table() {
				past = append(past, kept{b.Table(), now})
			}
			for _, id := range []ID{"link/0", "link/1", "link/2", "link/3", "link/4", "link/5"} {
				moved := before.Row(id) != b.Table().Row(id)
				if moved != slices.Contains(prepared, id) {
					t.Fatalf("%s moved: %v, but prepared says %v", id, moved, prepared)
				}
			}
			if moved := before != b.Table(); moved != (len(prepared) > 0) {
				t.Fatalf("new table: %v, prepared %v", moved, prepared)
			}
		}

		act := func(f func()) func(*rapid.T) {
			return func(*rapid.T) {
				before := b.Table()
				prepared = nil
				f()
				check(before)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"update": act(func() {
				rows := rapid.SliceOfN(row, 0, 3).Draw(t, "rows")
				b.Update(rows...)
				for _, r := range rows {
					w.rows[r.ID] = r
				}
			}),
			"replace": act(func() {
				// A plan does not both write and drop a row.
				r, gone := row.Draw(t, "row"), rapid.SliceOfN(id, 0, 3).Draw(t, "gone")
				gone = slices.DeleteFunc(gone, func(id ID) bool { return id == r.ID })
				b.Replace([]Row{r}, gone)
				w.rows[r.ID] = r
				for _, id := range gone {
					delete(w.rows, id)
				}
			}),
			"hold": act(func() {
				id, h := id.Draw(t, "held"), Hold{State: HoldState(rapid.IntRange(0, 2).Draw(t, "state")), Reason: "r"}
				if err := b.Hold(id, h); err != nil {
					t.Fatal(err)
				}
				w.holds[id] = h
			}),
			"release": act(func() {
				id := id.Draw(t, "released")
				_, held := w.holds[id]
				if b.Release(id, "", "") != held {
					t.Fatalf("release %s: held %v", id, held)
				}
				delete(w.holds, id)
			}),
			"mark": act(func() {
				loads := rapid.MapOfN(id, load, 1, 3).Draw(t, "loads")
				b.Mark(loads)
				maps.Copy(w.loads, loads)
			}),
			"unmark": act(func() {
				ids := rapid.SliceOfN(id, 0, 3).Draw(t, "unmarked")
				b.Unmark("reload", ids...)
				for _, id := range ids {
					delete(w.loads, id)
				}
			}),
		})
		for i, k := range past {
			if !maps.Equal(show(k.table), k.shown) {
				t.Fatalf("table %d of %d changed after it was published", i, len(past))
			}
		}
	})
}

// TestReadersAndWriters is for the race detector; it also checks that what
// readers see only goes forward.
func TestReadersAndWriters(t *testing.T) {
	b := NewBoard(16)
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			var last uint64
			for {
				select {
				case <-stop:
					return
				default:
				}
				table := b.Table()
				if table.Generation() < last {
					t.Errorf("generation %d after %d", table.Generation(), last)
				}
				last = table.Generation()
				for r := range table.All() {
					r.Usable()
				}
				b.Events(0)
				b.Holds()
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			id := ID(fmt.Sprintf("link/%d", w))
			for i := range 200 {
				b.Update(Row{ID: id, Health: Health(i % 3)})
				if err := b.Hold("link/0", Hold{State: HoldState(i % 3)}); err != nil {
					t.Error(err)
				}
				b.Replace([]Row{{ID: id, Health: Up}}, []ID{"link/0"})
				b.Release("link/0", "", "")
				b.Prepare(func(*Table, []ID) {})()
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	if len(b.Holds()) != 0 {
		t.Errorf("holds left: %v", b.Holds())
	}
}

func BenchmarkUpdateUnchanged(b *testing.B) {
	board := NewBoard(16)
	rows := make([]Row, 10_000)
	for i := range rows {
		rows[i] = Row{ID: ID(fmt.Sprintf("link/%d", i)), Health: Up}
	}
	board.Update(rows...)
	b.ReportAllocs()
	for b.Loop() {
		board.Update(rows[42])
	}
}
