package l4

import (
	"strings"
	"sync"
	"testing"
)

// A reload takes over what ticks wrote for what is as it was, so that traffic finds
// its servers before the first tick (T60), and nothing of what is gone; the plan
// before may be written meanwhile.
func TestInherit(t *testing.T) {
	text := strings.Replace(kept("by: source", ""), "serverFarms:", "serverFarms:\n  - {name: second, slots: 16, servers: [10.2.0.1, 10.2.0.2]}", 1)
	text = strings.Replace(text, "serverFarms:", "  - {name: more, address: 203.0.113.20, port: 80, serve: {farm: second, maxConnections: 5000}}\nserverFarms:", 1)
	b := newBalancer(t, text)
	b.SetShut("more", true)
	b.SetUnavailable("second", true)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 50 {
			b.SetDead("web", nil)
			b.SetServers("second", States{})
			b.SetSlots("second", spread(16, b.byFarm["second"].ids()))
		}
	})
	next := compile(t, strings.Replace(text, "10.2.0.2]", "10.2.0.3]", 1), b.Plan)
	wg.Wait()
	slots := next.data.sets["slots"]
	if el, ok := slots.Get(slotKey(next.byFarm["web"].key, 0)); !ok || idOf(el.Data) != b.byFarm["web"].ids()[0] {
		t.Error("the slots of a farm that is as it was are gone")
	}
	gone := b.IDOf("second", "10.2.0.2")
	for i := range 16 {
		if el, ok := slots.Get(slotKey(next.byFarm["second"].key, i)); ok && idOf(el.Data) == gone { // the new one has its number
			t.Fatal("a server that is gone has slots")
		}
	}
	if next.data.sets["vs_shut"].Len() != 1 || !next.live.unavailable["second"] {
		t.Error("what ticks said is forgotten")
	}
	without := compile(t, kept("by: source", ""), next)
	if n := without.data.sets["slots"].Len(); n != without.byFarm["web"].Slots || without.data.sets["vs_shut"].Len() != 0 {
		t.Errorf("%d slots: a farm that is gone has some", n)
	}
	if next.data.sets["slots"].Len() <= n64(without) {
		t.Error("the plan before lost its slots")
	}
}

func n64(p *Plan) int { return p.byFarm["web"].Slots }
