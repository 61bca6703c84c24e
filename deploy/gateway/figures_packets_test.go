package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// sink has the ISPs drop what goes to port 9 of the internet as soon as it
// comes, so that nothing but the LAN and the gateway costs.
const sink = `table inet sink {
	counter seen { }
	chain arrive {
		type filter hook prerouting priority -500;
		udp dport 9 counter name seen drop
	}
}
`

// rivals are gateways side by side: without conntrack's work (all is dropped as
// it arrives), with a masquerade and nothing else, the same with a rule of
// routing, with the numgen rule that one finds in tutorials, and with our tables.
type rivals struct {
	floor, plain, routed, static, ours *nettest.Gateway
	tables                             *tables
}

const plainRules = `table ip plain {
	chain leave { type nat hook postrouting priority 100; oifname "wan*" masquerade; }
}
`

const staticRules = plainRules + `table ip static {
	chain arrive {
		type filter hook prerouting priority -150;
		iifname != "lan0" accept
		ct mark != 0 meta mark set ct mark accept
		ct state new ct mark set numgen inc mod 6 map { 0-2 : 1, 3-4 : 2, 5 : 3 }
		meta mark set ct mark
	}
}
`

func newRivals(b *testing.B) *rivals {
	one := func() *nettest.Gateway {
		g := gateway(b, nettest.Layout{ISPs: 3})
		for _, i := range g.ISPs {
			i.Must(sink, "nft", "-f", "-")
		}
		return g
	}
	r := &rivals{floor: one(), plain: one(), routed: one(), static: one(), ours: one()}
	r.floor.Must(strings.ReplaceAll(sink, "udp dport 9", "iifname lan0 udp dport 9"), "nft", "-f", "-")
	r.plain.Must(plainRules, "nft", "-f", "-")
	r.routed.Must(plainRules, "nft", "-f", "-")
	r.routed.Batch(fmt.Sprintf("route add default via %s table 100", r.routed.ISPs[0].Router4), "rule add iif lan0 lookup 100")
	r.static.Must(staticRules, "nft", "-f", "-")
	for _, g := range []*nettest.Gateway{r.floor, r.plain, r.routed, r.static} {
		g.IP(fmt.Sprintf("route add default via %s", g.ISPs[0].Router4))
	}
	for _, i := range r.static.ISPs {
		r.static.Batch(fmt.Sprintf("route add default via %s table %d", i.Router4, 100+i.N), fmt.Sprintf("rule add fwmark %d lookup %d", i.N, 100+i.N))
	}
	var links []string
	for _, i := range r.ours.ISPs {
		links = append(links, fmt.Sprintf("  - {name: isp%d, interface: wan%d, nextHop: %s}\n", i.N, i.N, i.Router4))
	}
	r.tables = compiled(b, r.ours.Space, everything(10_000, links, "lan0"))
	r.tables.share(3, 2, 1)
	r.tables.measured(50_000, 3)
	for n := range 512 {
		a := nettest.Server4(n, 0)
		r.tables.plan.SetRanks(netip.PrefixFrom(a, 24), 1|2<<10)
	}
	r.tables.stand()
	return r
}

// sunk counts what has reached the ISPs.
func sunk(b *testing.B, g *nettest.Gateway) (n int) {
	for _, i := range g.ISPs {
		var packets, octets int
		out := i.Must("", "nft", "list", "counter", "inet", "sink", "seen")
		at := strings.Index(out, "packets")
		if at < 0 {
			b.Fatal(out)
		}
		if _, err := fmt.Sscanf(out[at:], "packets %d bytes %d", &packets, &octets); err != nil {
			b.Fatal(err)
		}
		n += packets
	}
	return n
}

// What the first packet of a flow costs, and one of a flow that stands, with
// everything that our rules do beside a masquerade alone. From the cost of each
// that of a gateway that drops what comes is taken: the rest is the gateway's.
func BenchmarkPackets_Root(b *testing.B) {
	r := newRivals(b)
	const clients, count, rounds = 2000, 20_000, 15
	fresh := func(network int) (all []nettest.Stream) { // flows to some networks
		for i := range count {
			all = append(all, nettest.Stream{From: netip.AddrPortFrom(nettest.Client4(i%clients), uint16(10_000+i)), To: netip.AddrPortFrom(nettest.Server4(network+i%7, 1), 9)})
		}
		return all
	}
	contestant := func(name string, g *nettest.Gateway, network int) *nettest.Contender {
		s := nettest.NewBlaster(b, g.LAN)
		flows := fresh(network)
		return &nettest.Contender{Name: name, Run: func() float64 {
			g.Must("", "conntrack", "-F")
			before := sunk(b, g)
			cost := s.Blast(b, flows, 1)
			if got := sunk(b, g) - before; g != r.floor && got < count*999/1000 {
				b.Fatalf("%s: %d of %d packets came to an ISP", name, got, count)
			}
			return cost
		}}
	}
	floor := contestant("dropped at the gateway", r.floor, 0)
	plain := contestant("masquerade", r.plain, 0)
	again := contestant("masquerade again", r.plain, 0)
	routed := contestant("masquerade, one ip rule", r.routed, 0)
	static := contestant("static numgen and masquerade", r.static, 0)
	sticky := contestant("portolan, by persistence", r.ours, 0)
	near := contestant("portolan, by proximity", r.ours, 256)
	all := []*nettest.Contender{floor, plain, again, routed, static, sticky, near}
	fmt.Println("first packet of a flow, ns of CPU")
	nettest.Contest(rounds, all...)
	nettest.TellPackets(b, floor, plain, all)

	fmt.Println("packet of a flow that stands, ns of CPU")
	plains := standing(b, r.plain)
	steady := func(name string, g *nettest.Gateway, flows []nettest.Stream) *nettest.Contender {
		s := nettest.NewBlaster(b, g.LAN)
		return &nettest.Contender{Name: name, Run: func() float64 { return s.Blast(b, flows, 400) }}
	}
	all = []*nettest.Contender{
		steady("dropped at the gateway", r.floor, fresh(0)[:64]),
		steady("masquerade", r.plain, plains),
		steady("masquerade again", r.plain, plains),
		steady("masquerade, one ip rule", r.routed, standing(b, r.routed)),
		steady("static numgen and masquerade", r.static, standing(b, r.static)),
		steady("portolan", r.ours, standing(b, r.ours)),
	}
	nettest.Contest(rounds, all...)
	nettest.TellPackets(b, all[0], all[1], all)
}

// standing makes flows that have been answered, to port 443, and sends on them
// what is dropped at the ISP.
func standing(b *testing.B, g *nettest.Gateway) (flows []nettest.Stream) {
	g.Must("", "conntrack", "-F")
	for i := range 64 {
		to := netip.AddrPortFrom(nettest.Server4(i%7, 1), 443)
		s, err := nettest.UDP(g.LAN, nettest.Client4(i), to)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Close() })
		for range 3 {
			if _, err := s.Say(); err != nil {
				b.Fatal(err)
			}
		}
		from := netip.MustParseAddrPort(s.LocalAddr().String())
		flows = append(flows, nettest.Stream{From: from, To: to})
	}
	for _, i := range g.ISPs {
		i.Must("insert rule inet sink arrive udp dport 443 counter name seen drop\n", "nft", "-f", "-")
	}
	return flows
}
