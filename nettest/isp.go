package nettest

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
)

// ispRules are an ISP's: what it drops and what it counts. All that counters
// count came from the gateway.
const ispRules = `table inet isp {
	counter strays { }
	counter passed { }
	counter pings { }
	counter octets { }
	counter asked { }
	chain silence { type filter hook prerouting priority -310; }
	chain mute { type filter hook output priority -310; }
	chain arrive {
		type filter hook prerouting priority -300;
		iifname != "gw" accept
		ip6 saddr { fe80::/10, :: } accept
		fib saddr . iif oif missing counter name strays drop
		counter name octets
	}
	chain self {
		type filter hook input priority 0;
		iifname != "gw" accept
		icmp type echo-request counter name asked
		icmpv6 type echo-request counter name asked
	}
	chain pass {
		type filter hook forward priority 0;
		iifname != "gw" accept
		counter name passed
		icmp type echo-request counter name pings
		icmpv6 type echo-request counter name pings
	}
}
`

// Silence makes the router say and carry nothing, or be as before. Its cable
// stays, and its neighbour still resolves its address (ARP): an ISP that is dead
// behind a line that looks well.
func (i *ISP) Silence(on bool) {
	i.t.Helper()
	rules := "flush chain inet isp silence\nflush chain inet isp mute\n"
	if on {
		// IPv6 resolves by ICMPv6, types 135 and 136.
		rules += "add rule inet isp silence icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" +
			"add rule inet isp mute icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" +
			"add rule inet isp silence drop\nadd rule inet isp mute drop\n"
	}
	i.Must(rules, "nft", "-f", "-")
}

// Strays says how many packets came from the gateway with a source that is not
// this ISP's.
func (i *ISP) Strays() int { return i.counter("strays", "packets") }

// Passed says how many packets from the gateway were carried on.
func (i *ISP) Passed() int { return i.counter("passed", "packets") }

// Pings says how many of them were ICMP echo requests.
func (i *ISP) Pings() int { return i.counter("pings", "packets") }

// Asked says how many ICMP echo requests the router itself got.
func (i *ISP) Asked() int { return i.counter("asked", "packets") }

// Octets says how much came from the gateway.
func (i *ISP) Octets() int { return i.counter("octets", "bytes") }

func (i *ISP) counter(name, unit string) int {
	i.t.Helper()
	text := i.Must("", "nft", "list", "counter", "inet", "isp", name)
	found := regexp.MustCompile(unit + ` (\d+)`).FindStringSubmatch(text)
	if found == nil {
		i.t.Fatalf("no %s in %s", unit, text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		i.t.Fatal(err)
	}
	return n
}

// Pull takes the cable of a line out of the gateway, or puts it back: the
// interface there loses its carrier.
func (i *ISP) Pull(out bool) {
	i.t.Helper()
	state := "up"
	if out {
		state = "down"
	}
	i.IP("link set dev gw " + state)
	if !out { // what the kernel took away with the carrier, on the ISP's side
		i.Batch(fmt.Sprintf("-6 addr replace %s/64 dev gw nodad", i.Router6))
	}
}

// Second is where packets of the internet's Behind come from when a gateway has
// two routers on one segment: the other router of ISP 1.
func (g *Gateway) Second() *ISP { return g.second }

// Behind4 and Behind6 are addresses in the internet that reach ISP 1 by its
// second router only.
var (
	Behind4 = netip.MustParseAddr("100.127.0.1")
	Behind6 = netip.MustParseAddr("2001:db8:fff0::1")
)

// segment joins the gateway's wan1 and two routers of ISP 1 by a bridge.
func (g *Gateway) segment(t testing.TB, first *ISP) {
	t.Helper()
	bridge := New(t)
	bridge.Batch("link add seg0 type bridge", "link set seg0 up")
	second := &ISP{Space: New(t), N: 1}
	second.router()
	second.settle(false)
	g.second = second
	four, six := second.Router4.As4(), second.Router6.As16()
	four[3], six[15] = 2, 2
	second.Router4, second.Router6 = netip.AddrFrom4(four), netip.AddrFrom16(six)
	g.Cable("wan1", bridge, "gate")
	first.Cable("gw", bridge, "first")
	second.Cable("gw", bridge, "second")
	for _, port := range []string{"gate", "first", "second"} {
		bridge.IP("link set dev " + port + " master seg0")
	}
	second.Batch(fmt.Sprintf("addr add %s/24 dev gw", second.Router4), fmt.Sprintf("addr add %s/64 dev gw nodad", second.Router6))
	second.Cable("up", g.Internet, "isp1b")
	second.Batch("addr add 198.19.101.1/24 dev up", "addr add 2001:db8:1101::1/64 dev up nodad",
		"route add default via 198.19.101.2", "-6 route add default via 2001:db8:1101::2")
	g.Internet.Batch("addr add 198.19.101.2/24 dev isp1b", "addr add 2001:db8:1101::2/64 dev isp1b nodad",
		"route add "+second.Net4.String()+" via 198.19.101.1 table 101", "-6 route add "+second.Net6.String()+" via 2001:db8:1101::1 table 101",
		"rule add pref 101 from "+Behind4.String()+" lookup 101", "-6 rule add pref 101 from "+Behind6.String()+" lookup 101")
	second.Must(ispRules, "nft", "-f", "-")
}
