package probe

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// render is a plan as text: one line a check, one a verdict.
func render(p Plan) string {
	var b strings.Builder
	for _, c := range p.Checks {
		fmt.Fprintf(&b, "%s to %s", c.ID, c.Target)
		if c.Pin.Source.IsValid() {
			fmt.Fprintf(&b, " from %s", c.Pin.Source)
		}
		if c.Pin.Device != "" {
			fmt.Fprintf(&b, " by %s", c.Pin.Device)
		}
		if c.Pin.Mark != 0 {
			fmt.Fprintf(&b, " marked %d", c.Pin.Mark)
		}
		b.WriteString("\n")
	}
	for _, v := range p.Verdicts {
		fmt.Fprintf(&b, "%s:", v.ID)
		for _, n := range v.Probes {
			fmt.Fprintf(&b, " %s%s", n.Probe, n.Checks)
		}
		if v.AtLeast > 0 {
			fmt.Fprintf(&b, " at least %d", v.AtLeast)
		}
		if len(v.Probes) == 0 {
			b.WriteString(" " + v.Note)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func checkPlan(t *testing.T, m *config.Model, want string) {
	t.Helper()
	want = strings.TrimLeft(strings.ReplaceAll(want, "\t", ""), "\n")
	if got := render(Compile(m)); got != strings.TrimRight(want, "\n")+"\n" {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func addrs(list ...string) []netip.Addr {
	var as []netip.Addr
	for _, s := range list {
		as = append(as, netip.MustParseAddr(s))
	}
	return as
}

func TestCompileTargets(t *testing.T) {
	checkPlan(t, &config.Model{
		Probes: []*config.Probe{
			{Name: "web", Kind: "http"},
			{Name: "ping", Kind: "icmp"},
			{Name: "admin", Kind: "http", Target: config.Target{Port: 8080}},
			{Name: "far", Kind: "icmp", Target: config.Target{Addr: netip.MustParseAddr("198.51.100.53")}},
			{Name: "fixed", Kind: "tcp", Source: netip.MustParseAddr("192.0.2.200")},
		},
		VirtualServers: []*config.VirtualServer{
			{Name: "a", Addresses: addrs("192.0.2.1", "2001:db8::1"), Port: 443, Probes: []string{"web", "ping", "admin"}, Criteria: config.Criteria{AtLeast: 2}},
			{Name: "b", Addresses: addrs("192.0.2.2"), Probes: []string{"web", "fixed"}},
			{Name: "c", Addresses: addrs("192.0.2.3")},
		},
		Links: []*config.Link{
			{Name: "telecom", NextHop: netip.MustParseAddr("203.0.113.1"), Source: netip.MustParseAddr("203.0.113.2"), Probes: []string{"ping", "far"}},
			{Name: "unicom", NextHop: netip.MustParseAddr("203.0.113.129"), Probes: []string{"ping", "far"}},
			{Name: "spare", Probes: []string{"ping"}},
		},
		Sites: []*config.Site{{Name: "shanghai", Probes: []string{"far"}}, {Name: "beijing"}},
	}, `
	probe/192.0.2.1:443/web to 192.0.2.1:443
	probe/[2001:db8::1]:443/web to [2001:db8::1]:443
	probe/192.0.2.1/ping to 192.0.2.1:0
	probe/2001:db8::1/ping to [2001:db8::1]:0
	probe/192.0.2.1:8080/admin to 192.0.2.1:8080
	probe/[2001:db8::1]:8080/admin to [2001:db8::1]:8080
	probe/192.0.2.2:80/web to 192.0.2.2:80
	probe/192.0.2.2/fixed to 192.0.2.2:0 from 192.0.2.200
	probe/203.0.113.1@203.0.113.2/ping to 203.0.113.1:0 from 203.0.113.2
	probe/198.51.100.53@203.0.113.2/far to 198.51.100.53:0 from 203.0.113.2
	probe/203.0.113.129/ping to 203.0.113.129:0
	probe/198.51.100.53/far to 198.51.100.53:0
	virtualServer/a: web[probe/192.0.2.1:443/web probe/[2001:db8::1]:443/web] ping[probe/192.0.2.1/ping probe/2001:db8::1/ping] admin[probe/192.0.2.1:8080/admin probe/[2001:db8::1]:8080/admin] at least 2
	virtualServer/b: web[probe/192.0.2.2:80/web] fixed[probe/192.0.2.2/fixed]
	virtualServer/c: not probed
	link/telecom: ping[probe/203.0.113.1@203.0.113.2/ping] far[probe/198.51.100.53@203.0.113.2/far]
	link/unicom: ping[probe/203.0.113.129/ping] far[probe/198.51.100.53/far]
	link/spare: not probed: there is no address to probe, and names are not resolved
	site/shanghai: far[probe/198.51.100.53/far]
	site/beijing: not probed
	`)
}

// The probes of a link are pinned to it, and each pin has a check of its own
// (T52); the next hop is the link's own, or else the one that was learnt.
func TestCompileOver_T52(t *testing.T) {
	m := &config.Model{
		Probes: []*config.Probe{
			{Name: "ping", Kind: "icmp"},
			{Name: "far", Kind: "icmp", Target: config.Target{Addr: netip.MustParseAddr("198.51.100.53")}},
			{Name: "from", Kind: "icmp", Source: netip.MustParseAddr("192.0.2.200")},
		},
		Links: []*config.Link{
			{Name: "a", Interface: "eth1", Probes: []string{"ping", "far", "from"}},
			{Name: "b", Interface: "eth2", Source: netip.MustParseAddr("192.0.2.7"), Mark: 9, NextHop: netip.MustParseAddr("192.0.2.1"), Probes: []string{"ping", "far", "from"}},
			{Name: "c", Interface: "eth3", Probes: []string{"ping", "far"}},
			{Name: "d", Interface: "eth4", Probes: []string{"ping"}},
			{Name: "e", Mark: 5, NextHop: netip.MustParseAddr("192.0.2.1"), Probes: []string{"ping"}},
			{Name: "f", NextHop: netip.MustParseAddr("192.0.2.1"), Probes: []string{"ping", "from"}},
			{Name: "h", Interface: "eth5", Source: netip.MustParseAddr("192.0.2.8"), Probes: []string{"ping", "far"}},
			{Name: "g", Source: netip.MustParseAddr("192.0.2.7"), NextHop: netip.MustParseAddr("192.0.2.1"), Probes: []string{"from"}},
		},
	}
	learnt := map[string]netip.Addr{
		"a": netip.MustParseAddr("203.0.113.1"), "b": netip.MustParseAddr("203.0.113.2"), "c": netip.MustParseAddr("fe80::1%eth3"), "f": netip.MustParseAddr("203.0.113.3"),
		"h": netip.MustParseAddr("fe80::1%eth5"), // RFC 8950
	}
	want := strings.ReplaceAll(strings.TrimLeft(`
	probe/203.0.113.1@a/ping to 203.0.113.1:0 by eth1 marked 8
	probe/198.51.100.53@a/far to 198.51.100.53:0 by eth1 marked 8
	probe/203.0.113.1@a/from to 203.0.113.1:0 from 192.0.2.200 by eth1 marked 8
	probe/192.0.2.1@b/ping to 192.0.2.1:0 from 192.0.2.7 by eth2 marked 9
	probe/198.51.100.53@b/far to 198.51.100.53:0 from 192.0.2.7 by eth2 marked 9
	probe/192.0.2.1@b/from to 192.0.2.1:0 from 192.0.2.200 by eth2 marked 9
	probe/fe80::1%eth3@c/ping to [fe80::1%eth3]:0 by eth3
	probe/198.51.100.53@c/far to 198.51.100.53:0 by eth3
	probe/192.0.2.1@e/ping to 192.0.2.1:0 marked 5
	probe/192.0.2.1/ping to 192.0.2.1:0
	probe/192.0.2.1/from to 192.0.2.1:0 from 192.0.2.200
	probe/fe80::1%eth5@h/ping to [fe80::1%eth5]:0 by eth5
	probe/198.51.100.53@h/far to 198.51.100.53:0 from 192.0.2.8 by eth5
	link/a: ping[probe/203.0.113.1@a/ping] far[probe/198.51.100.53@a/far] from[probe/203.0.113.1@a/from]
	link/b: ping[probe/192.0.2.1@b/ping] far[probe/198.51.100.53@b/far] from[probe/192.0.2.1@b/from]
	link/c: ping[probe/fe80::1%eth3@c/ping] far[probe/198.51.100.53@c/far]
	link/d: not probed: no default route over eth4 has told its next hop yet
	link/e: ping[probe/192.0.2.1@e/ping]
	link/f: ping[probe/192.0.2.1/ping] from[probe/192.0.2.1/from]
	link/h: ping[probe/fe80::1%eth5@h/ping] far[probe/198.51.100.53@h/far]
	link/g: from[probe/192.0.2.1/from]
	`, "\n"), "\t", "")
	if got := render(CompileOver(m, Learnt{Way: func(name string) (netip.Addr, uint32) { return learnt[name], map[string]uint32{"a": 8, "b": 2}[name] }})); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// A probe with a link goes over it, whatever it probes: a site is alive by one
// line on evidence gathered over that line (T52).
func TestCompileProbeLink_T52(t *testing.T) {
	m := &config.Model{
		Probes: []*config.Probe{
			{Name: "by-a", Kind: "tcp", Link: "a"}, {Name: "by-b", Kind: "tcp", Link: "b"},
			{Name: "mine", Kind: "tcp", Link: "a", Source: netip.MustParseAddr("192.0.2.200")},
		},
		Links: []*config.Link{{Name: "a", Interface: "eth1", Mark: 7}, {Name: "b", Source: netip.MustParseAddr("192.0.2.7")}},
		VirtualServers: []*config.VirtualServer{
			{Name: "web", Addresses: addrs("198.51.100.9"), Port: 80, Probes: []string{"by-a", "by-b", "mine"}},
		},
	}
	want := strings.ReplaceAll(strings.TrimLeft(`
	probe/198.51.100.9:80@a/by-a to 198.51.100.9:80 by eth1 marked 7
	probe/198.51.100.9:80@192.0.2.7/by-b to 198.51.100.9:80 from 192.0.2.7
	probe/198.51.100.9:80@a/mine to 198.51.100.9:80 from 192.0.2.200 by eth1 marked 7
	virtualServer/web: by-a[probe/198.51.100.9:80@a/by-a] by-b[probe/198.51.100.9:80@192.0.2.7/by-b] mine[probe/198.51.100.9:80@a/mine]
	link/a: not probed
	link/b: not probed
	`, "\n"), "\t", "")
	if got := render(Compile(m)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Pool probes are inherited by members that have none of their own; a member's
// own take their place. One target and probe is one check, however many refer
// to it.
func TestCompilePools(t *testing.T) {
	checkPlan(t, &config.Model{
		Probes: []*config.Probe{
			{Name: "web", Kind: "http"}, {Name: "ping", Kind: "icmp"},
			{Name: "far", Kind: "tcp", Target: config.Target{Addr: netip.MustParseAddr("198.51.100.53"), Port: 53}},
		},
		VirtualServers: []*config.VirtualServer{{Name: "a", Addresses: addrs("192.0.2.1"), Port: 80, Probes: []string{"web"}}},
		Pools: []*config.Pool{
			{Name: "bare", Members: []*config.Member{{VirtualServer: "a"}, {CNAME: "cdn.example.net."}}},
			{Name: "rich", Probes: []string{"web", "ping"}, Criteria: config.Criteria{AtLeast: 1}, Members: []*config.Member{
				{VirtualServer: "a"},
				{Address: netip.MustParseAddr("192.0.2.9")},
				{CNAME: "cdn.example.net."},
				{Pool: "bare"},
			}},
			{Name: "own", Probes: []string{"web"}, Members: []*config.Member{
				{VirtualServer: "a", Probes: []string{"ping"}},
				{CNAME: "cdn.example.net.", Probes: []string{"far"}},
			}},
		},
	}, `
	probe/192.0.2.1:80/web to 192.0.2.1:80
	probe/192.0.2.1/ping to 192.0.2.1:0
	probe/192.0.2.9:80/web to 192.0.2.9:80
	probe/192.0.2.9/ping to 192.0.2.9:0
	probe/198.51.100.53:53/far to 198.51.100.53:53
	virtualServer/a: web[probe/192.0.2.1:80/web]
	pool/rich/a: web[probe/192.0.2.1:80/web] ping[probe/192.0.2.1/ping] at least 1
	pool/rich/192.0.2.9: web[probe/192.0.2.9:80/web] ping[probe/192.0.2.9/ping] at least 1
	pool/rich/cdn.example.net.: at least 1 not probed: there is no address to probe, and names are not resolved
	pool/own/a: ping[probe/192.0.2.1/ping]
	pool/own/cdn.example.net.: far[probe/198.51.100.53:53/far]
	`)
}

// Moving a probe to another line of the file changes no check.
func TestCompilePos(t *testing.T) {
	model := func(line int) *config.Model {
		return &config.Model{
			Probes:         []*config.Probe{{Name: "web", Kind: "http", Headers: map[string]string{"A": "b"}, Pos: config.Pos{Line: line}}},
			VirtualServers: []*config.VirtualServer{{Name: "a", Addresses: addrs("192.0.2.1"), Probes: []string{"web"}}},
		}
	}
	a, b, c := Compile(model(1)), Compile(model(2)), Compile(model(1))
	c.Checks[0].Probe.Headers = map[string]string{"A": "c"}
	if !a.Checks[0].equal(&b.Checks[0]) || a.Checks[0].equal(&c.Checks[0]) {
		t.Error("equal does not see what matters")
	}
}
