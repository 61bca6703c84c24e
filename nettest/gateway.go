package nettest

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// Gateway is the namespace of a gateway with a small internet around it:
//
//	LAN ──┐             ┌── ISP 1 ──┐
//	      ├── gateway ──┼── ISP 2 ──┼── Internet
//	DMZ ──┘             └── ISP 3 ──┘
//
// Its interfaces are lan0, dmz0 and wan1, wan2, ...; it forwards, has an address
// on each, and no route but to its neighbours: what else it does is up to the
// test. An ISP drops and counts what comes from the gateway with a source that
// is not the ISP's (RFC 2827), so nothing leaves by a wrong line unseen.
type Gateway struct {
	*Space
	LAN      *Space // clients: Client4 and Client6 are their addresses
	DMZ      *Space // a host inside, Host4 and Host6
	Internet *Space // Serve runs servers there
	ISPs     []*ISP // ISP n is ISPs[n-1]

	layout Layout
	second *ISP
}

// Layout says what is around a gateway.
type Layout struct {
	ISPs  int             // 1 to 9
	Delay []time.Duration // each way between ISP n and the internet; 0 or missing: a cable
	Twins bool            // the lines are identical modems: the same subnet, address and next hop on each, no IPv6, and NAT behind them
	Twice bool            // ISP 1 has a second router, Second, on the segment of wan1
}

// Addresses that every gateway has.
var (
	LAN4   = netip.MustParsePrefix("10.10.0.0/16")
	LAN6   = netip.MustParsePrefix("fd10:10::/64")
	DMZ4   = netip.MustParsePrefix("10.20.0.0/24")
	DMZ6   = netip.MustParsePrefix("fd10:20::/64")
	Gate4  = netip.MustParseAddr("10.10.0.1") // the gateway, on lan0
	Gate6  = netip.MustParseAddr("fd10:10::1")
	Host4  = netip.MustParseAddr("10.20.0.2") // in the DMZ
	Host6  = netip.MustParseAddr("fd10:20::2")
	World4 = netip.MustParsePrefix("100.64.0.0/10") // every address in it is a server's
	World6 = netip.MustParsePrefix("2001:db8:f000::/36")
)

// Clients6 is how many addresses Client6 has.
const Clients6 = 64

// Client4 gives the n-th address of a client, n from 0 to 2000.
func Client4(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 10, byte(1 + (n+1)/256), byte(n + 1)})
}

// Client6 gives the n-th address of a client, n from 0 to Clients6-1.
func Client6(n int) netip.Addr {
	a := LAN6.Addr().As16()
	a[13], a[15] = 1, byte(n+1)
	return netip.AddrFrom16(a)
}

// Server4 gives the address of a server: the h-th of the n-th /24, n below 16384.
func Server4(n, h int) netip.Addr {
	return netip.AddrFrom4([4]byte{100, byte(64 + n/256), byte(n), byte(h)})
}

// Server6 gives the address of a server: the h-th of the n-th /64.
func Server6(n, h int) netip.Addr {
	a := World6.Addr().As16()
	a[6], a[7], a[15] = byte(n/256), byte(n), byte(h)
	return netip.AddrFrom16(a)
}

// ISP is a router of an ISP. Its interfaces are gw, to the gateway, and up, to
// the internet.
type ISP struct {
	*Space
	N                int
	Router4, Router6 netip.Addr // the next hop
	Gate4, Gate6     netip.Addr // the gateway's on this line
	Net4, Net6       netip.Prefix
	Line             *Line // between it and the internet, if the layout has a delay
}

// NewGateway makes the namespaces and what joins them.
func NewGateway(t testing.TB, layout Layout) *Gateway {
	t.Helper()
	g := &Gateway{Space: New(t), LAN: New(t), DMZ: New(t), Internet: New(t), layout: layout}
	g.LAN.Crew(15)
	g.Internet.Crew(3)
	for _, s := range []*Space{g.Space, g.LAN, g.DMZ, g.Internet} {
		s.router()
	}
	g.Set("netfilter/nf_conntrack_tcp_timeout_time_wait", "5")
	g.inside()
	for n := 1; n <= layout.ISPs; n++ {
		g.line(t, n)
	}
	g.Internet.Set("ipv6/ip_nonlocal_bind", "1")
	g.Internet.Batch("route add local "+World4.String()+" dev lo", "-6 route add local "+World6.String()+" dev lo")
	return g
}

// router makes a namespace forward, believe in every source, have its IPv6
// addresses at once, and keep them while an interface is down.
func (s *Space) router() {
	s.t.Helper()
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv6/conf/default/forwarding"} {
		s.Set(name, "1")
	}
	for _, name := range []string{"ipv6/conf/all/keep_addr_on_down", "ipv6/conf/default/keep_addr_on_down"} {
		s.Set(name, "1")
	}
	for _, name := range []string{"ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter", "ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad"} {
		s.Set(name, "0")
	}
}

// inside makes the LAN and the DMZ.
func (g *Gateway) inside() {
	g.t.Helper()
	g.Cable("lan0", g.LAN, "eth0")
	g.Cable("dmz0", g.DMZ, "eth0")
	g.Batch("addr add 10.10.0.1/16 dev lan0", "addr add 10.20.0.1/24 dev dmz0",
		"addr add fd10:10::1/64 dev lan0 nodad", "addr add fd10:20::1/64 dev dmz0 nodad")
	lan := []string{"link set dev eth0 address 02:00:00:00:10:02", "addr add 10.10.0.2/16 dev eth0", "addr add fd10:10::2/64 dev eth0 nodad",
		"route add local 10.10.1.0/24 dev lo", "route add local 10.10.2.0/23 dev lo", "route add local 10.10.4.0/22 dev lo", "route add local 10.10.8.0/24 dev lo",
		"route add default via 10.10.0.1", "-6 route add default via fd10:10::1"}
	for n := range Clients6 {
		lan = append(lan, fmt.Sprintf("addr add %s/64 dev eth0 nodad", Client6(n)))
	}
	g.LAN.Batch(lan...)
	near := make([]string, 2001) // a kernel resolves a thousand neighbours, of all namespaces together
	for n := range near {
		near[n] = fmt.Sprintf("neigh replace %s lladdr 02:00:00:00:10:02 dev lan0 nud permanent", Client4(n))
	}
	g.Batch(near...)
	g.LAN.Set("ipv4/ping_group_range", "0 2147483647")
	g.DMZ.Batch("addr add 10.20.0.2/24 dev eth0", "addr add fd10:20::2/64 dev eth0 nodad",
		"route add default via 10.20.0.1", "-6 route add default via fd10:20::1")
}

// line makes an ISP and joins it to both sides.
func (g *Gateway) line(t testing.TB, n int) {
	t.Helper()
	i := &ISP{Space: New(t), N: n}
	i.router()
	g.ISPs = append(g.ISPs, i)
	i.settle(g.layout.Twins)
	wan := fmt.Sprintf("wan%d", n)
	if n == 1 && g.layout.Twice {
		g.segment(t, i)
	} else {
		g.Cable(wan, i.Space, "gw")
	}
	g.Batch(fmt.Sprintf("addr add %s/24 dev %s", i.Gate4, wan))
	i.Batch(fmt.Sprintf("addr add %s/24 dev gw", i.Router4))
	if !g.layout.Twins {
		g.Batch(fmt.Sprintf("addr add %s/64 dev %s nodad", i.Gate6, wan))
		i.Batch(fmt.Sprintf("addr add %s/64 dev gw nodad", i.Router6))
	}
	g.uplink(i, fmt.Sprintf("isp%d", n))
	i.Must(ispRules, "nft", "-f", "-")
	if g.layout.Twins {
		i.Must("table inet modem {\nchain out { type nat hook postrouting priority 100; oifname up masquerade; }\n}\n", "nft", "-f", "-")
	}
}

// settle gives an ISP its addresses; a twin has none of IPv6 towards the gateway.
func (i *ISP) settle(twin bool) {
	b := byte(i.N)
	i.Net4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, b, 0}), 24)
	if twin {
		i.Net4 = netip.MustParsePrefix("192.168.8.0/24")
	}
	a := i.Net4.Addr().As4()
	a[3] = 1
	i.Router4 = netip.AddrFrom4(a)
	a[3] = 100
	i.Gate4 = netip.AddrFrom4(a)
	if twin {
		return
	}
	six := netip.MustParseAddr("2001:db8::").As16()
	six[5] = b
	i.Net6 = netip.PrefixFrom(netip.AddrFrom16(six), 64)
	six[15] = 1
	i.Router6 = netip.AddrFrom16(six)
	six[15] = 100
	i.Gate6 = netip.AddrFrom16(six)
}

// uplink joins a router of an ISP to the internet: 198.19.N.0/24 and
// 2001:db8:100N::/64 lie between them. The internet reaches the ISP's networks
// by it.
func (g *Gateway) uplink(i *ISP, name string) {
	g.t.Helper()
	four, six := fmt.Sprintf("198.19.%d", i.N), fmt.Sprintf("2001:db8:100%d:", i.N)
	if d := g.delay(i.N); d > 0 {
		i.Line = i.Tunnel("up", g.Internet, name, d)
		i.Batch("addr add "+four+".1/32 peer "+four+".2 dev up", "addr add "+six+":1/64 dev up nodad", "route add default dev up", "-6 route add default dev up")
		g.Internet.Batch("addr add "+four+".2/32 peer "+four+".1 dev "+name, "addr add "+six+":2/64 dev "+name+" nodad")
	} else {
		i.Cable("up", g.Internet, name)
		i.Batch("addr add "+four+".1/24 dev up", "addr add "+six+":1/64 dev up nodad", "route add default via "+four+".2", "-6 route add default via "+six+":2")
		g.Internet.Batch("addr add "+four+".2/24 dev "+name, "addr add "+six+":2/64 dev "+name+" nodad")
	}
	if g.layout.Twins || i.N > 9 {
		return
	}
	g.Internet.Batch(fmt.Sprintf("route add %s via %s.1 dev %s", i.Net4, four, name), fmt.Sprintf("-6 route add %s via %s:1 dev %s", i.Net6, six, name))
}

func (g *Gateway) delay(n int) time.Duration {
	if n <= len(g.layout.Delay) {
		return g.layout.Delay[n-1]
	}
	return 0
}

// ISPOf says whose line a source is on, as a server in the internet sees it; 0:
// nobody's.
func (g *Gateway) ISPOf(source netip.Addr) int {
	source = source.Unmap()
	for _, i := range g.ISPs {
		behindModem := netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, byte(i.N), 0}), 24)
		if i.Net4.Contains(source) && !g.layout.Twins || i.Net6.Contains(source) || g.layout.Twins && behindModem.Contains(source) {
			return i.N
		}
	}
	return 0
}
