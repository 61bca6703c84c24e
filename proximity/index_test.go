package proximity

import (
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// However many entries come and go, a quarter of the slots stays empty, so that
// a search for what is not there ends, and soon; and a shard that was large
// becomes small again.
func TestSlotsStayEmpty(t *testing.T) {
	s := newShards(config.Mask{V4: 24, V6: 56}, 1)
	always := func(*entry) bool { return true }
	check := func(when string, most int) {
		t.Helper()
		slots, empty := 0, 0
		for i := range s.all {
			list := *s.all[i].slots.Load()
			here := 0
			for j := range list {
				if list[j].tag.Load() == tagEmpty {
					here++
				}
			}
			if 4*here < len(list) {
				t.Fatalf("%s: shard %d has %d empty slots of %d", when, i, here, len(list))
			}
			slots, empty = slots+len(list), empty+here
		}
		if slots > most {
			t.Errorf("%s: %d slots, %d empty", when, slots, empty)
		}
	}
	for i := range 200_000 {
		k, _ := keyOf(addrOf(i), s.mask)
		s.insert(&entry{key: k}, 1000, always)
		if i%2 == 0 {
			s.remove(k, always)
		}
	}
	if n := s.count.Load(); n > 1000 {
		t.Errorf("%d entries", n)
	}
	check("after churn", 16*1000)
	for i := range 50_000 {
		k, _ := keyOf(addrOf(i), s.mask)
		s.insert(&entry{key: k}, 100_000, always)
	}
	check("grown", 4*51_000)
	for range 8 {
		for i := range numShards {
			for from := s.sweep(i, 0, 1<<20, always); from != 0; {
				from = s.sweep(i, from, 1<<20, always)
			}
		}
	}
	check("emptied", numShards*minSlots)
	if s.count.Load() != 0 {
		t.Errorf("%d entries", s.count.Load())
	}
}

// A key is of its network and of no other: addresses that agree in the mask, of
// one family.
func TestKeys(t *testing.T) {
	mask := config.Mask{V4: 20, V6: 72}
	keys := map[key]string{}
	for _, c := range []struct {
		addr, network string
	}{
		{"10.1.16.1", "10.1.16.0/20"}, {"10.1.31.255", "10.1.16.0/20"}, {"10.1.32.0", "10.1.32.0/20"}, {"0.0.0.0", "0.0.0.0/20"},
		{"2001:db8::1", "2001:db8::/72"}, {"2001:db8:0:0:ff::", "2001:db8::/72"}, {"2001:db8:0:0:100::", "2001:db8:0:0:100::/72"}, {"::", "::/72"},
	} {
		k, ok := keyOf(netip.MustParseAddr(c.addr), mask)
		if !ok || k.prefix(mask).String() != c.network {
			t.Errorf("%s: %v, want %s", c.addr, k.prefix(mask), c.network)
		}
		if other, ok := keys[k]; ok && other != c.network {
			t.Errorf("%s and %s have one key", other, c.network)
		}
		keys[k] = c.network
	}
	if _, ok := keyOf(netip.Addr{}, mask); ok {
		t.Error("no address has a key")
	}
}
