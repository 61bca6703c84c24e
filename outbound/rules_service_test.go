package outbound

import (
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
)

const serviceful = threeLinks + `
linkGroups:
  - {name: all, members: [one, two]}
  - {name: none, members: [three]}
outbound:
  interfaces: [lan0]
  local: true
  virtualServers:
    - {name: plain, destinations: [9.0.0.0/8], linkGroup: all}
    - {name: lone, destinations: [7.0.0.0/8], linkGroup: all, tos: cs1}
    - {name: voice, policy: calls, linkGroup: all, tos: ef}
  classes:
    - {name: failing, destinations: [8.1.0.0/16]}
    - {name: bulk, destinations: [8.2.0.0/16]}
    - {name: routed, destinations: [8.3.0.0/16]}
    - {name: zero, destinations: [8.4.0.0/16]}
  policies:
    - name: calls
      rules:
        - {class: failing, action: {linkGroup: none, onFailure: continue, tos: af11}}
        - {class: bulk, action: {linkGroup: all, tos: cs1}}
        - {class: routed, action: {do: forward, tos: af11}}
        - {class: zero, action: {linkGroup: all, tos: be}}
`

// FAQ 1.1.5: what the action sets is in every packet that the connection sends
// out, not in its first one alone, and in none that comes back.
func TestTypeOfService(t *testing.T) {
	g := newGateway(t, serviceful)
	for _, v := range g.Variants() {
		if v.Group.Name == "none" {
			g.give(v)
		}
	}
	g.restate()
	for _, c := range []struct {
		what, packet, link string
		tos                uint8
	}{
		{"a server without any leaves what the client wrote", "10.0.0.5:1 > 9.1.1.1:80/tcp", "one", 0x33},
		{"that of the virtual server; the bits of ECN stay (RFC 3168 5)", "10.0.0.5:1 > 1.1.1.1:80/tcp", "one", 0xb8 | 3},
		{"a server without policy", "10.0.0.5:1 > 7.1.1.1:80/udp", "one", 0x20 | 3},
		{"IPv6", "[fd10::5]:1 > [2001:db8:9::1]:80/udp", "one", 0xb8 | 3},
		{"an action's goes before its server's", "10.0.0.5:1 > 8.2.1.1:80/tcp", "one", 0x20 | 3},
		{"an action that goes on takes its own back", "10.0.0.5:1 > 8.1.1.1:80/tcp", "one", 0xb8 | 3},
		{"forwarded by the routing table", "10.0.0.5:1 > 8.3.1.1:80/tcp", "forward", 0x28 | 3},
		{"none is one, too", "10.0.0.5:1 > 8.4.1.1:80/tcp", "one", 3},
	} {
		for _, point := range []string{"prerouting", "output"} {
			p := packetOf(t, c.packet)
			p.TOS, p.Mark = 0x33, 0x2000_fc00 // of others, and remains of our own
			if point == "output" {
				p.In, p.Out = "", "eth1"
			}
			first := g.walk(point, p)
			if got := g.verdict(first); got != c.link && (got != "two" || c.link != "one") || first.Packet.TOS != c.tos {
				t.Errorf("%s: %s: %s with TOS %#x, want %s with %#x", c.what, point, got, first.Packet.TOS, c.link, c.tos)
			}
			if m := first.Packet.Mark; m&^kernel.LinkMask != 0x2000_0000 && c.link != "forward" || m&kernel.OthersMask != 0x2000_0000 {
				t.Errorf("%s: %s: packet mark %#x", c.what, point, m)
			}
			next := p
			next.Mark, next.Ct = 0, kernel.CtInfo{State: kernel.CtEstablished, Mark: first.Packet.Ct.Mark, Label: first.Packet.Ct.Label}
			if got := g.walk(point, next).Packet.TOS; got != c.tos {
				t.Errorf("%s: %s: the next packet has TOS %#x", c.what, point, got)
			}
			next.Source, next.Dest, next.Ct.Reply, next.In = p.Dest, p.Source, true, "eth1"
			if got := g.walk(point, next).Packet.TOS; got != 0x33 {
				t.Errorf("%s: %s: the answer has TOS %#x", c.what, point, got)
			}
			next.In = "eth9" // by no link of ours: asymmetric
			if got := g.walk(point, next).Packet.TOS; got != 0x33 {
				t.Errorf("%s: %s: the answer by another interface has TOS %#x", c.what, point, got)
			}
		}
	}
}

// A label cannot be taken back: a second decision about one connection, such as
// for a further packet of UDP that is forwarded without an answer, changes nothing.
func TestTypeOfServiceForLife(t *testing.T) {
	g := newGateway(t, serviceful)
	p := packetOf(t, "10.0.0.5:1 > 8.3.1.1:80/udp")
	p.Ct.Label = g.walk("prerouting", packetOf(t, "10.0.0.5:1 > 8.2.1.1:80/udp")).Packet.Ct.Label
	if got := g.walk("prerouting", p).Packet; got.Ct.Label != p.Ct.Label || got.TOS != 0x20 {
		t.Errorf("label %x, TOS %#x", got.Ct.Label, got.TOS)
	}
	without := newGateway(t, simple).Wishes(usual()).Text()
	if strings.Contains(without, "label") || strings.Contains(without, "jump "+serveChain+"\n") {
		t.Errorf("nobody wants a type of service:\n%s", without)
	}
}
