package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// model loads text that only warnings are about.
func modelOf(t *testing.T, text string) *Model {
	t.Helper()
	m, errs := Load(on("version: 1\n" + text))
	if errs.Failed() {
		t.Fatal(errs.Render())
	}
	return m
}

// FAQ 1.1.7, T44: an action has its farm; one without a farm drops; a rule
// without an action, and what no rule takes, goes to the farm of the virtual
// server, and without one is dropped. What is not there cannot be referred to.
func TestFarmPolicy_1_1_7(t *testing.T) {
	m := modelOf(t, `
virtualServers:
  - {name: a, address: 192.0.2.1, port: 80, serve: {farm: f, backup: g, persistence: k, policy: p}}
  - {name: b, address: 192.0.2.2, port: 80, serve: {policy: p}}
  - {name: c, address: 192.0.2.3, port: 80, serve: {}}
serverFarms: [{name: f, servers: [10.0.0.1]}, {name: g, servers: [10.0.0.2]}, {name: empty}]
persistence: [{name: k}]
slb:
  classes: [{name: one, sources: [10.1.0.0/16]}, {name: two, sources: [10.2.0.0/16]}, {name: three, sources: [10.3.0.0/16]}, {name: four, sources: [10.4.0.0/16]}]
  policies:
    - name: p
      rules: [{class: one, action: {farm: g}}, {class: two, action: {}}, {class: three}, {class: four, action: {farm: empty}}]
`)
	rules := m.SLB.Policies[0].Rules
	if a := rules[0].Action; a.Farm != "g" || a.OnFailure != FailureDrop {
		t.Errorf("an action with a farm: %+v", a)
	}
	if a := rules[1].Action; a == nil || a.Farm != "" {
		t.Errorf("an action without a farm: %+v", a)
	}
	if rules[2].Action != nil {
		t.Error("a rule without an action has one")
	}
	if d := m.VirtualServers[0].Serve.Default(); d.Farm != "f" || d.Backup != "g" || d.Persistence != "k" || d.OnFailure != FailureDrop {
		t.Errorf("the default: %+v", d)
	}
	for _, v := range m.VirtualServers[1:] {
		if d := v.Serve.Default(); d.Do != FarmActionDrop {
			t.Errorf("%s: without a farm it is not dropped: %+v", v.Name, d)
		}
	}
	for _, word := range []string{"policy: nobody", "farm: nobody"} {
		_, errs := Load(on("version: 1\nvirtualServers: [{name: a, address: 192.0.2.1, port: 80, serve: {" + word + "}}]\n"))
		if !errs.Failed() {
			t.Errorf("%s was taken", word)
		}
	}
}

// FAQ 1.1.9: the matrix of types at one address and port. TCP kinds collide, as
// does the same twice; type ip, and UDP beside TCP, do not.
func TestServe_1_1_9_Types(t *testing.T) {
	types := []ServeType{ServeTCP, ServeUDP, ServeIP}
	for _, a := range types {
		for _, b := range types {
			port := func(k ServeType) string {
				if k == ServeIP {
					return ""
				}
				return ", ports: [80]"
			}
			_, errs := Load(on(fmt.Sprintf("version: 1\nvirtualServers:\n  - {name: a, address: 192.0.2.1, serve: {type: %s%s}}\n  - {name: b, address: 192.0.2.1, serve: {type: %s%s}}\n",
				a, port(a), b, port(b))))
			if errs.Failed() != (a == b) {
				t.Errorf("%s beside %s: refused is %v\n%s", a, b, errs.Failed(), errs.Error())
			}
			if a == b && !strings.Contains(errs.Error(), `virtual server "a", at c.yaml:3:5`) {
				t.Errorf("%s twice: the other is not named: %s", a, errs.Error())
			}
		}
	}
}

// FAQ 1.1.10, T48: what looks at requests is accepted where connections are
// passed on, is not in effect, and is listed.
func TestServe_1_1_10(t *testing.T) {
	m := modelOf(t, `
virtualServers:
  - {name: a, address: 192.0.2.1, port: 80, serve: {farm: f, persistence: cookie, policy: pages, profile: http}}
  - {name: b, address: 192.0.2.2, port: 80, serve: {farm: f, policy: plain}}
  - {name: c, address: 192.0.2.3, port: 80, serve: {farm: f}}
  - {name: d, address: 192.0.2.4, port: 80}
serverFarms: [{name: f, servers: [10.0.0.1]}]
persistence: [{name: cookie, by: cookie, cookie: SRV}]
slb:
  classes: [{name: pages, http: {paths: [/a]}}, {name: one, sources: [10.1.0.0/16]}]
  policies: [{name: pages, kind: http, rules: [{class: pages, action: drop}]}, {name: plain, rules: [{class: one, action: {farm: f, persistence: cookie}}]}]
  profiles: [{name: http, rebalancePerRequest: true}]
`)
	for i, want := range [][]string{
		{`profile "http" is of HTTP`, `persistence "cookie" is by cookie`, `policy "pages" is of kind http`},
		{`persistence "cookie" of policy "plain" is by cookie`}, nil, nil,
	} {
		if got := m.NotInEffect(m.VirtualServers[i]); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", m.VirtualServers[i].Name, got, want)
		}
	}
}

// FAQ 1.1.15: weights count in four algorithms.
func TestFarmAlgorithm_1_1_15(t *testing.T) {
	counts := map[string]bool{"round-robin": true, "bandwidth": true, "weighted-least-connections": true, "member-weighted-least-connections": true}
	for _, word := range vocabularies["farmAlgorithm"].built {
		if got := FarmAlgorithm(word).Weighs(); got != counts[word] {
			t.Errorf("%s: weights count: %v", word, got)
		}
		text := fmt.Sprintf("version: 1\nserverFarms: [{name: f, algorithm: %s, servers: [{address: 10.0.0.1, weight: 3}]}]\n", word)
		_, errs := Load(on(text))
		if warned := strings.Contains(errs.Error(), "weights do not count"); warned == counts[word] {
			t.Errorf("%s: warned: %v", word, warned)
		}
	}
}

// What is not written follows from what is.
func TestFarmDefaults(t *testing.T) {
	m := modelOf(t, `
virtualServers:
  - {name: own, address: 192.0.2.1, port: 80, serve: {farm: f}}
  - {name: ports, address: 192.0.2.2, port: 80, serve: {ports: [1-5], farm: f}}
  - {name: all, address: 192.0.2.3, serve: {farm: g}}
  - {name: net, addresses: [198.51.100.0, "2001:db8::"], serve: {type: ip, mask: {v4: 24, v6: 32}, farm: h}}
serverFarms:
  - {name: f, port: 8080, servers: [10.0.0.1, "10.0.0.1:81", {host: www.example.com}, {host: www.example.com, port: 82}, {name: x, address: 10.0.0.9, port: 83}]}
  - {name: g, servers: [10.1.0.1, "[fd00::1]:80", "fd00::2", 10.1.0.2]}
  - {name: h, servers: [{addresses: [10.2.0.1, "fd00::3"]}]}
`)
	if s := m.SLB; s == nil || !s.Enabled || !s.Local || s.Unreachables || !m.Serves() {
		t.Errorf("slb: %+v", s)
	}
	for i, want := range []string{"[80]", "[1-5]", "[]", "[]"} {
		if got := fmt.Sprint(m.VirtualServers[i].ServedPorts()); got != want {
			t.Errorf("%s: ports %s, want %s", m.VirtualServers[i].Name, got, want)
		}
	}
	if got := m.VirtualServers[3].ServedPrefixes(); !slices.Equal(got, []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("2001:db8::/32")}) {
		t.Errorf("networks %v", got)
	}
	var named []string
	for _, f := range m.ServerFarms {
		for _, s := range f.Servers {
			named = append(named, fmt.Sprintf("%s=%d", s.Name, s.Port))
		}
	}
	want := "10.0.0.1=8080 10.0.0.1:81=81 www.example.com=8080 www.example.com:82=82 x=83 10.1.0.1=0 [fd00::1]:80=80 fd00::2=0 10.1.0.2=0 10.2.0.1=0"
	if got := strings.Join(named, " "); got != want {
		t.Errorf("servers %s\nwant %s", got, want)
	}
	for size, want := range map[[2]int]int{{0, 1}: 256, {32, 1000}: 256, {33, 1000}: 1024, {1000, 1}: 1024,
		{2, 1001}: 16, {3, 1001}: 64, {10, 1001}: 64, {11, 1001}: 256, {43, 1001}: 1024} {
		if got := slotsFor(size[0], size[1]); got != want {
			t.Errorf("%d servers in one of %d farms have %d slots, want %d", size[0], size[1], got, want)
		}
	}
}

// What is served goes by serve.maxConnections; the one of reports does nothing then,
// and whoever gives it is told so.
func TestMaxConnectionsOfReports(t *testing.T) {
	const one = "version: 1\nvirtualServers: [{name: a, address: 192.0.2.1, port: 80, maxConnections: 5%s}]\n"
	for serve, want := range map[string]bool{"": false, ", serve: {maxConnections: 7}": true} {
		_, errs := Load(on(fmt.Sprintf(one, serve)))
		if warned := strings.Contains(errs.Error(), "maxConnections: does nothing"); errs.Failed() || warned != want {
			t.Errorf("with %q: warned %v: %v", serve, warned, errs)
		}
	}
}
