package probe

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// An ACK out of nowhere makes a live TCP answer RST, whether the port is open
// or closed; no connection reaches the service (T54).
func TestHalfOpen_T54_Root(t *testing.T) {
	needRaw(t)
	accepted := make(chan struct{}, 1)
	handle := func(net.Conn) { accepted <- struct{}{} }
	open4 := serve(t, "tcp4", "127.0.0.1:0", handle)
	want(t, probeOnce(t, open4, config.Probe{Kind: "tcp-half-open"}), Pass, `RST in [0-9.]+ ms`)
	want(t, probeOnce(t, closedPort(t), config.Probe{Kind: "tcp-half-open"}), Pass, `RST in .*`)
	want(t, probeOnce(t, "127.0.0.1", config.Probe{Kind: "tcp-half-open"}), Void, `.*needs a port`)
	def := config.Probe{Kind: "tcp-half-open", Source: netip.MustParseAddr("127.0.0.5")}
	want(t, probeOnce(t, open4, def), Pass, `RST in .*`)
	open6 := serve(t, "tcp6", "[::1]:0", handle)
	want(t, probeOnce(t, open6, config.Probe{Kind: "tcp-half-open"}), Pass, `RST in .*`)
	if len(accepted) > 0 {
		t.Error("the service saw a connection")
	}
}

func TestReset_T54(t *testing.T) {
	s := segment{local: netip.MustParseAddrPort("192.0.2.9:40000"), peer: netip.MustParseAddrPort("192.0.2.1:80"), seq: 7, ack: 0xfedcba98}
	reset := func(change func([]byte)) []byte {
		b := make([]byte, tcpHeader)
		binary.BigEndian.PutUint16(b[0:], 80)
		binary.BigEndian.PutUint16(b[2:], 40000)
		binary.BigEndian.PutUint32(b[4:], s.ack)
		b[12], b[13] = 0x50, flagRST
		change(b)
		return b
	}
	peer := s.peer.Addr()
	if !s.resetBy(reset(func([]byte) {}), peer) {
		t.Error("our reset was not taken")
	}
	for name, change := range map[string]func([]byte){
		"other port here":  func(b []byte) { b[3]++ },
		"other port there": func(b []byte) { b[1]++ },
		"other sequence":   func(b []byte) { b[7]++ },
		"no reset":         func(b []byte) { b[13] = flagACK },
	} {
		if s.resetBy(reset(change), peer) {
			t.Errorf("%s was taken", name)
		}
	}
	if s.resetBy(reset(func([]byte) {}), netip.MustParseAddr("192.0.2.2")) || s.resetBy(nil, peer) {
		t.Error("a stranger's packet was taken")
	}
}

// A segment with its checksum filled in sums to zero.
func TestChecksum(t *testing.T) {
	for _, s := range []segment{
		{local: netip.MustParseAddrPort("192.0.2.9:40000"), peer: netip.MustParseAddrPort("192.0.2.1:80"), seq: 0xffffffff, ack: 1},
		{local: netip.MustParseAddrPort("[2001:db8::1]:40000"), peer: netip.MustParseAddrPort("[2001:db8::2]:80"), seq: 5, ack: 0xffff0000},
	} {
		if sum := checksum(s.bytes(), s.local.Addr(), s.peer.Addr()); sum != 0 {
			t.Errorf("%s: sum %x", s.peer, sum)
		}
	}
}

func FuzzReset(f *testing.F) {
	s := segment{local: netip.MustParseAddrPort("192.0.2.9:40000"), peer: netip.MustParseAddrPort("192.0.2.1:80"), seq: 7, ack: 9}
	f.Add(s.bytes())
	f.Add([]byte{0, 80})
	f.Fuzz(func(t *testing.T, b []byte) {
		if s.resetBy(b, s.peer.Addr()) && (len(b) < tcpHeader || b[13]&flagRST == 0 || binary.BigEndian.Uint32(b[4:]) != 9) {
			t.Errorf("took %x", b)
		}
	})
}
