package l4

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
)

// bounded is a virtual server with each limit, over a farm whose servers have
// limits.
const bounded = `
version: 1
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web, maxConnections: 100, newConnections: 50, rateLimit: {in: 8Mbps, out: 16Mbps}, limitPolicy: fair}}
  - {name: big, address: 203.0.113.11, port: 80, serve: {farm: web, maxConnections: 50000}}
serverFarms:
  - name: web
    algorithm: random
    onBusy: BUSY
    servers:
      - {name: one, address: 10.1.0.1, port: 8080, maxConnections: 5, rateLimit: 8Mbps}
      - {name: two, address: 10.1.0.2, port: 8080, newConnections: 7}
      - {name: three, address: 10.1.0.3, port: 8080, maxConnections: 9}
slb:
  limitPolicies:
    - {name: fair, rules: [{sources: [192.0.2.0/24], per: [source], upper: 10, lower: 5}]}
`

// over has these limits be exceeded: sets, with a server's name behind a colon.
func (b *balancer) over(limits ...string) {
	b.world.Shut = func(l kernel.Limit) bool { return b.world.Over(l) }
	b.world.Over = func(l kernel.Limit) bool {
		name := l.Set
		if name == "srv_full" || name == "srv_last" { // who is full is known to be
			name = "srv_shut"
		}
		if c, ok := l.Step.(kernel.Change); ok {
			name = c.Set
		}
		if strings.HasPrefix(name, "srv") {
			_, server := b.ServerOf(idOf(l.Key))
			name += ":" + server
		}
		for _, o := range limits {
			if o == name {
				return true
			}
		}
		return false
	}
}

// Limits of virtual servers: their own, then those of the limit policy (FAQ 1.2.9,
// T29); what is over is dropped and counted.
func TestLimit_VirtualServer(t *testing.T) {
	b := newBalancer(t, strings.Replace(bounded, "BUSY", "drop", 1))
	b.drawing(0)
	const text = "192.0.2.5:1000 > 203.0.113.10:80"
	for _, c := range []struct{ over, want, rule string }{
		{"nothing", "10.1.0.1:8080", ""}, {"vs_full", "drop", "it has as many"}, {"vs_fast", "drop", "more new connections"},
		{"limit_fair_1_v4_upper", "drop", "limit policy"},
	} {
		b.over(c.over)
		trace := b.walk("prerouting", packetOf(t, text))
		if got := verdict(packetOf(t, text), trace); got != c.want {
			t.Errorf("%s: %s, want %s", c.over, got, c.want)
		}
		if c.rule != "" && (!came(trace, "limit", c.rule) || !came(trace, "refuse", "over a limit")) {
			t.Errorf("%s: it did not come to its rule", c.over)
		}
	}
	b.over("limit_fair_1_v4_lower") // it was shut above
	if got := b.send(text); got != "drop" {
		t.Errorf("between the bounds it stays shut (T29): %s", got)
	}
	b.over()
	if got := b.send(text); got != "10.1.0.1:8080" {
		t.Errorf("below the lower bound: %s", got)
	}
	b.over("limit_fair_1_v4_upper")
	if got := b.send("198.51.100.5:1000 > 203.0.113.10:80"); got != "10.1.0.1:8080" {
		t.Errorf("the policy is not for it: %s", got)
	}
	b.over()
	const big = "192.0.2.5:1000 > 203.0.113.11:80"
	b.SetShut("big", true)
	b.restate().drawing(0)
	if x, y := b.send(big), b.send(text); x != "drop" || y != "10.1.0.1:8080" {
		t.Errorf("shut: %s, another %s", x, y)
	}
	b.SetShut("big", false)
	b.restate().drawing(0)
	if got := b.send(big); got != "10.1.0.1:8080" {
		t.Errorf("open again: %s", got)
	}
}

// A server at its limit: the next one that has room, each asked once; then the busy
// action.
func TestLimit_Server(t *testing.T) {
	const text = "192.0.2.5:1000 > 203.0.113.11:80"
	all := []string{"srv_shut:one", "srv_fast:two", "srv_shut:three"}
	for _, busy := range []string{"drop", "queue", "force"} {
		b := newBalancer(t, strings.Replace(bounded, "BUSY", busy, 1))
		b.drawing(0)
		for n, want := range []string{"10.1.0.1:8080", "10.1.0.2:8080", "10.1.0.3:8080"} {
			b.over(all[:n]...)
			trace := b.walk("prerouting", packetOf(t, text))
			if got := verdict(packetOf(t, text), trace); got != want {
				t.Errorf("%s, %d full: %s, want %s", busy, n, got, want)
			}
			asked := map[string]int{}
			for _, v := range trace.Visits {
				for _, l := range v.Looks {
					if strings.HasPrefix(l.Set, "srv_") && l.Found != nil {
						asked[fmt.Sprint(l.Set, idOf(l.Key))]++
					}
				}
			}
			for at, k := range asked {
				if k > 1 {
					t.Errorf("%s, %d full: %s was asked %d times, and counts each time", busy, n, at, k)
				}
			}
		}
		b.over(all...)
		trace := b.walk("prerouting", packetOf(t, text))
		got := verdict(packetOf(t, text), trace)
		if (got == "drop") == (busy == "force") {
			t.Errorf("%s, all full: %s", busy, got)
		}
		if busy != "force" && !came(trace, "refused_by_farm", "its servers are at their limits") {
			t.Errorf("%s: it is not counted", busy)
		}
		b.over()
		b.SetSlots("web", nil)
		b.restate()
		if got := b.send(text); (got == "drop") == (busy == "force") {
			t.Errorf("%s, no slots: %s", busy, got)
		}
		b.SetForced("web", nil)
		b.SetServers("web", States{})
		b.restate()
		trace = b.walk("prerouting", packetOf(t, text))
		if trace.End != kernel.Dropped || !came(trace, "refused_by_farm", "none of its servers lives") {
			t.Errorf("%s, nobody lives: %s", busy, trace.End)
		}
	}
}

// Limits of bandwidth, by direction, of virtual servers and of servers.
func TestLimit_Bandwidth(t *testing.T) {
	b := newBalancer(t, strings.Replace(bounded, "BUSY", "drop", 1))
	b.drawing(0)
	to := b.walk("prerouting", packetOf(t, "192.0.2.5:1000 > 203.0.113.10:80")).Packet
	to.Out = "in0"
	back := kernel.Packet{Source: to.Dest, Dest: to.Source, Protocol: 6, SourcePort: 8080, DestPort: 1000, TCPFlags: ack, In: "in0", Out: "out0", Ct: to.Ct}
	back.Ct.State, back.Ct.Reply = kernel.CtEstablished, true
	for set, want := range map[string][2]kernel.End{"vs_in": {kernel.Dropped, kernel.Passed}, "vs_out": {kernel.Passed, kernel.Dropped}, "rate_total4": {kernel.Dropped, kernel.Dropped}, "rate_in4": {}} {
		b.over(set)
		for _, at := range [][2]string{{"forward", "forward"}, {"output", "input"}, {"input", "output"}} { // this machine is the client, and a server
			if x, y := b.walk(at[0], to).End, b.walk(at[1], back).End; x != want[0] || y != want[1] {
				t.Errorf("%s: to the server by %s %s, to the client by %s %s", set, at[0], x, at[1], y)
			}
		}
		own := to
		if own.In = "lo"; b.walk("input", own).End != kernel.Passed {
			t.Errorf("%s: what goes over lo is counted twice", set)
		}
	}
	other := to
	other.Ct.Mark = 0
	b.over("rate_total4", "vs_in")
	if got := b.walk("forward", other).End; got != kernel.Passed {
		t.Errorf("what is not served is dropped: %s", got)
	}
}

// In a farm of both families a client comes to the servers of its own, however
// many have none of it, and wherever names move.
func TestLimit_Families(t *testing.T) {
	text := `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.10, "2001:db8::10"], port: 80, serve: {farm: web}}
serverFarms:
  - name: web
    servers:
      - {name: named, host: a.example.org, port: 80}
      - {name: six, address: "fd01::1", port: 80}`
	for i := range 30 {
		text += fmt.Sprintf("\n      - {name: four%d, address: 10.1.0.%d, port: 80}", i, i+1)
	}
	b := newBalancer(t, text+"\n")
	six, four := "[2001:db8:9::1]:1000 > [2001:db8::10]:80", "192.0.2.5:1000 > 203.0.113.10:80"
	if got := b.shares(six); got["fd01::1"] < 0.999 {
		t.Errorf("of IPv6: %v", got)
	}
	if got := b.shares(four); got["drop"] > 0 || len(got) != 30 {
		t.Errorf("of IPv4: %v", got)
	}
	b.SetAddress("web", "named", netip.Addr{}, addr("fd01::2"))
	b.restate()
	if got := b.shares(six); got["drop"] > 0 || got["fd01::2"] < 0.01 || got["fd01::1"] < 0.01 {
		t.Errorf("a name that is of IPv6 now: %v", got)
	}
	b.share("web", "four3", "six")
	b.SetServers("web", States{})
	b.restate()
	if got := b.shares(six); got["drop"] < 0.4 {
		t.Errorf("nobody else takes anything: %v", got)
	}
}
