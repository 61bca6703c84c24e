package probe

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// A restart keeps health with its age: rows do not wait, say who found them,
// and the first result counts at once.
func TestWarmStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := model(defaults(), "10.0.0.1", "10.0.0.2")
		r := newRig(t, Options{})
		r.silence("10.0.0.1", true)
		r.Want(Compile(m))
		stop := r.run()
		r.at(4 * time.Second)
		kept, err := json.Marshal(r.Snapshot())
		if err != nil {
			t.Fatal(err)
		}
		stop()
		down := r.begin.Add(3 * time.Second)

		r.at(time.Minute)
		var warm []Warm
		if err := json.Unmarshal(kept, &warm); err != nil || len(warm) != 2 {
			t.Fatalf("%s: %v", kept, err)
		}
		again := newRig(t, Options{})
		again.Restore(append(warm, Warm{ID: "probe/10.9.9.9:80/p", Health: status.Up}))
		m.VirtualServers = append(m.VirtualServers, model(defaults(), "10.0.0.3").VirtualServers[0])
		m.VirtualServers[2].Name = "c"
		again.Want(Compile(m))
		again.wantRow(vsA, "down")
		again.wantRow(vsB, "up")
		again.wantRow("virtualServer/c", "waiting")
		again.wantRow("probe/10.9.9.9:80/p", "no row")
		row := again.board.Table().Row(checkA)
		if row.By != "warm start" || row.Why != "down when last probed, 57s before the start" || !row.Since.Equal(down) {
			t.Errorf("row %+v", row)
		}
		if v := again.board.Table().Row(vsA); v.By != "warm start" || !v.Since.Equal(down) {
			t.Errorf("verdict %+v", v)
		}
		defer again.run()()
		synctest.Wait()
		again.at(time.Second)
		again.wantRow(vsA, "up")
		if h, _ := again.History(checkA); h.By != "probe" {
			t.Errorf("by %s", h.By)
		}
	})
}

// What was kept counts at start only: a check that a reload adds is unknown.
func TestWarmOnlyAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.Restore([]Warm{{ID: checkA, Health: status.Down, Seen: time.Now()}})
		r.Want(Compile(model(defaults())))
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		r.wantRow(vsA, "unknown")
	})
}
