package l4

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// toldCopy tells a connection in a line: what was found, then each way.
func (b *balancer) toldCopy(from, to string) string {
	b.t.Helper()
	e := b.tells(from, to, nil)
	var words []string
	for _, f := range e.Findings {
		why := f.Text
		if f.Why != "" {
			why += ": " + f.Why
		}
		words = append(words, map[bool]string{true: "+", false: "-"}[f.Hit]+why)
	}
	return strings.Join(append(words, waysOf(e)...), "\n")
}

func waysOf(e *flow.Explanation) (words []string) {
	for _, w := range e.Ways {
		words = append(words, strings.TrimSpace(fmt.Sprintf("%.0f%% %s %s/%s %v %s by %s", w.Percent, w.VirtualServer, w.Farm, w.Server, w.Copies, w.End, w.By)))
	}
	return words
}

// Of connections that are sent on as they are the same is told as of others: the
// virtual server, the flow that is known, the farm or its backup, the server, and
// why (modes direct and routed).
func TestExplainCopies(t *testing.T) {
	b := newBalancer(t, strings.NewReplacer("farm: web}}", "farm: web, backup: spare}}", "serverFarms:", `  - {name: nat, addresses: [203.0.113.10], port: 81, serve: {farm: plain}}
serverFarms:
  - {name: spare, mode: direct, algorithm: source-hash, servers: [{name: s, addresses: [10.1.0.7, "fd01::7"]}]}`).Replace(direct("direct", "slots: 16", "")))
	const client, client6, vip, vip6 = "192.0.2.5:1000", "[2001:db8:9::1]:1000", "203.0.113.10:80", "[2001:db8::10]:80"
	want := func(what, from, to, want string) {
		t.Helper()
		if got := b.toldCopy(from, to); got != strings.TrimSpace(want) {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, strings.TrimSpace(want))
		}
	}
	ids := b.byFarm["web"].ids()
	b.SetSlots("web", spread(16, []ID{ids[0], ids[1], ids[0], ids[1]}))
	want("a new flow", client, vip, `
+virtual server web: 203.0.113.10, tcp port 80
-flow of 192.0.2.5:1000: none yet
+server farm web
50% web web/one [10.1.0.1] dropped by algorithm: the server of a slot, by round-robin
50% web web/two [10.1.0.2] dropped by algorithm: the server of a slot, by round-robin`)
	known := func(id ID) {
		key := func(mark uint32, from, to string) []byte {
			a, v := ap(from), ap(to)
			return kernel.Key(kernel.Number(mark), kernel.Addr(a.Addr()), kernel.Port(a.Port()), kernel.Addr(v.Addr()))
		}
		mark := b.MarkOf("web")
		b.written = map[string][]kernel.Element{"flows": {{Key: key(mark, client, vip), Data: kernel.Number(uint32(id)), Timeout: flowTCP, Expires: flowTCP / 3},
			{Key: key(mark, client6, vip6), Data: kernel.Number(uint32(id))}}}
	}
	known(ids[2])
	want("a known flow", client, vip, `
+virtual server web: 203.0.113.10, tcp port 80
+flow of 192.0.2.5:1000: server web/three, 5m0s left of 15m0s: last used 10m0s ago
100% web web/three [10.1.0.3] dropped by the flow has a server, which keeps it`)
	want("the same of IPv6", client6, vip6, `
+virtual server web: 2001:db8::10, tcp port 80
+flow of [2001:db8:9::1]:1000: server web/three, 1m0s left
100% web web/three [fd01::3] dropped by the flow has a server, which keeps it`)
	b.SetServers("web", evenly(ids[:2]))
	want("its server keeps it no more", client6, vip6, `
+virtual server web: 2001:db8::10, tcp port 80
-flow of [2001:db8:9::1]:1000: server web/three, 1m0s left: it takes its flows no more, so this one is forgotten
+server farm web
50% web web/one [fd01::1] dropped by algorithm: the server of a slot, by round-robin
50% web web/two [fd01::2] dropped by algorithm: the server of a slot, by round-robin`)
	b.written = nil
	b.SetUnavailable("web", true)
	want("the backup", client, vip, `
+virtual server web: 203.0.113.10, tcp port 80
-flow of 192.0.2.5:1000: none yet
-server farm web: it is not available, and its backup is
+server farm spare: the backup of web
100% web spare/s [10.1.0.7] dropped by algorithm: the server of a slot, by source-hash`)
	b.SetUnavailable("web", false)
	b.share("web", "-")
	want("none lives", client, vip, `
+virtual server web: 203.0.113.10, tcp port 80
-flow of 192.0.2.5:1000: none yet
+server farm web
+server farm web: none of its servers lives
100% web web/ [] dropped by server farm web: none of its servers lives`)
	b.SetShut("web", true)
	b.facts.Shut = true
	want("an operator's down", client, vip, `
+virtual server web: 203.0.113.10, tcp port 80
-flow of 192.0.2.5:1000: none yet
+an operator holds it down
100% web web/ [] dropped by an operator holds it down`)
	want("another port of the address", client, "203.0.113.10:82", `
-virtual server: 203.0.113.10 is an address of web (tcp port 80), nat (tcp port 81), and this is tcp port 82
100%  / [] passed by no rule of ours`)
	want("one that is translated", client, "203.0.113.10:81", `
+virtual server nat: 203.0.113.10, tcp port 81
+server farm plain
100% nat plain/it [] passed by algorithm: the server of a slot, by round-robin`)
	if e := b.tells("198.51.100.9", "203.0.113.10:80", nil); len(e.Counters) == 0 || e.Counters[0].Name != "web" {
		t.Errorf("%+v", e.Counters)
	}
}

// What is told of a flow before it is sent has the server that it comes to, and what
// is told of it afterwards is that server alone, by the entry that it made.
func TestExplainCopies_Root(t *testing.T) {
	f := newDirect(t, held("direct", ""), true)
	x := newExplainer(f)
	one := func(protocol string, from netip.Addr, vip netip.AddrPort) {
		t.Helper()
		to := vip.String() + "/" + protocol
		before := x.explain(netip.AddrPortFrom(from, 9).String(), to, "back0") // of another port
		talk := f.farm.TCP
		if protocol == "udp" {
			talk = f.farm.UDP
		}
		c, err := talk(from, vip)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		var seen nettest.Seen
		for try := 0; try == 0 || err != nil && try < 10; try++ { // a datagram may be lost
			seen, err = c.Say("hello")
		}
		if err != nil {
			t.Fatal(err)
		}
		server := [...]string{1: "one", 2: "two", 3: "three"}[seen.Host]
		if len(before.Ways) != 3 || !slices.ContainsFunc(before.Ways, func(w flow.Way) bool { return w.Server == server }) {
			t.Errorf("%s comes to %s, and was told before: %q", to, server, waysOf(before))
		}
		after := x.explain(c.LocalAddr().String(), to, "back0")
		if len(after.Ways) != 1 || after.Ways[0].Server != server || after.Ways[0].Farm != "web" || after.Ways[0].VirtualServer == "" || after.Ways[0].By != tellKnown {
			t.Errorf("%s is at %s, and is told: %q", to, server, waysOf(after))
		}
	}
	for _, route := range []nettest.Route{f.four, f.six} {
		for i := range 3 {
			from, vip := route(i)
			one("tcp", from, vip)
			one("udp", from, vip)
		}
	}
}
