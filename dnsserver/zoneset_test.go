package dnsserver

import (
	"maps"
	"testing"

	"pgregory.net/rapid"
)

// A set after random changes holds what a plain map holds, and every set
// before it still holds what it held.
func TestZoneSet(t *testing.T) {
	type moment struct {
		set  *zoneSet
		twin map[string]*served
	}
	holds := func(t *rapid.T, m moment) {
		got := map[string]*served{}
		for z := range m.set.all() {
			got[z.state.Name] = z
		}
		if !maps.Equal(got, m.twin) || m.set.size != len(m.twin) {
			t.Fatalf("holds %d (size %d), not %d", len(got), m.set.size, len(m.twin))
		}
		for name, z := range m.twin {
			if m.set.get(name) != z {
				t.Fatalf("%s is not found", name)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-c]{1,2}\.`)
		now := moment{noZones, map[string]*served{}}
		past := []moment{now}
		for range rapid.IntRange(1, 30).Draw(t, "changes") {
			apex, twin := name.Draw(t, "apex"), maps.Clone(now.twin)
			if rapid.Bool().Draw(t, "put") {
				z := &served{state: ZoneState{Name: apex}}
				twin[apex] = z
				now = moment{now.set.with(z), twin}
			} else {
				delete(twin, apex)
				now = moment{now.set.without(apex), twin}
			}
			past = append(past, now)
		}
		for _, m := range past {
			holds(t, m)
		}
	})
}
