package l4

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

// kept is a virtual server with a persistence over three servers, and a second one
// over the same farm.
func kept(persistence, farm string) string {
	return `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.10, "2001:db8::10"], serve: {farm: web, persistence: keep, maxConnections: 100}}
  - {name: other, addresses: [203.0.113.11, "2001:db8::11"], serve: {farm: web, persistence: keep}}
serverFarms:
  - name: web
    algorithm: random
    ` + farm + `
    servers:
      - {name: one, addresses: [10.1.0.1, "fd01::1"], maxConnections: 10}
      - {name: two, addresses: [10.1.0.2, "fd01::2"], maxConnections: 10}
      - {name: three, addresses: [10.1.0.3, "fd01::3"], maxConnections: 10}
persistence: [{name: keep, ` + persistence + `}]
`
}

// drawing has lots yield n from now on.
func (b *balancer) drawing(n uint32) { b.world.Draw = func(kernel.Place, uint32) uint32 { return n } }

// What makes two connections similar, for each kind; of one virtual server, or of
// all that use a farm.
func TestKeep_Similar(t *testing.T) {
	const first = "192.0.2.5:1000 > 203.0.113.10:80"
	for _, c := range []struct {
		how, then string
		same      bool
	}{
		{"by: source", "192.0.2.5:2000 > 203.0.113.10:443", true},
		{"by: source", "192.0.2.6:1000 > 203.0.113.10:80", false},
		{"by: source, mask: {v4: 24, v6: 64}", "192.0.2.77:1000 > 203.0.113.10:80", true},
		{"by: source", "192.0.2.5:2000 > 203.0.113.11:80", false},
		{"by: source, shared: true", "192.0.2.5:2000 > 203.0.113.11:80", true},
		{"by: source-port", "192.0.2.5:1000 > 203.0.113.10:443", true},
		{"by: source-port", "192.0.2.5:1001 > 203.0.113.10:80", false},
		{"by: destination", "192.0.9.5:1001 > 203.0.113.10:80", true},
		{"by: destination, shared: true, destinationMask: {v4: 24, v6: 64}", "192.0.9.5:1001 > 203.0.113.11:80", true},
		{"by: source-destination", "192.0.2.5:2000 > 203.0.113.10:443", true},
		{"by: source-destination", "192.0.2.6:2000 > 203.0.113.10:443", false},
	} {
		b := newBalancer(t, kept(c.how, ""))
		b.drawing(0)
		b.send(first)
		b.drawing(1)
		if got := b.send(c.then) == "10.1.0.1"; got != c.same {
			t.Errorf("%s: %s is as the first: %v", c.how, c.then, got)
		}
		b.drawing(0)
		six := strings.NewReplacer("192.0.2.5", "[2001:db8:5::5]", "203.0.113.10", "[2001:db8::10]").Replace(first)
		b.send(six)
		b.drawing(1)
		if got := b.send(six); got != "fd01::1" {
			t.Errorf("%s: IPv6: %s", c.how, got)
		}
	}
}

// Which limits an entry passes (FAQ 1.2.8, T23, C2): of busy servers only with
// overrideBusy or overrideLimit, of limits only with overrideLimit; one whose
// server may not take it is forgotten, learnt anew, and then is what holds (the
// update trap). Limits are passed by entries that are there, not by the connection
// that would make one.
func TestKeep_Overrides(t *testing.T) {
	const text = "192.0.2.5:1000 > 203.0.113.10:80"
	for _, c := range []struct {
		how, state string
		want       string
	}{
		{"by: source", "well", "10.1.0.1"},
		{"by: source", "busy", "10.1.0.2"},
		{"by: source, overrideBusy: true", "busy", "10.1.0.1"},
		{"by: source, overrideLimit: true", "busy", "10.1.0.1"},
		{"by: source, overrideBusy: true", "full", "10.1.0.2"}, // taken off by the daemon: not loose
		{"by: source, overrideLimit: true", "full", "10.1.0.1"},
		{"by: source", "dead", "10.1.0.2"},
		{"by: source, overrideLimit: true", "dead", "10.1.0.2"},
		{"by: source", "over", "10.1.0.2"}, // the kernel counts
		{"by: source, overrideBusy: true", "over", "10.1.0.2"},
		{"by: source, overrideLimit: true", "over", "10.1.0.1"},
		{"by: source", "vs", "drop"},
		{"by: source, overrideLimit: true", "vs", "10.1.0.1"},
	} {
		b := newBalancer(t, kept(c.how, ""))
		b.drawing(0)
		if got := b.send(text); got != "10.1.0.1" {
			t.Fatalf("first %s", got)
		}
		world := b.world
		ids := b.byFarm["web"].ids()
		s := evenly(ids)
		switch c.state {
		case "busy":
			s.Available = ids[1:]
		case "full":
			s.Available, s.Loose = ids[1:], ids[1:]
		case "dead":
			s = evenly(ids[1:])
		}
		b.SetServers("web", s)
		if c.state != "well" {
			b.SetSlots("web", spread(b.byFarm["web"].Slots, ids[1:]))
		}
		over := ""
		switch c.state {
		case "over":
			over = "srv_shut"
		case "vs":
			over = "vs_full"
		}
		b.rewrite(world)
		b.world.Over = func(l kernel.Limit) bool {
			return over != "" && l.Set == over && (over == "vs_full" || idOf(l.Key) == ids[0])
		}
		b.world.Shut = b.world.Over
		if got := b.send(text); got != c.want {
			t.Errorf("%s, %s: %s, want %s", c.how, c.state, got, c.want)
		}
		if c.want == "10.1.0.2" { // well again: the new one is kept
			b.SetServers("web", evenly(ids))
			b.SetSlots("web", spread(b.byFarm["web"].Slots, ids[:1]))
			b.rewrite(b.world)
			b.world.Over, b.world.Shut = nil, nil
			if got := b.send(text); got != "10.1.0.2" {
				t.Errorf("%s, %s: the entry kept its old server: %s", c.how, c.state, got)
			}
		}
		if c.state == "vs" && c.want != "drop" {
			if got := b.send("192.0.2.99:1000 > 203.0.113.10:80"); got != "drop" {
				t.Errorf("%s: a client without an entry passes the limit: %s", c.how, got)
			}
		}
	}
}

// rewrite has the kernel hear of what ticks wrote, and keeps what packets wrote.
func (b *balancer) rewrite(old *kernel.World) {
	b.t.Helper()
	draw := old.Draw
	b.written = map[string][]kernel.Element{}
	for set, entries := range b.learnt {
		for key, id := range entries {
			b.written[set] = append(b.written[set], kernel.Element{Key: []byte(key), Data: kernel.Number(uint32(id)), Expires: time.Minute})
		}
	}
	b.restate()
	b.world.Draw = draw
}

// note follows what a packet wrote to maps of persistence: a put leaves the data
// of a key that is there.
func (b *balancer) note(trace *kernel.Trace) {
	id := ID(0)
	for _, m := range b.members {
		for _, a := range m.Addresses {
			if a == trace.Packet.Dest {
				id = m.id
			}
		}
	}
	for _, v := range trace.Visits {
		for _, s := range v.Did {
			c, ok := s.(kernel.Change)
			if !ok || !strings.HasPrefix(c.Set, "stick") {
				continue
			}
			key := string(v.Looks[len(v.Looks)-1].Key)
			if b.learnt[c.Set] == nil {
				b.learnt[c.Set] = map[string]ID{}
			}
			if _, there := b.learnt[c.Set][key]; c.How == kernel.Remove {
				delete(b.learnt[c.Set], key)
			} else if !there {
				b.learnt[c.Set][key] = id
			}
		}
	}
}

// A persistence whose map is full places connections all the same.
func TestKeep_Full(t *testing.T) {
	b := newBalancer(t, kept("by: source, maxEntries: 256", ""))
	for i := range 300 {
		if got := b.send(fmt.Sprintf("192.0.%d.%d:1000 > 203.0.113.10:80", i/200, i%200)); got == "drop" {
			t.Fatalf("client %d: %s", i, got)
		}
	}
}

// How farms draw: shares by lot and in turn, hashes that keep a client, of
// addresses by their mask.
func TestDraw(t *testing.T) {
	farm := func(how string) string {
		return strings.Replace(simple, "- name: web\n", "- name: web\n    "+how+"\n", 1)
	}
	const text = "192.0.2.5:1000 > 203.0.113.10:80"
	for _, how := range []string{"algorithm: round-robin", "algorithm: random", "algorithm: least-connections", "slots: 16", "slots: 1024"} {
		b := newBalancer(t, farm(how))
		ids := b.byFarm["web"].ids()
		b.SetSlots("web", spread(b.byFarm["web"].Slots, []ID{ids[0], ids[1], ids[1], ids[2]}))
		got := b.restate().shares(text)
		if math.Abs(got["10.1.0.2:8080"]-0.5) > 1e-9 || math.Abs(got["10.1.0.1:8080"]-0.25) > 1e-9 {
			t.Errorf("%s: %v", how, got)
		}
	}
	for how, alike := range map[string][2]string{
		"algorithm: source-hash":                             {text, "192.0.2.5:9 > 203.0.113.10:80"},
		"algorithm: source-hash\n    mask: {v4: 24, v6: 48}": {text, "192.0.2.77:9 > 203.0.113.10:80"},
		"algorithm: destination-hash":                        {text, "192.0.3.5:9 > 203.0.113.10:80"},
		"algorithm: source-port-hash":                        {text, text},
	} {
		b := newBalancer(t, farm(how))
		if x, y := b.send(alike[0]), b.send(alike[1]); x != y {
			t.Errorf("%s: %s and %s", how, x, y)
		}
		seen := map[string]bool{}
		for i := range 64 {
			seen[b.send(fmt.Sprintf("192.%d.2.5:%d > 203.0.113.10:80", i, 1000+i))] = true
			seen[b.send(fmt.Sprintf("[2001:db8:%x::]:%d > [2001:db8::10]:80", i, 1000+i))] = true
		}
		if want := 6; strings.Contains(how, "destination") && len(seen) != 2 || !strings.Contains(how, "destination") && len(seen) != want {
			t.Errorf("%s: %v", how, seen)
		}
	}
}

// The first farms have a turn of their own, further ones draw by lot.
func TestDraw_Turns(t *testing.T) {
	p := compileModel(t, many(turnsMost+5, 2, "round-robin"), nil)
	turns, lots := 0, 0
	for _, f := range p.farms {
		if f.mode.turn == f {
			turns++
		} else if f.mode.turn == nil {
			lots++
		}
	}
	if turns != turnsMost || lots != 5 {
		t.Errorf("%d turns, %d lots", turns, lots)
	}
}
