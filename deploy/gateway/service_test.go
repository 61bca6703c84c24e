package gateway

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// FAQ 1.1.5: every packet that goes out has the type of service of its action,
// the first as the last, TCP and UDP, IPv4 and IPv6; those that come back are
// left alone, and so are those of a virtual server without one.
func TestTypeOfService_Root(t *testing.T) {
	g := three(t)
	p := start(t, g, setup{Gateway: g, rest: equal("", `, ports: ["80"], protocol: tcp, tos: ef}, {name: datagrams, ports: ["80"], protocol: udp, linkGroup: all, tos: ef}, {name: rest, linkGroup: all`, "")}.String())
	p.up("isp1", "isp2", "isp3")
	rules := ""
	for _, six := range []string{"ip", "ip6"} {
		for _, protocol := range []string{"tcp", "udp"} {
			for counter, match := range map[string]string{"marked": "dport 80 " + six + " dscp ef", "all": "dport 80 meta nfproto " + map[string]string{"ip": "ipv4", "ip6": "ipv6"}[six], "other": "dport 443 " + six + " dscp ef", "back": "sport 80 " + six + " dscp ef"} {
				name := counter + "_" + protocol + "_" + six
				rules += fmt.Sprintf("add counter inet seen %s\nadd rule inet seen input %s %s counter name %s\n", name, protocol, match, name)
			}
		}
	}
	rules = "add table inet seen\nadd chain inet seen input { type filter hook input priority 0; }\n" + rules
	for _, s := range []*nettest.Space{g.Internet, g.LAN} {
		s.Must(rules, "nft", "-f", "-")
	}
	const words, clients = 20, 4
	for i := range clients {
		for _, route := range []nettest.Route{web4, web6} {
			from, to := route(i)
			tcp, _, err := nettest.TCP(g.LAN, from, to)
			if err != nil {
				t.Fatal(err)
			}
			udp, err := nettest.UDP(g.LAN, from, to)
			if err != nil {
				t.Fatal(err)
			}
			for range words {
				for _, s := range []*nettest.Session{tcp, udp} {
					if _, err := s.Say(); err != nil {
						t.Fatal(err)
					}
				}
			}
			_, _ = tcp.Close(), udp.Close()
		}
	}
	seen := func(s *nettest.Space, name string) int {
		found := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(s.Must("", "nft", "list", "counter", "inet", "seen", name))
		n, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, kind := range []string{"tcp_ip", "tcp_ip6", "udp_ip", "udp_ip6"} {
		all, marked := seen(g.Internet, "all_"+kind), seen(g.Internet, "marked_"+kind)
		if all < clients*words || marked != all {
			t.Errorf("%s: %d of %d packets have the type of service", kind, marked, all)
		}
		if n := seen(g.LAN, "back_"+kind); n > 0 {
			t.Errorf("%s: %d answers have it", kind, n)
		}
	}
	from, to := web4(1)
	s, _, err := nettest.TCP(g.LAN, from, netip.AddrPortFrom(to.Addr(), 443))
	if err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if n := seen(g.Internet, "other_tcp_ip"); n > 0 {
		t.Errorf("a virtual server without a type of service: %d packets have one", n)
	}
}
