package outbound

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
)

// sticky is a gateway with persistence, and everything else that is given.
func sticky(persistence, group string) string {
	return strings.Replace(simple, "linkGroup: all}", "linkGroup: all, persistence: keep}", 1) + `
persistence: [{name: keep, ` + persistence + `}]
` + group
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// learnt puts an entry of a client where packets would have.
func (g *gateway) learnt(set string, id uint32, key ...[]byte) {
	if g.written == nil {
		g.written = map[string][]kernel.Element{}
	}
	g.written[set] = append(g.written[set], kernel.Element{Key: kernel.Key(key...), Data: kernel.Number(id), Expires: time.Minute})
	g.restate()
}

// Persistence by source: the first connection decides, whatever its protocol;
// entries outlive it; clients do not share them (acceptance test 6).
func TestPersistence_Source(t *testing.T) {
	g := newGateway(t, sticky("mask: {v4: 30, v6: 64}", ""))
	first := map[string]string{}
	for i := range 40 {
		draw := uint32(i)
		g.world.Draw = func(kernel.Place, uint32) uint32 { return draw }
		client := fmt.Sprintf("10.0.0.%d", 4*(i%8)+i%3)
		if i%2 == 1 {
			client = fmt.Sprintf("[fd10:0:0:%d::%d]", i%4, i)
		}
		network := netip.MustParsePrefix(fmt.Sprintf("10.0.0.%d/30", 4*(i%8))).String()
		if i%2 == 1 {
			network = fmt.Sprint("v6 ", i%4)
		}
		to := "8.8.8.8"
		if i%2 == 1 {
			to = "[2001:db8:9::1]"
		}
		got := g.send(client + ":1 > " + to + ":80/" + []string{"tcp", "udp"}[i/2%2])
		if first[network] == "" {
			first[network] = got
		}
		if got != first[network] || got == "drop" {
			t.Errorf("%s: %s, before %s", client, got, first[network])
		}
	}
	if n := len(slices.Compact(slices.Sorted(maps.Values(first)))); n < 2 {
		t.Errorf("all clients have the same link: %v", first)
	}
}

// Persistence by source and destination keeps pairs, and spreads the
// connections of one client.
func TestPersistence_Pair(t *testing.T) {
	g := newGateway(t, sticky("by: source-destination, destinationMask: {v4: 24}", ""))
	draw := uint32(0)
	g.world.Draw = func(kernel.Place, uint32) uint32 { draw++; return draw % 256 }
	links := map[string]bool{}
	for i := range 12 {
		f := func(host int) string { return fmt.Sprintf("10.0.0.5:1 > 9.9.%d.%d:80/tcp", i, host) }
		one := g.send(f(1))
		links[one] = true
		if two := g.send(f(200)); two != one {
			t.Errorf("network %d: %s, then %s", i, one, two)
		}
	}
	if len(links) != 3 {
		t.Errorf("links %v", links)
	}
}

// The order: a session, persistence, proximity, the algorithm (1.2.18, T39).
// Persistence marks what it places.
func TestGroup_Order(t *testing.T) {
	g := newGateway(t, strings.Replace(sticky("mask: 32", ""), "{name: all, members", "{name: all, proximity: true, members", 1)+"\nproximity: {methods: [icmp]}\n")
	g.give(g.Variant("all"), 1, 2, 3)
	g.world.Draw = func(kernel.Place, uint32) uint32 { return 0 }
	if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); got != "one" {
		t.Errorf("algorithm: %s", got)
	}
	g.SetRanks(netip.MustParsePrefix("8.8.8.0/24"), RanksOf(2, 3, 1))
	g.restate()
	if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); got != "two" {
		t.Errorf("proximity: %s", got)
	}
	g.learnt("stick4_keep_all", 3, kernel.Addr(addr("10.0.0.5")))
	trace := g.walk("prerouting", packetOf(t, "10.0.0.5:1 > 8.8.8.8:80/tcp"))
	if got := g.verdict(trace); got != "three" || trace.Packet.Ct.Mark&kernel.Placed == 0 {
		t.Errorf("persistence: %s, mark %#x", got, trace.Packet.Ct.Mark)
	}
	p := packetOf(t, "10.0.0.5:1 > 8.8.8.8:80/tcp")
	p.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: 1}
	if got := g.verdict(g.walk("prerouting", p)); got != "one" {
		t.Errorf("session: %s", got)
	}
}

// A stale entry is forgotten and made anew, so that all that the client does
// goes by another link together; others are not touched (acceptance test 8). With
// overrideLimit an entry counts while its link lives, with overrideBusy while it
// would be available but for being busy (1.2.8, C2).
func TestPersistence_Stale(t *testing.T) {
	for _, c := range []struct {
		words              string
		avail, loose, live slots.IDs
		want               string
	}{
		{"mask: 32", slots.IDs{1, 2}, slots.IDs{1, 2}, slots.IDs{1, 2}, "two"},
		{"mask: 32", slots.IDs{1}, slots.IDs{1, 2}, slots.IDs{1, 2}, "one"},
		{"overrideBusy: true", slots.IDs{1}, slots.IDs{1, 2}, slots.IDs{1, 2}, "two"},
		{"overrideBusy: true", slots.IDs{1}, slots.IDs{1}, slots.IDs{1, 2}, "one"},
		{"overrideLimit: true", slots.IDs{1}, slots.IDs{1}, slots.IDs{1, 2}, "two"},
		{"overrideLimit: true", slots.IDs{1}, slots.IDs{1}, slots.IDs{1}, "one"},
	} {
		g := newGateway(t, sticky(c.words, ""))
		v := g.Variant("all")
		g.give(v, 1)
		v.SetAvailable(c.avail)
		v.SetAvailableOrBusy(c.loose)
		v.SetAlive(c.live)
		g.learnt("stick4_keep_all", 2, kernel.Addr(addr("10.0.0.5")))
		g.learnt("stick4_keep_all", 2, kernel.Addr(addr("10.0.0.6")))
		for range 2 {
			if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); got != c.want {
				t.Errorf("%s, available %v, or busy %v, alive %v: %s, want %s", c.words, c.avail, c.loose, c.live, got, c.want)
			}
		}
		v.SetAvailable(slots.IDs{1, 2})
		g.restate()
		if got := g.send("10.0.0.6:1 > 8.8.8.8:80/tcp"); got != "two" && c.words == "mask: 32" {
			t.Errorf("another client: %s", got)
		}
	}
}

// A burst of first connections of one client: who was slower takes the link of
// the entry that it finds when it comes to learn (trap 5).
func TestPersistence_Race(t *testing.T) {
	g := newGateway(t, sticky("mask: 32", ""))
	g.give(g.Variant("all"), 1, 2)
	w := g.Wishes(g.facts)
	table := &w.Tables[0]
	for i := range table.Chains { // the other one was quicker: it has learnt meanwhile
		if c := &table.Chains[i]; c.Name == "found_all_keep" {
			quicker := kernel.Rule{Do: []kernel.Step{kernel.Change{How: kernel.Put, Set: "stick4_keep_all", Key: kernel.Source4, Data: kernel.Const(kernel.Number(2)), Timeout: time.Minute}}}
			c.Rules = append([]kernel.Rule{quicker}, c.Rules...)
		}
	}
	g.world.Tables = w.Tables
	g.world.Draw = func(kernel.Place, uint32) uint32 { return 0 }
	if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); got != "two" {
		t.Errorf("%s", got)
	}
}

// A full map stops nobody: traffic goes on, not learnt (trap 5).
func TestPersistence_Full(t *testing.T) {
	g := newGateway(t, sticky("maxEntries: 256", ""))
	for i := range 256 {
		g.written = map[string][]kernel.Element{"stick4_keep_all": append(g.written["stick4_keep_all"],
			kernel.Element{Key: kernel.Addr(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)})), Data: kernel.Number(1), Expires: time.Minute})}
	}
	g.restate()
	if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); got == "drop" || got == "forward" {
		t.Errorf("%s", got)
	}
	if got := g.send("10.1.0.5:1 > 8.8.8.8:80/tcp"); got != "one" {
		t.Errorf("a client with an entry: %s", got)
	}
}

// Proximity: of three the first that is available (1.2.16, 1.2.19), else the
// algorithm; each connection asks for its network, whether it is known or not
// (T12), but children of a session do not (1.2.24).
func TestProximity(t *testing.T) {
	g := newGateway(t, strings.Replace(simple, "members", "proximity: true, members", 1)+"\nproximity: {methods: [icmp], mask: {v4: 24, v6: 48}}\n")
	v := g.Variant("all")
	for _, c := range []struct {
		ranks, avail slots.IDs
		want         string
	}{
		{slots.IDs{2, 3, 1}, slots.IDs{1, 2, 3}, "two"}, {slots.IDs{2, 3, 1}, slots.IDs{1, 3}, "three"}, {slots.IDs{2, 3, 1}, slots.IDs{1}, "one"},
		{slots.IDs{2, 3}, slots.IDs{1}, "one"}, {slots.IDs{3}, slots.IDs{1, 3}, "three"}, {nil, slots.IDs{1, 2}, "one"}, {slots.IDs{2}, nil, "drop"},
	} {
		g.give(v, c.avail...)
		g.SetRanks(netip.MustParsePrefix("8.8.8.0/24"), RanksOf(c.ranks...))
		g.SetRanks(netip.MustParsePrefix("2001:db8:9::/48"), RanksOf(c.ranks...))
		g.restate()
		for _, f := range []string{"10.0.0.5:1 > 8.8.8.200:80/tcp", "[fd10::5]:1 > [2001:db8:9:8::7]:80/tcp"} {
			trace := g.walk("prerouting", packetOf(t, f))
			if got := g.verdict(trace); got != c.want {
				t.Errorf("ranks %v, available %v, %s: %s, want %s", c.ranks, c.avail, f, got, c.want)
			}
			if !did(trace, func(s kernel.Step) bool {
				ch, ok := s.(kernel.Change)
				return ok && strings.HasPrefix(ch.Set, "prox_want")
			}) {
				t.Errorf("%s is not asked for", f)
			}
		}
	}
	child := packetOf(t, "10.0.0.5:1 > 8.8.8.200:80/tcp")
	child.Ct = kernel.CtInfo{State: kernel.CtRelated, Mark: 2}
	if trace := g.walk("prerouting", child); g.verdict(trace) != "two" || did(trace, func(s kernel.Step) bool { _, ok := s.(kernel.Change); return ok }) {
		t.Error("a child asks for its network")
	}
	got := g.Wanted([]kernel.Element{{Key: kernel.Addr(addr("8.8.8.0"))}, {Key: kernel.Addr(addr("2001:db8:9::"))}})
	if len(got) != 2 || got[0] != netip.MustParsePrefix("8.8.8.0/24") || got[1] != netip.MustParsePrefix("2001:db8:9::/48") {
		t.Errorf("wanted: %v", got)
	}
}

func did(trace *kernel.Trace, is func(kernel.Step) bool) bool {
	return slices.ContainsFunc(trace.Visits, func(v kernel.Visit) bool { return slices.ContainsFunc(v.Did, is) })
}

// A link at a limit that the kernel counts passes the connection on, in a ring,
// as long as one takes it; if none does, the rule fails, and nothing of the tries
// is left in the marks (1.2.13).
func TestLimits_NextLink(t *testing.T) {
	text := strings.NewReplacer("eth1, ", "eth1, maxConnections: 100, ", "eth2, ", "eth2, newConnections: 50, ",
		"members: [one, two, three]", "members: [one, two, {link: three, maxConnections: 7}]").Replace(simple)
	g := newGateway(t, text)
	for full := range 8 {
		is := func(l kernel.Limit) bool {
			id := int(l.Chain[len("link_")] - '1')
			return full&(1<<id) != 0
		}
		g.world.Shut = is
		g.world.Over = func(l kernel.Limit) bool { return l.Element == nil && is(l) }
		got := g.shares("10.0.0.5:1 > 8.8.8.8:80/tcp")
		for i, name := range []string{"one", "two", "three"} {
			if isFull := full&(1<<i) != 0; isFull == (got[name] > 0) {
				t.Errorf("full %03b: %v", full, got)
			}
		}
		if (full == 7) != (got["drop"] == 1) || full == 7 && len(got) != 1 {
			t.Errorf("full %03b: %v", full, got)
		}
	}
}

// A link without IPv6 gets none of its connections, and loses none of IPv4.
func TestLinks_OneFamily(t *testing.T) {
	g := newGateway(t, strings.Replace(simple, `interface: eth2, nextHop: 198.51.100.1, nextHop6: "2001:db8:2::1"`, "interface: eth2, nextHop: 198.51.100.1", 1))
	g.facts.Interfaces[2] = nic("eth2", "198.51.100.2/24")
	g.restate()
	if got := g.shares("[fd10::5]:1 > [2001:db8:9::1]:80/tcp"); got["two"] != 0 || got["drop"] != 0 || got["three"] < 0.5 {
		t.Errorf("IPv6: %v", got)
	}
	if got := g.shares("10.0.0.5:1 > 8.8.8.8:80/tcp"); got["two"] < 85.0/256 {
		t.Errorf("IPv4: %v", got)
	}
	g.facts.Interfaces[2] = nic("eth2", "198.51.100.2/24", "2001:db8:2::2/64")
	g.facts.Interfaces[2].NextHop6 = addr("fe80::1%eth2")
	if got := g.restate().shares("[fd10::5]:1 > [2001:db8:9::1]:80/tcp"); got["two"] < 85.0/256 {
		t.Errorf("when it has learnt a way: %v", got)
	}
}

// The hashes: what they go by decides, and nothing else.
func TestAlgorithms(t *testing.T) {
	for algorithm, same := range map[string][][2]string{
		"source-hash":             {{"10.0.0.5:1 > 8.8.8.8:80/tcp", "10.0.0.5:2 > 9.9.9.9:53/udp"}, {"[fd10::5]:1 > [2001:db8:9::1]:1/tcp", "fd10::5 > 2001:db8:9::9/icmp6"}},
		"destination-hash":        {{"10.0.0.5:1 > 8.8.8.8:80/tcp", "10.0.0.9:7 > 8.8.8.8:53/udp"}},
		"source-destination-hash": {{"10.0.0.5:1 > 8.8.8.8:80/tcp", "10.0.0.5:7 > 8.8.8.8:53/udp"}},
		"source-port-hash":        {{"10.0.0.5:1 > 8.8.8.8:80/tcp", "10.0.0.5:1 > 9.9.9.9:81/tcp"}, {"10.0.0.5 > 8.8.8.8/icmp", "10.0.0.5 > 9.9.9.9/gre"}},
	} {
		g := newGateway(t, strings.Replace(simple, "members", "algorithm: "+algorithm+", members", 1))
		for _, pair := range same {
			a, b := g.shares(pair[0]), g.shares(pair[1])
			if len(a) != 1 || !maps.Equal(a, b) || a["drop"] > 0 {
				t.Errorf("%s: %s %v, %s %v", algorithm, pair[0], a, pair[1], b)
			}
		}
		spread := map[string]bool{}
		for i := range 60 {
			spread[g.send(fmt.Sprintf("10.0.0.%d:%d > 8.8.0.%d:80/tcp", 2+i, 1000+i, i))] = true
		}
		if len(spread) != 3 || spread["drop"] {
			t.Errorf("%s spreads over %v", algorithm, spread)
		}
	}
	g := newGateway(t, strings.Replace(simple, "members", "algorithm: source-hash, mask: {v4: 24}, members", 1))
	if a, b := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"), g.send("10.0.0.77:1 > 8.8.8.8:80/tcp"); a != b {
		t.Errorf("one network: %s and %s", a, b)
	}
}

// Sessions of a dead link are ended when the group says reset, and only there
// (T38).
func TestForward_Reset(t *testing.T) {
	g := newGateway(t, strings.Replace(simple, "members", "onFailure: reset, members", 1))
	g.SetDead(slots.IDs{2})
	g.restate()
	for _, c := range []struct {
		mark uint32
		flow string
		want kernel.End
	}{{2 | kernel.EndsWith, "10.0.0.5:1 > 8.8.8.8:80/tcp", kernel.Refused}, {2 | kernel.EndsWith, "10.0.0.5:1 > 8.8.8.8:80/udp", kernel.Refused},
		{2, "10.0.0.5:1 > 8.8.8.8:80/tcp", kernel.Passed}, {2 | kernel.Inbound, "10.0.0.5:1 > 8.8.8.8:80/tcp", kernel.Passed}, {1 | kernel.EndsWith, "10.0.0.5:1 > 8.8.8.8:80/tcp", kernel.Passed}, {0, "10.0.0.5:1 > 8.8.8.8:80/tcp", kernel.Passed}} {
		p := packetOf(t, c.flow)
		p.Out, p.Ct = "eth2", kernel.CtInfo{State: kernel.CtEstablished, Mark: c.mark}
		if trace := g.walk("forward", p); trace.End != c.want {
			t.Errorf("%s, mark %d: %v", c.flow, c.mark, trace.End)
		}
	}
	for _, c := range newGateway(t, simple).world.Tables[0].Chains {
		if c.Name == "forward" {
			t.Error("packets are looked at in forward though nothing is ever reset")
		}
	}
}
