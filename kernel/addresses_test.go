package kernel

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/nettest"
)

// givenIn gives the addresses of a space but those of loopback and link-local
// ones, each with the number of who gave it.
func givenIn(t *testing.T, n *routing) (list []string) {
	t.Helper()
	all, err := n.givens()
	if err != nil {
		t.Fatal(err)
	}
	ports, err := n.devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range all {
		if a := g.prefix.Addr(); !a.IsLoopback() && !a.IsLinkLocalUnicast() {
			list = append(list, fmt.Sprintf("%s %s %d", nameOf(ports, g.index), g.prefix, g.proto))
		}
	}
	slices.Sort(list)
	return list
}

// stands waits until just these addresses are there; within the time that is promised.
func stands(t *testing.T, n *routing, what string, want ...string) {
	t.Helper()
	slices.Sort(want)
	var got []string
	for deadline := time.Now().Add(promised); time.Now().Before(deadline); {
		if got = givenIn(t, n); slices.Equal(got, want) {
			return
		}
		select {
		case <-t.Context().Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	t.Fatalf("%s: there is\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
}

// Addresses are given, put back when others take them or their interface comes
// back, and taken away when they are wished no more. One that was there is used
// and stays.
func TestGivenAddresses_Root(t *testing.T) {
	s, other := nettest.New(t), nettest.New(t)
	s.Cable("eth1", other, "far1")
	s.IP("addr add 203.0.113.7/24 dev eth1")
	s.IP("addr add 192.0.2.9/32 dev eth1")
	s.IP("addr add 2001:db8::9/64 dev eth1 nodad")
	theirs := []string{"eth1 203.0.113.7/24 0", "eth1 192.0.2.9/32 0", "eth1 2001:db8::9/64 0"}
	n := routingIn(t, s)
	w := &Wishes{Addresses: []Address{{prefix("192.0.2.9/32"), "eth1"}, {prefix("192.0.2.10/32"), "eth1"}, {prefix("2001:db8::9/128"), "eth1"}, {prefix("2001:db8::10/128"), "eth1"}, {prefix("192.0.2.10/32"), "eth1"}}}
	all := append(slices.Clone(theirs), "eth1 192.0.2.10/32 82", "eth1 2001:db8::10/128 82")
	wish(t, n, "slb", w, "")
	stands(t, n, "wished", all...)
	if out := run(t, s, "", "ip", "-6", "addr", "show", "dev", "eth1", "to", "2001:db8::10/128"); !strings.Contains(out, "nodad") || !strings.Contains(out, "noprefixroute") || strings.Contains(out, "tentative") {
		t.Errorf("it is not usable at once, or has a route of its own:\n%s", out)
	}
	s.IP("-6 route add 2001:db8:1::/64 via 2001:db8::2 dev eth1")
	if out := run(t, s, "", "ip", "-6", "route", "get", "2001:db8:1::1"); !strings.Contains(out, "src 2001:db8::9 ") { // RFC 6724 section 5, rule 3
		t.Errorf("the machine's own packets have the address of a service:\n%s", out)
	}
	s.IP("addr del 192.0.2.10/32 dev eth1")
	s.IP("addr del 2001:db8::10/128 dev eth1")
	stands(t, n, "removed by others", all...)
	s.IP("addr flush dev eth1 scope global")
	stands(t, n, "flushed: ours come back, and those that were others' are ours now",
		"eth1 192.0.2.10/32 82", "eth1 192.0.2.9/32 82", "eth1 2001:db8::10/128 82", "eth1 2001:db8::9/128 82")
	s.IP("link set eth1 down")
	saysOf(t, n, "slb", "interface eth1 is switched off: address 192.0.2.9/32, 192.0.2.10/32, 2001:db8::9/128 and 2 more cannot be there")
	s.IP("link set eth1 up")
	stands(t, n, "the interface is on again",
		"eth1 192.0.2.10/32 82", "eth1 192.0.2.9/32 82", "eth1 2001:db8::10/128 82", "eth1 2001:db8::9/128 82")
	s.IP("addr add 192.0.2.77/32 dev eth1")
	wish(t, n, "slb", &Wishes{Addresses: []Address{{prefix("2001:db8::10/64"), "eth1"}, {prefix("192.0.2.10/28"), "eth1"}}}, "")
	stands(t, n, "other networks", "eth1 192.0.2.10/28 82", "eth1 192.0.2.77/32 0", "eth1 2001:db8::10/64 82")
	wish(t, n, "dnsproxy", &Wishes{Addresses: []Address{{prefix("192.0.2.20/32"), "lo"}, {prefix("192.0.2.10/28"), "eth1"}}}, "")
	wish(t, n, "slb", &Wishes{}, "")
	stands(t, n, "another owner had wished it too", "eth1 192.0.2.10/28 81", "eth1 192.0.2.77/32 0", "lo 192.0.2.20/32 81")
	wish(t, n, "dnsproxy", &Wishes{}, "")
	stands(t, n, "nothing is wished", "eth1 192.0.2.77/32 0")
}

// saysOf waits until the part says words of what an owner wishes.
func saysOf(t *testing.T, n *routing, owner, words string) {
	t.Helper()
	var err error
	until(t, words, promised, func() bool {
		err = n.sync(t.Context(), owner)
		return err != nil && strings.Contains(err.Error(), words)
	})
}

// An interface that is not there is told, and its addresses come with it; what
// makes no sense or is refused is told, and the rest stands all the same.
func TestAddressesWait_Root(t *testing.T) {
	s, other := nettest.New(t), nettest.New(t)
	s.Cable("eth1", other, "far1")
	n := routingIn(t, s)
	w := &Wishes{Addresses: []Address{{prefix("192.0.2.10/32"), "eth9"}, {prefix("2001:db8::10/128"), "eth9"}, {prefix("192.0.2.11/32"), "eth1"}, {Interface: "eth1"}, {Prefix: prefix("192.0.2.12/32")}}}
	wish(t, n, "slb", w, "there is no interface eth9: address 192.0.2.10/32, 2001:db8::10/128 cannot be there")
	wish(t, n, "slb", w, "address 192.0.2.12/32: it has no interface")
	wish(t, n, "slb", w, "invalid Prefix on eth1: it is none")
	stands(t, n, "what can be", "eth1 192.0.2.11/32 82")
	s.Cable("eth9", other, "far9")
	stands(t, n, "the interface came", "eth1 192.0.2.11/32 82", "eth9 192.0.2.10/32 82", "eth9 2001:db8::10/128 82")
	s.IP("link del eth9")
	saysOf(t, n, "slb", "there is no interface eth9")
	s.Set("ipv6/conf/eth1/disable_ipv6", "1")
	wish(t, n, "slb", &Wishes{Addresses: []Address{{prefix("2001:db8::10/128"), "eth1"}, {prefix("192.0.2.13/32"), "eth1"}}}, "address 2001:db8::10/128 on eth1: permission denied")
	stands(t, n, "the rest", "eth1 192.0.2.13/32 82")
}

// What is ours is known again after a restart, shown, and removed by clean; that
// of others is not.
func TestAddressesClean_Root(t *testing.T) {
	s, other := nettest.New(t), nettest.New(t)
	s.Cable("eth1", other, "far1")
	s.IP("addr add 192.0.2.9/32 dev eth1")
	n, stop := routingUntil(t, s)
	w := &Wishes{Addresses: []Address{{prefix("192.0.2.9/32"), "eth1"}, {prefix("192.0.2.10/32"), "eth1"}, {prefix("2001:db8::10/128"), "eth1"}}}
	wish(t, n, "slb", w, "")
	stop()
	again, stop := routingUntil(t, s)
	w.Addresses = w.Addresses[:2]
	wish(t, again, "slb", w, "")
	stands(t, again, "after a restart", "eth1 192.0.2.10/32 82", "eth1 192.0.2.9/32 0")
	stop()
	var ours, removed []string
	var err error
	s.Do(func() { ours, err = Ours() })
	want := []string{"address 192.0.2.10/32 dev eth1"}
	if err != nil || !slices.Equal(ours, want) {
		t.Errorf("ours: %v %v", ours, err)
	}
	s.Do(func() { removed, err = Clean() })
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("removed: %v %v", removed, err)
	}
	last := routingIn(t, s)
	stands(t, last, "cleaned", "eth1 192.0.2.9/32 0")
}

// A kernel before 5.18 keeps no mark: that is told once, and addresses are taken
// away as long as we know that they are ours.
func TestUnmarkedAddresses_Root(t *testing.T) {
	s, other := nettest.New(t), nettest.New(t)
	s.Cable("eth1", other, "far1")
	var told strings.Builder
	start := func() (*routing, func()) {
		var n *routing
		var err error
		s.Do(func() {
			n, err = newRouting(Options{Log: slog.New(slog.NewTextHandler(&told, nil))}, func(part, string, []string) {})
		})
		if err != nil {
			t.Fatal(err)
		}
		n.unmarking = true
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- n.run(ctx) }()
		return n, func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			n.close()
		}
	}
	one := &Wishes{Addresses: []Address{{prefix("192.0.2.10/32"), "eth1"}, {prefix("192.0.2.11/32"), "eth1"}}}
	n, stop := start()
	wish(t, n, "slb", one, "")
	stands(t, n, "wished", "eth1 192.0.2.10/32 0", "eth1 192.0.2.11/32 0")
	wish(t, n, "slb", &Wishes{Addresses: one.Addresses[:1]}, "")
	stands(t, n, "one no more", "eth1 192.0.2.10/32 0")
	s.IP("addr del 192.0.2.10/32 dev eth1")
	stands(t, n, "put back", "eth1 192.0.2.10/32 0")
	stop()
	if got := strings.Count(told.String(), "cannot mark addresses as ours"); got != 1 {
		t.Errorf("told %d times: %s", got, told.String())
	}
	n, stop = start()
	defer stop()
	wish(t, n, "slb", &Wishes{}, "")
	stands(t, n, "after a restart it is another's", "eth1 192.0.2.10/32 0")
}

// Random wishes upon random addresses, some of others: after what the plan says
// was done, those of others are as before, each wish on an interface that is on
// is there, and nothing of ours besides. A second plan has nothing to do.
func TestPlanAddresses(t *testing.T) {
	ports := map[string]device{"eth1": {1, true, true}, "eth2": {2, true, true}, "off": {3, false, true}}
	prefixes := []netip.Prefix{prefix("192.0.2.1/32"), prefix("192.0.2.1/24"), prefix("192.0.2.2/32"), prefix("2001:db8::1/128"), prefix("2001:db8::1/64"), prefix("2001:db8::2/128")}
	rapid.Check(t, func(t *rapid.T) {
		there := map[givenAt]uint8{}
		fits := func(at givenAt) bool { // as Linux takes them
			for other := range there {
				if other == at || other.index == at.index && at.prefix.Addr().Is6() && other.prefix.Addr() == at.prefix.Addr() {
					return false
				}
			}
			return true
		}
		for range rapid.IntRange(0, 8).Draw(t, "there") {
			at := givenAt{rapid.IntRange(1, 3).Draw(t, "index"), rapid.SampledFrom(prefixes).Draw(t, "prefix")}
			if fits(at) {
				there[at] = rapid.SampledFrom([]uint8{0, 3, 81, 82}).Draw(t, "proto")
			}
		}
		var wishes []Address
		for range rapid.IntRange(0, 6).Draw(t, "wishes") {
			wishes = append(wishes, Address{rapid.SampledFrom(prefixes).Draw(t, "wish"), rapid.SampledFrom([]string{"eth1", "eth2", "off", "gone"}).Draw(t, "on")})
		}
		plan := func() addressPlan {
			var list []given
			for at, proto := range there {
				list = append(list, given{at, proto})
			}
			return planAddresses(82, wishes, ports, list, func(g given) bool { return g.proto == 82 })
		}
		others := maps.Clone(there)
		maps.DeleteFunc(others, func(_ givenAt, proto uint8) bool { return proto == 82 })
		p := plan()
		for _, g := range p.first {
			delete(there, g.givenAt)
		}
		for _, g := range p.add {
			if !fits(g.givenAt) {
				t.Fatalf("%v is given twice: %v", g, there)
			}
			there[g.givenAt] = g.proto
		}
		for _, g := range p.over {
			delete(there, g.givenAt)
		}
		for at, proto := range others {
			if there[at] != proto {
				t.Fatalf("%v of others is gone", at)
			}
		}
		wanted, first := map[givenAt]bool{}, map[Address]bool{}
		for _, a := range wishes {
			d := ports[a.Interface]
			if one := (Address{netip.PrefixFrom(a.Prefix.Addr(), 0), a.Interface}); !first[one] {
				first[one], wanted[givenAt{d.index, a.Prefix}] = true, true
			}
			if d.up && !slices.ContainsFunc(slices.Collect(maps.Keys(there)), func(at givenAt) bool { return at.index == d.index && at.prefix.Addr() == a.Prefix.Addr() }) {
				t.Fatalf("%v is missing", a)
			}
		}
		for at, proto := range there {
			if proto == 82 && !wanted[at] {
				t.Fatalf("%v is over", at)
			}
		}
		if p := plan(); len(p.first)+len(p.add)+len(p.over) > 0 {
			t.Fatalf("there is more to do: %+v", p)
		}
	})
}
