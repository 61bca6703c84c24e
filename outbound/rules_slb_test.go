package outbound

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
)

// served is a connection of server load balancing to its virtual server 5.
const served = 5 << 10

// withFarm adds to a gateway's world a table that marks new connections to an
// address as those of virtual server 5, where server load balancing does.
func (g *gateway) withFarm(address string) *gateway {
	g.t.Helper()
	a := netip.MustParseAddr(address)
	of := kernel.Dest4
	if a.Is6() {
		of = kernel.Dest6
	}
	mark := []kernel.Rule{{Do: []kernel.Step{kernel.Is{Of: of, To: kernel.Addr(a)}, kernel.SetCtMark{Mask: kernel.ServerMask, Bits: served}}}}
	w := &kernel.Wishes{Tables: []kernel.Table{{Name: "portolan_slb", Chains: []kernel.Chain{
		{Name: "early", Hook: &kernel.Hook{Type: "filter", Point: "prerouting", Priority: -152}, Rules: mark},
		{Name: "early_own", Hook: &kernel.Hook{Type: "route", Point: "output", Priority: -152}, Rules: mark},
	}}}}
	with := kernel.NewWorld(g.Wishes(g.facts), w)
	with.AddressType, with.Over, with.Now, with.Remember, with.Read = g.world.AddressType, g.world.Over, g.world.Now, true, g.world.Read
	g.world = with
	return g
}

const localToo = `
outbound:
  local: true
  interfaces: [lan0]`

// A connection of the inside, or of the gateway, to a virtual server is not
// balanced, whatever its address: one that is not this machine's, too, as a
// routed network of addresses has. Nothing of it gets a link.
func TestPath_VirtualServer(t *testing.T) {
	for _, c := range []struct{ client, address, server string }{
		{"10.0.0.5", "203.0.113.2", "10.0.0.7"}, // of this machine
		{"10.0.0.5", "8.8.8.8", "10.0.0.7"},     // a routed one
		{"fd10::5", "2001:db8:9::1", "fd10::7"},
	} {
		g := newGateway(t, strings.Replace(simple, "\noutbound:\n  interfaces: [lan0]", localToo, 1)).withFarm(c.address)
		for _, protocol := range []uint8{1, 6, 17, 47, 58} {
			first := kernel.Packet{In: "lan0", Source: addr(c.client), Dest: addr(c.address), Protocol: protocol, SourcePort: 1000, DestPort: 80, Ct: kernel.CtInfo{State: kernel.CtNew}}
			own := first
			own.In, own.Out = "", "eth1"
			for point, p := range map[string]kernel.Packet{"prerouting": first, "output": own} {
				trace := g.walk(point, p)
				if trace.End != kernel.Passed || trace.Packet.Mark != 0 || trace.Packet.Ct.Mark != served {
					t.Errorf("%s: %s to %s, protocol %d: %v, marks %#x %#x", point, c.client, c.address, protocol, trace.End, trace.Packet.Mark, trace.Packet.Ct.Mark)
				}
				again := g.walk(point, trace.Packet) // UDP without an answer stays new
				if again.Packet.Mark != 0 || again.Packet.Ct.Mark != served {
					t.Errorf("%s: its second packet: marks %#x %#x", point, again.Packet.Mark, again.Packet.Ct.Mark)
				}
				next := p
				next.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: served}
				if got := g.walk(point, next).Packet.Mark; got != 0 {
					t.Errorf("%s: a packet of the session: mark %#x", point, got)
				}
			}
			reply := kernel.Packet{In: "lan0", Source: addr(c.server), Dest: addr(c.client), Protocol: protocol, SourcePort: 80, DestPort: 1000,
				Ct: kernel.CtInfo{State: kernel.CtEstablished, Mark: served, Reply: true}}
			if got := g.walk("prerouting", reply).Packet.Mark; got != 0 {
				t.Errorf("the server's reply to the inside: mark %#x", got)
			}
		}
		other := kernel.Packet{In: "lan0", Source: addr(c.client), Dest: addr(c.address).Next(), Protocol: 6, SourcePort: 1, DestPort: 80, Ct: kernel.CtInfo{State: kernel.CtNew}}
		if got := g.verdict(g.walk("prerouting", other)); got == "forward" {
			t.Errorf("beside the virtual server %s nothing is balanced any more", c.address)
		}
	}
}

// A client beyond link 2 gets its answers by link 2: from the server, and from
// the gateway where that answers itself. What comes from the client has no link,
// else it would go back to the ISP instead of to the server. A connection that
// the server opens as a child of it (FTP, 1.2.24) has its mark, and its link.
func TestPath_VirtualServerOfLink(t *testing.T) {
	g := newGateway(t, strings.Replace(simple, "\noutbound:\n  interfaces: [lan0]", localToo, 1)).withFarm("198.51.100.9")
	first := packetOf(t, "8.8.8.8:1000 > 198.51.100.9:80/tcp")
	first.In = "eth2"
	trace := g.walk("prerouting", first)
	mark := trace.Packet.Ct.Mark
	if trace.Packet.Mark != 0 || mark != served|kernel.Inbound|2 {
		t.Fatalf("the client's first packet: marks %#x %#x", trace.Packet.Mark, mark)
	}
	next := first
	next.Ct = kernel.CtInfo{State: kernel.CtEstablished, Mark: mark}
	if got := g.walk("prerouting", next).Packet.Mark; got != 0 {
		t.Errorf("the client's next packet: mark %#x", got)
	}
	reply := packetOf(t, "10.0.0.7:8080 > 8.8.8.8:1000/tcp")
	reply.Ct = kernel.CtInfo{State: kernel.CtEstablished, Reply: true, Mark: mark}
	if got := g.walk("prerouting", reply).Packet; got.Mark != 2 || got.Ct.Mark != mark {
		t.Errorf("the server's reply: marks %#x %#x", got.Mark, got.Ct.Mark)
	}
	marked := reply
	marked.Mark = 0x2000_0000 // by the administrator
	if got := g.walk("prerouting", marked).Packet.Mark; got != 0x2000_0002 {
		t.Errorf("the server's reply that others marked: mark %#x", got)
	}
	own := reply
	own.In, own.Out, own.Source = "", "eth1", first.Dest
	if got := g.walk("output", own).Packet.Mark; got != 2 {
		t.Errorf("the gateway's reply: mark %#x", got)
	}
	for _, state := range []uint32{kernel.CtNew, kernel.CtRelated} {
		child := packetOf(t, "10.0.0.7:20 > 8.8.8.8:1001/tcp")
		child.Ct = kernel.CtInfo{State: state, Mark: mark}
		if got := g.walk("prerouting", child).Packet.Mark; got != 2 {
			t.Errorf("what the server opens as its child: mark %#x", got)
		}
	}
}

// A real server beyond a link of its own, such as one of a cloud: its answers to a
// client of link 2 come in by link 1 and leave by link 2. Those to the inside
// have no link, nor have answers that no virtual server has to do with.
func TestPath_VirtualServerBeyondLink(t *testing.T) {
	serving := simple + "virtualServers: [{name: v, address: 198.51.100.9, port: 80, serve: {farm: f}}]\nserverFarms: [{name: f, servers: [{name: s, address: 203.0.113.50, port: 80}]}]\n"
	g := newGateway(t, serving).withFarm("198.51.100.9")
	first := packetOf(t, "8.8.8.8:1000 > 198.51.100.9:80/tcp")
	first.In = "eth2"
	mark := g.walk("prerouting", first).Packet.Ct.Mark
	for _, c := range []struct {
		what         string
		mark, before uint32
		reply        bool
		want         uint32
	}{
		{"to the client of link 2", mark, 0, true, 2},
		{"the same where others marked it", mark, 0x2000_0000, true, 0x2000_0002},
		{"from the client", mark, 0, false, 0},
		{"to a client of the inside", served, 0, true, 0},
		{"of no virtual server", kernel.Inbound | 2, 0, true, 0},
		{"of a session that was balanced", 2, 0, true, 0},
	} {
		p := packetOf(t, "203.0.113.50:80 > 8.8.8.8:1000/tcp")
		p.In, p.Mark, p.Ct = "eth1", c.before, kernel.CtInfo{State: kernel.CtEstablished, Reply: c.reply, Mark: c.mark}
		if got := g.walk("prerouting", p).Packet; got.Mark != c.want || got.Ct.Mark != c.mark {
			t.Errorf("%s: marks %#x %#x, want %#x", c.what, got.Mark, got.Ct.Mark, c.want)
		}
	}
}

// Without keep last hop the answers go by the routing table, and get no link.
func TestPath_VirtualServerWithoutLastHop(t *testing.T) {
	g := newGateway(t, strings.Replace(simple, "interfaces: [lan0]", "interfaces: [lan0]\n  keepLastHop: false", 1)).withFarm("198.51.100.9")
	first := packetOf(t, "8.8.8.8:1000 > 198.51.100.9:80/tcp")
	first.In = "eth2"
	if got := g.walk("prerouting", first).Packet; got.Mark != 0 || got.Ct.Mark != served {
		t.Errorf("the client's first packet: marks %#x %#x", got.Mark, got.Ct.Mark)
	}
	reply := packetOf(t, "10.0.0.7:8080 > 8.8.8.8:1000/tcp")
	reply.Ct = kernel.CtInfo{State: kernel.CtEstablished, Reply: true, Mark: served}
	if got := g.walk("prerouting", reply).Packet; got.Mark != 0 || got.Ct.Mark != served {
		t.Errorf("the server's reply: marks %#x %#x", got.Mark, got.Ct.Mark)
	}
}
