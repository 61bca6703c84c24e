package l4

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// Two balancers that have each other for a direct server pass a packet on until its
// hops are used up, and no further: Linux copies what has none left too.
func TestDirectLoop_Root(t *testing.T) {
	nettest.NeedRoot(t)
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 1, OneArm: true})
	const text = `
version: 1
virtualServers:
  - {name: web, addresses: [VIP4, "VIP6"], port: 80, serve: {type: udp, farm: web}}
serverFarms:
  - {name: web, mode: direct, algorithm: source-hash, servers: [{name: other, addresses: [FOUR, "SIX"]}]}
`
	begin := func(space *nettest.Space, four, six netip.Addr) {
		b := newBalancer(t, strings.NewReplacer("VIP4", f.Virtual4(1).String(), "VIP6", f.Virtual6(1).String(), "FOUR", four.String(), "SIX", six.String()).Replace(text))
		b.facts.Interfaces = []kernel.Interface{nic("back0", "10.30.0.1/16", "fd10:30::1/64")}
		b.share("web")
		newLinux(t, space).stands(b.Wishes(b.facts))
	}
	one, other := f.Space, f.Hosts[0].Space
	one.Batch("addr add "+f.Virtual4(1).String()+"/32 dev back0", "addr add "+f.Virtual6(1).String()+"/128 dev back0 nodad")
	// What began anew is stopped by the test, lest it go round until somebody ends it.
	for _, s := range []*nettest.Space{one, other} {
		s.Must("table inet guard { counter again { }\n chain look { type filter hook prerouting priority -320; ip ttl > 200 meta l4proto udp counter name again drop; ip6 hoplimit > 200 meta l4proto udp counter name again drop; }; }", "nft", "-f", "-")
	}
	begin(one, f.Hosts[0].Addr4, f.Hosts[0].Addr6)
	begin(other, nettest.BackGate4, nettest.BackGate6)
	for family, to := range []netip.Addr{f.Virtual4(1), f.Virtual6(1)} {
		match := [2]string{"ip daddr ", "ip6 daddr "}[family] + to.String() + " udp dport 80"
		name := []string{"four", "six"}[family]
		came, last := other.Watch("came_"+name, "prerouting priority -310", match), one.Watch("last_"+name, "prerouting priority -310", match)
		send(t, f.Clients, [2]netip.Addr{f.Client4(0), f.Client6(0)}[family], netip.AddrPortFrom(to, 80), 9)
		// 9 hops: five times here, four times there, and the last one here ends it.
		seen := func() (int, int) { return last.Packets(), came.Packets() }
		for late := time.Now().Add(10 * time.Second); ; {
			if here, there := seen(); here >= 5 && there >= 4 || time.Now().After(late) {
				break
			}
		}
		if here, there := seen(); here != 5 || there != 4 {
			t.Errorf("%s: it came by %d times here and %d times there", to, here, there)
		}
	}
	for _, s := range []*nettest.Space{one, other} {
		if out := s.Must("", "nft", "list", "counter", "inet", "guard", "again"); !strings.Contains(out, "packets 0") {
			t.Errorf("it began anew:\n%s", out)
		}
	}
}

// send sends a datagram that may be forwarded so often.
func send(t *testing.T, s *nettest.Space, from netip.Addr, to netip.AddrPort, hops int) {
	t.Helper()
	var err error
	s.Do(func() {
		domain, level, option := syscall.AF_INET, syscall.IPPROTO_IP, syscall.IP_TTL
		if to.Addr().Is6() {
			domain, level, option = syscall.AF_INET6, syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS
		}
		var fd int
		if fd, err = syscall.Socket(domain, syscall.SOCK_DGRAM, 0); err != nil {
			return
		}
		defer func() { _ = syscall.Close(fd) }()
		address := func(a netip.AddrPort) syscall.Sockaddr {
			if a.Addr().Is4() {
				return &syscall.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
			}
			return &syscall.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
		}
		if err = syscall.SetsockoptInt(fd, level, option, hops); err == nil {
			err = syscall.Bind(fd, address(netip.AddrPortFrom(from, 4000)))
		}
		if err == nil {
			err = syscall.Sendto(fd, []byte("round"), 0, address(to))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}
