package proximity

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/portolan-lb/portolan/config"
)

// load reads a configuration.
func load(t testing.TB, text string) *config.Model {
	t.Helper()
	src := config.Source{FS: fstest.MapFS{}, Dir: ".", Name: "p.yaml"}
	m, errs := config.LoadBytes([]byte("version: 1\n"+text), src)
	if errs.Failed() {
		t.Fatal(errs)
	}
	return m
}

const world = `
links:
  - {name: telecom, cost: 10, rateLimit: {in: 100Mbps, out: 100Mbps}}
  - {name: unicom, cost: 20}
  - {name: unused}
virtualServers:
  - {name: v1, address: 192.0.2.1, link: telecom}
  - {name: v2, address: 192.0.2.2, link: unicom}
  - {name: v3, address: 192.0.2.3, link: unused}
pools:
  - name: inner
    members: [{virtualServer: v2}]
  - name: web
    members: [{virtualServer: v1}, {pool: inner}]
  - name: other
    members: [{virtualServer: v3}]
`

// asking gives a model whose pool "web" prefers proximity.
func asking(t testing.TB, text string) *config.Model {
	t.Helper()
	return load(t, strings.Replace(world, "name: web\n", "name: web\n    preferred: proximity\n", 1)+text)
}

// Only links that a slot for proximity may choose among are measured.
func TestPlanMeasuresWhatPoolsAskFor(t *testing.T) {
	p := Compile(asking(t, "proximity: {methods: [icmp]}\n"))
	var names []string
	for _, l := range p.Links {
		names = append(names, l.Name)
	}
	if !slices.Equal(names, []string{"telecom", "unicom"}) || !p.Measures() {
		t.Errorf("links %v, measures %v", names, p.Measures())
	}
	for _, text := range []string{"", "proximity: {enabled: false, methods: [icmp]}\n"} {
		if Compile(asking(t, text)).Measures() {
			t.Errorf("%q measures (FAQ 1.1.6)", text)
		}
	}
	if Compile(load(t, world+"proximity: {methods: [icmp]}\n")).Measures() {
		t.Error("measures for no pool (FAQ 1.2.23)")
	}
}

// A link group that goes by proximity is measured for where outbound balances,
// its own links only (FAQ 1.2.21, 1.2.23, T15).
func TestPlanMeasuresWhatLinkGroupsAskFor(t *testing.T) {
	const groups = `
links: [{name: telecom, interface: eth1}, {name: unicom, interface: eth2}, {name: unused, interface: eth3}]
linkGroups: [{name: near, proximity: true, members: [unicom]}, {name: far, members: [unused]}]
proximity: {methods: [icmp]}
`
	const outbound = "outbound: {enabled: true, interfaces: [lan0], virtualServers: [{name: all, linkGroup: near}]}\n"
	for text, want := range map[string]bool{
		groups + outbound: true, groups: false,
		groups + strings.Replace(outbound, "enabled: true", "enabled: false", 1):     false,
		strings.Replace(groups, "proximity: true", "proximity: false", 1) + outbound: false,
		strings.Replace(groups, "methods: [icmp]", "margin: 5%", 1) + outbound:       false,
	} {
		p := Compile(load(t, text))
		if p.Measures() != want {
			t.Errorf("%s: measures %t", text, !want)
		}
		if want && (len(p.Links) != 1 || p.Links[0].Name != "unicom") {
			t.Errorf("links %v", p.Links)
		}
	}
}

func TestStatics(t *testing.T) {
	p := Compile(asking(t, `proximity:
  static:
    - {prefix: 203.0.113.0/24, link: telecom}
    - {prefix: 203.0.113.64/26, link: unicom}
    - {prefix: 203.0.113.64/28, link: unused}
    - {prefix: 2001:db8::/32, link: unicom}
`))
	for addr, want := range map[string]int{"203.0.113.1": 0, "203.0.113.100": 1, "203.0.113.65": noLink, "203.0.114.1": noLink, "2001:db8::1": 1, "2001:db9::1": noLink} {
		if got := p.static.of(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: link %d, want %d", addr, got, want)
		}
	}
	if got := p.static.finer[netip.MustParsePrefix("203.0.113.0/24")]; got != 28 || len(p.static.finer) != 1 {
		t.Errorf("finer %v", p.static.finer)
	}
}
