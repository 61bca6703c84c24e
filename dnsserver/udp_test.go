package dnsserver

import (
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// narrow is a UDP socket whose way out takes packets of mtu octets, as one
// that may not send fragments finds.
type narrow struct {
	packetConn
	mtu  int
	sent [][]byte
}

func (n *narrow) SetReadBuffer(int) error { return nil }

func (n *narrow) WriteMsgUDPAddrPort(b, _ []byte, _ netip.AddrPort) (int, int, error) {
	if len(b) > n.mtu {
		return 0, 0, &net.OpError{Op: "write", Err: os.NewSyscallError("sendmsg", syscall.EMSGSIZE)}
	}
	n.sent = append(n.sent, append([]byte(nil), b...))
	return len(b), 0, nil
}

// An answer that does not fit the path is not lost: the client hears TC.
func TestUDP_PathMTU(t *testing.T) {
	s := New(Options{})
	s.Use(newTable(&config.DNS{UDPSize: 4096}, mustZone(t, "example.com.", largeZone(), nil)))
	conn := &narrow{mtu: 1472}
	u := newUDPSocket(s, conn)
	for _, edns := range []bool{true, false} {
		for _, name := range []string{"txt.example.com.", "mx.example.com.", "www.cut.example.com."} {
			m := asking(name, dns.TypeTXT)
			if name == "mx.example.com." {
				m.Question[0].Qtype = dns.TypeMX
			}
			if edns {
				m.SetEdns0(4096, true)
			}
			packet, _ := m.Pack()
			conn.sent = nil
			whole := u.h.handle(packet, benchSource, make([]byte, udpReplySize))
			size := len(whole)
			u.reply(whole, nil, benchSource)
			if len(conn.sent) != 1 {
				t.Fatalf("%s: %d octets, %d packets sent", name, size, len(conn.sent))
			}
			got := new(dns.Msg)
			if err := got.Unpack(conn.sent[0]); err != nil {
				t.Fatal(err)
			}
			cut := size > conn.mtu
			if cut != edns && name == "txt.example.com." {
				t.Errorf("%s: %d octets prove nothing", name, size)
			}
			if cut && (!got.Truncated || len(got.Answer)+len(got.Ns)+len(withoutOPT(got.Extra)) > 0 || got.Question[0] != m.Question[0]) {
				t.Errorf("%s: want the question and TC: %v", name, got)
			}
			if opt := got.IsEdns0(); (opt != nil) != edns || edns && (!opt.Do() || opt.UDPSize() != 4096) {
				t.Errorf("%s: OPT %v", name, opt)
			}
		}
	}
	if n := s.Stats().Dropped["socket"]; n > 0 {
		t.Errorf("%d replies lost", n)
	}
}

// A reply is cut short whatever it holds, and stays readable.
func TestShorten_Any(t *testing.T) {
	b := newBench(t, answerTable(t), true)
	for _, name := range []string{"mail.example.com.", "www.child.example.com.", "nothing.example.com.", "www.example.org."} {
		m := asking(name, dns.TypeA)
		m.SetEdns0(1232, false)
		packet, _ := m.Pack()
		got := b.unpack(shorten(b.send(packet)))
		if !got.Truncated || len(got.Question) != 1 || len(got.Extra) != 1 || got.IsEdns0() == nil || len(got.Answer)+len(got.Ns) > 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := b.unpack(shorten(b.send(make([]byte, headerSize)))); !got.Truncated || len(got.Question) > 0 {
		t.Errorf("without a question: %v", got)
	}
}
