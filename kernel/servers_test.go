package kernel

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// servers is a table with each word that virtual servers need.
func servers() Table {
	a4, a6 := netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")
	first, last := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.7")
	first6, last6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::7")
	number := []Type{TypeNumber}
	vs := Masked{CtMark, Number(ServerMask)}
	return Table{
		Name: "portolan_slb",
		Sets: []Set{
			{Name: "exact4", Key: []Type{TypeAddr4, TypeProto, TypePort}, Data: number, Elements: NewElements(
				Element{Key: Key(Addr(a4), []byte{6}, Port(80)), Data: Number(1 << 10)})},
			{Name: "exact6", Key: []Type{TypeAddr6, TypeProto, TypePort}, Data: number, Elements: NewElements(
				Element{Key: Key(Addr(a6), []byte{6}, Port(80)), Data: Number(1 << 10)})},
			{Name: "nets4", Key: []Type{TypeAddr4}, Data: number, Interval: true, Elements: NewElements(with(rangeOf("203.0.113.0/24"), 1))},
			{Name: "ports", Key: []Type{TypeNumber, TypeProto, TypePort}, Data: number, Interval: true, Elements: NewElements(
				Element{Key: Key(Number(1), []byte{6}, Port(8000)), End: Key(Number(1), []byte{6}, Port(8100)), Data: Number(2 << 10)},
				Element{Key: Key(Number(1), []byte{17}, Port(53)), Data: Number(3 << 10)})},
			{Name: "boxes6", Key: []Type{TypeAddr6, TypePort}, Interval: true, Elements: NewElements(
				Element{Key: Key(Addr(a6), Port(1)), End: Key(Addr(netip.MustParseAddr("2001:db8::ff")), Port(0xffff))},
				Element{Key: Key(Addr(first6), Port(1)), End: Key(Addr(last6), Port(9))})},
			{Name: "vs_full", Key: number, Elements: NewElements(Element{Key: Number(1 << 10), Over: 100}, Element{Key: Number(2 << 10), Over: 2000})},
			{Name: "vs_fast", Key: number, Elements: NewElements(Element{Key: Number(1 << 10), Rate: &Rate{PerSecond: 100}}, Element{Key: Number(2 << 10), Rate: &Rate{PerSecond: 7, Burst: 20}})},
			{Name: "vs_octets", Key: number, Elements: NewElements(Element{Key: Number(1 << 10), Rate: &Rate{PerSecond: 125000, Octets: true}}, Element{Key: Number(2 << 10), Rate: &Rate{PerSecond: 125000, Burst: 15000, Octets: true}})},
			{Name: "limits", Key: number, Data: number, Elements: NewElements(Element{Key: Number(1 << 10), Data: Number(7), Rate: &Rate{PerSecond: 9}})},
			{Name: "target", Key: number, Data: number, Counted: true, Elements: NewElements(Element{Key: Number(1 << 10), Data: Number(70000)})},
			{Name: "draws", Key: number, Verdicts: true, Elements: NewElements(Element{Key: Number(70000), Verdict: Goto{"draw"}})},
			{Name: "farm_of", Key: number, Data: number, Elements: NewElements(Element{Key: Number(70000), Data: Number(5)})},
			{Name: "slots", Key: []Type{TypeNumber, TypeNumber}, Data: number, Elements: NewElements(Element{Key: Key(Number(5), Number(0)), Data: Number(11)}, Element{Key: Key(Number(5), Number(1)), Data: Number(12)})},
			{Name: "given", Key: number, Counted: true, Elements: NewElements(Element{Key: Number(11)}, Element{Key: Number(12)})},
			{Name: "server4", Key: number, Data: []Type{TypeAddr4, TypePort}, Elements: NewElements(Element{Key: Number(11), Data: Key(Addr(first), Port(8080))})},
			{Name: "server6", Key: number, Data: []Type{TypeAddr6, TypePort}, Elements: NewElements(Element{Key: Number(11), Data: Key(Addr(first6), Port(8080))})},
			{Name: "plain4", Key: number, Data: []Type{TypeAddr4}, Elements: NewElements(Element{Key: Number(12), Data: Addr(first)})},
			{Name: "plain6", Key: number, Data: []Type{TypeAddr6}, Elements: NewElements(Element{Key: Number(12), Data: Addr(first6)})},
			{Name: "snat4", Key: []Type{TypeAddr4, TypePort}, Data: []Type{TypeAddr4, TypeAddr4}, Elements: NewElements(Element{Key: Key(Addr(a4), Port(80)), Data: Key(Addr(first), Addr(last))})},
			{Name: "snat6", Key: []Type{TypeAddr6, TypePort}, Data: []Type{TypeAddr6, TypeAddr6}, Elements: NewElements(Element{Key: Key(Addr(a6), Port(80)), Data: Key(Addr(first6), Addr(last6))})},
			{Name: "pool4", Key: []Type{TypeAddr4, TypePort}, Data: []Type{TypeAddr4, TypeAddr4, TypePort, TypePort}, Elements: NewElements(Element{Key: Key(Addr(a4), Port(80)), Data: Key(Addr(first), Addr(last), Port(1024), Port(65535))})},
			{Name: "pool6", Key: []Type{TypeAddr6, TypePort}, Data: []Type{TypeAddr6, TypeAddr6, TypePort, TypePort}, Elements: NewElements(Element{Key: Key(Addr(a6), Port(80)), Data: Key(Addr(first6), Addr(last6), Port(1024), Port(65535))})},
			{Name: "keeps4", Key: []Type{TypeNumber, TypeAddr4}, Data: number, Dynamic: true, Size: 1000},
			{Name: "alive", Key: []Type{TypeNumber, TypeNumber}, Elements: NewElements(Element{Key: Key(Number(5), Number(11))})},
		},
		Chains: []Chain{
			{Name: "early", Hook: &Hook{"filter", "prerouting", -152}, Rules: []Rule{
				{Tell: "one address, protocol and port", Do: []Step{Is{Of: CtMark, To: Number(0)}, CopyCtMark{Lookup{Join{Dest4, Protocol, DestPort}, "exact4"}}, Accept{}}},
				{Tell: "one address, protocol and port, IPv6", Do: []Step{CopyCtMark{Lookup{Join{Dest6, Protocol, DestPort}, "exact6"}}}},
				{Tell: "a class and a range of ports", Do: []Step{CopyCtMark{Lookup{Join{Lookup{Dest4, "nets4"}, Protocol, DestPort}, "ports"}}}},
				{Tell: "a box", Do: []Step{In{Key: Join{Dest6, DestPort}, Set: "boxes6"}, Accept{}}},
				{Tell: "not in a box", Do: []Step{In{Key: Join{Dest6, DestPort}, Set: "boxes6", Not: true}, Accept{}}},
			}},
			{Name: "serve", Hook: &Hook{"nat", "prerouting", -101}, Rules: []Rule{
				{Tell: "full", Do: []Step{In{Key: vs, Set: "vs_full"}, Drop{}}},
				{Tell: "too fast", Do: []Step{In{Key: vs, Set: "vs_fast"}, Drop{}}},
				{Tell: "a number above a limit", Do: []Step{SetPriority{Lookup{vs, "limits"}}}},
				{Tell: "a target", Do: []Step{SetPriority{Lookup{vs, "target"}}, Goto{"aim"}}},
				{Tell: "what a policy says", Do: []Step{SetPriority{Const(Number(70000))}, Goto{"aim"}}},
			}},
			{Name: "aim", Rules: []Rule{
				{Tell: "keep", Do: []Step{SetPriority{Lookup{Join{vs, Source4}, "keeps4"}}, In{Key: Join{Lookup{Const(Number(70000)), "farm_of"}, Priority}, Set: "alive"}, Goto{"give"}}},
				{Tell: "draw", Do: []Step{Choose{Priority, "draws"}}},
				{Tell: "none", Do: []Step{SetPriority{Const(Number(0))}, Drop{}}},
			}},
			{Name: "draw", Rules: []Rule{
				{Tell: "by lot", Do: []Step{SetPriority{Lookup{Join{Lookup{Priority, "farm_of"}, Lot{64}}, "slots"}}, Goto{"give"}}},
				{Tell: "by source", Do: []Step{SetPriority{Lookup{Join{Lookup{Priority, "farm_of"}, Hash{Of: Masked{Source4, []byte{255, 255, 255, 0}}, Mod: 64, Seed: 1}}, "slots"}}, Goto{"give"}}},
			}},
			{Name: "give", Rules: []Rule{
				{Tell: "counted", Do: []Step{In{Key: Priority, Set: "given"}}},
				{Tell: "learn", Do: []Step{Change{Set: "keeps4", Key: Join{vs, Source4}, Data: Priority}}},
				{Tell: "to a server and port", Do: []Step{DNAT{To: Lookup{Priority, "server4"}, Port: true}}},
				{Tell: "to a server and port, IPv6", Do: []Step{DNAT{IPv6: true, To: Lookup{Priority, "server6"}, Port: true}}},
				{Tell: "to a server", Do: []Step{DNAT{To: Lookup{Priority, "plain4"}}}},
				{Tell: "to a server, IPv6", Do: []Step{DNAT{IPv6: true, To: Lookup{Priority, "plain6"}}}},
			}},
			{Name: "forward", Hook: &Hook{"filter", "forward", -5}, Rules: []Rule{
				{Tell: "too many octets", Do: []Step{In{Key: vs, Set: "vs_octets"}, Drop{}}},
			}},
			{Name: "source", Hook: &Hook{"nat", "postrouting", 99}, Rules: []Rule{
				{Tell: "pool", Do: []Step{SNATTo{To: Lookup{Join{Dest4, DestPort}, "snat4"}}}},
				{Tell: "pool, IPv6", Do: []Step{SNATTo{IPv6: true, To: Lookup{Join{Dest6, DestPort}, "snat6"}}}},
				{Tell: "pool with ports", Do: []Step{SNATTo{To: Lookup{Join{Dest4, DestPort}, "pool4"}, Ports: true}}},
				{Tell: "pool for what has no ports", Do: []Step{SNATTo{To: Lookup{Join{Dest4, Const(Port(0))}, "pool4"}}}},
				{Tell: "pool for what has no ports, IPv6", Do: []Step{SNATTo{IPv6: true, To: Lookup{Join{Dest6, Const(Port(0))}, "pool6"}}}},
				{Tell: "pool with ports, IPv6", Do: []Step{SNATTo{IPv6: true, To: Lookup{Join{Dest6, DestPort}, "pool6"}, Ports: true}}},
			}},
		},
	}
}

// What virtual servers need is taken by the kernel, read back as it was
// wished, and listed by nft 1.0.6, which aborts on what it does not understand.
func TestServers_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	table := servers()
	golden(t, "servers.txt", table.Text())
	k.Want("slb", &Wishes{Tables: []Table{table}})
	k.synced("slb")
	asRead(t, k, &table)
	out := mustNFT(t, at, "", "list", "ruleset")
	for _, want := range []string{
		"ct count over 2000", "limit rate over 7/second burst 20 packets", "limit rate over 125000 bytes/second burst 15000 bytes",
		"counter packets 0 bytes 0 : 0x00011170", ". tcp . 8000-8100 : 0x00000800", "2001:db8::10-2001:db8::ff . 1-65535",
		"meta priority set 1:1170 goto aim", "ct mark set ip daddr . meta l4proto . th dport map @exact4",
		"meta priority set none dnat ip to meta priority map @server4", "snat ip6 to meta mark", `comment "pool with ports"`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nft does not list %q:\n%s", want, out)
		}
	}
}

// An element keeps its counter whatever is put beside it, when its data changes,
// alone or with many others, and over a restart; one whose limit changes is another
// element, and it alone.
func TestElementsKeepTheirCounters_Root(t *testing.T) {
	at := nettest.New(t)
	k := stand(t, at)
	seven := func(key uint32) Element { return Element{Key: Number(key), Data: Number(7)} }
	given, full := NewElements(seven(1), seven(2)), NewElements(Element{Key: Number(1), Over: 5}, Element{Key: Number(2), Rate: &Rate{PerSecond: 5}})
	mine := Is{Of: Protocol, To: []byte{17}}
	wish := func() *Wishes {
		return &Wishes{Tables: []Table{{Name: "portolan_test",
			Sets: []Set{{Name: "given", Key: []Type{TypeNumber}, Data: []Type{TypeNumber}, Counted: true, Elements: given}, {Name: "full", Key: []Type{TypeNumber}, Elements: full}},
			Chains: []Chain{{Name: "out", Hook: &Hook{"filter", "output", 0}, Rules: []Rule{
				{Do: []Step{mine, SetPriority{Const(Number(1))}}}, {Do: []Step{mine, In{Key: Priority, Set: "given"}}}, {Do: []Step{SetPriority{Const(Number(0))}}}}}}}}}
	}
	k.Want("test", wish())
	k.synced("test")
	at.IP("link set lo up")
	at.Do(func() {
		c, err := net.Dial("udp", "127.0.0.1:9")
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write(make([]byte, 72)); err != nil {
			t.Error(err)
		}
	})
	counted := func(k *standing, when string) {
		t.Helper()
		list, err := k.Elements("portolan_test", "given")
		i := slices.IndexFunc(list, func(el Element) bool { return bytes.Equal(el.Key, Number(1)) })
		if err != nil || i < 0 || list[i].Packets != 1 || list[i].Octets != 100 {
			t.Errorf("%s: %+v, %v", when, list, err)
		}
	}
	counted(k, "at first")
	k.sentSince()
	given.Put(seven(1), seven(3))
	given.Delete(seven(2))
	full.Put(Element{Key: Number(1), Over: 5}, Element{Key: Number(2), Rate: &Rate{PerSecond: 5, Burst: rateBurst}})
	k.Changed("test", given, full)
	k.synced("test")
	if sent, want := k.sentSince(), []string{"delete element given { 0x2 : 0x7 }", "add element given { 0x3 : 0x7 }"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	counted(k, "after a change beside it")
	given.Put(Element{Key: Number(1), Data: Number(8)})
	k.Changed("test", given)
	k.synced("test")
	counted(k, "after other data")
	for _, data := range []uint32{9, 10} { // added, then changed
		for key := range uint32(2 * countsAsked) {
			given.Put(Element{Key: Number(key), Data: Number(data)})
		}
		k.Changed("test", given)
		k.synced("test")
		counted(k, fmt.Sprintf("after many others became %d", data))
	}
	k.sentSince()
	full.Put(Element{Key: Number(1), Over: 6})
	k.Changed("test", full)
	k.synced("test")
	if sent, want := k.sentSince(), []string{"delete element full { 0x1 ct count over 5 }", "add element full { 0x1 ct count over 6 }"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	k.stop()
	again := stand(t, at)
	again.Want("test", wish())
	again.synced("test")
	if sent := again.sentSince(); sent != nil {
		t.Errorf("a restart sends %q", sent)
	}
	counted(again, "after a restart")
}

// Ranges of several parts that overlap are told, each with the one before it, and
// only they are left out; so are limits that make no sense.
func TestSenselessElements(t *testing.T) {
	box := func(from, to, first, last uint16) Element {
		return Element{Key: Key(Number(1), Port(from), Port(first)), End: Key(Number(1), Port(to), Port(last))}
	}
	boxes := &Set{Name: "b", Key: []Type{TypeNumber, TypePort, TypePort}, Interval: true}
	plain := &Set{Name: "p", Key: []Type{TypePort}}
	counted := &Set{Name: "c", Key: []Type{TypePort}, Counted: true}
	for _, c := range []struct {
		set  *Set
		list []Element
		want []string
	}{
		{boxes, []Element{box(1, 9, 1, 9), box(10, 19, 1, 9), box(1, 9, 10, 20)}, nil},
		{boxes, []Element{box(1, 9, 1, 9), box(9, 19, 9, 20)}, []string{"0x1 . 9-19 . 9-20 overlaps 0x1 . 1-9 . 1-9"}},
		{boxes, []Element{box(1, 99, 1, 99), box(5, 6, 7, 8), box(100, 100, 1, 1)}, []string{"0x1 . 5-6 . 7-8 overlaps"}},
		{boxes, []Element{box(9, 1, 1, 1)}, []string{"part 2 of the range ends before it begins"}},
		{boxes, []Element{{Key: Key(Number(1), Port(1), Port(1)), End: Key(Number(2), Port(1), Port(1))}}, []string{"part 1 is not in the network's order"}},
		{plain, []Element{{Key: Port(1), Over: 1, Rate: &Rate{PerSecond: 1}}}, []string{"an element has one limit"}},
		{plain, []Element{{Key: Port(1), Rate: &Rate{}}}, []string{"a rate of 0"}},
		{counted, []Element{{Key: Port(1), Over: 1}}, []string{"what has a limit is not counted"}},
		{&Set{Name: "s", Key: []Type{TypePort}, Size: 9}, []Element{{Key: Port(1), Over: 1}}, []string{"only in sets without a size"}},
	} {
		c.set.Elements = NewElements(c.list...)
		w := wishOf(&Table{Name: "portolan_test", Sets: []Set{*c.set}})
		var told []string
		pl := &planner{table: "portolan_test", want: w, have: noTable(), pending: map[string]*pending{}, bad: func(p string) { told = append(told, p) }}
		p := pl.makePlan(false)
		put := 0
		for _, o := range p.steps[newElements] {
			put += len(o.list)
		}
		if len(told) != len(c.want) || put != len(c.list)-len(c.want) {
			t.Errorf("%v: told %q, %d are put", c.list, told, put)
			continue
		}
		for i, want := range c.want {
			if !strings.Contains(told[i], want) {
				t.Errorf("told %q, want %q", told[i], want)
			}
		}
	}
}
