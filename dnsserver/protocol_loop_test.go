package dnsserver

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// Source ports: none that no client asks from gets a reply, port 53 does. Some
// resolvers ask from 53, as old firewalls made them; a server there sends
// responses, and these are never answered.
func TestProtocol_SourcePorts(t *testing.T) {
	table := answerTable(t)
	query, _ := asking("mail.example.com.", typeA).Pack()
	for _, overTCP := range []bool{false, true} {
		h := newBench(t, table, overTCP).h
		for port := range 65536 {
			silent := !overTCP && (port == 0 || port == 7 || port == 13 || port == 17 || port == 19 || port == 37)
			from := netip.AddrPortFrom(benchSource.Addr(), uint16(port))
			if got := h.handle(query, from, make([]byte, udpReplySize)); (got == nil) != silent {
				t.Errorf("from port %d (TCP: %v): %d octets", port, overTCP, len(got))
			}
			if raceEnabled && port > 1100 {
				break
			}
		}
	}
}

// Two servers that are pointed at each other stay silent: what one says to a
// message, good or bad, the other says nothing to. All that each sends to the
// middle is passed on to the other.
func TestProtocol_Loop(t *testing.T) {
	one, two := protocolServer(t, protocolZone), protocolServer(t, protocolZone)
	t.Cleanup(one.stop) // before the first look for goroutines that are left
	middle, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { middle.Close() })
	buf := make([]byte, 65535)
	sent := 0
	for _, row := range protocolRows() {
		if row.want == "silent" || len(row.msg) > 9000 {
			continue
		}
		sent++
		if _, err := middle.WriteToUDPAddrPort(row.msg, one.udp); err != nil {
			t.Fatal(err)
		}
		_ = middle.SetReadDeadline(time.Now().Add(patience))
		n, from, err := middle.ReadFromUDPAddrPort(buf)
		if err != nil || from != one.udp {
			t.Fatalf("%s: %d octets from %v, %v", row.name, n, from, err)
		}
		if _, err := middle.WriteToUDPAddrPort(buf[:n], two.udp); err != nil {
			t.Fatal(err)
		}
	}
	// Each server's socket for us answers in order: its answer to a last query is
	// the first thing that comes, if all before got none.
	for _, server := range []*running{two, one} {
		last := numbered(good, 0xffff)
		if _, err := middle.WriteToUDPAddrPort(last, server.udp); err != nil {
			t.Fatal(err)
		}
		n, from, err := middle.ReadFromUDPAddrPort(buf)
		if err != nil || from != server.udp || n < 12 || binary.BigEndian.Uint16(buf) != 0xffff {
			t.Fatalf("a reply to a reply: %x from %v, %v", buf[:n], from, err)
		}
	}
	two.stop()
	if got := two.Stats().Dropped["response"]; got != uint64(sent) || sent < 100 {
		t.Errorf("%d responses dropped, %d sent", got, sent)
	}
}

// The same with real packets: from port 53 over a socket, from the others over
// a raw one, for no socket can be bound to port 0.
func TestProtocol_SourcePorts_Root(t *testing.T) {
	nettest.NeedRoot(t)
	r := protocolServer(t, protocolZone)
	conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 53), Port: 53}, net.UDPAddrFromAddrPort(r.udp))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p := udpPeer(t, r)
	p.conn = conn
	if got := p.ask(good, true); got != answered {
		t.Errorf("from port 53: %s", got)
	}
	raw, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(raw)
	ports := []uint16{0, 7, 13, 17, 19, 37}
	for _, port := range ports {
		packet := wire{}.u16(port, r.udp.Port(), uint16(8+len(good)), 0) // no checksum (RFC 768)
		if err := unix.Sendto(raw, append(packet, good...), 0, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(patience); r.Stats().Dropped["malformed"] != uint64(len(ports)); {
		if time.Now().After(deadline) {
			t.Fatalf("%v", r.Stats().Dropped)
		}
		if got := p.ask(good, true); got != answered {
			t.Fatal(got)
		}
	}
	if n := r.Stats().Dropped["socket"]; n != 0 {
		t.Errorf("%d replies could not be sent: there was one", n)
	}
}
