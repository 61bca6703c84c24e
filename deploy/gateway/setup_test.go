package gateway

import (
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// setup is a configuration in the making: links isp1, isp2, ... with a probe
// each (the last by the second router of a segment, if there is one), and what a
// test adds.
type setup struct {
	*nettest.Gateway
	link  map[int]string // further keys of link N, after a comma
	probe string         // keys of the probe of the lines; empty: quick ones
	rest  string         // the other sections
}

// The probe of the lines: failover = (fall - 1) x interval + timeout (1.2.27, T51).
const (
	interval   = 300 * time.Millisecond
	timeout    = 250 * time.Millisecond
	fall       = 3
	detected   = (fall-1)*interval + timeout
	quickProbe = "interval: 300ms, timeout: 250ms, rise: 2, fall: 3"
)

// late is what a busy machine may add to a time that a rule declares, and longEnough
// is for what has to come but has no declared time.
const (
	late       = 2 * time.Second
	longEnough = 30 * time.Second
)

func (s setup) String() string {
	var b strings.Builder
	b.WriteString("version: 1\nnode: {name: gw}\nlinks:\n")
	lines := s.ISPs
	if s.Second() != nil { // another link of the same interface, by its own router
		lines = append(slices.Clone(lines), s.Second())
	}
	for n, i := range lines {
		name := fmt.Sprintf("isp%d", n+1)
		more := s.link[i.N]
		if more == "" {
			more = s.link[0]
		}
		six := ""
		if i.Gate6.IsValid() {
			six = fmt.Sprintf(", nextHop6: \"%s\"", i.Router6)
		}
		fmt.Fprintf(&b, "  - {name: %s, interface: wan%d, nextHop: %s%s, probes: [line]%s}\n", name, i.N, i.Router4, six, more)
	}
	probe := s.probe
	if probe == "" {
		probe = quickProbe
	}
	fmt.Fprintf(&b, "probes: [{name: line, kind: icmp, %s}]\n%s", probe, s.rest)
	return b.String()
}

// weighted is all traffic over three links, 3:2:1.
const weighted = `
linkGroups:
  - name: all
    members: [{link: isp1, weight: 3}, {link: isp2, weight: 2}, {link: isp3}]
outbound:
  interfaces: [lan0, dmz0]
  virtualServers: [{name: all, linkGroup: all}]
`

// equal is all traffic over three links, with more keys of the group, of the
// virtual server, and other sections.
func equal(group, server, rest string) string {
	return grouped("[isp1, isp2, isp3]", group, server, rest)
}

// grouped is all traffic over some links.
func grouped(members, group, server, rest string) string {
	return fmt.Sprintf(`
linkGroups:
  - {name: all, members: %s%s}
outbound:
  interfaces: [lan0, dmz0]
  virtualServers: [{name: all, linkGroup: all%s}]
%s`, members, group, server, rest)
}

// gateway makes a gateway and servers in the internet.
func gateway(t testing.TB, layout nettest.Layout) *nettest.Gateway {
	t.Helper()
	g := nettest.NewGateway(t, layout)
	nettest.Serve(t, g.Internet, 80, 443)
	return g
}

func three(t testing.TB) *nettest.Gateway {
	t.Helper()
	return gateway(t, nettest.Layout{ISPs: 3})
}

// web4 and web6 go from 59 clients to port 80 of seven servers.
func web4(i int) (netip.Addr, netip.AddrPort) {
	return nettest.Client4(i % 59), netip.AddrPortFrom(nettest.Server4(i%7, 1), 80)
}

func web6(i int) (netip.Addr, netip.AddrPort) {
	return nettest.Client6(i % 59), netip.AddrPortFrom(nettest.Server6(i%7, 1), 80)
}

// one goes from one client, the n-th, to one server.
func one(n int) nettest.Route {
	return func(int) (netip.Addr, netip.AddrPort) {
		return nettest.Client4(n), netip.AddrPortFrom(nettest.Server4(0, 1), 80)
	}
}

// shared fails unless connections are spread in these shares, each within slack
// of all of them, and none has failed.
func shared(t testing.TB, what string, got nettest.Tally, slack float64, shares ...int) {
	t.Helper()
	sum := 0
	for _, s := range shares {
		sum += s
	}
	bad := got.Failed > 0 || got.By[0] > 0
	for n, s := range shares {
		want := float64(got.OK()) * float64(s) / float64(sum)
		bad = bad || math.Abs(float64(got.By[n+1])-want) > slack*float64(got.OK())+1e-9
	}
	if bad {
		t.Errorf("%s: %v, want shares %v within %g %%", what, got, shares, 100*slack)
	}
}

// slotsOf says how many slots of a group each link has in the kernel, by its number.
func slotsOf(t testing.TB, g *nettest.Gateway, group string) map[int]int {
	t.Helper()
	out := g.Must("", "nft", "list", "map", "inet", "portolan_outbound", "slots_"+group)
	has := map[int]int{}
	for _, found := range regexp.MustCompile(`0x[0-9a-f]+ : 0x([0-9a-f]+)`).FindAllStringSubmatch(out, -1) {
		link, err := strconv.ParseInt(found[1], 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		has[int(link)]++
	}
	return has
}

// clean fails if a packet left by a line whose it was not.
func clean(t testing.TB, g *nettest.Gateway) {
	t.Helper()
	for _, i := range g.ISPs {
		if n := i.Strays(); n > 0 {
			t.Errorf("%d packets left by isp%d with a source that is not of it", n, i.N)
		}
	}
}

// passed sums what the ISPs carried.
func passed(g *nettest.Gateway) (n int) {
	for _, i := range g.ISPs {
		n += i.Passed()
	}
	return n
}

// admin is the administrator's own table, which stays as it is: what leaves by a
// line is masqueraded, and port 8000 of every line leads to the host in the DMZ.
const admin = `table inet admin {
	chain arrive {
		type nat hook prerouting priority -100;
		iifname "wan*" meta nfproto ipv4 meta l4proto { tcp, udp } th dport 8000 dnat ip to 10.20.0.2:80
		iifname "wan*" meta nfproto ipv6 meta l4proto { tcp, udp } th dport 8000 dnat ip6 to [fd10:20::2]:80
	}
	chain leave {
		type nat hook postrouting priority 110;
		oifname "wan*" masquerade
	}
}
`
