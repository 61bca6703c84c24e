package status

import (
	"encoding/json"
	"testing"
	"time"
)

// TestUsable_C1 is the whole truth table: what was never probed is usable, and
// an operator's word goes before what probes say.
func TestUsable_C1(t *testing.T) {
	down, up, drain := &Hold{State: HoldDown}, &Hold{State: HoldUp}, &Hold{State: HoldDrain}
	for _, c := range []struct {
		health       Health
		hold         *Hold
		usable, held bool
	}{
		{Unknown, nil, true, false},
		{Up, nil, true, false},
		{Down, nil, false, false},
		{Unknown, down, false, true},
		{Up, down, false, true},
		{Down, down, false, true},
		{Unknown, up, true, false},
		{Up, up, true, false},
		{Down, up, true, false},
		{Unknown, drain, false, true},
		{Up, drain, false, true},
		{Down, drain, false, true},
	} {
		for _, busy := range []bool{false, true} {
			// Busy, Full and Waiting are pick's to judge: they must not matter here.
			r := &Row{Health: c.health, Hold: c.hold, Busy: busy, Full: busy, Waiting: busy}
			if r.Usable() != c.usable || r.Held() != c.held {
				t.Errorf("health %v hold %+v busy %v: usable %v held %v, want %v %v",
					c.health, c.hold, busy, r.Usable(), r.Held(), c.usable, c.held)
			}
		}
	}
}

func TestMissingRowIsUsable_C1(t *testing.T) {
	table := NewBoard(1).Table()
	r := table.Row("link/nobody")
	if !r.Usable() || r.Health != Unknown || r.Why == "" {
		t.Errorf("got %+v", r)
	}
	if table.Row("link/other") != r {
		t.Error("two missing rows have two addresses")
	}
	if _, ok := table.Lookup("link/nobody"); ok {
		t.Error("Lookup finds a row that nobody wrote")
	}
}

func TestID(t *testing.T) {
	id := MakeID(KindProbe, "10.0.0.7:80", "http")
	if id != "probe/10.0.0.7:80/http" || id.Kind() != "probe" || id.Name() != "10.0.0.7:80/http" {
		t.Errorf("%q: kind %q name %q", id, id.Kind(), id.Name())
	}
}

func TestRowJSON(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	row := Row{ID: "site/a", Health: Down, Busy: true, Since: at, Why: "no answer",
		Hold: &Hold{State: HoldDrain, Reason: "move", By: "ann", At: at}}
	b, err := json.Marshal(row)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"id":"site/a","health":"down","busy":true,"since":"2026-01-02T03:04:05Z","why":"no answer",` +
		`"hold":{"state":"drain","reason":"move","by":"ann","at":"2026-01-02T03:04:05Z"}}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	var back Row
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if back.Health != Down || *back.Hold != *row.Hold {
		t.Errorf("read back %+v", back)
	}
}

// An order whose state nobody knows takes the thing out; a health that nobody
// knows is unknown.
func TestUnknownWords(t *testing.T) {
	h, s := Up, HoldUp
	if err := h.UnmarshalText([]byte("sideways")); err != nil || h != Unknown {
		t.Errorf("health %v, %v", h, err)
	}
	if err := s.UnmarshalText([]byte("sideways")); err != nil || s != HoldDown {
		t.Errorf("hold %v, %v", s, err)
	}
}
