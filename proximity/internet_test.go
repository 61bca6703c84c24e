package proximity

import (
	"context"
	"encoding/binary"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/probe"
)

// internet is what a link leads to: a TUN interface, behind which a goroutine
// plays the routers and the one host that is asked for. The kernel's own stack is
// on our side only.
type internet struct {
	routers []netip.Addr  // on the way, in order; the zero Addr never answers
	delay   time.Duration // of every answer
	host    host

	tun    *os.File
	mu     sync.Mutex
	got    []packet // what was sent into it
	replay func(p packet) [][]byte
}

// host is how a target behaves; what it is not told to answer it is silent to.
type host struct {
	echo, unreachable bool // ICMP echo; port unreachable for UDP
	tcp               byte // flags of the answer to a SYN: SYN-ACK or RST; 0: none
	dns               func(query []byte) []byte
	by                netip.Addr // who says "port unreachable"; the zero Addr: itself
}

const (
	flagRST    = 0x04
	flagSYNACK = 0x12
)

// packet is an IP packet taken apart.
type packet struct {
	src, dst netip.Addr
	ttl      int
	proto    byte
	payload  []byte // from the header of ICMP, TCP or UDP on
	raw      []byte
}

// newInternet makes a link, an interface of a space with an address of either
// family, and plays what is behind it until the test ends.
func newInternet(t *testing.T, s *nettest.Space, device, v4, v6 string) *internet {
	t.Helper()
	n := &internet{}
	var err error
	s.Do(func() { n.tun, err = openTUN(device) })
	if err != nil {
		nettest.Missing(t, "needs /dev/net/tun: %v", err)
	}
	s.IP("addr add " + v4 + " dev " + device)
	s.IP("addr add " + v6 + " dev " + device + " nodad")
	s.IP("link set " + device + " up")
	var wg sync.WaitGroup
	wg.Go(func() { n.play(&wg) })
	t.Cleanup(func() { n.tun.Close(); wg.Wait() })
	return n
}

func openTUN(device string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(device)
	if err != nil {
		return nil, err
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), device), nil
}

func (n *internet) play(wg *sync.WaitGroup) {
	for buf := make([]byte, 4096); ; {
		k, err := n.tun.Read(buf)
		if err != nil {
			return
		}
		p, ok := parsePacket(append([]byte(nil), buf[:k]...))
		if !ok || p.dst.IsMulticast() {
			continue
		}
		n.mu.Lock()
		n.got = append(n.got, p)
		replies, delay := n.replies(p), n.delay
		n.mu.Unlock()
		wg.Add(1)
		time.AfterFunc(delay, func() {
			defer wg.Done()
			for _, r := range replies {
				n.tun.Write(r)
			}
		})
	}
}

// replies are what comes back to a packet. The caller holds n.mu.
func (n *internet) replies(p packet) (all [][]byte) {
	if n.replay != nil {
		all = n.replay(p)
	}
	if p.ttl <= len(n.routers) {
		if r := n.routers[p.ttl-1]; r.IsValid() {
			all = append(all, n.icmpError(p, r, p.ttl-1, true))
		}
		return all
	}
	if r := n.hostReply(p); r != nil {
		all = append(all, r)
	}
	return all
}

func (n *internet) hostReply(p packet) []byte {
	h := n.host
	switch {
	case p.proto == 1 && h.echo && p.payload[0] == 8, p.proto == 58 && h.echo && p.payload[0] == 128:
		m, err := icmp.ParseMessage(int(p.proto), p.payload)
		if err != nil {
			return nil
		}
		if m.Type = ipv4.ICMPTypeEchoReply; p.proto == 58 {
			m.Type = ipv6.ICMPTypeEchoReply
		}
		return n.pack(p.dst, p.src, len(n.routers), p.proto, marshal(m, p.dst, p.src))
	case p.proto == 6 && h.tcp != 0 && p.payload[13] == 0x02:
		b := make([]byte, 20)
		copy(b, p.payload[2:4])
		copy(b[2:], p.payload[:2])
		binary.BigEndian.PutUint32(b[4:], 12345)
		binary.BigEndian.PutUint32(b[8:], binary.BigEndian.Uint32(p.payload[4:])+1)
		b[12], b[13] = 5<<4, h.tcp|0x10
		binary.BigEndian.PutUint16(b[14:], 1024)
		binary.BigEndian.PutUint16(b[16:], sum(b, p.dst, p.src, 6))
		return n.pack(p.dst, p.src, len(n.routers), 6, b)
	case p.proto == 17 && h.dns != nil && binary.BigEndian.Uint16(p.payload[2:]) == 53:
		return n.udp(p, h.dns(p.payload[8:]))
	case p.proto == 17 && h.unreachable:
		from := p.dst
		if h.by.IsValid() {
			from = h.by
		}
		return n.icmpError(p, from, len(n.routers), false)
	}
	return nil
}

// udp is a datagram in reply to p.
func (n *internet) udp(p packet, payload []byte) []byte {
	if payload == nil {
		return nil
	}
	b := append(make([]byte, 8), payload...)
	copy(b, p.payload[2:4])
	copy(b[2:], p.payload[:2])
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	binary.BigEndian.PutUint16(b[6:], sum(b, p.dst, p.src, 17))
	return n.pack(p.dst, p.src, len(n.routers), 17, b)
}

// icmpError is what a router or host, so many hops before us, says of a packet:
// time exceeded or port unreachable. Routers quote as little as they may.
func (n *internet) icmpError(p packet, from netip.Addr, hops int, exceeded bool) []byte {
	m := icmp.Message{Type: ipv4.ICMPTypeDestinationUnreachable, Code: 3, Body: &icmp.DstUnreach{Data: p.raw}}
	proto, quote := byte(1), p.raw
	if exceeded && len(quote) > 28 && p.src.Is4() {
		quote = quote[:28]
	}
	switch {
	case p.src.Is4() && exceeded:
		m = icmp.Message{Type: ipv4.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quote}}
	case p.src.Is6() && exceeded:
		proto, m = 58, icmp.Message{Type: ipv6.ICMPTypeTimeExceeded, Body: &icmp.TimeExceeded{Data: quote}}
	case p.src.Is6():
		proto, m = 58, icmp.Message{Type: ipv6.ICMPTypeDestinationUnreachable, Code: 4, Body: &icmp.DstUnreach{Data: quote}}
	}
	return n.pack(from, p.src, hops, proto, marshal(&m, from, p.src))
}

func marshal(m *icmp.Message, src, dst netip.Addr) []byte {
	var pseudo []byte
	if src.Is6() {
		pseudo = icmp.IPv6PseudoHeader(src.AsSlice(), dst.AsSlice())
	}
	b, err := m.Marshal(pseudo)
	if err != nil {
		panic(err)
	}
	return b
}

// pack puts an IP header before a payload, with the TTL that is left of 64
// after so many routers.
func (n *internet) pack(src, dst netip.Addr, hops int, proto byte, payload []byte) []byte {
	if src.Is6() {
		b := make([]byte, 40, 40+len(payload))
		b[0], b[6], b[7] = 6<<4, proto, byte(64-hops)
		binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
		copy(b[8:], src.AsSlice())
		copy(b[24:], dst.AsSlice())
		return append(b, payload...)
	}
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 4<<4|5, byte(64-hops), proto
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(b[10:], fold(b))
	return append(b, payload...)
}

func parsePacket(b []byte) (p packet, ok bool) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		head := int(b[0]&15) * 4
		src, _ := netip.AddrFromSlice(b[12:16])
		dst, _ := netip.AddrFromSlice(b[16:20])
		p = packet{src, dst, int(b[8]), b[9], b[head:], b}
	case len(b) >= 40 && b[0]>>4 == 6:
		src, _ := netip.AddrFromSlice(b[8:24])
		dst, _ := netip.AddrFromSlice(b[24:40])
		p = packet{src, dst, int(b[7]), b[6], b[40:], b}
	}
	return p, len(p.payload) >= 8
}

// sum is the checksum of TCP or UDP over a pseudo header and b, whose own
// field is 0.
func sum(b []byte, src, dst netip.Addr, proto byte) uint16 {
	return fold(append(append(src.AsSlice(), dst.AsSlice()...), 0, proto, byte(len(b)>>8), byte(len(b))), b)
}

func fold(parts ...[]byte) uint16 {
	var s uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			s += uint32(b[i]) << 8
			if i+1 < len(b) {
				s += uint32(b[i+1])
			}
		}
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

// set changes how the internet behaves.
func (n *internet) set(change func(n *internet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

// sent takes the packets to an address that were sent so far.
func (n *internet) sent(to netip.Addr) (got []packet) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.got {
		if p.dst == to {
			got = append(got, p)
		}
	}
	n.got = nil
	return got
}

// bench is two links to internets of their own, the routing table preferring
// the first.
type bench struct {
	*nettest.Space
	t     *testing.T
	links [2]*internet
}

var (
	bench4, bench6 = netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8:c::77")
	both           = []netip.Addr{bench4, bench6}
)

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{Space: nettest.New(t), t: t}
	b.links[0] = newInternet(t, b.Space, "wan0", "198.51.100.1/24", "2001:db8:a::1/64")
	b.links[1] = newInternet(t, b.Space, "wan1", "203.0.113.1/24", "2001:db8:b::1/64")
	for i, device := range []string{"wan0", "wan1"} {
		metric := []string{"10", "20"}[i]
		b.IP("route add default dev " + device + " metric " + metric)
		b.IP("-6 route add default dev " + device + " metric " + metric)
	}
	b.settle()
	return b
}

// settle waits until packets come back in both families: Linux takes an IPv6
// address into use some time after the interface is up.
func (b *bench) settle() {
	b.links[1].set(func(n *internet) { n.host = host{echo: true} })
	for _, target := range both {
		err := errSilent
		for try := 0; try < 100 && err != nil; try++ {
			_, _, err = b.run(measureICMP, target, 50*time.Millisecond)
		}
		if err != nil {
			b.t.Fatalf("no packet comes back from %s: %v", target, err)
		}
		b.links[1].sent(target)
	}
	b.links[1].set(func(n *internet) { n.host, n.got = host{}, nil })
}

// routersTo are the routers on the way to a target; the last stands in its
// network.
func routersTo(target netip.Addr, n int) []netip.Addr {
	all := make([]netip.Addr, n)
	for i := range all {
		if target.Is4() {
			all[i] = netip.AddrFrom4([4]byte{100, 64, byte(i), 1})
		} else {
			all[i] = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0xff, 14: byte(i), 15: 1})
		}
	}
	if n > 0 {
		b := target.AsSlice()
		b[len(b)-1] = 1
		all[n-1], _ = netip.AddrFromSlice(b)
	}
	return all
}

func networkOf(target netip.Addr) netip.Prefix {
	bits := 24
	if target.Is6() {
		bits = 56
	}
	p, err := target.Prefix(bits)
	if err != nil {
		panic(err)
	}
	return p
}

// run measures by one method over the second link, which nobody would take who
// is not pinned, and tells how many packets were asked for.
func (b *bench) run(m Method, target netip.Addr, wait time.Duration) (s Sample, packets int, err error) {
	p := Path{
		Link: "second", Pin: probe.Pin{Device: "wan1"}, Prefix: networkOf(target), Port: 53, Wait: wait,
		Spend: func(ctx context.Context, n int) error { packets += n; return ctx.Err() },
	}
	b.Do(func() { s, err = m(b.t.Context(), p, target) })
	return s, packets, err
}
