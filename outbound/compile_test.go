package outbound

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
)

// A new connection of the inside is shared by the slots, and both marks agree;
// ICMP and both families are balanced alike.
func TestPath_Shares(t *testing.T) {
	g := newGateway(t, simple)
	for _, f := range []string{"10.0.0.5:1000 > 8.8.8.8:443/tcp", "10.0.0.5:1000 > 8.8.8.8:53/udp", "10.0.0.5 > 8.8.8.8/icmp", "[fd10::5]:1000 > [2001:db8:99::8]:443/tcp"} {
		got := g.shares(f)
		if len(got) != 3 || got["one"] < 85.0/256 || got["two"] < 85.0/256 || got["three"] < 85.0/256 {
			t.Errorf("%s: %v", f, got)
		}
	}
}

// What is for the inside, the gateway itself or exempt networks is not balanced
// (acceptance test 3).
func TestPath_NotBalanced(t *testing.T) {
	g := newGateway(t, simple+"  exempt: [172.16.0.0/12]\n")
	for _, f := range []string{
		"10.0.0.5:1000 > 10.0.0.9:80/tcp", "10.0.0.5:1000 > 203.0.113.2:80/tcp", "10.0.0.5:1000 > 10.0.0.255:80/udp",
		"10.0.0.5:1000 > 255.255.255.255:67/udp", "10.0.0.5:1000 > 224.0.0.5:80/udp", "10.0.0.5:1000 > 172.16.9.9:80/tcp",
		"[fd10::5]:1 > [fd10::9]:80/tcp", "[fd10::5]:1 > [ff02::1]:80/udp", "[fd10::5]:1 > [2001:db8:2::2]:80/tcp",
	} {
		if got := g.send(f); got != "forward" {
			t.Errorf("%s: %s", f, got)
		}
	}
	g.facts.Interfaces[0].Beyond = []kernel.Beyond{{To: netip.MustParsePrefix("192.168.0.0/16"), Via: netip.MustParseAddr("10.0.0.254")}}
	if got := g.restate().send("10.0.0.5:1000 > 192.168.7.7:80/tcp"); got != "forward" {
		t.Errorf("to the inside behind a router: %s", got)
	}
	want := kernel.Route{Table: 900, To: netip.MustParsePrefix("192.168.0.0/16"), Interface: "lan0", Via: netip.MustParseAddr("10.0.0.254")}
	if !slices.Contains(g.Wishes(g.facts).Routes, want) {
		t.Errorf("replies from an address of a link do not reach it: no %+v", want)
	}
	p := packetOf(t, "10.9.0.5:1000 > 8.8.8.8:80/tcp")
	p.In = "dmz0"
	if got := g.verdict(g.walk("prerouting", p)); got != "forward" {
		t.Errorf("from an interface that is not of the inside: %s", got)
	}
}

// An existing session keeps its link whatever else says otherwise; the bits of
// others stay (1.2.2, T33).
func TestPath_Session(t *testing.T) {
	g := newGateway(t, simple)
	p := packetOf(t, "10.0.0.5:1000 > 8.8.8.8:80/tcp")
	p.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: 2 | 0x4000_0400}
	if trace := g.walk("prerouting", p); trace.Packet.Mark != 2 || trace.Packet.Ct.Mark != p.Ct.Mark {
		t.Errorf("marks %#x %#x", trace.Packet.Mark, trace.Packet.Ct.Mark)
	}
	p.Mark = 0x2000_0000
	if trace := g.walk("prerouting", p); trace.Packet.Mark != 0x2000_0002 {
		t.Errorf("mark %#x", trace.Packet.Mark)
	}
	p.Ct.Mark, p.Mark = 0, 0
	if got := g.verdict(g.walk("prerouting", p)); got != "forward" {
		t.Errorf("a session that was not balanced: %s", got)
	}
	p.Ct = kernel.CtInfo{State: kernel.CtRelated, Mark: 3}
	if got := g.verdict(g.walk("prerouting", p)); got != "three" {
		t.Errorf("the child of a session on link three: %s", got)
	}
	for _, v := range g.Variants() {
		g.give(v, 1)
	}
	p = packetOf(t, "10.0.0.5:1000 > 8.8.8.8:80/tcp")
	p.Mark, p.Ct.Mark = 0x2000_03ff, 0x4000_0000
	trace := g.walk("prerouting", p)
	if trace.Packet.Mark != 0x2000_0001 || trace.Packet.Ct.Mark != 0x4000_0001 {
		t.Errorf("a new one, with bits of others: marks %#x %#x", trace.Packet.Mark, trace.Packet.Ct.Mark)
	}
	p.Mark = kernel.Intercepted
	if trace := g.walk("prerouting", p); trace.Packet.Mark != kernel.Intercepted {
		t.Errorf("what is for the DNS proxy: mark %#x", trace.Packet.Mark)
	}
}

// Keep last hop: what came in by a link is answered over it, by the router that
// sent it where a segment has several (1.2.17, T34); nothing that goes to the
// inside is marked (trap 4).
func TestPath_KeepLastHop(t *testing.T) {
	g := newGateway(t, simple)
	in := packetOf(t, "8.8.8.8:1000 > 203.0.113.2:80/tcp")
	in.In = "eth2"
	trace := g.walk("prerouting", in)
	if trace.Packet.Mark != 0 || trace.Packet.Ct.Mark != kernel.Inbound|2 {
		t.Fatalf("coming in: marks %#x %#x", trace.Packet.Mark, trace.Packet.Ct.Mark)
	}
	reply := packetOf(t, "10.0.0.7:80 > 8.8.8.8:1000/tcp")
	reply.Ct = kernel.CtInfo{State: kernel.CtEstablished, Reply: true, Mark: trace.Packet.Ct.Mark}
	if got := g.verdict(g.walk("prerouting", reply)); got != "two" {
		t.Errorf("the reply of a server of the inside: %s", got)
	}
	reply.In, reply.Source = "", in.Dest
	if got := g.verdict(g.walk("output", reply)); got != "two" {
		t.Errorf("the reply of the gateway: %s", got)
	}
	in.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: trace.Packet.Ct.Mark}
	if trace := g.walk("prerouting", in); trace.Packet.Mark != 0 {
		t.Errorf("further packets towards the inside: mark %#x", trace.Packet.Mark)
	}
}

// A segment with two routers: the link is that of the router that sent it.
func TestPath_LastHopOfSegment(t *testing.T) {
	g := newGateway(t, `
version: 1
links:
  - {name: one, interface: eth1, nextHop: 203.0.113.1}
  - {name: two, interface: eth1, nextHop: 203.0.113.9}
linkGroups: [{name: all, members: [one, two]}]
outbound: {interfaces: [lan0], virtualServers: [{name: all, linkGroup: all}]}
`)
	g.facts.Neighbours = []Neighbour{
		{"eth1", g.links[0].NextHop, [6]byte{2, 0, 0, 0, 0, 1}},
		{"eth1", g.links[1].NextHop, [6]byte{2, 0, 0, 0, 0, 9}},
	}
	g.restate()
	for mac, want := range map[byte]uint32{1: 1, 9: 2, 7: 1} {
		p := packetOf(t, "8.8.8.8:1000 > 203.0.113.2:80/tcp")
		p.In, p.EtherSource = "eth1", [6]byte{2, 0, 0, 0, 0, mac}
		if trace := g.walk("prerouting", p); trace.Packet.Ct.Mark != kernel.Inbound|want {
			t.Errorf("from the router %d: mark %#x", mac, trace.Packet.Ct.Mark)
		}
	}
	g = newGateway(t, simple) // each link has an interface of its own: no router needs to be known
	before := g.Wishes(g.facts).Tables[0].Text()
	g.facts.Neighbours = []Neighbour{{"eth1", g.links[0].NextHop, [6]byte{2, 0, 0, 0, 0, 1}}}
	if g.Wishes(g.facts).Tables[0].Text() != before {
		t.Error("Ethernet addresses of routers are told though they make no difference")
	}
}

// Trap 2: the gateway's own packets about a session, such as a reset or an ICMP
// error, are marked only in the direction of the link.
func TestPath_OutputDirection(t *testing.T) {
	g := newGateway(t, simple)
	for _, c := range []struct {
		mark  uint32
		reply bool
		want  string
	}{
		{2, true, "forward"}, {2, false, "two"},
		{2 | kernel.Inbound, true, "two"}, {2 | kernel.Inbound, false, "forward"},
		{0, false, "forward"}, {kernel.Inbound, true, "forward"},
	} {
		p := packetOf(t, "203.0.113.2:80 > 8.8.8.8:1000/tcp")
		p.In, p.Ct = "", kernel.CtInfo{State: kernel.CtEstablished, Reply: c.reply, Mark: c.mark}
		if got := g.verdict(g.walk("output", p)); got != c.want {
			t.Errorf("mark %#x, reply %v: %s, want %s", c.mark, c.reply, got, c.want)
		}
	}
	p := packetOf(t, "203.0.113.2:80 > 8.8.8.8:1000/tcp")
	p.In, p.Mark = "", 3 // a probe of link three
	if trace := g.walk("output", p); trace.Packet.Mark != 3 || trace.Packet.Ct.Mark != 0 {
		t.Errorf("a probe: marks %#x %#x", trace.Packet.Mark, trace.Packet.Ct.Mark)
	}
}

// outbound.local: the gateway's own new connections are balanced only then.
func TestPath_Local(t *testing.T) {
	own := packetOf(t, "203.0.113.2:1000 > 8.8.8.8:443/tcp")
	own.In = ""
	g := newGateway(t, simple)
	if got := g.verdict(g.walk("output", own)); got != "forward" {
		t.Errorf("without: %s", got)
	}
	g = newGateway(t, simple+"  local: true\n")
	g.give(g.Variant("all"), 3)
	if got := g.verdict(g.walk("output", own)); got != "three" {
		t.Errorf("with: %s", got)
	}
	own.Dest = own.Source
	if got := g.verdict(g.walk("output", own)); got != "forward" {
		t.Errorf("to itself: %s", got)
	}
}

// The most specific virtual server takes a connection: longest prefix, then
// protocol, then ports, then order; what none takes goes by the routing table
// (1.2.1, T35).
func TestServers_MostSpecific(t *testing.T) {
	g := newGateway(t, threeLinks+`
linkGroups: [{name: a, members: [one]}, {name: b, members: [two]}, {name: c, members: [three]}]
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: dns, destinations: [8.0.0.0/8], protocol: udp, ports: [53], linkGroup: c}
    - {name: eight, destinations: [8.0.0.0/8, "2001:db8:8::/48"], linkGroup: a}
    - {name: udp, destinations: [8.8.0.0/16, 9.9.9.9/32], protocol: udp, linkGroup: b}
    - {name: odd, destinations: [8.8.8.0/24], ports: [80, 1000-1010], linkGroup: c}
    - {name: ping, protocol: icmp, linkGroup: b}
    - {name: off, enabled: false, linkGroup: b}
`)
	for _, c := range []struct{ flow, want string }{
		{"10.0.0.5:1 > 8.1.1.1:80/tcp", "one"}, {"10.0.0.5:1 > 8.1.1.1:53/udp", "three"}, {"10.0.0.5:1 > 8.1.1.1:54/udp", "one"},
		{"10.0.0.5:1 > 8.8.1.1:53/udp", "two"}, {"10.0.0.5:1 > 8.8.1.1:53/tcp", "one"},
		{"10.0.0.5:1 > 8.8.8.8:80/tcp", "three"}, {"10.0.0.5:1 > 8.8.8.8:80/udp", "three"}, {"10.0.0.5:1 > 8.8.8.8:1010/tcp", "three"},
		{"10.0.0.5:1 > 8.8.8.8:1011/udp", "two"}, {"10.0.0.5:1 > 8.8.8.8:1011/tcp", "one"},
		{"10.0.0.5:1 > 8.255.255.255:1/tcp", "one"}, {"10.0.0.5:1 > 9.0.0.0:1/tcp", "forward"}, {"10.0.0.5:1 > 9.9.9.9:1/udp", "two"}, {"10.0.0.5:1 > 9.9.9.9:1/tcp", "forward"},
		{"10.0.0.5 > 9.9.9.9/icmp", "two"}, {"10.0.0.5 > 8.8.8.8/icmp", "one"}, {"fd10::5 > 2001:db8:99::1/icmp6", "two"}, {"[fd10::5]:1 > [2001:db8:8::1]:1/tcp", "one"},
		{"[fd10::5]:1 > [2001:db8:99::1]:1/tcp", "forward"},
	} {
		if got := g.send(c.flow); got != c.want {
			t.Errorf("%s: %s, want %s", c.flow, got, c.want)
		}
	}
}
