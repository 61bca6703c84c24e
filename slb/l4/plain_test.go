package l4

import (
	"strings"
	"testing"
)

// A virtual server that has nothing but a farm leads to it with one look-up, and each
// thing that has to be asked for takes it off that way (ADR 22).
func TestAtOnce(t *testing.T) {
	const text = `
version: 1
persistence: [{name: stay, timeout: 1m}]
virtualServers:
  - {name: v, address: 203.0.113.10, port: 80, serve: {farm: web}}
serverFarms:
  - {name: web, algorithm: random, slots: 16, servers: [{name: a, address: 10.1.0.1, port: 80}, {name: b, address: 10.1.0.2, port: 80}]}
  - {name: spare, servers: [{name: a, address: 10.1.0.3, port: 80}]}
slb:
  limitPolicies: [{name: l, rules: [{upper: 10}]}]
  policies: [{name: q, rules: [{action: {farm: web}}]}]
`
	for _, c := range []struct {
		what, old, new string
		kind           uint32
	}{
		{"a farm", "", "", isFarm},
		{"type of service, rate", "{farm: web}", "{farm: web, tos: 8, rateLimit: 1Mbps}", isFarm},
		{"backup", "{farm: web}", "{farm: web, backup: spare}", isTarget},
		{"persistence", "{farm: web}", "{farm: web, persistence: stay}", isTarget},
		{"connections", "{farm: web}", "{farm: web, maxConnections: 5}", isTarget},
		{"many connections", "{farm: web}", "{farm: web, maxConnections: 50000}", isTarget},
		{"new connections", "{farm: web}", "{farm: web, newConnections: 5}", isTarget},
		{"limit policy", "{farm: web}", "{farm: web, limitPolicy: l}", isTarget},
		{"server's connections", "10.1.0.2, port: 80", "10.1.0.2, port: 80, maxConnections: 5", isTarget},
		{"server's new connections", "10.1.0.2, port: 80", "10.1.0.2, port: 80, newConnections: 5", isTarget},
		{"a server of another family", "address: 10.1.0.2", "address: 2001:db8::2", isTarget},
		{"a server by name", "address: 10.1.0.2", "host: b.example.org", isTarget},
		{"policy", "{farm: web}", "{farm: web, policy: q}", isAsked},
		{"nothing", "{farm: web}", "{}", isAsked},
	} {
		b := newBalancer(t, strings.Replace(text, c.old, c.new, 1))
		b.drawing(0)
		if word := b.byServer["v"].word(); word&kinds != c.kind {
			t.Errorf("%s: %#x", c.what, word)
		}
		trace := b.walk("prerouting", packetOf(t, "100.64.1.7:1 > 203.0.113.10:80"))
		maps := map[string]bool{}
		for _, v := range trace.Visits {
			for _, l := range v.Looks {
				maps[l.Set] = true
			}
		}
		want := []string{"exact4", ServedSet, slotsSet, "server4"}
		if c.kind == isFarm && len(maps) != len(want) {
			t.Errorf("%s: %v", c.what, maps)
		}
		for _, name := range want[:2] {
			if !maps[name] {
				t.Errorf("%s: no look-up in %s", c.what, name)
			}
		}
	}
}

// An operator who holds down a virtual server of that kind is obeyed.
func TestAtOnce_Held(t *testing.T) {
	b := newBalancer(t, "version: 1\nvirtualServers: [{name: v, address: 203.0.113.10, port: 80, serve: {farm: web}}]\nserverFarms: [{name: web, servers: [10.1.0.1]}]\n")
	const to = "100.64.1.7:1 > 203.0.113.10:80"
	for _, held := range []bool{false, true, false} {
		b.SetShut("v", held)
		b.facts.Shut = held
		b.restate().drawing(0)
		if got := b.send(to); (got == "drop") != held {
			t.Errorf("held %v: %s", held, got)
		}
	}
}
