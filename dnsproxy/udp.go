package dnsproxy

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// udpSocket is one socket that queries come by, and its reader.
type udpSocket struct {
	of   *listeners
	conn *net.UDPConn
	six  bool
}

func newUDPSocket(l *listeners, conn *net.UDPConn) *udpSocket {
	return &udpSocket{of: l, conn: conn, six: conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Is6()}
}

// serve reads queries until ctx is done. What it owns is the same for ever.
func (u *udpSocket) serve(ctx context.Context) {
	p := u.of.proxy
	buf, control, s := make([]byte, maxQuery+1), make([]byte, 256), newScratch()
	answer := u.reply
	later := func(started bool) {
		if started {
			u.of.replies.Add(1)
		} else {
			u.of.replies.Done()
		}
	}
	for ctx.Err() == nil {
		n, nc, flags, from, err := u.conn.ReadMsgUDPAddrPort(buf, control)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			pause(ctx, 10*time.Millisecond) // a socket that fails at once must not burn a core
			continue
		}
		p.count.udp.Add(1)
		q := &s.query
		q.client, q.tcp = netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), false
		q.asked, q.device = askedOf(control[:nc])
		switch {
		case flags&unix.MSG_TRUNC != 0:
			p.count.drops[dropMalformed].Add(1)
		case noClient(from.Port()):
			p.count.drops[dropPort].Add(1)
		case !p.opts.Direct && (!q.asked.IsValid() || q.asked.Port() == u.of.port):
			p.count.drops[dropDirect].Add(1)
		default:
			p.handle(s, buf[:n], answer, later)
		}
	}
}

// reply sends a reply from the address that was asked.
func (u *udpSocket) reply(q *query, msg []byte) {
	var err error
	if u.of.proxy.opts.Direct {
		_, err = u.conn.WriteToUDPAddrPort(msg, q.client)
	} else {
		err = u.of.reply.send(q, msg)
	}
	if err != nil {
		u.of.proxy.count.drops[dropSocket].Add(1)
	}
}

// noClient tells the ports that no client asks from: what answers whatever comes
// there would talk with us for ever.
func noClient(port uint16) bool {
	switch port {
	case 0, 7, 13, 17, 19, 37:
		return true
	}
	return false
}

// askedOf reads where a packet was sent to and the interface that it came in by
// from the control messages beside it. An address that has a meaning only there
// gets the interface for a zone.
func askedOf(control []byte) (asked netip.AddrPort, device int) {
	for len(control) > 0 {
		head, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return netip.AddrPort{}, 0
		}
		switch {
		case head.Level == unix.IPPROTO_IP && head.Type == unix.IP_ORIGDSTADDR && len(data) >= 8:
			asked = netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[4:8])), binary.BigEndian.Uint16(data[2:]))
		case head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_ORIGDSTADDR && len(data) >= 24:
			asked = netip.AddrPortFrom(netip.AddrFrom16([16]byte(data[8:24])), binary.BigEndian.Uint16(data[2:]))
		case head.Level == unix.IPPROTO_IP && head.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			device = int(binary.NativeEndian.Uint32(data))
		case head.Level == unix.IPPROTO_IPV6 && head.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			device = int(binary.NativeEndian.Uint32(data[16:]))
		}
		control = rest
	}
	if asked.IsValid() && asked.Addr().IsLinkLocalUnicast() && asked.Addr().Is6() {
		asked = netip.AddrPortFrom(asked.Addr().WithZone(strconv.Itoa(device)), asked.Port())
	}
	return asked, device
}

// pause waits, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
