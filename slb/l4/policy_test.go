package l4

import (
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
)

// policies is a virtual server with a policy of every kind of rule.
const policies = `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.10, "2001:db8::10"], port: 80, serve: {farm: web, policy: office, tos: cs1}}
  - {name: plain, address: 203.0.113.11, port: 80, serve: {policy: office}}
  - {name: later, address: 203.0.113.12, port: 80, serve: {farm: web, policy: pages, persistence: cookie}}
  - {name: bare, address: 203.0.113.13, port: 80, serve: {}}
serverFarms:
  - {name: web, servers: ["10.1.0.1"]}
  - {name: big, servers: [{name: big, addresses: [10.1.0.2, "fd01::2"]}]}
  - {name: spare, servers: ["10.1.0.3"]}
  - {name: empty}
slb:
  classes:
    - {name: office, sources: [192.0.2.0/24]}
    - {name: lab, sources: [198.51.100.0/24, "2001:db8:9::/48"]}
    - {name: secure, ports: [tcp/443]}
    - {name: both, match: any, classes: [lab, secure]}
    - {name: night, times: [{from: "22:00", to: "23:00"}], sources: [192.0.3.0/24]}
    - {name: hole, sources: [192.0.4.0/24]}
    - {name: none, sources: [192.0.5.0/24]}
    - {name: default, sources: [192.0.6.0/24]}
    - {name: on, sources: [192.0.7.0/24]}
    - {name: page, http: {paths: [/x]}}
  policies:
    - name: office
      rules:
        - {class: both, action: {farm: big, tos: ef}}
        - {class: on, action: {farm: spare, onFailure: continue}}
        - {class: on, action: {farm: big}}
        - {class: office, action: {farm: spare, backup: big}}
        - {class: night, action: drop}
        - {class: hole, action: drop}
        - {class: none, action: {farm: empty}}
        - {class: default}
    - {name: pages, kind: http, rules: [{class: page, action: drop}]}
persistence: [{name: cookie, by: cookie, cookie: sid}]
`

// The truth table of policies and farms (FAQ 1.1.7, T44), nested classes, times,
// and what is of L7 and so not in effect (FAQ 1.1.10, T48).
func TestPolicy(t *testing.T) {
	b := newBalancer(t, policies)
	for text, want := range map[string]string{
		"198.51.100.7:1 > 203.0.113.10:80":      "10.1.0.2", // action with a farm, by a nested class
		"[2001:db8:9::1]:1 > [2001:db8::10]:80": "fd01::2",
		"192.0.2.7:1 > 203.0.113.10:80":         "10.1.0.3",
		"192.0.4.7:1 > 203.0.113.10:80":         "drop",     // action that drops
		"192.0.5.7:1 > 203.0.113.10:80":         "drop",     // action with an empty farm: drop, never the default farm
		"192.0.6.7:1 > 203.0.113.10:80":         "10.1.0.1", // rule without action: default farm
		"192.0.7.7:1 > 203.0.113.10:80":         "10.1.0.3",
		"192.0.3.7:1 > 203.0.113.10:80":         "10.1.0.1", // no rule: default farm; it is noon
		"192.0.3.7:1 > 203.0.113.11:80":         "drop",     // no rule and no default farm
		"192.0.4.7:1 > 203.0.113.12:80":         "10.1.0.1", // a policy of HTTP and a cookie are not in effect
		"192.0.4.7:1 > 203.0.113.13:80":         "drop",     // usable, but nothing takes it (FAQ 1.1.9)
		"[2001:db8:8::1]:1 > [2001:db8::10]:80": "drop",     // the farm has no server of the family
		"198.51.100.7:1 > 203.0.113.10:443":     "-",
	} {
		if got := b.send(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	b.share("spare", "-")
	if got := b.send("192.0.7.7:1 > 203.0.113.10:80"); got != "10.1.0.2" {
		t.Errorf("nobody takes it, and the action goes on: %s", got)
	}
	if got := b.send("192.0.2.7:1 > 203.0.113.10:80"); got != "drop" {
		t.Errorf("nobody takes it, and the action does not go on: %s", got)
	}
	b.SetUnavailable("spare", true)
	b.restate()
	if got := b.send("192.0.2.7:1 > 203.0.113.10:80"); got != "10.1.0.2" {
		t.Errorf("the backup stands in (T30): %s", got)
	}
	b.SetUnavailable("big", true)
	b.share("spare")
	if got := b.send("192.0.2.7:1 > 203.0.113.10:80"); got != "10.1.0.3" {
		t.Errorf("both are below their thresholds: the first: %s", got)
	}
	b.facts.Now = b.facts.Now.Add(10*60*60*1e9 + 1e9)
	if got := b.restate().send("192.0.3.7:1 > 203.0.113.10:80"); got != "drop" {
		t.Errorf("at night: %s", got)
	}
}

// Type of service: of the action to the server, of the virtual server to the
// client (FAQ 1.1.5, T46).
func TestTOS(t *testing.T) {
	b := newBalancer(t, policies)
	first := b.walk("prerouting", packetOf(t, "198.51.100.7:1 > 203.0.113.10:80"))
	to := first.Packet
	to.Out, to.TOS = "in0", 3
	if got := b.walk("forward", to).Packet.TOS; got != 0xb8|3 {
		t.Errorf("to the server %#x, want ef and ECN as it was", got)
	}
	back := kernel.Packet{Source: to.Dest, Dest: to.Source, Protocol: 6, SourcePort: 80, DestPort: 1, TCPFlags: ack, In: "in0", Out: "out0", Ct: to.Ct}
	back.Ct.State, back.Ct.Reply = kernel.CtEstablished, true
	if got := b.walk("forward", back).Packet.TOS; got != 0x20 {
		t.Errorf("to the client %#x, want cs1", got)
	}
	other := b.walk("prerouting", packetOf(t, "192.0.6.7:1 > 203.0.113.10:80")).Packet
	if got := b.walk("forward", other).Packet.TOS; got != 0 {
		t.Errorf("an action without a type of service writes %#x", got)
	}
}

// The administrator's bits of the conntrack mark stay, and nothing else is written
// but the virtual server's (DESIGN 3).
func TestMarks(t *testing.T) {
	b := newBalancer(t, simple)
	for _, mark := range []uint32{0, 1 << 29, kernel.OthersMask, kernel.Inbound | 5} {
		p := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
		p.Ct.Mark, p.Mark = mark, 0xdead
		trace := b.walk("prerouting", p)
		if got := trace.Packet.Ct.Mark; got != mark|b.MarkOf("web") || b.VirtualServerOf(got) != "web" {
			t.Errorf("%#x became %#x", mark, got)
		}
		if came(trace, "hit", "beside the administrator's bits") != (mark != 0) {
			t.Errorf("%#x: bits one by one", mark)
		}
	}
	known := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
	known.Ct.State, known.TCPFlags = kernel.CtEstablished, ack
	if trace := b.walk("prerouting", known); len(trace.Visits) != 1 {
		t.Errorf("a packet of a known connection came to %d rules", len(trace.Visits))
	}
	other := b.walk("prerouting", packetOf(t, "192.0.2.5:1000 > 203.0.113.77:80/tcp"))
	if got := other.Packet.Ct.Mark; got != 0 {
		t.Errorf("what is not for a virtual server has mark %#x", got)
	}
	own := packetOf(t, "203.0.113.2:1000 > 203.0.113.10:80/tcp")
	own.In = ""
	if trace := b.walk("output", own); verdict(own, trace) != "10.1.0.1:8080" {
		t.Errorf("the machine's own: %s", verdict(own, trace))
	}
	if w := compile(t, simple+"\nslb: {local: false}\n", nil).Wishes(usual()); strings.Contains(w.Text(), "hook output") {
		t.Error("local: false has a hook of output")
	}
}

// TCP that does not begin with SYN is answered by a reset, and not balanced.
func TestStray(t *testing.T) {
	b := newBalancer(t, simple)
	for flags, want := range map[uint8]kernel.End{syn: kernel.Passed, ack: kernel.Refused, syn | ack: kernel.Refused, fin | ack: kernel.Refused, rst: kernel.Refused, 0: kernel.Refused, syn | 0xc0: kernel.Passed} {
		p := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
		p.TCPFlags = flags
		if trace := b.walk("prerouting", p); trace.End != want {
			t.Errorf("flags %#x: %s, want %s", flags, trace.End, want)
		}
	}
	p := packetOf(t, "192.0.2.5:1000 > 203.0.113.99:80/tcp")
	p.TCPFlags = ack
	if trace := b.walk("prerouting", p); trace.End != kernel.Passed {
		t.Errorf("to nobody's address: %s", trace.End)
	}
}
