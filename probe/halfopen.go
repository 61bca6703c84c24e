package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// probeHalfOpen sends a lone TCP ACK and takes an RST for life (T54). This is
// not a SYN scan: no connection is begun and the service does not notice.
//
// It proves that the target's TCP answers, not that the port is open: RFC 9293
// section 3.10.7 has a closed port and a listening one answer alike. Stateful
// firewalls on the path swallow such a segment, and some hosts do not answer
// it: use kind tcp there.
func probeHalfOpen(ctx context.Context, t *Task) Result {
	conn, s, hangUp, err := t.openReset(ctx)
	if errors.Is(err, syscall.EPERM) {
		return t.void("tcp-half-open needs the capability CAP_NET_RAW")
	}
	if err != nil {
		return t.failed(err)
	}
	defer hangUp()
	start := time.Now()
	if _, err := conn.Write(s.bytes()); err != nil {
		return t.failed(err)
	}
	for buf := make([]byte, 2048); ; {
		n, peer, err := conn.(net.PacketConn).ReadFrom(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return t.silent()
		case err != nil:
			return t.failed(err)
		case s.resetBy(buf[:n], addrOf(peer)):
			return t.pass("RST in %s", took(time.Since(start)))
		}
	}
}

// openReset opens a raw socket that lets through the reset in reply to the
// segment it gives.
func (t *Task) openReset(ctx context.Context) (net.Conn, *segment, func(), error) {
	conn, hangUp, err := t.dial(ctx, "raw-tcp")
	if err != nil {
		return nil, nil, nil, err
	}
	local := addrOf(conn.LocalAddr())
	port, release, err := reservePort(local)
	if err != nil {
		hangUp()
		return nil, nil, nil, err
	}
	s := &segment{local: netip.AddrPortFrom(local, port), peer: t.Target, seq: rand.Uint32(), ack: rand.Uint32()}
	err = sieve(conn, local.Is4(), field{0, 2, uint32(s.peer.Port())}, field{2, 2, uint32(port)}, field{4, 4, s.ack})
	if err != nil {
		release()
		hangUp()
		return nil, nil, nil, err
	}
	return conn, s, func() { release(); hangUp() }, nil
}

// reservePort takes a TCP port out of use for as long as the probe runs, so
// that our ACK cannot hit a connection of this machine.
func reservePort(addr netip.Addr) (port uint16, release func(), err error) {
	family := unix.AF_INET6
	if addr.Is4() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, err
	}
	release = func() { _ = unix.Close(fd) } // a bound socket has nothing to lose
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		release()
		return 0, nil, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		release()
		return 0, nil, err
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		port = uint16(name.Port)
	case *unix.SockaddrInet6:
		port = uint16(name.Port)
	}
	return port, release, nil
}

// TCP header layout (RFC 9293 section 3.1).
const (
	tcpHeader = 20
	flagRST   = 0x04
	flagACK   = 0x10
	protoTCP  = 6
)

// segment is the ACK we send, and what the reset in reply must look like.
type segment struct {
	local, peer netip.AddrPort
	seq, ack    uint32
}

func (s *segment) bytes() []byte {
	b := make([]byte, tcpHeader)
	binary.BigEndian.PutUint16(b[0:], s.local.Port())
	binary.BigEndian.PutUint16(b[2:], s.peer.Port())
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	b[12] = tcpHeader / 4 << 4
	b[13] = flagACK
	binary.BigEndian.PutUint16(b[14:], 1024)
	binary.BigEndian.PutUint16(b[16:], checksum(b, s.local.Addr(), s.peer.Addr()))
	return b
}

// resetBy says whether a packet is the reset that our ACK calls for: from the
// peer's port to ours, with our acknowledgement number as its sequence number
// (RFC 9293 section 3.5.2).
func (s *segment) resetBy(b []byte, peer netip.Addr) bool {
	return len(b) >= tcpHeader &&
		peer.WithZone("") == s.peer.Addr().WithZone("") &&
		binary.BigEndian.Uint16(b[0:]) == s.peer.Port() &&
		binary.BigEndian.Uint16(b[2:]) == s.local.Port() &&
		binary.BigEndian.Uint32(b[4:]) == s.ack &&
		b[13]&flagRST != 0
}

// checksum is the TCP checksum over the pseudo header and b (RFC 9293, RFC
// 8200 section 8.1). len(b) must be even.
func checksum(b []byte, src, dst netip.Addr) uint16 {
	sum := uint32(protoTCP) + uint32(len(b))
	for _, part := range [][]byte{src.AsSlice(), dst.AsSlice(), b} {
		for i := 0; i+1 < len(part); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(part[i:]))
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
