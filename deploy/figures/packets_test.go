package figures

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// tracked is plain routing with conntrack: a rule that asks it, as every firewall
// has one.
const tracked = `table inet plain {
	chain forward { type filter hook forward priority 0; ct state invalid drop; }
}
`

// flows are so many, to so many virtual servers in turn.
func flows(count, virtuals int) (all []nettest.Stream) {
	for i := range count {
		all = append(all, nettest.Stream{From: netip.AddrPortFrom(client(i), uint16(10_000+i%50_000)), To: netip.AddrPortFrom(virtual(i%virtuals), 9)})
	}
	return all
}

// fresh sends first packets of flows, each round of flows that conntrack does not
// know.
func fresh(b *testing.B, name string, x *box, virtuals int, lost bool) *nettest.Contender {
	const count = 20_000
	s, all := nettest.NewBlaster(b, x.clients), flows(count, virtuals)
	return &nettest.Contender{Name: name, Run: func() float64 {
		x.Must("", "conntrack", "-F")
		before := x.seen(b)
		cost := s.Blast(b, all, 1)
		if got := x.seen(b) - before; !lost && got < count*999/1000 {
			b.Fatalf("%s: %d of %d packets came to a server", name, got, count)
		}
		return cost
	}}
}

// steady sends packets of flows that have been answered.
func steady(b *testing.B, name string, x *box, virtuals int) *nettest.Contender {
	x.Must("", "conntrack", "-F")
	s, all := nettest.NewBlaster(b, x.clients), flows(64, virtuals)
	for i := range all { // of all virtual servers, not of the first
		all[i].To = netip.AddrPortFrom(virtual(i*virtuals/64), 9)
	}
	s.Blast(b, all, 1)
	var back []nettest.Stream
	for _, m := range unreplied.FindAllStringSubmatch(x.Must("", "conntrack", "-L", "-p", "udp"), -1) {
		back = append(back, nettest.Stream{From: socket(b, m[1], m[3]), To: socket(b, m[2], m[4])})
	}
	if len(back) < len(all)*3/4 {
		b.Fatalf("%s: %d of %d flows are known", name, len(back), len(all))
	}
	nettest.NewBlaster(b, x.servers).Blast(b, back, 2)
	return &nettest.Contender{Name: name, Run: func() float64 { return s.Blast(b, all, 400) }}
}

var unreplied = regexp.MustCompile(`\[UNREPLIED\] src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)`)

func socket(b *testing.B, address, port string) netip.AddrPort {
	a, err := netip.ParseAddrPort(address + ":" + port)
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// What the first packet of a flow costs, and one of a flow that stands, beside
// plain routing with conntrack, with one rule of destination NAT, and with a rule
// or a chain for each service.
func BenchmarkPackets_Root(b *testing.B) {
	rounds := 11
	sizes := []int{10, 1000, 10_000}
	ruled := func(text string) *box {
		x := newBox(b)
		x.Must(text, "nft", "-f", "-")
		return x
	}
	floor, plain, static := ruled(edge), ruled(tracked), ruled(list(1))
	floors := fresh(b, "dropped at the box", floor, 1, true)
	plains := fresh(b, "routing and conntrack", plain, 10_000, false)
	news := []*nettest.Contender{floors, plains, fresh(b, "routing and conntrack again", plain, 10_000, false), fresh(b, "one rule of DNAT", static, 1, false)}
	var ours []*box
	for _, n := range sizes {
		x := newBox(b)
		newBalancer(b, x.Space).serves(configuration(n))
		ours = append(ours, x)
		news = append(news, fresh(b, "portolan "+strconv.Itoa(n), x, n, false))
	}
	news = append(news, fresh(b, "portolan 10000, ten of them asked", ours[2], 10, false))
	for _, n := range sizes {
		news = append(news, fresh(b, "a rule each "+strconv.Itoa(n), ruled(list(n)), n, false))
	}
	for _, n := range []int{10, 1000} {
		news = append(news, fresh(b, "a chain each "+strconv.Itoa(n), ruled(chains(n)), n, false))
	}
	fmt.Println("first packet of a flow, ns of CPU")
	nettest.Contest(rounds, news...)
	nettest.TellPackets(b, floors, plains, news)

	fmt.Println("packet of a flow that stands, ns of CPU")
	floors = &nettest.Contender{Name: "dropped at the box", Run: func() float64 { return 0 }}
	s, all := nettest.NewBlaster(b, floor.clients), flows(64, 1)
	floors.Run = func() float64 { return s.Blast(b, all, 400) }
	plains = steady(b, "routing and conntrack", plain, 10_000)
	stand := []*nettest.Contender{floors, plains, steady(b, "one rule of DNAT", static, 1)}
	for i, n := range sizes {
		stand = append(stand, steady(b, "portolan "+strconv.Itoa(n), ours[i], n))
	}
	nettest.Contest(2*rounds, stand...)
	nettest.TellPackets(b, floors, plains, stand)
}
