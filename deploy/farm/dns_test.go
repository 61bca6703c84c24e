package farm

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
)

const zone = "$TTL 1h\n@ IN SOA ns hostmaster 1 1h 10m 1w 10s\n@ IN NS ns\nns IN A 192.0.2.1\n"

// dig asks the balancer's DNS server for an address.
func (b *balancer) dig(name, kind string) (netip.Addr, error) {
	out, err := b.Clients.Run("", "dig", "+short", "+tries=1", "+time=2", "@192.0.2.1", name, kind)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.ParseAddr(strings.TrimSpace(out))
}

// Inbound and server load balancing together: the members of a pool are
// virtual servers that this node serves. When the farm of one falls below its
// threshold the answer moves to the other within the probe's bound and a tick,
// and who connects by it is served at every moment; it comes back with the
// farm.
func TestB19_DNS_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	if err := os.WriteFile(b.File("lb.example.zone"), []byte(zone), 0o644); err != nil {
		t.Fatal(err)
	}
	server := func(n int) string {
		return fmt.Sprintf("{name: h%d, addresses: [%s, \"%s\"], port: 80}", n, b.Hosts[n-1].Addr4, b.Hosts[n-1].Addr6)
	}
	b.use(text("version: 1\nnode: {name: lb}\ndns: {listeners: [{address: \"192.0.2.1:53\"}]}\n" +
		"zones: [{name: lb.example, file: lb.example.zone, names: [{name: www, pool: web, ttl: 1s}]}]\n" +
		"pools: [{name: web, preferred: first, members: [{virtualServer: east}, {virtualServer: west}]}]\n" +
		"probes: [{name: alive, " + quickProbe + "}]\nvirtualServers:\n" +
		virtual("east", b.Farm, 1, "80", "farm: east") + virtual("west", b.Farm, 2, "80", "farm: west") +
		"serverFarms:\n  - {name: east, probes: [alive], activate: {lower: 80%, upper: 100%}, servers: [" + server(1) + ", " + server(2) + "]}\n" +
		"  - {name: west, probes: [alive], servers: [" + server(3) + "]}\n"))
	// A client asks and connects to what it is told.
	visit := func(six bool) (host int, err error) {
		kind, from := "A", b.Client4(5)
		if six {
			kind, from = "AAAA", b.Client6(5)
		}
		a, err := b.dig("www.lb.example", kind)
		if err != nil {
			return 0, err
		}
		talk, err := b.TCP(from, netip.AddrPortFrom(a, 80))
		if err != nil {
			return 0, fmt.Errorf("%s: %w", a, err)
		}
		return talk.First.Host, talk.Close()
	}
	is := func(hosts ...int) func() error {
		return func() error {
			for _, six := range []bool{false, true} {
				host, err := visit(six)
				if err != nil {
					return err
				}
				if host != hosts[0] && host != hosts[len(hosts)-1] {
					return fmt.Errorf("a client came to host %d, want %v", host, hosts)
				}
			}
			return nil
		}
	}
	b.Until(late, is(1, 2))
	b.Hosts[0].Die(80, true)
	bound := interval + detected + time.Second // the probe's, and a tick of the farm
	took := b.Until(bound+late, is(3))
	t.Logf("the answer moved after %s; the bound is %s", took.Round(time.Millisecond), bound)
	b.Pause(time.Second)
	if err := is(3)(); err != nil {
		t.Error(err)
	}
	b.Hosts[0].Die(80, false)
	b.Until(late, is(1, 2))
}

// What comes in by a link to a virtual server is answered by that link, though
// the default route is another's (1.2.17, T34); by whichever link it comes.
func TestB20_KeepLastHop_Root(t *testing.T) {
	t.Parallel()
	g := nettest.NewGateway(t, nettest.Layout{ISPs: 2})
	nettest.Serve(t, g.DMZ, 80)
	one, two := g.ISPs[0], g.ISPs[1]
	g.Batch("route add default via "+one.Router4.String(), "-6 route add default via "+one.Router6.String())
	b := &balancer{Program: program.New(t, g.Space)}
	var c strings.Builder
	c.WriteString("version: 1\nnode: {name: gw}\nlinks:\n")
	for _, i := range g.ISPs {
		fmt.Fprintf(&c, "  - {name: isp%d, interface: wan%d, nextHop: %s, nextHop6: \"%s\"}\n", i.N, i.N, i.Router4, i.Router6)
	}
	c.WriteString("linkGroups: [{name: all, members: [isp1, isp2]}]\noutbound: {interfaces: [lan0, dmz0], virtualServers: [{name: all, linkGroup: all}]}\nvirtualServers:\n")
	for _, i := range g.ISPs {
		fmt.Fprintf(&c, "  - {name: web%d, addresses: [%s, \"%s\"], port: 8080, serve: {farm: dmz}}\n", i.N, i.Gate4, i.Gate6)
	}
	fmt.Fprintf(&c, "serverFarms: [{name: dmz, servers: [{name: h, addresses: [%s, \"%s\"], port: 80}]}]\n", nettest.Host4, nettest.Host6)
	b.use(text(c.String()))
	for _, i := range []*nettest.ISP{two, one} {
		other := one
		if i == one {
			other = two
		}
		before := other.Passed()
		for family := range 2 {
			from, to := nettest.Server4(9, 7), i.Gate4
			if family == 1 {
				from, to = nettest.Server6(9, 7), i.Gate6
			}
			b.Until(late, func() error {
				s, source, err := nettest.TCP(g.Internet, from, netip.AddrPortFrom(to, 8080))
				if err != nil {
					return err
				}
				defer s.Close()
				if source.Addr() != from {
					t.Errorf("the server sees %s, want %s", source, from)
				}
				for range 3 {
					if _, err := s.Say(); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if n := other.Passed() - before; n > 0 {
			t.Errorf("of connections by isp%d, %d packets left by isp%d", i.N, n, other.N)
		}
	}
	for _, i := range g.ISPs {
		if n := i.Strays(); n > 0 {
			t.Errorf("%d packets left by isp%d with a source that is not of it", n, i.N)
		}
	}
	// What the inside opens is balanced as ever.
	nettest.Serve(t, g.Internet, 80)
	if tally := g.Connect(40, func(i int) (netip.Addr, netip.AddrPort) {
		return nettest.Client4(i), netip.AddrPortFrom(nettest.Server4(i%5, 1), 80)
	}); tally.Failed > 0 || tally.By[1] != 20 {
		t.Errorf("outbound: %v", tally)
	}
}
