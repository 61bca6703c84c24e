package dnsserver

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

const (
	udpQuerySize = 65535 // octets of a query over UDP: any datagram, also one that padding filled (RFC 7830)
	udpReplySize = 16384
)

// udpSocket is one socket and what its goroutine owns.
type udpSocket struct {
	conn   packetConn
	h      *handler
	buffer int // octets asked of the kernel for queries that wait
}

// packetConn is what is used of a [net.UDPConn].
type packetConn interface {
	ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
	WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
	SetReadBuffer(bytes int) error
	SetReadDeadline(t time.Time) error
	LocalAddr() net.Addr
	Close() error
}

func newUDPSocket(s *Server, conn packetConn) *udpSocket {
	return &udpSocket{conn: conn, h: s.newHandler(false)}
}

// serve answers until the socket is stopped. Its buffers are the same for ever.
func (u *udpSocket) serve(ctx context.Context) {
	in, out, control := make([]byte, udpQuerySize), make([]byte, udpReplySize), make([]byte, 64)
	for ctx.Err() == nil {
		n, nc, flags, source, err := u.conn.ReadMsgUDPAddrPort(in, control)
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			u.h.count.drop(dropSocket)
			pause(ctx, 10*time.Millisecond) // a socket that fails at once must not burn a core
			continue
		}
		if flags&unix.MSG_TRUNC != 0 {
			u.h.count.drop(dropMalformed)
			continue
		}
		u.h.control = control[:nc]
		u.reply(u.h.handle(in[:n], source, out), replyFrom(control[:nc]), source)
	}
}

// reply sends a reply. One that is too large for the way out, where nothing is
// sent in fragments, would be lost: the client is told to ask over TCP instead.
func (u *udpSocket) reply(msg, control []byte, to netip.AddrPort) {
	if msg == nil {
		return
	}
	_, _, err := u.conn.WriteMsgUDPAddrPort(msg, control, to)
	if errors.Is(err, unix.EMSGSIZE) {
		_, _, err = u.conn.WriteMsgUDPAddrPort(shorten(msg), control, to)
	}
	if err != nil {
		u.h.count.drop(dropSocket)
	}
}

// noClient tells the ports that no client asks from. What answers whatever comes
// there (echo, daytime, quote of the day, chargen, time) and a server that
// answers it would talk for ever. Resolvers behind old firewalls do ask from 53;
// a server at the other end of that sends responses, which get no reply.
func noClient(port uint16) bool {
	switch port {
	case 0, 7, 13, 17, 19, 37:
		return true
	}
	return false
}

// stop makes serve return when it has answered what it is at.
func (u *udpSocket) stop() { _ = u.conn.SetReadDeadline(time.Unix(1, 0)) }

// replyFrom turns the control message that says where a packet went into the
// one that makes the reply come from there: the same, but for the interface,
// which routing chooses unless the address has a meaning only there.
func replyFrom(control []byte) []byte {
	const (
		head    = unix.SizeofCmsghdr
		index4  = head      // in_pktinfo: interface, source to use, destination
		index6  = head + 16 // in6_pktinfo: destination, interface
		length4 = head + unix.SizeofInet4Pktinfo
		length6 = head + unix.SizeofInet6Pktinfo
	)
	switch {
	case len(control) >= length6 && isControl(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO):
		if addr := netip.AddrFrom16([16]byte(control[head : head+16])); !addr.IsLinkLocalUnicast() {
			clear(control[index6 : index6+4])
		}
		return control[:min(len(control), unix.CmsgSpace(unix.SizeofInet6Pktinfo))]
	case len(control) >= length4 && isControl(control, unix.IPPROTO_IP, unix.IP_PKTINFO):
		clear(control[index4 : index4+4])
		return control[:min(len(control), unix.CmsgSpace(unix.SizeofInet4Pktinfo))]
	}
	return nil
}

// isControl tells what a control message is; level and type follow the length.
func isControl(control []byte, level, kind uint32) bool {
	at := unix.SizeofCmsghdr - 8
	return binary.NativeEndian.Uint32(control[at:]) == level && binary.NativeEndian.Uint32(control[at+4:]) == kind
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
