package status

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Who finds out health and who meters load write the same row and do not touch
// each other's words (T60: busy history outlives what else changes).
func TestMarkOutlivesHealth_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard(16)
		b.Update(Row{ID: "link/a", Health: Up})
		time.Sleep(time.Second)
		b.Mark(map[ID]Load{"link/a": {Busy: true, Why: "in 8Mbps is over 7Mbps", By: "link"}})
		marked := time.Now()
		time.Sleep(time.Second)
		b.Update(Row{ID: "link/a", Health: Down, Why: "no reply"})
		r := b.Table().Row("link/a")
		if !r.Busy || r.LoadWhy != "in 8Mbps is over 7Mbps" || !r.LoadSince.Equal(marked) || r.Health != Down || r.Why != "no reply" {
			t.Errorf("row %+v", r)
		}
		b.Replace(nil, []ID{"link/a"})
		if r, ok := b.Table().Lookup("link/a"); !ok || !r.Busy || r.Health != Unknown {
			t.Errorf("after its plan went: %v %+v", ok, r)
		}
		b.Unmark("reload", "link/a")
		if r, ok := b.Table().Lookup("link/a"); ok {
			t.Errorf("after its meter went too: %+v", r)
		}
	})
}

// Each change of load is an event with its figures; what stays as it is, is
// none, whatever its sentence says (1.2.12 (h)).
func TestMarkEvents_1_2_12(t *testing.T) {
	b := NewBoard(16)
	b.Update(Row{ID: "link/a", Health: Up})
	b.Mark(map[ID]Load{"link/a": {Why: "in 1Mbps", By: "link"}, "link/new": {}})
	for _, l := range []Load{
		{Busy: true, Why: "in 8Mbps is over 7Mbps", By: "link"},
		{Busy: true, Why: "in 9Mbps is over 7Mbps", By: "link"},
		{Shed: 3, Why: "in 6Mbps", By: "link"},
		{Why: "in 5Mbps is under 6Mbps", By: "link"},
	} {
		before := b.Table()
		b.Mark(map[ID]Load{"link/a": l})
		if same := b.Table() == before; same != (l.Why == "in 9Mbps is over 7Mbps") {
			t.Errorf("%+v: the same table is %v", l, same)
		}
	}
	var got []string
	for _, e := range b.Events(0) {
		got = append(got, string(e.ID)+": "+e.Old+" -> "+e.New+", "+e.Why+", "+e.By)
	}
	want := []string{
		"link/a: new -> up, , ",
		"link/a: up -> up busy, in 8Mbps is over 7Mbps, link",
		"link/a: up busy -> up sheds 3/256, in 6Mbps, link",
		"link/a: up sheds 3/256 -> up, in 5Mbps is under 6Mbps, link",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

// Unknown is not zero (T28), and new numbers make no new table.
func TestGauges_T28(t *testing.T) {
	b := NewBoard(1)
	if g, ok := b.Gauges().Get("link/a"); ok || !math.IsNaN(g.Rate[0]) || !math.IsNaN(g.Connections) || !math.IsNaN(g.Remaining[2]) {
		t.Errorf("a gauge that nobody measures: %v %+v", ok, g)
	}
	rows := b.Table()
	b.Measure(map[ID]Gauge{"link/a": {Connections: 1}, "link/b": {Connections: 2}})
	first := b.Gauges()
	b.Measure(map[ID]Gauge{"link/a": {Connections: 3}})
	b.Measure(map[ID]Gauge{"link/c": {Connections: 4}})
	b.Unmeasure("link/b", "link/never")
	for _, tt := range []struct {
		of   *Gauges
		id   ID
		want float64 // negative: unknown
	}{{first, "link/a", 1}, {first, "link/b", 2}, {first, "link/c", -1}, {b.Gauges(), "link/a", 3}, {b.Gauges(), "link/b", -1}, {b.Gauges(), "link/c", 4}} {
		if g, ok := tt.of.Get(tt.id); ok != (tt.want >= 0) || ok && g.Connections != tt.want {
			t.Errorf("%s: %v %v, want %v", tt.id, ok, g.Connections, tt.want)
		}
	}
	if b.Table() != rows {
		t.Error("gauges made a new table")
	}
	if n := testing.AllocsPerRun(100, func() { b.Gauges().Get("link/a") }); n != 0 {
		t.Errorf("a look costs %v allocations", n)
	}
}
