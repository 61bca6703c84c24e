package kernel

import (
	"net/netip"
	"testing"
)

// twoLinks has two links and the routes of outbound.md 2.2.
func twoLinks() *World {
	any4, any6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	link := func(name string, mark uint32) Chain {
		return Chain{Name: name, Rules: []Rule{{Do: []Step{SetCtMark{LinkMask, mark}, SetMark{LinkMask, mark}, Accept{}}}}}
	}
	w := NewWorld(&Wishes{
		Tables: []Table{{
			Name: "t",
			Chains: []Chain{
				{Name: "pre", Hook: &Hook{"filter", "prerouting", -150}, Rules: []Rule{
					{Do: []Step{Is{Of: InName, Op: NotEqual, To: Name("lan0")}, Return{}}},
					{Do: []Step{Is{Of: DestPort, To: Port(25)}, Drop{}}},
					{Do: []Step{Is{Of: DestPort, To: Port(22)}, Return{}}},
					{Do: []Step{Choose{Lookup{Turn{256}, "slots"}, "avail"}}},
				}},
				{Name: "post", Hook: &Hook{"nat", "postrouting", 100}, Rules: []Rule{
					{Do: []Step{Is{Of: OutName, To: Name("wan1")}, Masquerade{}}},
					{Do: []Step{Is{Of: OutName, To: Name("wan2")}, SNAT{to4, to4}}},
				}},
				{Name: "in", Hook: &Hook{"filter", "input", 0}, Rules: []Rule{marks(9)}},
				{Name: "out", Hook: &Hook{"route", "output", -150}, Rules: []Rule{{Do: []Step{Is{Of: DestPort, To: Port(53)}, SetMark{LinkMask, 2}}}}},
				link("link_1", 1), link("link_2", 2),
			},
			Sets: []Set{
				{Name: "slots", Key: []Type{TypeNumber}, Data: []Type{TypeNumber}, Elements: thirds()},
				{Name: "avail", Key: []Type{TypeNumber}, Verdicts: true, Elements: NewElements(
					Element{Key: Number(1), Verdict: Goto{"link_1"}}, Element{Key: Number(2), Verdict: Goto{"link_2"}})},
			},
		}},
		Rules: []PolicyRule{
			{Priority: 1002, Mark: 2, Mask: LinkMask, Table: 1002}, {Priority: 1001, Mark: 1, Mask: LinkMask, Table: 1001}, {Priority: 1001, IPv6: true, Mark: 1, Mask: LinkMask, Table: 1001},
			{Priority: 900, Table: 900}, {Priority: 2001, From: netip.MustParsePrefix("192.0.2.1/32"), Table: 1001},
		},
		Routes: []Route{
			{Table: 900, To: netip.MustParsePrefix("10.0.0.0/24"), Interface: "lan0"},
			{Table: 1001, To: any4, Kind: Unreachable, Metric: 1 << 30}, {Table: 1001, To: any4, Interface: "wan1", Via: netip.MustParseAddr("192.0.2.254")},
			{Table: 1001, To: any6, Kind: Unreachable, Metric: 1 << 30},
			{Table: 1002, To: any4, Interface: "wan2"}, {Table: 1002, To: any4, Kind: Unreachable, Metric: 1 << 30},
		},
	})
	w.AddressType = AddressTypes(netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("192.0.2.1/24"))
	return w
}

// thirds gives link 1 twice as many slots as link 2, but for one.
func thirds() *Elements {
	e := NewElements()
	for n := range uint32(255) {
		e.Put(Element{Key: Number(n), Data: Number(1 + n%3/2)})
	}
	return e
}

func TestJourney(t *testing.T) {
	gone := func(w *World) { w.Present = func(name string) bool { return name != "wan1" } }
	type leg struct {
		share float64
		end   End
		out   string
		table int
		nat   string
	}
	snat := func(n *NAT) string {
		switch {
		case n == nil:
			return ""
		case n.Masquerade:
			return "masquerade"
		}
		return n.From.String()
	}
	packet := func(change func(*Packet)) Packet { return like(like(tcp4, func(p *Packet) { p.Mark = 0 }), change) }
	for _, c := range []struct {
		name  string
		p     Packet
		world func(*World)
		want  []leg
	}{
		{"shares", packet(func(*Packet) {}), nil, []leg{
			{170. / 256, Passed, "wan1", 1001, "masquerade"}, {85. / 256, Passed, "wan2", 1002, "8.8.8.8"}, {1. / 256, Passed, "", 0, ""}}},
		{"a lost interface never leaks to another (outbound.md 2.2)", packet(func(*Packet) {}), gone, []leg{
			{170. / 256, Refused, "", 1001, ""}, {85. / 256, Passed, "wan2", 1002, "8.8.8.8"}, {1. / 256, Passed, "", 0, ""}}},
		{"dropped", packet(func(p *Packet) { p.DestPort = 25 }), nil, []leg{{1, Dropped, "", 0, ""}}},
		{"to the gateway", packet(func(p *Packet) { p.Dest, p.DestPort = netip.MustParseAddr("10.0.0.1"), 22 }), nil, []leg{{1, Passed, "", 255, ""}}},
		{"inside, although it is marked", packet(func(p *Packet) { p.Dest, p.Mark, p.DestPort = netip.MustParseAddr("10.0.0.9"), 1, 22 }), nil, []leg{{1, Passed, "lan0", 900, ""}}},
		{"unmarked", packet(func(p *Packet) { p.DestPort = 22 }), nil, []leg{{1, Passed, "", 0, ""}}},
		{"unmarked, and somebody knows", packet(func(p *Packet) { p.DestPort = 22 }), func(w *World) {
			w.Elsewhere = func(Packet) (Route, bool) { return Route{Table: 254, Interface: "wan2"}, true }
		}, []leg{{1, Passed, "wan2", 254, "8.8.8.8"}}},
		{"own, bound to a link's address", packet(func(p *Packet) { p.In, p.Source = "", netip.MustParseAddr("192.0.2.1") }), nil, []leg{{1, Passed, "wan1", 1001, "masquerade"}}},
		{"own, marked in output", packet(func(p *Packet) { p.In, p.DestPort = "", 53 }), nil, []leg{{1, Passed, "wan2", 1002, "8.8.8.8"}}},
		{"IPv6 without a next hop", like(tcp6, func(p *Packet) { p.Mark, p.DestPort = 1, 22 }), nil, []leg{{1, Refused, "", 1001, ""}}},
	} {
		w := twoLinks()
		if c.world != nil {
			c.world(w)
		}
		ways, err := w.Journey(c.p)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		var got []leg
		for _, way := range ways {
			l := leg{way.Share, way.End, way.Packet.Out, 0, snat(way.NAT)}
			if way.Routed != nil {
				l.table = way.Routed.Route.Table
			}
			got = append(got, l)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: way %d: %+v, want %+v", c.name, i, got[i], c.want[i])
			}
		}
	}
}

// A packet for this machine goes through input and not through forward.
func TestJourneyHooks(t *testing.T) {
	for _, c := range []struct {
		to    string
		hooks string
	}{{"10.0.0.1", "prerouting input "}, {"8.8.8.8", "prerouting forward postrouting "}} {
		ways, err := twoLinks().Journey(like(tcp4, func(p *Packet) { p.Dest, p.DestPort = netip.MustParseAddr(c.to), 22 }))
		if err != nil || len(ways) != 1 {
			t.Fatal(ways, err)
		}
		got := ""
		for _, h := range ways[0].Hooks {
			got += h.Point + " "
		}
		if got != c.hooks {
			t.Errorf("to %s: %s", c.to, got)
		}
	}
}
