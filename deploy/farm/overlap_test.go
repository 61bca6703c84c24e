package farm

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// alone are farms of one server each: one, two, three.
func alone(f *nettest.Farm) string {
	var all strings.Builder
	for n, name := range []string{"one", "two", "three"} {
		fmt.Fprintf(&all, "  - {name: %s, servers: [{name: h, addresses: [%s, \"%s\"]}]}\n", name, f.Hosts[n].Addr4, f.Hosts[n].Addr6)
	}
	return all.String()
}

// served are virtual servers of farms of one server each.
func served(f *nettest.Farm, lines ...string) text {
	return text("version: 1\nnode: {name: lb}\nvirtualServers:\n" + strings.Join(lines, "") + "serverFarms:\n" + alone(f))
}

// Test 8: the matrix of all pairs of types at one address and port (1.1.9,
// T47). What would be ambiguous is refused with the name of the other; of what
// overlaps the more specific has it.
func TestB08_Matrix_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	line := func(name, kind, farm string) string {
		port := "80"
		if kind == "ip" {
			port = ""
		}
		return virtual(name, b.Farm, 1, port, "type: "+kind+", farm: "+farm)
	}
	kinds := []string{"tcp", "udp", "ip"}
	for _, first := range kinds {
		for _, second := range kinds {
			what := first + " beside " + second
			c := served(b.Farm, line("former", first, "one"), line("latter", second, "two"))
			if first == second {
				b.refused(what, string(c), "latter", "former")
				continue
			}
			b.use(c)
			// Who has TCP port 80, UDP port 80, and TCP port 81.
			owner := func(protocol string, port uint16) int {
				farm, best := 0, 0
				for n, k := range []string{first, second} {
					rank := map[string]int{protocol: 2, "ip": 1}[k]
					if k != "ip" && port != 80 {
						rank = 0
					}
					if rank > best {
						farm, best = n+1, rank
					}
				}
				return farm
			}
			for family := range 2 {
				to := func(port uint16) nettest.Route { return []nettest.Route{b.to4(1, port), b.to6(1, port)}[family] }
				for _, port := range []uint16{80, 81} {
					if host := owner("tcp", port); host > 0 {
						b.Until(late, func() error { return only(b.InTurn(2, to(port)), host) })
					} else if s := b.Many(2, 2, func(i int) (nettest.Seen, error) {
						from, to := to(port)(i)
						talk, err := nettest.Call(b.Clients, from, to, 200*time.Millisecond)
						if err != nil {
							return nettest.Seen{}, err
						}
						return talk.First, talk.Close()
					}); s.OK() > 0 {
						t.Errorf("%s: TCP port %d is nobody's, and goes %v", what, port, s)
					}
				}
				if host := owner("udp", 80); host > 0 {
					b.Until(late, func() error { return only(b.Flows(2, 1, to(80)), host) })
				}
			}
		}
	}
	// What needs a module that is not there says so, whatever stands beside it.
	for _, kind := range []string{"http", "fast-http", "https"} {
		b.refused(kind, string(served(b.Farm, line("web", kind, "one"))), "l7")
	}
}

// Of virtual servers that overlap the most specific has a packet: the longest
// mask, then its very port, a range, every port, every protocol; and explain flow
// tells the same.
func TestB08_Order_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	at := func(name string, n, v4, v6 int, port, serve string) string {
		return fmt.Sprintf("  - {name: %s, addresses: [%s, \"%s\"], serve: {mask: {v4: %d, v6: %d}%s, %s}}\n", name, b.Virtual4(n), b.Virtual6(n), v4, v6, port, serve)
	}
	b.use(served(b.Farm,
		at("net", 64, 26, 122, "", "type: ip, farm: three"),
		at("range", 80, 28, 124, ", ports: [\"80-81\"]", "farm: two"),
		at("host", 81, 32, 128, ", ports: [80]", "farm: one"),
		at("wide", 82, 32, 128, ", ports: [\"1-65535\"]", "farm: one"),
		at("narrow", 82, 32, 128, ", ports: [80]", "farm: two"),
		at("all", 83, 32, 128, "", "type: tcp, farm: one"),
		at("every", 84, 32, 128, "", "type: ip, farm: three"),
		at("second", 86, 32, 128, ", ports: [\"80-90\"]", "farm: two"),
		at("first", 86, 32, 128, ", ports: [\"70-80\"]", "farm: one")))
	for _, c := range []struct {
		n    int
		port uint16
		host int
	}{
		{64, 80, 3}, {70, 81, 3}, {80, 80, 2}, {85, 81, 2},
		{81, 80, 1}, {81, 81, 2}, {82, 80, 2}, {82, 81, 1}, {83, 80, 1}, {83, 81, 1},
		{84, 80, 3}, {86, 80, 2}, {86, 81, 2},
	} {
		for family := range 2 {
			route := []nettest.Route{b.to4(c.n, c.port), b.to6(c.n, c.port)}[family]
			b.Until(late, func() error { return only(b.InTurn(2, route), c.host) })
		}
	}
	// Of any other flow explain flow says what becomes of it.
	b.Serve(69, 75, 90, 91)
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 8))
	hosts := map[int]int{}
	for i := range 60 {
		n, port := 60+r.IntN(30), []uint16{69, 75, 80, 81, 90, 91}[r.IntN(6)]
		from, to := b.Client4(i), b.Virtual4(n)
		if i%2 == 1 {
			from, to = b.Client6(i), b.Virtual6(n)
		}
		host, ways := b.asTold(seed, netip.AddrPortFrom(from, 20000), netip.AddrPortFrom(to, port))
		if hosts[host]++; ways != 1 {
			t.Errorf("seed %d: %s, port %d, may be for %d farms", seed, to, port, ways)
		}
	}
	if len(hosts) != 4 {
		t.Errorf("seed %d: flows came to hosts %v", seed, hosts)
	}
	if err := b.Ping(b.Client4(1), b.Virtual4(70), 70); err != nil || b.Hosts[2].Pings() != 1 {
		t.Errorf("type ip takes a ping: %v, %d", err, b.Hosts[2].Pings())
	}
}

// Two that are the same are refused with the other's name, one that others
// leave nothing with the winner's; of ranges that cross check tells who has
// what both claim.
func TestB08_Refused_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	line := func(name, ports string) string {
		return fmt.Sprintf("  - {name: %s, addresses: [203.0.113.1], serve: {ports: [%s], farm: one}}\n", name, ports)
	}
	b.refused("the same range", string(served(b.Farm, line("low", "\"80-90\""), line("high", "\"80-90\""))), "high", "low")
	b.refused("nothing left", string(served(b.Farm, line("low", "80"), line("high", "81"), line("both", "\"80-81\""))), "both")
	if said, err := b.check(string(served(b.Farm, line("low", "\"80-90\""), line("high", "85")))); err != nil {
		t.Errorf("a port within a range: %v: %s", err, said)
	}
	said, err := b.check(string(served(b.Farm, line("low", "\"80-90\""), line("high", "\"85-95\""))))
	if err != nil || !strings.Contains(said, "high") || !strings.Contains(said, "\"low\" has 85-90") {
		t.Errorf("ranges that cross: %v: %s", err, said)
	}
}
