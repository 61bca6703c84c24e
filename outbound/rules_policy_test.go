package outbound

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

// groups are three groups of one link each, and a virtual server with a policy
// of the rules given.
func withPolicy(rules, more string) string {
	return threeLinks + `
linkGroups: [{name: a, members: [one]}, {name: b, members: [two]}, {name: c, members: [three]}]
outbound:
  interfaces: [lan0, lan1]
  virtualServers: [{name: all, policy: p, linkGroup: c}]
  policies:
    - name: p
      rules:
` + rules + more
}

// Rules have their turn in order; a class that does not match always goes on,
// an action that finds no link only with onFailure: continue (1.2.10, 1.2.11,
// T36). Without a policy's default the virtual server's group has the rest.
func TestPolicy_T36(t *testing.T) {
	const rules = `
        - {class: web, action: {linkGroup: a%s}}
        - {class: host, action: {linkGroup: b}}
        - {class: mail, action: forward}
        - {class: bad, action: drop}
`
	const classes = `
  classes:
    - {name: web, ports: [tcp/80, tcp/443]}
    - {name: host, sources: [10.0.0.5/32]}
    - {name: mail, ports: [tcp/25]}
    - {name: bad, ports: [udp/1-1000]}
`
	for _, c := range []struct {
		goesOn, down bool
		flow, want   string
	}{
		{false, false, "10.0.0.5:1 > 8.8.8.8:80/tcp", "one"},
		{false, true, "10.0.0.5:1 > 8.8.8.8:80/tcp", "drop"},
		{true, true, "10.0.0.5:1 > 8.8.8.8:80/tcp", "two"},
		{true, true, "10.0.0.6:1 > 8.8.8.8:80/tcp", "three"},
		{false, false, "10.0.0.5:1 > 8.8.8.8:25/tcp", "two"},
		{false, false, "10.0.0.6:1 > 8.8.8.8:25/tcp", "forward"},
		{false, false, "10.0.0.6:1 > 8.8.8.8:53/udp", "drop"},
		{false, false, "10.0.0.6:1 > 8.8.8.8:5353/udp", "three"},
	} {
		word := ""
		if c.goesOn {
			word = ", onFailure: continue"
		}
		g := newGateway(t, withPolicy(fmt.Sprintf(rules, word), classes))
		if c.down {
			g.give(g.Variant("a"))
		}
		if got := g.send(c.flow); got != c.want {
			t.Errorf("continue %v, down %v, %s: %s, want %s", c.goesOn, c.down, c.flow, got, c.want)
		}
	}
}

// The default action is to drop (T36), and a policy's own default goes before
// the virtual server's group.
func TestPolicy_Default(t *testing.T) {
	text := withPolicy("        - {class: web, action: {linkGroup: a}}\n", "      default: {linkGroup: b}\n  classes: [{name: web, ports: [80]}]\n")
	if got := newGateway(t, text).send("10.0.0.5:1 > 8.8.8.8:81/tcp"); got != "two" {
		t.Errorf("with a default: %s", got)
	}
	text = strings.Replace(text, "      default: {linkGroup: b}\n", "", 1)
	text = strings.Replace(text, ", linkGroup: c}", "}", 1)
	if got := newGateway(t, text).send("10.0.0.5:1 > 8.8.8.8:81/tcp"); got != "drop" {
		t.Errorf("without any: %s", got)
	}
}

// The backup takes over when the group is not available by its thresholds, and
// when it has nobody; who has nobody is passed even if available.
func TestPolicy_Backup(t *testing.T) {
	g := newGateway(t, withPolicy("        - {action: {linkGroup: a, backup: b}}\n", ""))
	try := func(want string) {
		t.Helper()
		if got := g.restate().send("10.0.0.5:1 > 8.8.8.8:81/tcp"); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	try("one")
	g.facts.Unavailable = map[string]bool{"a": true}
	try("two")
	g.facts.Unavailable["b"] = true
	try("one")
	g.facts.Unavailable = map[string]bool{"a": true}
	g.give(g.Variant("b"))
	try("one")
	g.facts.Unavailable = nil
	g.give(g.Variant("b"), 2)
	g.give(g.Variant("a"))
	try("two")
	g.give(g.Variant("b"))
	try("drop")
}

// onBusy: continue passes a group all of whose links are busy; without, busy
// protection lapses (1.2.26), which is the tick's.
func TestPolicy_OnBusy(t *testing.T) {
	g := newGateway(t, withPolicy("        - {action: {linkGroup: a, onBusy: continue}}\n        - {action: {linkGroup: b}}\n", ""))
	g.facts.Lapsed = map[string]bool{"a": true, "b": true}
	if got := g.restate().send("10.0.0.5:1 > 8.8.8.8:81/tcp"); got != "two" {
		t.Errorf("%s", got)
	}
	if v := g.Variant("a"); !v.Strict || g.Variant("b").Strict {
		t.Errorf("a is strict: %v", v.Strict)
	}
}

// Busy protection of a virtual server makes a variant of the group, with slots
// of its own, where the group has none (1.2.12).
func TestVariants_BusyProtection(t *testing.T) {
	g := newGateway(t, threeLinks+`
linkGroups: [{name: a, members: [one, two]}, {name: b, busyProtection: true, members: [one]}]
outbound:
  interfaces: [lan0]
  policies: [{name: p, rules: [{action: {linkGroup: a}}]}]
  virtualServers:
    - {name: guarded, ports: [80], policy: p, busyProtection: true}
    - {name: plain, ports: [81], policy: p}
    - {name: other, ports: [82], linkGroup: b, busyProtection: true}
`)
	var names []string
	for _, v := range g.Variants() {
		names = append(names, fmt.Sprint(v.Name, v.Group.BusyProtection))
	}
	if got := strings.Join(names, " "); got != "a+busytrue afalse btrue" {
		t.Errorf("variants: %s", got)
	}
	g.give(g.Variant("a+busy"), 2)
	g.give(g.Variant("a"), 1)
	for port, want := range map[int]string{80: "two", 81: "one", 82: "one"} {
		if got := g.send(fmt.Sprintf("10.0.0.5:1 > 8.8.8.8:%d/tcp", port)); got != want {
			t.Errorf("port %d: %s, want %s", port, got, want)
		}
	}
}

// Each list of a class, alone, all together, any of them, and nested.
func TestClasses(t *testing.T) {
	classes := `
  classes:
    - {name: from, sources: [10.0.0.0/25, "fd10::/96"]}
    - {name: to, destinations: [8.8.0.0/16, 8.8.8.0/24]}
    - {name: everyone, sources: [0.0.0.0/0]}
    - {name: isp, isps: [telecom]}
    - {name: ports, ports: [tcp/443, udp/8000-9000, icmp]}
    - {name: in, interfaces: [lan1]}
    - {name: both, interfaces: [lan0, lan1]}
    - {name: work, times: [{days: [mon-fri], from: "08:00", to: "18:00", zone: UTC}]}
    - {name: night, times: [{from: "22:00", to: "06:00", zone: UTC}]}
    - {name: and, sources: [10.0.0.0/25], isps: [telecom], ports: [443], times: [{zone: UTC}]}
    - {name: or, match: any, sources: [10.0.0.128/25], ports: [udp/53], interfaces: [lan1]}
    - {name: nested, classes: [to, in], ports: [443, icmp]}
    - {name: deep, classes: [nested, or], match: all, sources: [10.0.0.0/24]}
    - {name: nightly, match: any, classes: [night], ports: [80]}
`
	yes := map[string][]string{
		"from":     {"10.0.0.5:1 > 8.8.8.8:80/tcp", "[fd10::5]:1 > [2001:db8:9::1]:1/tcp"},
		"to":       {"10.0.0.200:1 > 8.8.8.8:80/tcp"},
		"everyone": {"10.0.0.5:1 > 8.8.8.8:80/tcp"},
		"isp":      {"10.0.0.5:1 > 8.8.4.4:80/tcp", "[fd10::5]:1 > [2001:db8:8::1]:80/tcp"},
		"ports":    {"10.0.0.5:1 > 9.9.9.9:443/tcp", "10.0.0.5:1 > 9.9.9.9:8500/udp", "10.0.0.5 > 9.9.9.9/icmp", "fd10::5 > 2001:db8:9::1/icmp6"},
		"in":       {"lan1 10.0.0.5:1 > 9.9.9.9:443/tcp"},
		"both":     {"lan1 10.0.0.5:1 > 9.9.9.9:443/tcp", "10.0.0.5:1 > 9.9.9.9:443/tcp"},
		"work":     {"10.0.0.5:1 > 9.9.9.9:443/tcp"},
		"and":      {"10.0.0.5:1 > 8.8.4.4:443/udp"},
		"or":       {"10.0.0.200:1 > 9.9.9.9:1/tcp", "[fd10::5]:1 > [2001:db8:9::1]:53/udp", "lan1 10.0.0.5:1 > 9.9.9.9:443/tcp"},
		"nested":   {"10.0.0.5:1 > 8.8.8.8:443/tcp", "lan1 [fd10::5]:1 > [2001:db8:9::1]:443/udp", "lan1 10.0.0.5 > 9.9.9.9/icmp"},
		"deep":     {"10.0.0.5:1 > 8.8.8.8:443/tcp", "10.0.0.200:1 > 9.9.9.9:1/tcp", "10.0.0.5:1 > 9.9.9.9:53/udp"},
		"nightly":  {"10.0.0.5:1 > 9.9.9.9:80/tcp"},
	}
	no := map[string][]string{
		"from":     {"10.0.0.200:1 > 8.8.8.8:80/tcp", "[fd10::1:0:0:5]:1 > [2001:db8:9::1]:1/tcp"},
		"to":       {"10.0.0.5:1 > 8.9.0.0:80/tcp", "10.0.0.5:1 > 8.7.255.255:80/tcp", "[fd10::5]:1 > [2001:db8:9::1]:1/tcp"},
		"everyone": {"[fd10::5]:1 > [2001:db8:9::1]:1/tcp"},
		"isp":      {"10.0.0.5:1 > 8.8.8.8:80/tcp", "[fd10::5]:1 > [2001:db8:9::1]:80/tcp"},
		"ports":    {"10.0.0.5:1 > 9.9.9.9:443/udp", "10.0.0.5:1 > 9.9.9.9:9001/udp", "10.0.0.5:1 > 9.9.9.9/gre"},
		"in":       {"10.0.0.5:1 > 9.9.9.9:443/tcp"},
		"night":    {"10.0.0.5:1 > 9.9.9.9:443/tcp"},
		"and":      {"10.0.0.200:1 > 8.8.4.4:443/tcp", "10.0.0.5:1 > 9.9.9.9:443/tcp", "10.0.0.5:1 > 8.8.4.4:80/tcp", "[fd10::5]:1 > [2001:db8:8::1]:443/tcp"},
		"or":       {"10.0.0.5:1 > 9.9.9.9:53/tcp"},
		"nested":   {"10.0.0.5:1 > 9.9.9.9:443/tcp", "lan1 10.0.0.5:1 > 8.8.8.8:80/tcp"},
		"deep":     {"10.0.1.5:1 > 8.8.8.8:443/tcp", "10.0.0.5:1 > 8.8.8.8:80/tcp", "[fd10::5]:1 > [2001:db8:9::1]:53/udp"},
		"nightly":  {"10.0.0.5:1 > 9.9.9.9:81/tcp"},
	}
	for _, way := range []struct {
		want  string
		flows map[string][]string
	}{{"one", yes}, {"three", no}} {
		for class, flows := range way.flows {
			text := withPolicy("        - {class: "+class+", action: {linkGroup: a, onFailure: continue}}\n", classes) +
				"isps: [{name: telecom, prefixes: [8.8.4.0/24, \"2001:db8:8::/48\"]}]\n"
			g := newGateway(t, text)
			for _, f := range flows {
				rest, lan1 := strings.CutPrefix(f, "lan1 ")
				p := packetOf(t, rest)
				if lan1 {
					p.In = "lan1"
				}
				if got := g.verdict(g.walk("prerouting", p)); got != way.want {
					t.Errorf("class %s, %s: %s, want %s", class, f, got, way.want)
				}
			}
		}
	}
}

// An action is tried once, however many ways lead to it.
func TestClasses_OnceOnly(t *testing.T) {
	g := newGateway(t, withPolicy("        - {class: or, action: {linkGroup: a, onFailure: continue}}\n", `
  classes: [{name: or, match: any, sources: [10.0.0.0/25], ports: [443], interfaces: [lan0]}]
`))
	g.give(g.Variant("a"))
	g.restate()
	trace := g.walk("prerouting", packetOf(t, "10.0.0.5:1 > 8.8.8.8:443/tcp"))
	counted := 0
	for _, v := range trace.Visits {
		for _, s := range v.Did {
			if s == (kernel.Count{Name: "rule/p/1"}) {
				counted++
			}
		}
	}
	if got := g.verdict(trace); got != "three" || counted != 1 {
		t.Errorf("%s, rule 1 counted %d times", got, counted)
	}
}

// Plan.Next is the next moment at which a class by time changes.
func TestPlan_Next(t *testing.T) {
	p := compile(t, withPolicy("        - {class: work, action: {linkGroup: a}}\n", `
  classes: [{name: work, times: [{days: [mon-fri], from: "08:00", to: "18:00", zone: UTC}]}]
`), nil)
	at := time.Date(2026, 11, 18, 12, 0, 0, 0, time.UTC) // a Wednesday
	for _, want := range []string{"Wed 18:00", "Thu 08:00", "Thu 18:00", "Fri 08:00", "Fri 18:00", "Mon 08:00"} {
		if at = p.Next(at); at.Format("Mon 15:04") != want {
			t.Fatalf("%s, want %s", at.Format("Mon 15:04"), want)
		}
	}
	if at := compile(t, simple, nil).Next(at); !at.IsZero() {
		t.Errorf("without times: %v", at)
	}
}
