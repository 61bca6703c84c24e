package nettest

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
)

// Farm is the namespace of a server load balancer, with clients before it and
// servers behind it:
//
//	clients ── front0 [balancer] back0 ──┬── host 1
//	                                     ├── host 2
//	                                     └── ...
//
// or, on one arm, with all of them on the segment of back0. The balancer
// forwards, has an address on each interface, and routes to clients and to the
// addresses of hosts; hosts send by it what is not of their segment. What else
// it does is up to the test.
type Farm struct {
	*Space  // the balancer
	Clients *Space
	Hosts   []*Host // host n is Hosts[n-1]

	layout FarmLayout
}

// FarmLayout says what is around a balancer.
type FarmLayout struct {
	Hosts  int  // 1 to 9
	OneArm bool // clients, balancer and hosts are on one segment
}

// Host is a server's machine. Every address of its network (Host.Net4, Net6)
// is its own, so that one can stand for many servers.
type Host struct {
	*Space
	N            int
	Addr4, Addr6 netip.Addr // on the segment of the balancer
	Net4, Net6   netip.Prefix
	served       *served
}

// Addresses of the fixture.
var (
	Back4     = netip.MustParsePrefix("10.30.0.0/16") // the segment of the servers; the balancer is its first address
	Back6     = netip.MustParsePrefix("fd10:30::/64")
	BackGate4 = netip.MustParseAddr("10.30.0.1")
	BackGate6 = netip.MustParseAddr("fd10:30::1")
)

// NewFarm makes the namespaces and what joins them.
func NewFarm(t testing.TB, layout FarmLayout) *Farm {
	t.Helper()
	f := &Farm{Space: New(t), Clients: New(t), layout: layout}
	f.Clients.Crew(15)
	f.router()
	f.Set("netfilter/nf_conntrack_tcp_timeout_time_wait", "5")
	f.Set("netfilter/nf_conntrack_tcp_timeout_close", "1") // clients reset what they close
	// Sixteen clients share 28,000 ports of an address; reuse must not wait.
	f.Clients.Set("ipv4/tcp_tw_reuse", "1")
	segment := New(t)
	segment.Batch("link add seg0 type bridge", "link set seg0 up")
	f.plug(segment, f.Space, "back0", "gate")
	f.Batch("addr add "+BackGate4.String()+"/16 dev back0", "addr add "+BackGate6.String()+"/64 dev back0 nodad")
	for n := 1; n <= layout.Hosts; n++ {
		f.host(t, segment, n)
	}
	f.clients(segment)
	return f
}

// plug joins a namespace to the bridge of a segment.
func (f *Farm) plug(segment, s *Space, name, port string) {
	f.t.Helper()
	s.Set("ipv6/conf/default/accept_dad", "0")
	s.Cable(name, segment, port)
	segment.IP("link set dev " + port + " master seg0")
}

// host makes a server's machine.
func (f *Farm) host(t testing.TB, segment *Space, n int) {
	t.Helper()
	h := &Host{Space: New(t), N: n,
		Addr4: netip.AddrFrom4([4]byte{10, 30, 0, byte(10 + n)}),
		Net4:  netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 31, byte(n), 0}), 24),
		Addr6: netip.MustParseAddr(fmt.Sprintf("fd10:30::%x", 16+n)),
		Net6:  netip.MustParsePrefix(fmt.Sprintf("fd10:31:%x::/64", n))}
	f.Hosts = append(f.Hosts, h)
	f.plug(segment, h.Space, "eth0", fmt.Sprintf("host%d", n))
	h.Set("ipv6/ip_nonlocal_bind", "1")
	h.Set("ipv4/conf/all/rp_filter", "0")
	h.Batch(fmt.Sprintf("addr add %s/16 dev eth0", h.Addr4), fmt.Sprintf("addr add %s/64 dev eth0 nodad", h.Addr6),
		fmt.Sprintf("route add local %s dev lo", h.Net4), fmt.Sprintf("-6 route add local %s dev lo", h.Net6))
	h.routes()
	h.Must(hostRules, "nft", "-f", "-")
	f.Batch(fmt.Sprintf("route add %s via %s", h.Net4, h.Addr4), fmt.Sprintf("-6 route add %s via %s", h.Net6, h.Addr6))
}

// routes are what the kernel takes away with the carrier.
func (h *Host) routes() {
	h.t.Helper()
	h.Batch(fmt.Sprintf("route replace default via %s", BackGate4), fmt.Sprintf("-6 route replace default via %s", BackGate6))
}

// clients joins the clients to the balancer.
func (f *Farm) clients(segment *Space) {
	f.t.Helper()
	c := f.Clients
	c.Set("ipv6/ip_nonlocal_bind", "1")
	c.Set("ipv4/ping_group_range", "0 2147483647")
	c.Set("ipv4/ip_local_port_range", "10000 65000")
	if f.layout.OneArm {
		f.plug(segment, c, "eth0", "clients")
		c.Batch("addr add 10.30.128.1/16 dev eth0", "addr add fd10:30::8000/64 dev eth0 nodad",
			"route add local 10.30.128.0/17 dev lo", "-6 route add local fd10:30::1:0/112 dev lo",
			"route add default via "+BackGate4.String(), "-6 route add default via "+BackGate6.String())
		f.Batch(near6) // a kernel answers no neighbour solicitation for addresses of a local route
		for _, h := range f.Hosts {
			h.Batch(near6)
		}
		return
	}
	c.Set("ipv6/conf/default/accept_dad", "0")
	f.Cable("front0", c, "eth0")
	f.Batch("addr add 192.0.2.1/24 dev front0", "addr add 2001:db8:2::1/64 dev front0 nodad",
		"route add 10.10.0.0/16 via 192.0.2.2", "-6 route add fd10:10::/64 via 2001:db8:2::2")
	c.Batch("addr add 192.0.2.2/24 dev eth0", "addr add 2001:db8:2::2/64 dev eth0 nodad",
		"route add local 10.10.0.0/16 dev lo", "-6 route add local fd10:10::/64 dev lo",
		"route add default via 192.0.2.1", "-6 route add default via 2001:db8:2::1")
}

// near6 is the way to IPv6 clients on one arm.
const near6 = "-6 route add fd10:30::1:0/112 via fd10:30::8000"

// Client4 gives the n-th address of a client, n from 0 to 20000.
func (f *Farm) Client4(n int) netip.Addr {
	if f.layout.OneArm {
		return netip.AddrFrom4([4]byte{10, 30, byte(129 + n/250), byte(1 + n%250)})
	}
	return netip.AddrFrom4([4]byte{10, 10, byte(1 + n/250), byte(1 + n%250)})
}

// Client6 gives the n-th address of a client, n from 0 to 20000.
func (f *Farm) Client6(n int) netip.Addr {
	a := netip.MustParseAddr("fd10:10::").As16()
	if f.layout.OneArm {
		a = netip.MustParseAddr("fd10:30::1:0").As16()
	}
	a[14], a[15] = byte((n+1)>>8), byte(n+1)
	return netip.AddrFrom16(a)
}

// Virtual4 gives the n-th address for a virtual server, n from 1 to 100. On
// one arm it is of the segment, and the balancer has to have it; else clients
// send by the balancer whatever it has.
func (f *Farm) Virtual4(n int) netip.Addr {
	if f.layout.OneArm {
		return netip.AddrFrom4([4]byte{10, 30, 1, byte(n)})
	}
	return netip.AddrFrom4([4]byte{203, 0, 113, byte(n)})
}

// Virtual6 gives the n-th address for a virtual server, n from 1 to 100.
func (f *Farm) Virtual6(n int) netip.Addr {
	a := netip.MustParseAddr("2001:db8:113::").As16()
	if f.layout.OneArm {
		a = netip.MustParseAddr("fd10:30::100:0").As16()
	}
	a[15] = byte(n)
	return netip.AddrFrom16(a)
}

// Server gives the n-th further address of a host, n from 0 to 250, of the
// family of another address.
func (h *Host) Server(n int, like netip.Addr) netip.Addr {
	if like.Is4() {
		a := h.Net4.Addr().As4()
		a[3] = byte(n + 1)
		return netip.AddrFrom4(a)
	}
	a := h.Net6.Addr().As16()
	a[15] = byte(n + 1)
	return netip.AddrFrom16(a)
}

// HostOf gives the host that an address belongs to, 0 if none.
func (f *Farm) HostOf(a netip.Addr) int {
	a = a.Unmap()
	for _, h := range f.Hosts {
		if a == h.Addr4 || a == h.Addr6 || h.Net4.Contains(a) || h.Net6.Contains(a) {
			return h.N
		}
	}
	return 0
}

// hostRules are a host's: what it drops, refuses and counts.
const hostRules = `table inet host {
	counter pings { }
	counter syns { }
	set dead { type inet_service; }
	set mute { type inet_service; }
	chain arrive {
		type filter hook prerouting priority -300;
		icmp type echo-request counter name pings
		icmpv6 type echo-request counter name pings
		tcp flags & (syn | ack) == syn counter name syns
	}
	chain silence { type filter hook prerouting priority -290; }
	chain quiet { type filter hook output priority -290; }
	chain refuse {
		type filter hook input priority 0;
		meta l4proto { tcp, udp } th dport @mute drop
		tcp dport @dead reject with tcp reset
		udp dport @dead reject
	}
}
`

// Silence makes the host say and hear nothing, or be as before; its neighbours
// still resolve its address. A machine that hangs behind a line that looks
// well.
func (h *Host) Silence(on bool) {
	h.t.Helper()
	rules := "flush chain inet host silence\nflush chain inet host quiet\n"
	if on {
		rules += "add rule inet host silence icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" +
			"add rule inet host quiet icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n" +
			"add rule inet host silence drop\nadd rule inet host quiet drop\n"
	}
	h.Must(rules, "nft", "-f", "-")
}

// Die makes the host refuse what comes to a port, TCP by a reset and UDP by
// ICMP, also of connections that are open; or be as before. A program that
// died on a machine that did not.
func (h *Host) Die(port uint16, on bool) { h.element("dead", port, on) }

// Mute makes the host drop what comes to a port, or be as before: a program
// that hangs.
func (h *Host) Mute(port uint16, on bool) { h.element("mute", port, on) }

func (h *Host) element(set string, port uint16, on bool) {
	h.t.Helper()
	verb := "add"
	if !on {
		verb = "delete"
	}
	h.Must(fmt.Sprintf("%s element inet host %s { %d }\n", verb, set, port), "nft", "-f", "-")
}

// Hold gives the host addresses of virtual servers, which it answers for to
// nobody (ARP): it serves them where a balancer sends packets on unchanged.
func (h *Host) Hold(addresses ...netip.Addr) {
	h.t.Helper()
	h.Set("ipv4/conf/all/arp_ignore", "1")
	h.Set("ipv4/conf/all/arp_announce", "2")
	for _, a := range addresses {
		if a.Is4() {
			h.IP(fmt.Sprintf("addr add %s/32 dev lo", a))
		} else {
			h.IP(fmt.Sprintf("addr add %s/128 dev lo nodad", a))
		}
	}
}

// Pings says how many ICMP echo requests came to the host.
func (h *Host) Pings() int { h.t.Helper(); return h.packets("host", "pings") }

// SYNs says how many TCP connections were tried with the host.
func (h *Host) SYNs() int { h.t.Helper(); return h.packets("host", "syns") }

// packets reads a counter.
func (s *Space) packets(table, name string) int {
	s.t.Helper()
	text := s.Must("", "nft", "list", "counter", "inet", table, name)
	found := regexp.MustCompile(`packets (\d+)`).FindStringSubmatch(text)
	if found == nil {
		s.t.Fatalf("no packets in %s", text)
	}
	n, err := strconv.Atoi(found[1])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// Witness counts packets of a namespace by a rule of the test's own.
type Witness struct {
	Name string
	s    *Space
}

// Watch counts packets that match, at a hook: Watch("marked", "postrouting
// priority 400", "meta mark != 0"). Names are of a namespace.
func (s *Space) Watch(name, hook, match string) *Witness {
	s.t.Helper()
	s.Must(fmt.Sprintf("table inet witness_%s {\n\tcounter seen { }\n\tchain look { type filter hook %s; %s counter name seen; }\n}\n", name, hook, match), "nft", "-f", "-")
	return &Witness{name, s}
}

// Packets says how many there were.
func (w *Witness) Packets() int { w.s.t.Helper(); return w.s.packets("witness_"+w.Name, "seen") }
