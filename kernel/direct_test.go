package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// segment is one Ethernet with a client, a balancer that has the virtual
// addresses, and two servers that have them too and tell nobody.
type segment struct {
	client, balancer *nettest.Space
	servers          []*nettest.Space
}

var (
	direct4 = []netip.Addr{netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")}
	direct6 = []netip.Addr{netip.MustParseAddr("fd00::3"), netip.MustParseAddr("fd00::4")}
)

func newSegment(t testing.TB) *segment {
	wire := nettest.New(t)
	wire.IP("link add br0 type bridge")
	wire.IP("link set br0 up")
	host := func(port, four, six string) *nettest.Space {
		s := nettest.New(t)
		wire.Cable(port, s, "eth0")
		wire.IP("link set dev " + port + " master br0")
		s.IP("addr add " + four + " dev eth0")
		s.IP("addr add " + six + " dev eth0 nodad")
		return s
	}
	g := &segment{client: host("c", "10.0.0.2/24", "fd00::2/64"), balancer: host("b", "10.0.0.1/24", "fd00::1/64")}
	for i, name := range []string{"s1", "s2"} {
		s := host(name, direct4[i].String()+"/24", direct6[i].String()+"/64")
		s.Set("ipv4/conf/all/arp_ignore", "1")
		s.Set("ipv4/conf/all/arp_announce", "2")
		s.IP("addr add " + vip4.String() + "/32 dev lo")
		s.IP("addr add " + vip6.String() + "/128 dev lo nodad")
		s.IP("link set lo up")
		g.servers = append(g.servers, s)
	}
	g.balancer.IP("addr add " + vip4.String() + "/32 dev eth0")
	g.balancer.IP("addr add " + vip6.String() + "/128 dev eth0 nodad")
	return g
}

func mac(t testing.TB, s *nettest.Space) (hw net.HardwareAddr) {
	t.Helper()
	s.Do(func() {
		if i, err := net.InterfaceByName("eth0"); err == nil {
			hw = i.HardwareAddr
		}
	})
	if len(hw) != 6 {
		t.Fatal("no Ethernet address")
	}
	return hw
}

// frames opens a socket for whole frames of a host's eth0.
func frames(t testing.TB, s *nettest.Space) (fd int) {
	t.Helper()
	var err error
	s.Do(func() {
		var i *net.Interface
		if i, err = net.InterfaceByName("eth0"); err != nil {
			return
		}
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(unix.ETH_P_ALL)<<8); err != nil {
			return
		}
		err = errors.Join(unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: unix.ETH_P_ALL << 8, Ifindex: i.Index}),
			unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(longEnough / time.Second)}))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// datagram writes a frame with UDP from the client to a virtual address.
func datagram(to, from net.HardwareAddr, vip netip.Addr, port uint16, text string) []byte {
	b := append(append([]byte{}, to...), from...)
	udp := binary.BigEndian.AppendUint16(nil, port)
	udp = binary.BigEndian.AppendUint16(udp, 80)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(text)))
	udp = append(append(udp, 0xab, 0xcd), text...) // a checksum of its own: nobody on the way may look at it
	if vip.Is4() {
		ip := []byte{0x45, 0xb9, 0, byte(20 + len(udp)), 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 2}
		ip = append(ip, vip.AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], sumOf(ip))
		return append(append(append(b, 8, 0), ip...), udp...)
	}
	ip := []byte{0x6b, 0x95, 0x43, 0x21, 0, byte(len(udp)), 17, 64}
	ip = append(append(ip, netip.MustParseAddr("fd00::2").AsSlice()...), vip.AsSlice()...)
	return append(append(append(b, 0x86, 0xdd), ip...), udp...)
}

func sumOf(ip []byte) uint16 {
	n := uint32(0)
	for i := 0; i < len(ip); i += 2 {
		n += uint32(binary.BigEndian.Uint16(ip[i:]))
	}
	for n>>16 != 0 {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// asSent undoes what a copy may differ in: the hop limit, one less, and with
// IPv4 DF. It is false if they were not so.
func asSent(frame []byte) bool {
	if ip := frame[14:]; ip[0]>>4 == 4 {
		if ip[8] != 63 || ip[6] != 0x40 || sumOf(ip[:20]) != 0 {
			return false
		}
		ip[8], ip[6], ip[10], ip[11] = 64, 0, 0, 0
		binary.BigEndian.PutUint16(ip[10:], sumOf(ip[:20]))
		return true
	} else if ip[7] != 63 {
		return false
	}
	frame[14+7] = 64
	return true
}

// A packet for a virtual address comes to the server that the table says, and to
// no other, with nothing changed but the Ethernet addresses, the hop limit and
// DF. The interpreter says the same server.
func TestDirect_Root(t *testing.T) {
	g := newSegment(t)
	k := stand(t, g.balancer)
	four, six := directTable(false, direct4...), directTable(true, direct6...)
	wishes := &Wishes{Tables: []Table{four, six}}
	k.Want("slb", wishes)
	k.synced("slb")
	world := NewWorld(wishes)
	client, balancer, out := mac(t, g.client), mac(t, g.balancer), frames(t, g.client)
	in := []int{frames(t, g.servers[0]), frames(t, g.servers[1])}
	seen := map[int]int{}
	for port := uint16(4000); port < 4032; port++ {
		for _, vip := range []netip.Addr{vip4, vip6} {
			sent := datagram(balancer, client, vip, port, strings.Repeat("portolan", int(port%16)+1))
			p := Packet{Source: netip.MustParseAddr("10.0.0.2"), Dest: vip, Protocol: 17, SourcePort: port, DestPort: 80, In: "eth0", Ct: CtInfo{State: CtNew}}
			servers := direct4
			if vip == vip6 {
				p.Source, servers = netip.MustParseAddr("fd00::2"), direct6
			}
			ways, err := world.Journey(p)
			if err != nil || len(ways) != 1 || ways[0].End != Dropped || len(ways[0].Copies) != 1 {
				t.Fatalf("%s port %d: the interpreter says %+v %v", vip, port, ways, err)
			}
			at := 0
			if ways[0].Copies[0] == servers[1] {
				at = 1
			}
			seen[at]++
			if _, err := unix.Write(out, sent); err != nil {
				t.Fatal(err)
			}
			got := await(t, in[at], port)
			if !bytes.Equal(got[:6], mac(t, g.servers[at])) || !bytes.Equal(got[6:12], balancer) {
				t.Errorf("%s port %d: frame from %x to %x", vip, port, got[6:12], got[:6])
			}
			if !asSent(got) || !bytes.Equal(got[12:], sent[12:]) {
				t.Errorf("%s port %d: came as\n%x, sent was\n%x", vip, port, got[12:], sent[12:])
			}
			if other := pending80(in[1-at]); other != 0 {
				t.Errorf("%s port %d: the other server got something too", vip, port)
			}
		}
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("not both servers were chosen: %v", seen)
	}
	counts, err := k.Counts(four.ID())
	if err != nil || counts["copied"].Packets != 32 {
		t.Errorf("%v %v", counts, err)
	}
	entries, err := openConntrackStats(t, g.balancer)
	if err != nil || entries != 0 {
		t.Errorf("%d sessions are tracked, %v", entries, err)
	}
}

func openConntrackStats(t *testing.T, s *nettest.Space) (uint32, error) {
	stats, err := openConntrack(t, s).Stats()
	return stats.Entries, err
}

// await reads the datagram from a port that a host gets.
func await(t *testing.T, fd int, port uint16) []byte {
	t.Helper()
	buf := make([]byte, 2048)
	for deadline := time.Now().Add(longEnough); time.Now().Before(deadline); {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if errors.Is(err, unix.EINTR) { // a socket with a timeout is not restarted after a signal, as of Go's own
			continue
		}
		if err != nil {
			t.Fatalf("port %d: %v", port, err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_HOST && is80(buf[:n]) == port {
			return buf[:n]
		}
	}
	t.Fatalf("port %d: nothing came", port)
	return nil
}

// is80 gives the source port of a datagram to port 80; 0: it is none.
func is80(f []byte) uint16 {
	at := map[[2]byte]int{{8, 0}: 34, {0x86, 0xdd}: 54}[[2]byte(f[12:14])]
	if at == 0 || len(f) < at+8 || binary.BigEndian.Uint16(f[at+2:]) != 80 {
		return 0
	}
	return binary.BigEndian.Uint16(f[at:])
}

// pending80 gives the source port of a datagram to port 80 that is there already.
func pending80(fd int) uint16 {
	buf := make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
		if err != nil {
			return 0
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_HOST && is80(buf[:n]) != 0 {
			return is80(buf[:n])
		}
	}
}

// A client talks with the servers, which answer it themselves: with the virtual
// address, and past the balancer. A datagram of several fragments comes whole.
func TestDirectReply_Root(t *testing.T) {
	g := newSegment(t)
	k := stand(t, g.balancer)
	tracking := Table{Name: "portolan_slb", Chains: []Chain{{Name: "early", Hook: &Hook{"filter", "prerouting", -152}, Rules: []Rule{{Do: []Step{Is{Of: CtMark, To: Number(1)}, Drop{}}}}}}}
	k.Want("slb", &Wishes{Tables: []Table{tracking, directTable(false, direct4...), directTable(true, direct6...)}})
	k.synced("slb")
	seen := frames(t, g.client)
	for i, s := range g.servers {
		for _, vip := range []netip.Addr{vip4, vip6} {
			answerFrom(t, s, netip.AddrPortFrom(vip, 80), byte('1'+i))
		}
	}
	by := map[byte]int{}
	for _, vip := range []netip.Addr{vip4, vip6} {
		for i := range 16 {
			size := 10
			if i%4 == 0 {
				size = 5000
			}
			server := g.exchange(t, netip.AddrPortFrom(vip, 80), size)
			by[server]++
		}
	}
	if by['1'] == 0 || by['2'] == 0 || by['1']+by['2'] != 32 {
		t.Errorf("answers came from %v", by)
	}
	balancer, buf := mac(t, g.balancer), make([]byte, 2048)
	for {
		n, from, err := unix.Recvfrom(seen, buf, unix.MSG_DONTWAIT)
		if err != nil {
			break
		}
		f, ll := buf[:n], from.(*unix.SockaddrLinklayer)
		if n > 24 && ll.Pkttype == unix.PACKET_HOST && bytes.Equal(f[6:12], balancer) && (f[12] == 8 && f[23] == 17 || f[12] == 0x86 && f[20] == 17) {
			t.Fatal("an answer came by the balancer")
		}
	}
}

// answerFrom answers each datagram to an address with a name and its length.
func answerFrom(t *testing.T, s *nettest.Space, at netip.AddrPort, name byte) {
	t.Helper()
	var c *net.UDPConn
	var err error
	s.Do(func() { c, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at)) })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 1<<16)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteToUDPAddrPort(binary.BigEndian.AppendUint16([]byte{name}, uint16(n)), from) // the client waits for it
		}
	}()
	t.Cleanup(func() { _ = c.Close(); <-done })
}

// exchange sends a datagram from a new port and tells who answered it.
func (g *segment) exchange(t *testing.T, to netip.AddrPort, size int) byte {
	t.Helper()
	var c net.Conn
	var err error
	g.client.Do(func() { c, err = net.Dial("udp", to.String()) })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	answer := make([]byte, 16)
	if err := errors.Join(c.SetDeadline(time.Now().Add(longEnough)), writes(c, size)); err != nil {
		t.Fatal(err)
	}
	n, err := c.Read(answer)
	if err != nil || n != 3 || int(binary.BigEndian.Uint16(answer[1:])) != size {
		t.Fatalf("%s, %d octets: answered %x %v", to, size, answer[:n], err)
	}
	return answer[0]
}

func writes(c net.Conn, size int) error {
	_, err := c.Write(make([]byte, size))
	return err
}

// BenchmarkDirect_Root is what a copy costs beside a packet that is routed and
// tracked, and one that is routed alone: the time of the sender's processor, in
// which the balancer works too.
func BenchmarkDirect_Root(b *testing.B) {
	for _, v6 := range []bool{false, true} {
		family, vip, servers := "IPv4", vip4, direct4
		if v6 {
			family, vip, servers = "IPv6", vip6, direct6
		}
		untracked := directTable(v6, servers...)
		untracked.Chains[0].Rules[0].Do = []Step{NoTrack{}}
		routed := servers[0]
		for _, c := range []struct {
			name   string
			dest   netip.Addr
			tables []Table
		}{
			{"routed", routed, nil},
			{"routed, not tracked", routed, []Table{untracked}},
			{"copied", vip, []Table{directTable(v6, servers...)}},
		} {
			b.Run(family+" "+c.name, func(b *testing.B) {
				g := newSegment(b)
				g.balancer.Set("ipv4/ip_forward", "1")
				g.balancer.Set("ipv6/conf/all/forwarding", "1")
				g.balancer.Set("ipv4/conf/all/send_redirects", "0")
				g.balancer.Set("ipv4/conf/eth0/send_redirects", "0")
				k := stand(b, g.balancer)
				k.Want("slb", &Wishes{Tables: c.tables})
				k.synced("slb")
				if len(c.tables) == 0 { // conntrack works once something asks for it
					mustNFT(b, g.balancer, "table inet t { chain c { type filter hook forward priority 0; ct state invalid drop; }; }", "-f", "-")
				}
				g.balancer.Set("netfilter/nf_conntrack_checksum", "0") // that of our datagrams is none
				out := frames(b, g.client)
				frame := datagram(mac(b, g.balancer), mac(b, g.client), c.dest, 4000, strings.Repeat("x", 100))
				b.ResetTimer()
				for b.Loop() {
					if _, err := unix.Write(out, frame); err != nil && !errors.Is(err, unix.ENOBUFS) {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
