package gateway

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// Weights 3:2:1 for TCP, UDP and ICMP of both families; a flow stays where its
// first packet went (1.2.2, T33).
func TestA01_Weights_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	p := start(t, g, setup{Gateway: g, rest: weighted}.String())
	p.up("isp1", "isp2", "isp3")
	shared(t, "6,000 TCP", g.Connect(6000, web4), 0.01, 3, 2, 1)
	shared(t, "6,000 UDP", g.Flows(6000, 1, web4), 0.01, 3, 2, 1)
	shared(t, "600 TCP over IPv6", g.Connect(600, web6), 0.01, 3, 2, 1)
	shared(t, "600 UDP over IPv6", g.Flows(600, 5, web6), 0.01, 3, 2, 1)
	shared(t, "600 UDP of 20 packets", g.Flows(600, 20, web4), 0.01, 3, 2, 1)
	before := []int{g.ISPs[0].Pings(), g.ISPs[1].Pings(), g.ISPs[2].Pings()}
	const echoes = 256 // as many as there are slots: any 256 in a row are shared exactly
	g.Many(echoes, func(i int) (netip.Addr, error) {
		err := nettest.Ping(g.LAN, nettest.Client4(i%59), nettest.Server4(i%7, 1), uint16(5000+i))
		if err != nil {
			t.Error(err)
		}
		return netip.Addr{}, err
	})
	for n, want := range []int{128, 85, 43} {
		if got := g.ISPs[n].Pings() - before[n]; got < want-3 || got > want+3 {
			t.Errorf("isp%d carried %d of %d pings, want %d", n+1, got, echoes, want)
		}
	}
	clean(t, g)
}

// Matched traffic obeys neither a policy route nor a static route; unmatched
// traffic does, in this order (1.2.1, T35), and the administrator's table is as
// it was.
func TestA02_RoutesAgainstIt_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	g.Must(admin, "nft", "-f", "-")
	before := g.Must("", "nft", "list", "table", "inet", "admin")
	p := start(t, g, setup{Gateway: g, rest: `
linkGroups:
  - name: all
    members: [{link: isp1, weight: 3}, {link: isp2, weight: 2}, {link: isp3}]
outbound:
  interfaces: [lan0, dmz0]
  virtualServers: [{name: some, destinations: ["100.64.0.0/16", "2001:db8:f000::/56"], linkGroup: all}]
`}.String())
	p.up("isp1", "isp2", "isp3")
	g.Batch(fmt.Sprintf("route add 100.64.0.0/10 via %s", g.ISPs[2].Router4), fmt.Sprintf("-6 route add 2001:db8:f000::/36 via %s", g.ISPs[2].Router6),
		fmt.Sprintf("route add default via %s table 77", g.ISPs[1].Router4), fmt.Sprintf("-6 route add default via %s table 77", g.ISPs[1].Router6),
		"rule add pref 10000 from 10.10.0.0/16 lookup 77", "-6 rule add pref 10000 from fd10:10::/64 lookup 77")
	other4 := func(i int) (netip.Addr, netip.AddrPort) {
		return nettest.Client4(i % 59), netip.AddrPortFrom(nettest.Server4(300+i%7, 1), 80)
	}
	other6 := func(i int) (netip.Addr, netip.AddrPort) {
		return nettest.Client6(i % 59), netip.AddrPortFrom(nettest.Server6(300+i%7, 1), 80)
	}
	shared(t, "matched", g.Connect(600, web4), 0.01, 3, 2, 1)
	shared(t, "matched, IPv6", g.Connect(600, web6), 0.01, 3, 2, 1)
	shared(t, "unmatched, with a policy route", g.Connect(50, other4), 0, 0, 1, 0)
	shared(t, "unmatched, with a policy route, IPv6", g.Connect(50, other6), 0, 0, 1, 0)
	g.Batch("rule del pref 10000", "-6 rule del pref 10000")
	shared(t, "unmatched, with a static route", g.Connect(50, other4), 0, 0, 0, 1)
	shared(t, "unmatched, with a static route, IPv6", g.Connect(50, other6), 0, 0, 0, 1)
	shared(t, "matched, still", g.Flows(600, 1, web4), 0.01, 3, 2, 1)
	if after := g.Must("", "nft", "list", "table", "inet", "admin"); after != before {
		t.Errorf("the administrator's table was\n%s\nand is\n%s", before, after)
	}
	clean(t, g)
}

// What stays inside is never balanced nor translated, and nothing leaves without
// a virtual server when there is no default route.
func TestA03_InsideStaysInside_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	nettest.Serve(t, g.DMZ, 80)
	nettest.Serve(t, g.Space, 80)
	p := start(t, g, setup{Gateway: g, rest: `
linkGroups: [{name: all, members: [isp1, isp2, isp3]}]
outbound:
  interfaces: [lan0, dmz0]
  exempt: [100.66.0.0/16, "2001:db8:f000:300::/56"]
  virtualServers: [{name: all, linkGroup: all}]
`}.String())
	p.up("isp1", "isp2", "isp3")
	for _, c := range []struct{ from, to netip.Addr }{
		{nettest.Client4(1), nettest.Host4}, {nettest.Client6(1), nettest.Host6},
		{nettest.Client4(1), nettest.Gate4}, {nettest.Client6(1), nettest.Gate6},
		{nettest.Client4(1), g.ISPs[0].Gate4}, {nettest.Client6(1), g.ISPs[0].Gate6},
	} {
		for range 10 {
			to := netip.AddrPortFrom(c.to, 80)
			s, source, err := nettest.TCP(g.LAN, c.from, to)
			if err != nil || source.Addr() != c.from {
				t.Errorf("TCP from %s to %s: seen %s, %v", c.from, c.to, source, err)
				break
			}
			s.Close()
			u, err := nettest.UDP(g.LAN, c.from, to)
			if err != nil {
				t.Fatal(err)
			}
			if source, err = u.Say(); err != nil || source.Addr() != c.from {
				t.Errorf("UDP from %s to %s: seen %s, %v", c.from, c.to, source, err)
			}
			u.Close()
		}
		if err := nettest.Ping(g.LAN, c.from, c.to, 77); err != nil {
			t.Error(err)
		}
	}
	for _, to := range []netip.Addr{nettest.Server4(512, 1), nettest.Server6(0x300, 1)} {
		from := nettest.Client4(1)
		if to.Is6() {
			from = nettest.Client6(1)
		}
		if s, source, err := nettest.TCP(g.LAN, from, netip.AddrPortFrom(to, 80)); err == nil {
			t.Errorf("%s is exempt and nothing leads there, but it saw %s", to, source)
			s.Close()
		}
	}
	if n := passed(g); n != 0 {
		t.Errorf("%d packets left", n)
	}
	clean(t, g)
	shared(t, "the rest", g.Connect(300, web4), 0.02, 1, 1, 1)
}

// What comes in by a line is answered by it, forwarded or local, whatever the
// routes say (1.2.17, T34).
func TestA04_KeepLastHop_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	g.Must(admin, "nft", "-f", "-")
	nettest.Serve(t, g.DMZ, 80)
	nettest.Serve(t, g.Space, 80)
	p := start(t, g, setup{Gateway: g, rest: weighted}.String())
	p.up("isp1", "isp2", "isp3")
	g.Batch(fmt.Sprintf("route add 100.64.0.0/10 via %s", g.ISPs[2].Router4), fmt.Sprintf("-6 route add 2001:db8:f000::/36 via %s", g.ISPs[2].Router6),
		fmt.Sprintf("route add default via %s table 77", g.ISPs[1].Router4), fmt.Sprintf("-6 route add default via %s table 77", g.ISPs[1].Router6),
		"rule add pref 10000 from all lookup main suppress_prefixlength 8", "rule add pref 10001 from all lookup 77",
		"-6 rule add pref 10000 from all lookup main suppress_prefixlength 32", "-6 rule add pref 10001 from all lookup 77")
	for _, i := range g.ISPs {
		for _, c := range []struct{ from, to netip.Addr }{{nettest.Server4(20, 9), i.Gate4}, {nettest.Server6(20, 9), i.Gate6}} {
			for _, port := range []uint16{80, 8000} {
				before := i.Passed()
				answers(t, g.Internet, c.from, netip.AddrPortFrom(c.to, port))
				if n := i.Passed() - before; n < 6 {
					t.Errorf("port %d of %s: isp%d carried %d packets back, want at least 6", port, c.to, i.N, n)
				}
			}
			if err := ping(g.Internet, c.from, c.to); err != nil {
				t.Errorf("ping %s: %v", c.to, err)
			}
		}
	}
	clean(t, g)
}

// answers wants a server to answer over TCP and UDP, and to see the client.
func answers(t *testing.T, s *nettest.Space, from netip.Addr, to netip.AddrPort) {
	t.Helper()
	c, source, err := nettest.TCP(s, from, to)
	if err == nil {
		_, err = c.Say()
		c.Close()
	}
	if err != nil || source.Addr() != from {
		t.Errorf("TCP from %s to %s: seen %s, %v", from, to, source, err)
	}
	u, err := nettest.UDP(s, from, to)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	for range 3 {
		if source, err = u.Say(); err != nil || source.Addr() != from {
			t.Errorf("UDP from %s to %s: seen %s, %v", from, to, source, err)
			return
		}
	}
}

// ping sends an echo request by the ping program, which may have any source.
func ping(s *nettest.Space, from, to netip.Addr) error {
	_, err := s.Run("", "ping", "-n", "-c", "1", "-W", "2", "-I", from.String(), to.String())
	return err
}

// Two modems that are alike in everything: both carry traffic.
func TestA05_Modems_Root(t *testing.T) {
	t.Parallel()
	g := gateway(t, nettest.Layout{ISPs: 2, Twins: true})
	p := start(t, g, setup{Gateway: g, rest: grouped("[isp1, isp2]", "", "", "")}.String())
	p.up("isp1", "isp2")
	shared(t, "TCP", g.Connect(300, web4), 0.01, 1, 1)
	shared(t, "UDP", g.Flows(300, 3, web4), 0.01, 1, 1)
	clean(t, g)
}
