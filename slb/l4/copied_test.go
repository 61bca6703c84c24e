package l4

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
)

// direct is a virtual server of both families whose servers have its addresses;
// mode and farm are put into it, and further virtual servers.
func direct(mode, farm, more string) string {
	return `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.10, "2001:db8::10"], port: 80, serve: {farm: web}}
` + more + `
serverFarms:
  - name: plain
    servers: [{name: it, addresses: [10.1.0.9, "fd01::9"]}]
  - name: web
    mode: ` + mode + `
    ` + farm + `
    servers:
      - {name: one, addresses: [10.1.0.1, "fd01::1"]}
      - {name: two, addresses: [10.1.0.2, "fd01::2"]}
      - {name: three, addresses: [10.1.0.3, "fd01::3"]}
`
}

// copyOf gives the server that a packet is copied to; "drop" if it is dropped and
// nobody gets one, "-" if it goes its way.
func (b *balancer) copyOf(p kernel.Packet) string {
	b.t.Helper()
	trace := b.walk("prerouting", p)
	switch {
	case len(trace.Copies) > 1:
		b.t.Errorf("copies to %v", trace.Copies)
	case len(trace.Copies) == 1 && trace.End != kernel.Dropped:
		b.t.Errorf("a packet of which there is a copy has %s", trace.End)
	case len(trace.Copies) == 1:
		b.noteFlow(trace)
		return trace.Copies[0].String()
	case trace.End == kernel.Dropped:
		return "drop"
	}
	return "-"
}

// What has used up its hops is sent on to nobody, of either family.
func TestCopiesEnd(t *testing.T) {
	b := newBalancer(t, direct("direct", "algorithm: random", ""))
	b.share("web")
	for _, text := range []string{"192.0.2.5:1000 > 203.0.113.10:80", "[2001:db8:2::5]:1000 > [2001:db8::10]:80"} {
		for hops, end := range map[uint8]bool{1: true, 2: false, 64: false, 255: false} {
			p := packetOf(t, text)
			p.Hops = hops
			if got := b.copyOf(p); (got == "drop") != end {
				t.Errorf("%s with %d hops: %s", text, hops, got)
			}
		}
	}
}

func flags(p kernel.Packet, f uint8) kernel.Packet {
	p.TCPFlags, p.Ct.State = f, kernel.CtInvalid
	return p
}

// A packet for such a virtual server is copied to one of its servers, of its
// family, and nothing of it is tracked or translated; other packets pass untouched
// to the table that translates (FAQ 1.1.1).
func TestCopies(t *testing.T) {
	b := newBalancer(t, direct("direct", "", `
  - {name: nat, addresses: [203.0.113.10, "2001:db8::10"], port: 443, serve: {farm: plain}}
  - {name: net, address: 203.0.113.0, serve: {type: udp, mask: 24, farm: web}}
  - {name: inner, address: 203.0.113.64, serve: {type: udp, mask: 26, farm: plain}}`))
	if got := fmt.Sprint(b.CopyTables()); got != "[ip portolan_slb_direct ip6 portolan_slb_direct]" {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"192.0.2.5:1000 > 203.0.113.10:80/tcp":         "10.1.0.",
		"[2001:db8:9::1]:1000 > [2001:db8::10]:80/tcp": "fd01::",
		"192.0.2.5:1000 > 203.0.113.20:53/udp":         "10.1.0.",
		"192.0.2.5:1000 > 203.0.113.10:81/tcp":         "-",
		"192.0.2.5 > 203.0.113.10/icmp":                "-",
		"192.0.2.5:1000 > 198.51.100.1:80/tcp":         "-",
	} {
		if got := b.copyOf(packetOf(t, text)); !strings.HasPrefix(got, want) || want == "-" && got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"192.0.2.5:1000 > 203.0.113.10:443/tcp":         "10.1.0.9",
		"[2001:db8:9::1]:1000 > [2001:db8::10]:443/tcp": "fd01::9",
		"192.0.2.5:1000 > 203.0.113.70:53/udp":          "10.1.0.9", // the inner network is another's
	} {
		if got := b.send(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	if got := newBalancer(t, simple).CopyTables(); got != nil {
		t.Errorf("tables that nobody needs: %v", got)
	}
	if got := newBalancer(t, strings.Replace(direct("direct", "", ""), `, "2001:db8::10"`, "", 1)).CopyTables(); len(got) != 1 {
		t.Errorf("tables of a family that nobody has: %v", got)
	}
}

// What this machine itself begins is not copied: its address would be the virtual one.
func TestCopies_Own(t *testing.T) {
	b := newBalancer(t, direct("direct", "", ""))
	p := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
	p.In = ""
	if trace := b.walk("output", p); trace.End != kernel.Dropped || len(trace.Copies) > 0 || !came(trace, "serve_own", "it has no farm") {
		t.Errorf("%+v", trace)
	}
}

// Packets of a flow keep their server while slots move; of a server that fails only
// its own flows are chosen anew, and none with keep (T38). A flow is forgotten when
// nothing came for so long.
func TestFlows(t *testing.T) {
	for _, algorithm := range []string{"round-robin", "random", "source-hash", "source-port-hash", "destination-hash", "least-time"} {
		b := newBalancer(t, direct("direct", "algorithm: "+algorithm, ""))
		for _, flow := range []string{"192.0.2.%d:1000 > 203.0.113.10:80/tcp", "[2001:db8:9::%d]:1000 > [2001:db8::10]:80/tcp"} {
			first := map[int]string{}
			packet := func(i int) kernel.Packet { return packetOf(t, fmt.Sprintf(flow, i+1)) }
			for i := range 12 {
				b.world.Draw = func(_ kernel.Place, of uint32) uint32 { return uint32(i) % of }
				first[i] = b.copyOf(packet(i))
			}
			same := func(when string, moved func(string) bool) {
				t.Helper()
				for i := range 12 {
					got := b.copyOf(flags(packet(i), ack))
					if must := moved(first[i]); (got != first[i]) != must {
						t.Errorf("%s, flow %d: %s, then %s", when, i, first[i], got)
					}
					first[i] = got
				}
			}
			never := func(string) bool { return false }
			same("nothing happened", never)
			ids := b.byFarm["web"].ids()
			slices.Reverse(ids)
			b.SetSlots("web", spread(b.byFarm["web"].Slots, ids[:2]))
			b.renew()
			same("slots moved", never)
			b.SetServers("web", States{Alive: ids[1:], Available: ids[1:], Kept: ids[1:]})
			b.SetSlots("web", spread(b.byFarm["web"].Slots, ids[1:]))
			b.renew()
			gone, _ := b.ServerOf(ids[0])
			address := b.address(b.members[ids[0]])
			if gone == "" {
				t.Fatal("a server has no name")
			}
			same("one failed", func(a string) bool { return a == address[0].String() || a == address[1].String() })
			b.share("web")
		}
	}
}

// Which flows go on is told, whoever lives: with keep all do.
func TestFlows_Keep(t *testing.T) {
	b := newBalancer(t, direct("direct", "", ""))
	syn := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
	first := b.copyOf(syn)
	ids := b.byFarm["web"].ids()
	b.SetServers("web", States{Kept: ids})
	b.SetSlots("web", nil)
	b.renew()
	if got := b.copyOf(flags(syn, ack)); got != first {
		t.Errorf("%s, then %s", first, got)
	}
	if got := b.copyOf(packetOf(t, "192.0.2.5:1001 > 203.0.113.10:80/tcp")); got != "drop" {
		t.Errorf("a new flow, and nobody takes it: %s", got)
	}
}

// TCP whose flow is not known goes by hash, each packet to the same server, and is
// remembered; with hashing algorithms it is the server that it had.
func TestFlows_Lost(t *testing.T) {
	for _, algorithm := range []string{"round-robin", "random", "source-hash", "source-port-hash", "destination-hash"} {
		b := newBalancer(t, direct("direct", "algorithm: "+algorithm, ""))
		seen := map[string]bool{}
		for i := range 64 {
			p := packetOf(t, fmt.Sprintf("192.0.2.%d:%d > 203.0.113.10:80/tcp", i+1, 1000+i))
			b.world.Draw = func(_ kernel.Place, of uint32) uint32 { return uint32(i) % of }
			had := b.copyOf(p)
			b.learnt = map[string]map[string]ID{}
			b.renew()
			b.world.Draw = func(_ kernel.Place, of uint32) uint32 { return uint32(2*i+1) % of }
			lost := b.copyOf(flags(p, ack))
			b.world.Draw = func(_ kernel.Place, of uint32) uint32 { return uint32(3*i+2) % of }
			if again := b.copyOf(flags(p, ack)); again != lost {
				t.Errorf("%s: %s, then %s", algorithm, lost, again)
			}
			if b.byFarm["web"].Algorithm.Hashes() && lost != had {
				t.Errorf("%s: had %s, now %s", algorithm, had, lost)
			}
			seen[lost] = true
		}
		if want := 3; len(seen) != want && algorithm != "destination-hash" {
			t.Errorf("%s: all went to %v", algorithm, seen)
		}
	}
}

// While the map of flows is full a flow goes by hash: each packet of it to the same
// server, whatever the algorithm.
func TestFlows_Full(t *testing.T) {
	b := newBalancer(t, direct("direct", "algorithm: random", ""))
	for i := range b.world.Tables {
		for k := range b.world.Tables[i].Sets {
			if s := &b.world.Tables[i].Sets[k]; s.Name == "flows" {
				s.Size = 1
			}
		}
	}
	b.copyOf(packetOf(t, "192.0.2.5:1 > 203.0.113.10:80/tcp"))
	seen := map[string]bool{}
	for i := range 32 {
		syn := packetOf(t, fmt.Sprintf("192.0.2.5:%d > 203.0.113.10:80/tcp", 1000+i))
		first := b.copyOf(syn)
		for n := range 3 {
			b.world.Draw = func(_ kernel.Place, of uint32) uint32 { return uint32(i+n) % of }
			if got := b.copyOf(flags(syn, ack)); got != first || got == "drop" {
				t.Errorf("flow %d: %s, then %s", i, first, got)
			}
		}
		seen[first] = true
	}
	if len(seen) != 3 {
		t.Errorf("all went to %v", seen)
	}
}

// How long a flow is remembered: little until a second packet comes, long for TCP,
// and hardly after a reset.
func TestFlows_Times(t *testing.T) {
	b := newBalancer(t, direct("direct", "", `
  - {name: any, address: 203.0.113.11, serve: {type: ip, farm: web}}`))
	life := func(p kernel.Packet) (lives []string) {
		trace := b.walk("prerouting", p)
		if len(trace.Copies) != 1 {
			t.Errorf("%+v: copies to %v", p, trace.Copies)
		}
		for _, v := range trace.Visits {
			for _, s := range v.Did {
				if c, is := s.(kernel.Change); is && c.How == kernel.Put {
					lives = append(lives, c.Timeout.String())
				}
			}
		}
		return lives
	}
	tcp, udp, icmp := packetOf(t, "192.0.2.5:1000 > 203.0.113.11:80/tcp"), packetOf(t, "192.0.2.5:1000 > 203.0.113.11:80/udp"), packetOf(t, "192.0.2.6 > 203.0.113.11/icmp")
	for _, c := range []struct {
		p    kernel.Packet
		want string
	}{{tcp, "[1m0s]"}, {flags(tcp, ack), "[15m0s]"}, {flags(tcp, rst), "[10s]"}, {icmp, "[1m0s]"}, {icmp, "[3m0s]"}} {
		if got := fmt.Sprint(life(c.p)); got != c.want {
			t.Errorf("protocol %d, flags %#x: %s, want %s", c.p.Protocol, c.p.TCPFlags, got, c.want)
		}
	}
	udp.SourcePort = 1001
	if a, b := fmt.Sprint(life(udp)), fmt.Sprint(life(udp)); a != "[1m0s]" || b != "[3m0s]" {
		t.Errorf("%s, then %s", a, b)
	}
}

// The backup stands in, and flows of the other farm go on meanwhile (T30).
func TestFlows_Backup(t *testing.T) {
	b := newBalancer(t, strings.Replace(strings.Replace(direct("direct", "", ""), "farm: web}}", "farm: web, backup: spare}}", 1),
		"serverFarms:", "serverFarms:\n  - {name: spare, mode: direct, servers: [{name: s, addresses: [10.1.0.7, \"fd01::7\"]}]}", 1))
	syn := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
	first := b.copyOf(syn)
	b.SetUnavailable("web", true)
	b.renew()
	if got := b.copyOf(flags(syn, ack)); got != first {
		t.Errorf("%s, then %s", first, got)
	}
	if got := b.copyOf(packetOf(t, "192.0.2.5:1001 > 203.0.113.10:80/tcp")); got != "10.1.0.7" {
		t.Errorf("a new flow goes to %s", got)
	}
}

// An operator's down lets no new flow in.
func TestFlows_Shut(t *testing.T) {
	b := newBalancer(t, direct("direct", "", ""))
	syn := packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")
	first := b.copyOf(syn)
	b.SetShut("web", true)
	b.facts.Shut = true
	b.renew()
	if got := b.copyOf(flags(syn, ack)); got != first {
		t.Errorf("%s, then %s", first, got)
	}
	if got := b.copyOf(packetOf(t, "192.0.2.5:1001 > 203.0.113.10:80/tcp")); got != "drop" {
		t.Errorf("a new flow goes to %s", got)
	}
}

// What routed servers answer is not tracked, so that nobody calls it invalid; what
// direct ones answer does not come here.
func TestCopies_Routed(t *testing.T) {
	for mode, want := range map[string]bool{"routed": true, "direct": false} {
		b := newBalancer(t, direct(mode, "", ""))
		if got := b.copyOf(packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80/tcp")); !strings.HasPrefix(got, "10.1.0.") {
			t.Errorf("%s: %s", mode, got)
		}
		for _, text := range []string{"203.0.113.10:80 > 192.0.2.5:1000/tcp", "[2001:db8::10]:80 > [2001:db8:9::1]:1000/tcp"} {
			p := flags(packetOf(t, text), syn|ack)
			p.In = "in0"
			trace := b.walk("prerouting", p)
			if trace.End != kernel.Passed || came(trace, "copy", "answers of a routed") != want {
				t.Errorf("%s: %s: %+v", mode, text, trace)
			}
		}
		wished := func() bool {
			return slices.ContainsFunc(b.Wishes(b.facts).Sysctls, func(s kernel.Sysctl) bool { return s.Name == "ipv4/conf/all/accept_local" })
		}
		has := wished()
		b.facts.Interfaces = append(b.facts.Interfaces, nic("lo", "203.0.113.10/32"))
		if with := wished(); has || with != want {
			t.Errorf("%s: accept_local is wished: %v, with the address here: %v", mode, has, with)
		}
	}
}

// A server without an address of a family that its virtual servers have is refused.
func TestCopies_Unreached(t *testing.T) {
	text := strings.Replace(direct("routed", "", ""), `[10.1.0.2, "fd01::2"]`, "[10.1.0.2]", 1)
	_, errs := Compile(inputs(t, load(t, text), nil))
	if !errs.Failed() || !strings.Contains(errs.Error(), `serverFarms[1].servers[1]: server "two" has no address of IPv6`) {
		t.Errorf("%v", errs)
	}
}

// A reload keeps slots, and whose flows go on, of farms that stay as they are; a farm
// whose mode is another begins anew.
func TestCopies_Inherit(t *testing.T) {
	b := newBalancer(t, direct("direct", "", ""))
	ids := b.byFarm["web"].ids()
	b.SetServers("web", evenly(ids[:2]))
	next := compile(t, direct("direct", "", `
  - {name: more, address: 203.0.113.11, port: 80, serve: {farm: web}}`), b.Plan)
	holds, slots := next.data.sets["holds"], next.data.sets["copy_slots"]
	if holds.Len() != 4 || slots.Len() != b.byFarm["web"].Slots {
		t.Errorf("%d servers hold flows, %d slots", holds.Len(), slots.Len())
	}
	other := compile(t, direct("nat", "", ""), b.Plan)
	if n, m := other.data.sets["copy_slots"].Len(), other.data.sets["holds"].Len(); n+m != 0 {
		t.Errorf("a farm that is no longer direct has %d slots and %d that hold flows", n, m)
	}
}

// renew has the kernel hear of changed elements, with the flows that packets wrote.
func (b *balancer) renew() {
	b.t.Helper()
	b.restate()
	b.world.Read = func(table, _ string) (list []kernel.Element, _ error) {
		for key, id := range b.learnt[table] {
			list = append(list, kernel.Element{Key: []byte(key), Data: kernel.Number(uint32(id)), Timeout: flowTCP, Expires: flowTCP})
		}
		return list, nil
	}
}

// noteFlow remembers the server of a flow.
func (b *balancer) noteFlow(trace *kernel.Trace) {
	for _, v := range trace.Visits {
		for _, l := range v.Looks {
			if l.Set != "flows" {
				continue
			}
			for id, m := range b.members {
				if slices.Contains(m.Addresses, trace.Copies[0]) {
					if b.learnt[v.Table] == nil {
						b.learnt[v.Table] = map[string]ID{}
					}
					b.learnt[v.Table][string(l.Key)] = id
				}
			}
		}
	}
}
