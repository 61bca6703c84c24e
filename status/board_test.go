package status

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestUnchangedRowsMakeNoTable(t *testing.T) {
	b := NewBoard(8)
	b.Update(Row{ID: "link/a", Health: Up}, Row{ID: "link/b", Health: Up})
	before := b.Table()

	b.Update(Row{ID: "link/a", Health: Up, Seen: time.Now(), Why: "other words"})
	if b.Table() != before {
		t.Error("an unchanged row made a new table")
	}
	b.Update()
	b.Replace(nil, []ID{"link/never"})
	if b.Table() != before {
		t.Error("an empty change made a new table")
	}

	b.Update(Row{ID: "link/a", Health: Down, Why: "no answer"})
	after := b.Table()
	if after == before || after.Generation() != before.Generation()+1 {
		t.Fatalf("generation %d after %d", after.Generation(), before.Generation())
	}
	if after.Row("link/b") != before.Row("link/b") {
		t.Error("a row that did not change has a new address")
	}
	if before.Row("link/a").Health != Up || after.Row("link/a").Health != Down {
		t.Error("the old table changed, or the new one did not")
	}
}

// TestSince_T60: health keeps the time when it took its value, over any number
// of updates that leave it as it is.
func TestSince_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(8)
		start := time.Now()
		b.Update(Row{ID: "link/a", Health: Up})
		time.Sleep(time.Minute)
		b.Mark(map[ID]Load{"link/a": {Busy: true}})
		b.Update(Row{ID: "link/a", Health: Up})
		if since := b.Table().Row("link/a").Since; !since.Equal(start) {
			t.Errorf("busy moved Since to %v", since)
		}
		time.Sleep(time.Minute)
		b.Update(Row{ID: "link/a", Health: Down})
		if since := b.Table().Row("link/a").Since; !since.Equal(start.Add(2 * time.Minute)) {
			t.Errorf("down since %v", since)
		}
		warm := start.Add(-time.Hour)
		b.Update(Row{ID: "link/a", Health: Down, Since: warm})
		if since := b.Table().Row("link/a").Since; !since.Equal(warm) {
			t.Errorf("a given Since was not kept: %v", since)
		}
	})
}

func TestReplace(t *testing.T) {
	b := NewBoard(8)
	b.Update(Row{ID: "link/a"}, Row{ID: "link/b"}, Row{ID: "link/c"})
	old := b.Table()
	b.Replace([]Row{{ID: "link/d", Health: Up}}, []ID{"link/b", "link/b", "link/x"})

	var ids []ID
	for r := range b.Table().All() {
		ids = append(ids, r.ID)
	}
	if want := []ID{"link/a", "link/c", "link/d"}; !slices.Equal(ids, want) {
		t.Errorf("rows %v, want %v", ids, want)
	}
	if b.Table().Generation() != old.Generation()+1 {
		t.Error("Replace is not one step")
	}
	if _, ok := old.Lookup("link/b"); !ok {
		t.Error("the old table lost a row")
	}
}

func TestChurnLeavesNothingBehind(t *testing.T) {
	b := NewBoard(8)
	for i := range 1000 {
		id := ID(fmt.Sprintf("link/%d", i))
		b.Update(Row{ID: id})
		b.Replace(nil, []ID{id})
		b.Prepare(func(*Table, []ID) {})()
	}
	if table := b.Table(); len(table.rows) != 0 || len(table.index) != 0 || len(b.prepare) != 0 {
		t.Errorf("%d rows, %d ids, %d preparers left", len(table.rows), len(table.index), len(b.prepare))
	}
}

func TestHoldOutlivesItsRow(t *testing.T) {
	b := NewBoard(8)
	if err := b.Hold("site/a", Hold{State: HoldDrain, Reason: "move"}); err != nil {
		t.Fatal(err)
	}
	usable := func() bool { return b.Table().Row("site/a").Usable() }
	b.Update(Row{ID: "site/a", Health: Up})
	if usable() {
		t.Error("a hold set before its row does not count")
	}
	b.Replace(nil, []ID{"site/a"})
	b.Update(Row{ID: "site/a", Health: Up, Hold: &Hold{State: HoldUp}})
	if usable() {
		t.Error("the hold was lost with its row, or the writer's was believed")
	}
	if h := b.Holds()["site/a"]; h.Reason != "move" || h.At.IsZero() {
		t.Errorf("holds: %+v", h)
	}
	if !b.Release("site/a", "done", "ann") || !usable() {
		t.Error("release did not bring it back")
	}
	if b.Release("site/a", "again", "ann") {
		t.Error("released twice")
	}
}

func TestHoldExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(8)
		b.Update(Row{ID: "link/a", Health: Up}, Row{ID: "link/b", Health: Up})
		until := time.Now().Add(2 * time.Hour)
		for _, id := range []ID{"link/a", "link/b"} {
			if err := b.Hold(id, Hold{Reason: "work", By: "ann", Until: until}); err != nil {
				t.Fatal(err)
			}
		}
		// A second hold takes the place of the first, with its own end.
		if err := b.Hold("link/b", Hold{Reason: "more work", By: "bob"}); err != nil {
			t.Fatal(err)
		}

		time.Sleep(2*time.Hour - time.Nanosecond)
		synctest.Wait()
		if b.Table().Row("link/a").Usable() {
			t.Error("ended too early")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !b.Table().Row("link/a").Usable() {
			t.Error("did not end at its time")
		}
		if b.Table().Row("link/b").Usable() {
			t.Error("the end of the first hold ended the second")
		}
		events := b.Events(0)
		if e := events[len(events)-1]; e.ID != "link/a" || e.New != "released" || e.By != "clock" {
			t.Errorf("last event %+v", e)
		}
	})
}

func TestHoldInThePast(t *testing.T) {
	b := NewBoard(8)
	err := b.Hold("link/a", Hold{Until: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err == nil || err.Error() != "hold on link/a would end in the past, at 2020-01-01T00:00:00Z" {
		t.Errorf("got %v", err)
	}
	if len(b.Holds()) != 0 {
		t.Error("a refused hold is in force")
	}
}

func TestRestoreHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		b := NewBoard(8)
		b.RestoreHolds(map[ID]Hold{
			"link/over":  {Until: now.Add(-time.Second)},
			"link/later": {Until: now.Add(time.Second), At: now.Add(-time.Hour)},
			"link/open":  {State: HoldUp, Reason: "lab"},
		})
		holds := b.Holds()
		if _, ok := holds["link/over"]; ok || len(holds) != 2 {
			t.Errorf("holds %v", holds)
		}
		if h := holds["link/later"]; !h.At.Equal(now.Add(-time.Hour)) {
			t.Errorf("the time of the hold became %v", h.At)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if holds := b.Holds(); len(holds) != 1 || holds["link/open"].State != HoldUp {
			t.Errorf("a second later: %v", holds)
		}
	})
}

// A hold on a thing that nobody knows yet is respected from its first moment,
// and leaves nothing behind.
func TestHoldBeforeTheRow(t *testing.T) {
	b := NewBoard(8)
	if err := b.Hold("link/a", Hold{}); err != nil {
		t.Fatal(err)
	}
	if r := b.Table().Row("link/a"); !r.Held() || r.Usable() {
		t.Errorf("a held row that nobody writes: %+v", r)
	}
	b.Update(Row{ID: "link/a", Health: Up})
	b.Replace(nil, []ID{"link/a"})
	if r := b.Table().Row("link/a"); !r.Held() || r.Health != Unknown {
		t.Errorf("after its writer left: %+v", r)
	}
	b.Release("link/a", "", "")
	if _, ok := b.Table().Lookup("link/a"); ok {
		t.Error("the row outlives its hold")
	}
}

func TestPrepareComesBeforeReaders(t *testing.T) {
	b := NewBoard(8)
	calls := 0
	cancel := b.Prepare(func(next *Table, changed []ID) {
		calls++
		if _, ok := b.Table().Lookup("link/a"); ok && calls == 1 {
			t.Error("readers see the table before it is prepared")
		}
		if !slices.Equal(changed, []ID{"link/a"}) || next.Generation() != b.Table().Generation()+1 {
			t.Errorf("changed %v, generation %d", changed, next.Generation())
		}
	})
	b.Update(Row{ID: "link/a", Health: Up})
	b.Update(Row{ID: "link/a", Health: Up}) // no change, no call
	if err := b.Hold("link/a", Hold{}); err != nil {
		t.Fatal(err)
	}
	b.Replace(nil, []ID{"link/a"})
	if calls != 3 {
		t.Errorf("%d calls, want 3", calls)
	}
	cancel()
	cancel()
	b.Update(Row{ID: "link/a"})
	if calls != 3 {
		t.Error("called after cancel")
	}
}

func TestWithLeavesTheBoardAlone(t *testing.T) {
	b := NewBoard(8)
	b.Update(Row{ID: "link/a", Health: Up}, Row{ID: "link/b", Health: Up})
	table, events := b.Table(), len(b.Events(0))
	what := table.With(Row{ID: "link/a", Health: Down}, Row{ID: "link/new", Health: Up})

	if what.Row("link/a").Health != Down || what.Row("link/new").Health != Up {
		t.Error("With did not put its rows in")
	}
	if what.Row("link/b") != table.Row("link/b") {
		t.Error("With moved a row it was not asked for")
	}
	_, leaked := table.Lookup("link/new")
	if b.Table() != table || table.Row("link/a").Health != Up || leaked || len(b.Events(0)) != events {
		t.Error("With touched the board")
	}
}

func TestEvents(t *testing.T) {
	b := NewBoard(4)
	if got := b.Events(0); len(got) != 0 {
		t.Errorf("a new board has events: %v", got)
	}
	b.Update(Row{ID: "link/a"}) // new and unknown: nothing happened yet
	b.Update(Row{ID: "link/a", Health: Up, Why: "answered", By: "probe"})
	b.Mark(map[ID]Load{"link/a": {Busy: true}})
	b.Mark(map[ID]Load{"link/a": {Busy: true, Full: true}})
	b.Update(Row{ID: "link/a", Health: Down})
	b.Record(Event{ID: "config/file", New: "reloaded"})

	var got []string
	for _, e := range b.Events(0) {
		if e.Time.IsZero() {
			t.Errorf("event %d has no time", e.Seq)
		}
		got = append(got, fmt.Sprintf("%d %s: %s -> %s", e.Seq, e.ID, e.Old, e.New))
	}
	want := []string{
		"2 link/a: up -> up busy",
		"3 link/a: up busy -> up busy full",
		"4 link/a: up busy full -> down busy full",
		"5 config/file:  -> reloaded",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for after, n := range map[uint64]int{2: 3, 3: 2, 5: 0, ^uint64(0): 0} {
		if got := b.Events(after); len(got) != n {
			t.Errorf("after %d: %d events, want %d", after, len(got), n)
		}
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	b := NewBoard(8)
	b.Update(Row{ID: "link/a", Health: Up})
	n := testing.AllocsPerRun(100, func() {
		table := b.Table()
		if !table.Row("link/a").Usable() || !table.Row("link/missing").Usable() {
			t.Error("not usable")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a read", n)
	}
}
