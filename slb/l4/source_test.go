package l4

import (
	"fmt"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// given is the first packet of a connection on its way to its server.
func (b *balancer) given(text, in, out string) kernel.Packet {
	b.t.Helper()
	p := packetOf(b.t, text)
	p.In = in
	p = b.walk("prerouting", p).Packet
	p.Out = out
	return p
}

// Source addresses: of the pool by family and range, masqueraded, or the client's
// own; a neighbour of the server is masqueraded (hairpin).
func TestSource(t *testing.T) {
	b := newBalancer(t, rich(t))
	b.share("web")
	nat := func(text, in string) string {
		p := b.given(text, in, "in0")
		trace := b.walk("postrouting", p)
		switch {
		case trace.NAT == nil:
			return "-"
		case trace.NAT.Masquerade:
			return "masquerade"
		}
		if trace.NAT.LastPort == 0 {
			return config.AddressRange{From: trace.NAT.From, To: trace.NAT.To}.String()
		}
		return config.AddressRange{From: trace.NAT.From, To: trace.NAT.To}.String() + fmt.Sprintf(" %d-%d", trace.NAT.FirstPort, trace.NAT.LastPort)
	}
	seen := map[string]int{}
	for i := range 200 {
		seen[nat(fmt.Sprintf("100.64.%d.7:1000 > 203.0.113.10:80", i), "out0")]++
	}
	if two, one := seen["10.1.9.1-10.1.9.2 20000-29999"], seen["10.1.9.8 20000-29999"]; two+one != 200 || two < 100 || one < 40 {
		t.Errorf("the pool's ranges: %v", seen)
	}
	for _, c := range []struct{ text, in, want string }{
		{"[2001:db8:5::5]:1000 > [2001:db8::10]:80", "out0", "fd01::900 20000-29999"},
		{"100.64.1.7 > 203.0.113.99/icmp", "out0", "masquerade"}, // of hosts: whatever the protocol
		{"100.64.1.7:1 > 203.0.113.11:8050", "out0", "-"},
		{"10.1.0.77:1 > 203.0.113.11:8050", "in0", "masquerade"}, // hairpin
		{"10.1.0.77:1 > 203.0.113.11:8050", "out0", "-"},
		{"10.7.0.77:1 > 203.0.113.11:8050", "in0", "-"}, // behind a router: it answers by us
		{"100.64.1.7:1 > 8.8.8.8:80", "out0", "-"},
	} {
		if got := nat(c.text, c.in); got != c.want {
			t.Errorf("%s by %s: %s, want %s", c.text, c.in, got, c.want)
		}
	}
}

// A pool gives its addresses to ICMP too, and to whatever has no ports.
func TestSourceWithoutPorts(t *testing.T) {
	b := newBalancer(t, `
version: 1
virtualServers:
  - {name: any, addresses: [203.0.113.10, "2001:db8::10"], serve: {type: ip, farm: hosts}}
  - {name: web, address: 203.0.113.11, port: 80, serve: {farm: web}}
serverFarms:
  - {name: hosts, algorithm: random, snatPool: wide, servers: [{name: one, addresses: [10.1.0.1, "fd01::1"]}]}
  - {name: web, algorithm: random, servers: [10.1.0.2]}
snatPools: [{name: wide, addresses: [10.1.9.1-10.1.9.2, "fd01::900"]}]
`)
	b.share("hosts")
	b.share("web")
	for text, want := range map[string]string{
		"192.0.2.1 > 203.0.113.10/icmp":       "10.1.9.1-10.1.9.2 0-0",
		"2001:db8:2::1 > 2001:db8::10/icmpv6": "fd01::900-fd01::900 0-0",
		"192.0.2.1:5000 > 203.0.113.10:80":    "10.1.9.1-10.1.9.2 1024-65535",
		"192.0.2.1:5000 > 203.0.113.11:80":    "",
	} {
		got := ""
		if nat := b.walk("postrouting", b.given(text, "out0", "in0")).NAT; nat != nil {
			got = fmt.Sprintf("%s-%s %d-%d", nat.From, nat.To, nat.FirstPort, nat.LastPort)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

// Sessions of a dead server are reset, others are told under the switch (FAQ
// 1.1.16, T38); those of other virtual servers and servers are not touched.
func TestDead(t *testing.T) {
	b := newBalancer(t, rich(t))
	b.SetAddress("names", "a.example.org:53", addr("10.1.0.7"), addr("fd01::7"))
	b.SetAddress("names", "b.example.org:53", addr("10.1.0.8"), addr("fd01::8"))
	b.restate()
	ends := func(text string) kernel.End {
		p := b.given(text, "out0", "in0")
		p.Ct.State = kernel.CtEstablished
		return b.walk("forward", p).End
	}
	const udp, tcp4, tcp6 = "100.64.1.7:1 > 203.0.113.12:53/udp", "100.64.1.7:1 > 203.0.113.10:80", "[2001:db8:5::5]:1 > [2001:db8::10]:80"
	for _, text := range []string{udp, tcp4, tcp6} {
		if got := ends(text); got != kernel.Passed {
			t.Errorf("%s: %s", text, got)
		}
	}
	b.SetDead("names", b.byFarm["names"].ids())
	b.SetDead("web", b.byFarm["web"].ids())
	b.SetDead("spare", b.byFarm["spare"].ids()) // keeps its sessions
	b.restate()
	for text, want := range map[string]kernel.End{udp: kernel.Refused, tcp4: kernel.Refused, tcp6: kernel.Refused, "100.64.1.7:1 > 203.0.113.11:8000": kernel.Passed} {
		if got := ends(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	b.conf.Unreachables = false
	b.restate()
	if got := ends(udp); got != kernel.Dropped {
		t.Errorf("clients of UDP are told though unreachables is off: %s", got)
	}
	b.SetDead("web", nil)
	b.restate()
	if got := ends(tcp4); got != kernel.Passed {
		t.Errorf("it is well again: %s", got)
	}
}

// Servers by name follow the name; two servers with one address and port share
// what is told by them, and one that leaves takes nothing of the other's along.
func TestNamesOfServers(t *testing.T) {
	const text = `
version: 1
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web}}
  - {name: other, address: 203.0.113.11, port: 80, serve: {farm: other}}
serverFarms:
  - {name: web, snat: masquerade, onFailure: reset, servers: [{name: a, host: a.example.org, port: 80}]}
  - {name: other, snat: masquerade, servers: ["10.1.0.1:80"]}
`
	b := newBalancer(t, text)
	const to = "100.64.1.7:1 > 203.0.113.10:80"
	if got := b.send(to); got != "drop" {
		t.Errorf("a name without addresses: %s", got)
	}
	masqueraded := func() int { return b.data.sets["masquerade4"].Len() }
	if n := len(b.SetAddress("web", "a", addr("10.1.0.1"), addr("fd01::1"))); n == 0 || masqueraded() != 1 {
		t.Errorf("%d sets changed, %d masqueraded", n, masqueraded())
	}
	if got := b.restate().send(to); got != "10.1.0.1" {
		t.Errorf("the first address: %s", got)
	}
	b.SetDead("web", b.byFarm["web"].ids())
	if changed := b.SetAddress("web", "a", addr("10.1.0.1"), addr("fd01::1")); changed != nil {
		t.Error("the same addresses again are a change")
	}
	b.SetAddress("web", "a", addr("10.1.0.2"), addr("fd01::1"))
	if got := b.restate().send(to); got != "10.1.0.2" || masqueraded() != 2 {
		t.Errorf("another address: %s, %d masqueraded", got, masqueraded())
	}
	if _, moved := b.data.sets["dead4"].Get(kernel.Key(kernel.Number(b.MarkOf("web")), kernel.Addr(addr("10.1.0.2")), kernel.Port(80))); !moved || b.data.sets["dead4"].Len() != 1 {
		t.Error("the dead did not follow")
	}
	again := compile(t, text, b.Plan)
	if got := again.data.sets["server4"].Len(); got != 2 {
		t.Errorf("a reload forgot addresses: %d", got)
	}
	b.SetAddress("web", "a", addr("0.0.0.0").Prev(), addr("0.0.0.0").Prev())
	if got := b.restate().send(to); got != "drop" || masqueraded() != 1 || b.data.sets["dead4"].Len() != 0 {
		t.Errorf("no address: %s, %d masqueraded", got, masqueraded())
	}
	ids := b.ofSocket(kernel.Key(kernel.Addr(addr("10.1.0.1")), kernel.Port(80)))
	if len(ids) != 1 || ids[0] != b.IDOf("other", "10.1.0.1:80") {
		t.Errorf("who is at 10.1.0.1:80: %v", ids)
	}
}

// A connection of a protocol that opens further ones gets the kernel's helper.
func TestHelper(t *testing.T) {
	b := newBalancer(t, rich(t))
	trace := b.walk("prerouting", packetOf(t, "100.64.1.7:1 > 203.0.113.13:21"))
	if trace.Helper != "ftp" {
		t.Errorf("helper %q", trace.Helper)
	}
	if trace := b.walk("prerouting", packetOf(t, "100.64.1.7:1 > 203.0.113.13:80")); trace.Helper != "" {
		t.Errorf("another port: helper %q", trace.Helper)
	}
	child := packetOf(t, "100.64.1.7:1 > 203.0.113.13:2000")
	child.Ct.State, child.Ct.Mark = kernel.CtRelated, b.MarkOf("files")
	if trace := b.walk("prerouting", child); verdict(child, trace) != "-" || len(trace.Visits) > 3 {
		t.Errorf("a child is balanced for itself: %s", verdict(child, trace))
	}
}

// A pool's ranges share its slots by their sizes.
func TestPoolShares(t *testing.T) {
	r := func(from, to string) config.AddressRange { return config.AddressRange{From: addr(from), To: addr(to)} }
	n := map[string]int{}
	for _, s := range shared([]config.AddressRange{r("10.0.0.0", "10.0.0.2"), r("10.0.1.0", "10.0.1.0"), r("10.0.2.0", "10.0.2.3")}) {
		n[s.String()]++
	}
	if n["10.0.0.0-10.0.0.2"] != 24 || n["10.0.1.0"] != 8 || n["10.0.2.0-10.0.2.3"] != 32 || shared(nil) != nil {
		t.Errorf("%v", n)
	}
}

// What one of two farms counts of a server that both have is counted, whichever
// stands first in the file, and whoever leaves (autoShutdown, busyProtection).
func TestSharedServer(t *testing.T) {
	const web, other = `
  - {name: web, servers: [{name: a, address: 10.1.0.1, port: 80}]}`, `
  - {name: other, autoShutdown: {resets: 3, within: 10s}, busyProtection: true, servers: [{name: b, address: 10.1.0.1, port: 80, maxBandwidth: 8Mbps}, {name: named, host: a.example.org, port: 80}]}`
	for _, farms := range []string{web + other, other + web} {
		b := newBalancer(t, `
version: 1
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web}}
  - {name: other, address: 203.0.113.11, port: 80, serve: {farm: other}}
serverFarms:`+farms)
		count := func(what string, want int) {
			t.Helper()
			if resets, in := b.data.sets["resets4"].Len(), b.data.sets["octets_in4"].Len(); resets != want || in != 1 {
				t.Errorf("%s: resets of %d and octets of %d servers are counted, want %d and 1", what, resets, in, want)
			}
		}
		count("two farms", 1)
		b.SetAddress("other", "named", addr("10.1.0.1"), addr("0.0.0.0").Prev())
		count("a third at the same place", 1)
		b.SetAddress("other", "named", addr("10.1.0.9"), addr("0.0.0.0").Prev())
		count("which moves", 2)
	}
}
