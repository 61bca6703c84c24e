package l4

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
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
	slots := func(farm string) *kernel.Elements { return next.data.sets[next.byFarm[farm].slotSet()] }
	if el, ok := slots("web").Get(slotKey(next.byFarm["web"].key, 0)); !ok || idOf(el.Data) != b.byFarm["web"].ids()[0] {
		t.Error("the slots of a farm that is as it was are gone")
	}
	gone := b.IDOf("second", "10.2.0.2")
	for i := range 16 {
		if el, ok := slots("second").Get(slotKey(next.byFarm["second"].key, i)); ok && idOf(el.Data) == gone { // the new one has its number
			t.Fatal("a server that is gone has slots")
		}
	}
	if next.data.sets["vs_shut"].Len() != 1 || !next.live.unavailable["second"] {
		t.Error("what ticks said is forgotten")
	}
	without := compile(t, kept("by: source", ""), next)
	if n := slotsOf(without); n != without.byFarm["web"].Slots || without.data.sets["vs_shut"].Len() != 0 {
		t.Errorf("%d slots: a farm that is gone has some", n)
	}
	if slotsOf(next) <= slotsOf(without) {
		t.Error("the plan before lost its slots")
	}
}

func slotsOf(p *Plan) (n int) {
	for _, set := range p.SlotSets()[Table] {
		n += p.data.sets[set].Len()
	}
	return n
}

// For each chain that looks into a map Linux goes through all of it when the chain
// is made: so those of farms with a turn of their own, a chain each, look into a
// map of their slots alone; and a farm that loses its turn to another keeps them.
func TestTurnsApart(t *testing.T) {
	m := many(turnsMost+50, 2, config.FarmRoundRobin)
	p := compileModel(t, m, nil)
	for _, f := range p.farms {
		p.SetSlots(f.Name, spread(f.Slots, f.ids()))
	}
	if n := p.data.sets[turnedSet].Len(); n != turnsMost*64 {
		t.Errorf("%d slots of farms with a turn of their own", n)
	}
	chains := map[string]int{}
	for _, c := range p.Wishes(usual()).Tables[0].Chains {
		text := fmt.Sprintf("%+v", c.Rules)
		for _, set := range p.SlotSets()[Table] {
			if strings.Contains(text, "Map:"+set+"}") {
				chains[set]++
			}
		}
	}
	if chains[turnedSet] != turnsMost || chains[slotsSet] != 2 {
		t.Errorf("chains that look into slots: %v", chains)
	}
	loser := p.byFarm[fmt.Sprintf("n%05d", turnsMost-1)]
	first := *m.ServerFarms[turnsMost]
	m.ServerFarms[turnsMost] = &first
	first.Name, m.VirtualServers[turnsMost].Serve.Farm = "a", "a"
	q := compileModel(t, m, p)
	if q.byFarm["a"].mode.turn == nil || q.byFarm[loser.Name].mode.turn != nil {
		t.Fatal("the turn has not changed hands")
	}
	for i := range loser.Slots {
		was, _ := p.data.sets[turnedSet].Get(slotKey(loser.key, i))
		is, ok := q.data.sets[slotsSet].Get(slotKey(q.byFarm[loser.Name].key, i))
		if _, still := q.data.sets[turnedSet].Get(slotKey(loser.key, i)); still || !ok || idOf(is.Data) != idOf(was.Data) {
			t.Fatalf("slot %d: %v, was %v", i, is, was)
		}
	}
}

// Of a farm that does not force connections upon servers any more nothing is left of
// whom it would have forced them upon; what others force stays.
func TestInheritForced(t *testing.T) {
	text := strings.Replace(kept("by: source", "onBusy: force"), "serverFarms:", "serverFarms:\n  - {name: second, slots: 16, onBusy: force, servers: [10.2.0.1, 10.2.0.2]}", 1)
	text = strings.Replace(text, "serverFarms:", "  - {name: more, address: 203.0.113.20, port: 80, serve: {farm: second}}\nserverFarms:", 1)
	b := newBalancer(t, text)
	web, second := b.byFarm["web"], b.byFarm["second"]
	b.SetForced("web", spread(web.Slots, web.ids()))
	b.SetForced("second", spread(second.Slots, second.ids()))
	if n := b.data.sets["forced"].Len(); n != web.Slots+second.Slots {
		t.Fatalf("%d slots are forced", n)
	}
	next := compile(t, strings.Replace(text, "onBusy: force", "onBusy: drop", 1), b.Plan) // the first is second's
	if n := next.data.sets["forced"].Len(); n != web.Slots {
		t.Errorf("%d slots are forced, not %d", n, web.Slots)
	}
	if n := b.data.sets["forced"].Len(); n != web.Slots+second.Slots {
		t.Errorf("the plan before has %d slots", n)
	}
}
