package outbound

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Each link gives connections that leave by it an address of its own; nothing
// else is translated: not what goes to the inside, nor the link's own address,
// nor what is exempt (outbound.md 2.3).
func TestSNAT(t *testing.T) {
	g := newGateway(t, strings.NewReplacer(
		"eth1, ", "eth1, snat: {addresses: [203.0.113.8-203.0.113.15]}, ",
		"eth2, ", `eth2, snat: {addresses: [198.51.100.7, 198.51.100.16/28, "2001:db8:2::7"]}, `,
		"eth3, ", "eth3, snat: none, ").Replace(simple)+"  exempt: [172.16.0.0/12]\n")
	for _, c := range []struct {
		flow, out string
		mark      uint32
		want      string
	}{
		{"10.0.0.5:1 > 8.8.8.8:80/tcp", "eth1", 1, "203.0.113.8-203.0.113.15"},
		{"[fd10::5]:1 > [2001:db8:9::1]:80/tcp", "eth1", 1, "masquerade"},
		{"[fd10::5]:1 > [2001:db8:9::1]:80/tcp", "eth2", 2, "2001:db8:2::7"},
		{"10.0.0.5:1 > 8.8.8.8:80/tcp", "eth3", 3, "none"},
		{"10.0.0.5:1 > 8.8.8.8:80/tcp", "eth1", 0, "203.0.113.8-203.0.113.15"},
		{"10.0.0.5:1 > 8.8.8.8:80/tcp", "eth1", 2, "203.0.113.8-203.0.113.15"},
		{"203.0.113.2:1 > 8.8.8.8:80/tcp", "eth1", 1, "none"},
		{"198.51.100.2:1 > 8.8.8.8:80/tcp", "eth1", 1, "203.0.113.8-203.0.113.15"},
		{"10.0.0.5:1 > 10.0.0.9:80/tcp", "lan0", 1, "none"},
		{"8.8.8.8:1 > 10.0.0.9:80/tcp", "lan0", 0, "none"},
		{"10.0.0.5:1 > 172.16.1.1:80/tcp", "eth1", 0, "none"},
	} {
		if got := nat(g, c.flow, c.out, c.mark); got != c.want {
			t.Errorf("%s by %s, mark %d: %s, want %s", c.flow, c.out, c.mark, got, c.want)
		}
	}
	seen := map[string]int{}
	for i := range 1700 {
		f := func(port int) string { return fmt.Sprintf("10.0.%d.%d:%d > 8.8.8.8:80/tcp", i/250, i%250, port) }
		got := nat(g, f(1), "eth2", 2)
		if again := nat(g, f(2), "eth2", 2); again != got {
			t.Errorf("client %d: %s, then %s", i, got, again)
		}
		seen[got]++
	}
	if one, many := seen["198.51.100.7"], seen["198.51.100.16-198.51.100.31"]; one+many != 1700 || one < 50 || one > 150 {
		t.Errorf("clients are spread unlike the addresses: %v", seen)
	}
}

func nat(g *gateway, text, out string, mark uint32) string {
	g.t.Helper()
	p := packetOf(g.t, text)
	p.Out, p.Mark = out, mark
	switch n := g.walk("postrouting", p).NAT; {
	case n == nil:
		return "none"
	case n.Masquerade:
		return "masquerade"
	default:
		return config.AddressRange{From: n.From, To: n.To}.String()
	}
}

func routesOf(w *kernel.Wishes) (list []string) {
	for _, r := range w.Rules {
		if r.From.IsValid() {
			list = append(list, fmt.Sprintf("rule %d from %s table %d", r.Priority, r.From.Addr(), r.Table))
		} else {
			list = append(list, fmt.Sprintf("rule %d v6=%v mark %d/%#x table %d", r.Priority, r.IPv6, r.Mark, r.Mask, r.Table))
		}
	}
	for _, r := range w.Routes {
		list = append(list, fmt.Sprintf("%d: %s via %v dev %s src %v metric %d kind %d", r.Table, r.To, r.Via, r.Interface, r.Source, r.Metric, r.Kind))
	}
	return list
}

// Routes of one link and of the inside (outbound.md 2.2).
func TestRoutes(t *testing.T) {
	text := threeLinks[:strings.Index(threeLinks, "  - {name: two")] + "linkGroups: [{name: all, members: [one]}]\n" + simple[strings.Index(simple, "outbound:"):]
	g := newGateway(t, text)
	got := routesOf(g.Wishes(usual()))
	want := []string{
		"rule 900 v6=false mark 0/0x0 table 900", "rule 900 v6=true mark 0/0x0 table 900",
		"rule 1001 v6=false mark 1/0x3ff table 1001", "rule 1001 v6=true mark 1/0x3ff table 1001",
		"rule 2001 from 203.0.113.2 table 1001", "rule 2001 from 2001:db8:1::2 table 1001",
		"900: 10.0.0.0/24 via invalid IP dev lan0 src invalid IP metric 0 kind 0", "900: fd10::/64 via invalid IP dev lan0 src invalid IP metric 0 kind 0",
		"1001: 0.0.0.0/0 via 203.0.113.1 dev eth1 src invalid IP metric 0 kind 0", "1001: 0.0.0.0/0 via invalid IP dev  src invalid IP metric 2147483647 kind 2",
		"1001: ::/0 via 2001:db8:1::1 dev eth1 src invalid IP metric 0 kind 0", "1001: ::/0 via invalid IP dev  src invalid IP metric 2147483647 kind 2",
		"1001: 203.0.113.0/24 via invalid IP dev eth1 src invalid IP metric 0 kind 0", "1001: 2001:db8:1::/64 via invalid IP dev eth1 src invalid IP metric 0 kind 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// Nothing is known of the interface: the configured next hops and the ends stay.
	if got := routesOf(g.Wishes(Facts{})); !slices.Equal(got, slices.Concat(want[:4], want[8:12])) {
		t.Errorf("without interfaces:\n%s", strings.Join(got, "\n"))
	}
}

// Next hops that an interface has learnt, lines without any, and two modems that
// look alike (outbound.md 4(l)).
func TestRoutes_Learnt(t *testing.T) {
	g := newGateway(t, `
version: 1
links: [{name: dhcp, interface: eth1}, {name: ppp, interface: ppp0}, {name: a, interface: usb0, nextHop: 192.168.8.1}, {name: b, interface: usb1, nextHop: 192.168.8.1}]
linkGroups: [{name: all, members: [dhcp, ppp, a, b]}]
outbound: {interfaces: [lan0], virtualServers: [{name: all, linkGroup: all}]}
`)
	g.facts.Interfaces = []kernel.Interface{nic("eth1", "203.0.113.2/24"), nic("ppp0", "100.64.0.9/32"), nic("usb0", "192.168.8.100/24"), nic("usb1", "192.168.8.100/24")}
	g.facts.Interfaces[0].NextHop4 = addr("203.0.113.1")
	w := g.restate().Wishes(g.facts)
	got := strings.Join(routesOf(w), "\n")
	for _, want := range []string{
		"1001: 0.0.0.0/0 via 203.0.113.1 dev eth1", "1002: 0.0.0.0/0 via invalid IP dev ppp0", "1003: 0.0.0.0/0 via 192.168.8.1 dev usb0", "1004: 0.0.0.0/0 via 192.168.8.1 dev usb1",
		"rule 2002 from 100.64.0.9 table 1002", "rule 2003 from 192.168.8.100 table 1003",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "rule 2004 from") || strings.Contains(got, "::/0 via 2") {
		t.Errorf("in\n%s", got)
	}
	for _, r := range w.Routes {
		if r.Via.IsValid() != r.OnLink {
			t.Errorf("%v: on link %v", r, r.OnLink)
		}
	}
	// Marks lead to the link's table, and what is for the inside to the inside.
	g.facts.Interfaces = append(g.facts.Interfaces, nic("lan0", "10.0.0.1/24"))
	g.restate()
	for dest, want := range map[string]string{"8.8.8.8": "usb1", "10.0.0.7": "lan0"} {
		p := kernel.Packet{Source: addr("10.0.0.5"), Dest: addr(dest), Mark: 4}
		if got := g.world.Route(p); got.Interface() != want {
			t.Errorf("%s: %s, want %s", dest, got.Interface(), want)
		}
	}
}

// Settings that break balancing are named; those of others are left alone
// unless the operator says so (outbound.md 5.1, acceptance test 24).
func TestSysctls(t *testing.T) {
	for _, repair := range []bool{false, true} {
		text := simple + "  connectionTracking: {max: 500000, timeWait: 20s}\n"
		if repair {
			text += "  repairSysctls: true\n"
		}
		g := newGateway(t, text)
		all := map[string]kernel.Sysctl{}
		for _, s := range g.Wishes(g.facts).Sysctls {
			all[s.Name] = s
		}
		for _, name := range []string{"ipv4/fwmark_reflect", "ipv6/fwmark_reflect", "ipv4/tcp_fwmark_accept", "ipv4/conf/all/src_valid_mark", "ipv4/conf/eth1/src_valid_mark"} {
			if s := all[name]; !slices.Equal(s.Values, []string{"0"}) || s.Why == "" || s.Repair != repair {
				t.Errorf("%s: %+v", name, s)
			}
		}
		if s := all["ipv4/conf/lan0/rp_filter"]; !slices.Equal(s.Values, []string{"2", "0"}) || s.Repair != repair {
			t.Errorf("%+v", s)
		}
		if s := all["netfilter/nf_conntrack_max"]; !slices.Equal(s.Values, []string{"500000"}) || !s.Repair {
			t.Errorf("%+v", s)
		}
		if s := all["netfilter/nf_conntrack_tcp_timeout_time_wait"]; !slices.Equal(s.Values, []string{"20"}) || !s.Repair {
			t.Errorf("%+v", s)
		}
		if all["ipv6/conf/all/forwarding"].Repair {
			t.Error("IPv6 forwarding would be switched, and the host would lose its routes")
		}
	}
}

// Only links that say so are shaped, each direction by its own bound or the total.
func TestShapers(t *testing.T) {
	g := newGateway(t, strings.NewReplacer("eth1, ", "eth1, shape: true, rateLimit: {in: 50Mbps, total: 80Mbps}, ", "eth2, ", "eth2, rateLimit: 10Mbps, ").Replace(simple))
	if got := g.Wishes(g.facts).Shapers; len(got) != 1 || got[0] != (kernel.Shaper{Interface: "eth1", In: 50e6, Out: 80e6}) {
		t.Errorf("%+v", got)
	}
}

// Helpers are given to the protocols that are named, from both sides (1.2.24).
func TestHelpers(t *testing.T) {
	g := newGateway(t, simple+"  helpers: [ftp, sip]\n")
	for f, want := range map[string]string{"10.0.0.5:1 > 8.8.8.8:21/tcp": "ftp", "10.0.0.5:1 > 8.8.8.8:5060/udp": "sip", "10.0.0.5:1 > 8.8.8.8:5060/tcp": "sip_tcp", "10.0.0.5:1 > 8.8.8.8:21/udp": ""} {
		for _, in := range []string{"lan0", "eth1"} {
			p := packetOf(t, f)
			p.In = in
			if trace := g.walk("prerouting", p); trace.Helper != want {
				t.Errorf("%s by %s: %q, want %q", f, in, trace.Helper, want)
			}
		}
	}
	if n := len(g.world.Tables[0].Helpers); n != 3 {
		t.Errorf("%d helpers", n)
	}
}
