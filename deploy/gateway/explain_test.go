package gateway

import (
	"bufio"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/nettest"
)

// explained has a virtual server for each way to a link, by the destination's
// network: server N goes by group or rule N. isp4 is held, so that its group is
// down and the backup has its turn.
const explained = `
linkGroups:
  - {name: even, members: [{link: isp1, weight: 3}, {link: isp2, weight: 2}, {link: isp3}]}
  - {name: lot, algorithm: random, members: [isp1, isp2, isp3]}
  - {name: least, algorithm: least-connections, members: [isp1, isp2, isp3]}
  - {name: source, algorithm: source-hash, mask: {v4: 28, v6: 128}, members: [isp1, isp2, isp3]}
  - {name: destination, algorithm: destination-hash, members: [isp1, isp2, isp3]}
  - {name: pair, algorithm: source-destination-hash, members: [isp1, isp2, isp3]}
  - {name: port, algorithm: source-port-hash, members: [isp1, isp2, isp3]}
  - {name: near, proximity: true, members: [isp1, isp2, isp3]}
  - {name: frail, members: [isp4]}
  - {name: pooled, members: [isp2]}
  - {name: last, members: [isp3]}
proximity: {static: [{prefix: 100.64.7.0/24, link: isp3}, {prefix: "2001:db8:f000::/56", link: isp2}]}
persistence: [{name: clients, timeout: 10m}]
dnsServers: [{name: far, address: 100.64.200.53, link: isp1}]
dnsServerPools: [{name: far, members: [far]}]
dnsProxy: {interfaces: [lan0], pool: far, addresses: [100.64.20.0/24]}
outbound:
  interfaces: [lan0]
  exempt: [100.64.13.0/24, "2001:db8:f000:d::/64"]
  virtualServers:
    - {name: s0, destinations: [100.64.0.0/24, "2001:db8:f000:0::/64"], linkGroup: even}
    - {name: s1, destinations: [100.64.1.0/24, "2001:db8:f000:1::/64"], linkGroup: source}
    - {name: s2, destinations: [100.64.2.0/24, "2001:db8:f000:2::/64"], linkGroup: destination}
    - {name: s3, destinations: [100.64.3.0/24, "2001:db8:f000:3::/64"], linkGroup: pair}
    - {name: s4, destinations: [100.64.4.0/24, "2001:db8:f000:4::/64"], linkGroup: port}
    - {name: s5, destinations: [100.64.5.0/24, "2001:db8:f000:5::/64"], linkGroup: lot}
    - {name: s6, destinations: [100.64.6.0/24, "2001:db8:f000:6::/64"], linkGroup: even, persistence: clients}
    - {name: s7, destinations: [100.64.7.0/24, "2001:db8:f000:7::/64"], linkGroup: near}
    - {name: s8, destinations: [100.64.8.0/24, "2001:db8:f000:8::/64"], linkGroup: frail, backup: last}
    - {name: s9, destinations: [100.64.9.0/24, "2001:db8:f000:9::/64"], policy: rules, linkGroup: least}
    - {name: s10, destinations: [100.64.10.0/24, "2001:db8:f000:a::/64"], linkGroup: pooled}
    - {name: s11, destinations: [100.64.11.0/24, "2001:db8:f000:b::/64"], protocol: tcp, ports: [443], linkGroup: last}
  policies:
    - name: rules
      rules:
        - {class: bad, action: drop}
        - {class: web, action: {linkGroup: last}}
        - {class: own-way, action: forward}
        - {class: frail, action: {linkGroup: frail, onFailure: continue}}
  classes:
    - {name: bad, ports: [udp/443]}
    - {name: web, ports: [tcp/443], sources: [10.10.1.0/27, "fd10:10::1:0/124"]}
    - {name: own-way, ports: [icmp, udp/80]}
    - {name: frail, ports: [tcp/80]}
`

// networks is how many networks of servers the flows of a test go to: those of
// explained, an exempt one, and some that no virtual server has.
const networks = 15

// attempt is a flow before it is sent.
type attempt struct {
	protocol string // tcp, udp, icmp
	from, to netip.AddrPort
}

func (a attempt) question(t testing.TB) flow.Question {
	t.Helper()
	from, to := a.from.String(), a.to.String()
	if a.protocol == "icmp" {
		from, to = a.from.Addr().String(), a.to.Addr().String()
	}
	q, err := flow.Parse(from, to+"/"+a.protocol, "lan0")
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// foreseen asks what becomes of a flow.
func (p *portolan) foreseen(a attempt) *flow.Explanation {
	p.T.Helper()
	e, err := p.API.ExplainFlow(p.T.Context(), a.question(p.T))
	if err != nil {
		p.T.Fatal(err)
	}
	return e
}

// witness has an ISP note what no server tells of: pings, queries of DNS, and what
// comes with the address of a client, which the ISP drops.
const witness = `table inet witness {
	set who4 { type ipv4_addr . ipv4_addr; flags dynamic; size 4096; }
	set who6 { type ipv6_addr . ipv6_addr; flags dynamic; size 4096; }
	chain arrive {
		type filter hook prerouting priority -310;
		iifname != "gw" accept
		icmp type echo-request add @who4 { ip saddr . ip daddr }
		icmpv6 type echo-request add @who6 { ip6 saddr . ip6 daddr }
		meta l4proto { tcp, udp } th dport 53 add @who4 { ip saddr . ip daddr }
		ip saddr 10.10.0.0/16 add @who4 { ip saddr . ip daddr }
		ip6 saddr fd10:10::/64 add @who6 { ip6 saddr . ip6 daddr }
	}
}
`

// noted is a source on its way to a destination.
type noted struct{ isp, source, to string }

// witnessed gives what was noted.
func witnessed(g *nettest.Gateway) (all []noted) {
	for _, i := range g.ISPs {
		for _, set := range []string{"who4", "who6"} {
			out := i.Must("", "nft", "list", "set", "inet", "witness", set)
			for _, m := range regexp.MustCompile(`([0-9a-f:.]+) \. ([0-9a-f:.]+)`).FindAllStringSubmatch(out, -1) {
				all = append(all, noted{fmt.Sprint("wan", i.N), m[1], m[2]})
			}
		}
	}
	return all
}

// send sends a flow and gives the source that the server saw, and what holds the
// session open; an error if there is no answer.
func (a attempt) send(g *nettest.Gateway, patience time.Duration) (source netip.AddrPort, c net.Conn, err error) {
	if a.protocol == "icmp" {
		return source, nil, nettest.Ping(g.LAN, a.from.Addr(), a.to.Addr(), a.from.Port())
	}
	d := net.Dialer{Timeout: patience, LocalAddr: net.TCPAddrFromAddrPort(a.from)}
	if a.protocol == "udp" {
		d.LocalAddr = net.UDPAddrFromAddrPort(a.from)
	}
	g.LAN.Do(func() { c, err = d.DialContext(context.Background(), a.protocol, a.to.String()) })
	if err != nil {
		return source, nil, err
	}
	if tcp, is := c.(*net.TCPConn); is {
		_ = tcp.SetLinger(0) // so that none is left in TIME_WAIT
	}
	line, err := "", c.SetReadDeadline(time.Now().Add(patience))
	if err == nil && a.protocol == "udp" {
		said := []byte("hello\n")
		if a.to.Port() == 53 { // what is no query crosses as it is
			said = []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03www\x07example\x03com\x00\x00\x01\x00\x01")
		}
		_, err = c.Write(said)
	}
	if err == nil {
		line, err = bufio.NewReader(c).ReadString('\n')
	}
	if err != nil {
		_ = c.Close()
		return source, nil, err
	}
	line, _, _ = strings.Cut(strings.TrimSpace(line), " ")
	source, err = netip.ParseAddrPort(line)
	return source, c, err
}

// sourceTo gives the source that a destination was noted with; the zero Addr: none.
func sourceTo(all []noted, to netip.Addr) (source netip.Addr) {
	for _, n := range all {
		if n.to == to.String() {
			source = netip.MustParseAddr(n.source)
		}
	}
	return source
}

// agrees finds the way that a flow took, by the source that its server saw; nil:
// none was foreseen. Slots of least-connections may move before it is sent.
func agrees(g *nettest.Gateway, e *flow.Explanation, source netip.Addr) *flow.Way {
	isp := fmt.Sprint(g.ISPOf(source))
	for i := range e.Ways {
		w := &e.Ways[i]
		from, to := w.Source, w.Source
		if a, b, is := strings.Cut(strings.TrimSuffix(w.Source, ", the same for each client"), " to "); is {
			from, to = a, b
		}
		low, err1 := netip.ParseAddr(from)
		high, err2 := netip.ParseAddr(to)
		within := err1 == nil && err2 == nil && !source.Less(low) && !high.Less(source)
		if strings.HasPrefix(w.By, "algorithm least-connections") && e.Session == nil && g.ISPOf(source) > 0 && w.Link != "" {
			return w
		}
		if within && w.End == "passed" && w.Interface == "wan"+isp && (w.Link == "" || w.Link == "isp"+isp) {
			return w
		}
	}
	return nil
}

func told(e *flow.Explanation) string {
	var b strings.Builder
	_ = e.WriteText(&b, true) // a Builder takes all
	return b.String()
}

// live is a gateway at work with every kind of choice.
func live(t *testing.T) *portolan {
	t.Helper()
	g := gateway(t, nettest.Layout{ISPs: 4})
	g.Batch("route add default via "+g.ISPs[1].Router4.String(), "-6 route add default via "+g.ISPs[2].Router6.String())
	g.ISPs[1].Batch("route add 198.18.2.48/28 via " + g.ISPs[1].Gate4.String())
	for _, i := range g.ISPs {
		i.Must(witness, "nft", "-f", "-")
	}
	p := start(t, g, setup{Gateway: g, rest: explained, link: map[int]string{2: ", snat: {addresses: [198.18.2.48-198.18.2.51, 198.18.2.60]}"}}.String())
	p.up("isp1", "isp2", "isp3")
	p.Does("hold", "link/isp4", "--reason", "test")
	for _, to := range []netip.Addr{nettest.Server4(7, 1), nettest.Server6(7, 1)} { // ranks are told when somebody asks
		from, link := nettest.Client4(1), "isp3"
		if to.Is6() {
			from, link = nettest.Client6(1), "isp2"
		}
		a := attempt{"udp", netip.AddrPortFrom(from, 999), netip.AddrPortFrom(to, 80)}
		_, c, err := a.send(g, nettest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		a.from = netip.AddrPortFrom(from, 998)
		p.Until(longEnough, func() error {
			if e := p.foreseen(a); len(e.Ways) != 1 || e.Ways[0].Link != link {
				return fmt.Errorf("proximity does not tell of %s:\n%s", to, told(e))
			}
			return nil
		})
	}
	return p
}

// random draws a flow. Pings have a destination of their own each, by which they
// are known afterwards.
func random(r *rand.Rand, n int) attempt {
	a := attempt{protocol: []string{"tcp", "tcp", "udp", "udp", "icmp"}[r.IntN(5)]}
	host := 1 + r.IntN(3)
	if a.protocol == "icmp" {
		host = 4 + n%250
	}
	client, network := r.IntN(40), r.IntN(networks+6)
	if network >= networks {
		network = 9 // with a policy: the most to tell
	}
	from, to := nettest.Client4(client), nettest.Server4(network, host)
	if r.IntN(3) == 0 {
		from, to = nettest.Client6(client), nettest.Server6(network, host)
	}
	a.from = netip.AddrPortFrom(from, uint16(20000+n))
	a.to = netip.AddrPortFrom(to, []uint16{80, 443}[r.IntN(2)])
	return a
}

// What explain flow says of random flows of every kind is what becomes of them
// when they are sent: the link, the source address, dropped or not balanced. Of
// open sessions it says where they are.
func TestA26_ExplainFlow_Root(t *testing.T) {
	t.Parallel()
	p := live(t)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	certain, dropped, pings := map[string]int{}, 0, map[netip.Addr]*flow.Explanation{}
	var bare []noted
	began := time.Now()
	for n := range 220 {
		a := random(r, n)
		e := p.foreseen(a)
		if len(e.Ways) == 1 && e.Ways[0].Percent == 100 {
			certain[e.Ways[0].By]++
		}
		if w := e.Ways[0]; w.End == "dropped" || w.Source == a.from.Addr().String() { // as it is: the ISP drops it
			if w.End == "dropped" {
				dropped++
			} else {
				bare = append(bare, noted{w.Interface, w.Source, a.to.Addr().String()})
			}
			if a.protocol == "icmp" {
				a.protocol = "udp" // which is not waited for, and goes as it does
				if w.End == "dropped" {
					t.Errorf("seed %d: %s is told as dropped:\n%s", seed, a.question(t), told(e))
				}
			}
			if source, _, err := a.send(p.Gateway, 100*time.Millisecond); err == nil {
				t.Errorf("seed %d: %s comes from %s, is told as:\n%s", seed, a.question(t), source, told(e))
			}
			continue
		}
		source, c, err := a.send(p.Gateway, nettest.Patience)
		switch {
		case err != nil:
			t.Errorf("seed %d: %s: %v, told:\n%s", seed, a.question(t), err, told(e))
			continue
		case a.protocol == "icmp":
			pings[a.to.Addr()] = e
			continue
		}
		if agrees(p.Gateway, e, source.Addr()) == nil {
			t.Errorf("seed %d: %s comes from %s, is told as:\n%s", seed, a.question(t), source, told(e))
		}
		if again := p.foreseen(a); again.Session == nil || len(again.Ways) != 1 || agrees(p.Gateway, again, source.Addr()) == nil || again.Session.Source != source {
			t.Errorf("seed %d: %s is open from %s, and told as:\n%s", seed, a.question(t), source, told(again))
		}
		_ = c.Close()
	}
	saw := witnessed(p.Gateway)
	for to, e := range pings {
		if source := sourceTo(saw, to); agrees(p.Gateway, e, source) == nil {
			t.Errorf("seed %d: a ping to %s comes from %s, is told as:\n%s", seed, to, source, told(e))
		}
	}
	for _, b := range bare {
		if !slices.Contains(saw, b) {
			t.Errorf("seed %d: not seen as told, with the client's own address: %+v", seed, b)
		}
	}
	for _, n := range saw {
		if strings.HasPrefix(n.source, "10.10.") && !slices.Contains(bare, n) || strings.HasPrefix(n.source, "fd10:") && !slices.Contains(bare, n) {
			t.Errorf("seed %d: not told as with the client's own address: %+v", seed, n)
		}
	}
	t.Logf("%s; 220 flows, %d pings, %d dropped; told for certain: %v", time.Since(began).Round(time.Millisecond), len(pings), dropped, certain)
	if len(pings) < 20 || dropped < 3 || len(bare) < 3 || len(certain) < 8 {
		t.Errorf("too little was tried: %d pings, %d dropped, %d as they are, %v", len(pings), dropped, len(bare), certain)
	}
}

// The shares that explain flow tells of an algorithm that takes turns are those
// that connections get; a client with an entry of persistence has that link
// alone.
func TestA26_ExplainShares_Root(t *testing.T) {
	t.Parallel()
	p := live(t)
	shared := func(n, network int) attempt {
		return attempt{"tcp", netip.AddrPortFrom(nettest.Client4(100+n), uint16(30000+200*network+n)), netip.AddrPortFrom(nettest.Server4(network, 1), 80)}
	}
	e, got := p.foreseen(shared(0, 0)), map[string]float64{}
	const turns = 120
	for n := range turns {
		source, c, err := shared(n, 0).send(p.Gateway, nettest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		got[fmt.Sprint("isp", p.ISPOf(source.Addr()))] += 100. / turns
	}
	want := map[string]float64{}
	for _, w := range e.Ways { // isp2 has a pool of two ranges
		want[w.Link] += w.Percent
	}
	if len(want) != 3 || len(got) != 3 {
		t.Errorf("told %v, got %v", want, got)
	}
	for link, percent := range want {
		if math.Abs(got[link]-percent) > 2 {
			t.Errorf("%s: told %.2f %%, got %.2f %%", link, percent, got[link])
		}
	}
	for n := range 12 {
		source, c, err := shared(n, 6).send(p.Gateway, nettest.Patience)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		a := shared(n, 6)
		a.from = netip.AddrPortFrom(a.from.Addr(), 40000+uint16(n))
		e := p.foreseen(a)
		if w := agrees(p.Gateway, e, source.Addr()); w == nil || w.Percent != 100 || w.By != "persistence clients" {
			t.Errorf("a client of %s is told as:\n%s", source, told(e))
		}
		again, c, err := a.send(p.Gateway, nettest.Patience)
		if err != nil || p.ISPOf(again.Addr()) != p.ISPOf(source.Addr()) {
			t.Errorf("a client of %s comes from %s, %v", source, again, err)
			continue
		}
		_ = c.Close()
	}
}

// A query of DNS that the proxy takes is told as taken, and leaves by no link;
// one to a server that is not intercepted is balanced, or not, as any flow.
func TestA26_ExplainIntercepted_Root(t *testing.T) {
	t.Parallel()
	p := live(t)
	for n, c := range []struct {
		to    netip.Addr
		taken bool
	}{{nettest.Server4(20, 1), true}, {nettest.Server4(10, 1), false}, {nettest.Server4(14, 1), false}} {
		for i, protocol := range []string{"udp", "tcp"} {
			a := attempt{protocol, netip.AddrPortFrom(nettest.Client4(n), uint16(50000+i)), netip.AddrPortFrom(c.to, 53)}
			e := p.foreseen(a)
			if w := e.Ways[0]; len(e.Ways) != 1 || (w.Socket == 5300) != c.taken || c.taken && !strings.HasPrefix(w.By, "to the DNS proxy") {
				t.Errorf("a query to %s by %s is told as:\n%s", c.to, protocol, told(e))
			}
			_, conn, err := a.send(p.Gateway, 100*time.Millisecond) // nobody answers: what counts is who carries it
			if err == nil {
				_ = conn.Close()
			}
			source := sourceTo(witnessed(p.Gateway), c.to)
			if carried := source.IsValid(); carried == c.taken || carried && agrees(p.Gateway, e, source) == nil {
				t.Errorf("a query to %s by %s comes from %s, is told as:\n%s", c.to, protocol, source, told(e))
			}
		}
	}
}
