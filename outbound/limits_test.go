package outbound

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
)

const limits = `
  limitPolicies:
    - name: per
      rules:
        - {sources: [10.0.0.0/25], per: [source], upper: 20, lower: 10}
        - {destinations: [9.9.9.0/24], per: [destination, service], upper: 5}
        - {sources: [10.0.0.0/24, "fd10::/64"], upper: 5000}
`

// A virtual server's own limits come first, then the limit policy, of which the
// first rule that matches decides; each must admit (1.2.9, T29).
func TestLimits_Order(t *testing.T) {
	text := strings.Replace(simple, "linkGroup: all}", "linkGroup: all, maxConnections: 100, newConnections: 20, limitPolicy: per}", 1) + limits
	g := newGateway(t, text)
	for _, c := range []struct{ flow, asks string }{
		{"10.0.0.5:1 > 9.9.9.9:80/tcp", "limits_everything limits_everything limit_per_everything_1_v4 limit_per_everything_1_v4"},
		{"10.0.0.200:1 > 9.9.9.9:80/tcp", "limits_everything limits_everything limit_per_everything_2_v4"},
		{"10.0.0.200:1 > 8.9.9.9:80/tcp", "limits_everything limits_everything limit_per_everything_3_v4"},
		{"[fd10::5]:1 > [2001:db8:9::1]:80/tcp", "limits_everything limits_everything limit_per_everything_3_v6"},
		{"10.0.9.200:1 > 8.9.9.9:80/tcp", "limits_everything limits_everything"},
	} {
		var asked []string
		g.world.Over = func(l kernel.Limit) bool { asked = append(asked, l.Chain); return false }
		if got := g.send(c.flow); got == "drop" || strings.Join(asked, " ") != c.asks {
			t.Errorf("%s: %s, asks %v", c.flow, got, asked)
		}
		for refuses := range asked {
			n := 0
			g.world.Over = func(kernel.Limit) bool { n++; return n-1 == refuses }
			want := "drop"
			if asked[refuses] == "limit_per_everything_1_v4" && refuses == 3 { // over lower alone, not shut
				want = "one two three"
			}
			if got := g.send(c.flow); !strings.Contains(want, got) {
				t.Errorf("%s, limit %d refuses: %s, want %s", c.flow, refuses, got, want)
			}
			g.restate()
		}
	}
}

// Hysteresis: shut at upper, it opens again only below lower (T29).
func TestLimits_Hysteresis(t *testing.T) {
	text := strings.Replace(simple, "linkGroup: all}", "linkGroup: all, limitPolicy: per}", 1) + limits
	g := newGateway(t, text)
	live := map[string]int{}
	g.world.Over = func(l kernel.Limit) bool { return live[string(l.Key)]+1 > int(l.Step.(kernel.Change).Over) }
	me, other := string(kernel.Addr(netip.MustParseAddr("10.0.0.5"))), "10.0.0.6:1 > 8.8.8.8:80/tcp"
	for _, c := range []struct {
		live  int
		admit bool
	}{{0, true}, {9, true}, {15, true}, {19, true}, {20, false}, {19, false}, {10, false}, {9, true}, {10, true}, {19, true}, {20, false}, {15, false}, {0, true}} {
		live[me] = c.live
		if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); (got != "drop") != c.admit {
			t.Errorf("with %d connections: %s", c.live, got)
		}
		if got := g.send(other); got == "drop" {
			t.Errorf("another client is refused with %d connections of the first", c.live)
		}
	}
}

// Who has an entry of a persistence with overrideLimit passes the limits of the
// virtual server, of its limit policy and of the link; who has none does not,
// nor does one whose link is dead (1.2.8, T23).
func TestLimits_Override(t *testing.T) {
	for _, policy := range []bool{false, true} {
		text := strings.Replace(simple, "linkGroup: all}", "linkGroup: all, persistence: keep, maxConnections: 100, newConnections: 20, limitPolicy: per}", 1)
		text = strings.Replace(text, "eth2,", "eth2, maxConnections: 10,", 1)
		if policy {
			text = strings.Replace(text, "linkGroup: all, persistence: keep,", "policy: p,", 1) + "  policies: [{name: p, rules: [{action: {linkGroup: all, persistence: keep}}]}]\n"
		}
		text += limits + "\npersistence: [{name: keep, overrideLimit: true}]\n"
		g := newGateway(t, text)
		g.world.Over = func(kernel.Limit) bool { return true }
		g.learnt("stick4_keep_all", 2, kernel.Addr(netip.MustParseAddr("10.0.0.5")))
		for i, want := range []string{"two", "drop"} {
			if got := g.send(fmt.Sprintf("10.0.0.%d:1 > 8.8.8.8:80/tcp", 5+i)); got != want {
				t.Errorf("policy %v, client %d: %s, want %s", policy, i, got, want)
			}
		}
		g.Variant("all").SetAlive(slots.IDs{1, 3})
		g.restate()
		if got := g.send("10.0.0.5:1 > 8.8.8.8:80/tcp"); got != "drop" {
			t.Errorf("policy %v, of a dead link: %s", policy, got)
		}
	}
}

// Each virtual server has its own limit policy, whatever both are called.
func TestLimits_Names(t *testing.T) {
	g := newGateway(t, threeLinks+`
linkGroups:
  - {name: all, members: [one, two, three]}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: b_c, protocol: tcp, linkGroup: all, limitPolicy: a}
    - {name: c, linkGroup: all, limitPolicy: a_b}
  limitPolicies:
    - {name: a, rules: [{upper: 7}]}
    - {name: a_b, rules: [{upper: 9}]}
`)
	for flow, want := range map[string]uint32{"10.0.0.5:1 > 9.9.9.9:80/tcp": 7, "10.0.0.5:1 > 9.9.9.9:80/udp": 9} {
		var asked []uint32
		g.world.Over = func(l kernel.Limit) bool { asked = append(asked, l.Step.(kernel.Change).Over); return false }
		if g.send(flow); len(asked) != 1 || asked[0] != want {
			t.Errorf("%s: limits %d, want %d", flow, asked, want)
		}
	}
}
