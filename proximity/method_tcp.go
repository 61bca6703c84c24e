package proximity

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/probe"
)

const (
	tcpPackets = 3                      // SYN, ACK, and the RST that ends it
	tcpWait    = 900 * time.Millisecond // after 1 s the kernel sends a second SYN
)

// measureTCP connects and hangs up at once, by RST: at most three packets. An
// answer is one, be it SYN-ACK or RST. When it came, and with which TTL, is read
// from a raw socket beside, where we may open one; then an RST has to be seen
// there, for "connection refused" is also what a router's ICMP message leads to.
func measureTCP(ctx context.Context, p Path, target netip.Addr) (Sample, error) {
	if err := p.Spend(ctx, tcpPackets); err != nil {
		return Sample{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, min(p.Wait, tcpWait))
	defer cancel()
	return connect(ctx, p.Pin, netip.AddrPortFrom(target, p.Port))
}

func connect(ctx context.Context, pin probe.Pin, to netip.AddrPort) (Sample, error) {
	watch, unwatch, err := pin.Dial(ctx, "raw-tcp", to, nil)
	if err != nil {
		watch = nil
	} else {
		defer unwatch()
	}
	answer, err := answerReader(watch, to)
	if err != nil {
		return Sample{}, err
	}
	var local uint16
	bind := func(c syscall.RawConn) (err error) {
		local, err = bindNow(c, pin.Source, to.Addr().Is4())
		return err
	}
	unbound := pin
	unbound.Source = netip.Addr{} // bind does it
	start := time.Now()
	conn, hangUp, err := unbound.Dial(ctx, "tcp", to, bind)
	took := time.Since(start)
	switch {
	case err == nil:
		// Without lingering a close is an RST, and no packet is left over.
		err = conn.(*net.TCPConn).SetLinger(0)
		hangUp()
		if err != nil {
			return Sample{}, err
		}
	case isTimeout(err):
		return Sample{}, errSilent
	case !errors.Is(err, syscall.ECONNREFUSED):
		return Sample{}, err
	}
	a, seen := answer(local)
	switch {
	case seen:
		return Sample{RTT: a.Since(start), Hops: hopsOf(a.TTL), Via: to.Addr()}, nil
	case watch != nil && err != nil:
		return Sample{}, errors.New("refused, but not by the target")
	}
	return Sample{RTT: took, Via: to.Addr()}, nil
}

// bindNow binds a new socket to a source address, or to any, and a port of the
// kernel's choice, which it gives: after a connect that fails nobody could tell
// it any more.
func bindNow(c syscall.RawConn, source netip.Addr, v4 bool) (port uint16, err error) {
	var sa unix.Sockaddr
	switch {
	case v4 && source.IsValid():
		sa = &unix.SockaddrInet4{Addr: source.As4()}
	case v4:
		sa = &unix.SockaddrInet4{}
	case source.IsValid():
		sa = &unix.SockaddrInet6{Addr: source.As16()}
	default:
		sa = &unix.SockaddrInet6{}
	}
	failed := c.Control(func(fd uintptr) {
		if err = unix.Bind(int(fd), sa); err != nil {
			return
		}
		var bound unix.Sockaddr
		if bound, err = unix.Getsockname(int(fd)); err == nil {
			a, _ := addrPort(bound)
			port = a.Port()
		}
	})
	return port, errors.Join(failed, err)
}

// answerReader gives what finds the answer among the packets that a raw socket
// has got from the peer, without waiting: the kernel gives a segment to raw
// sockets before TCP sees it. Without a socket it finds none.
func answerReader(watch net.Conn, to netip.AddrPort) (func(local uint16) (a probe.Arrival, seen bool), error) {
	if watch == nil {
		return func(uint16) (a probe.Arrival, seen bool) { return a, false }, nil
	}
	read, err := probe.ArrivalReader(watch, to.Addr().Is4())
	return func(local uint16) (a probe.Arrival, seen bool) {
		// Not in the past: what is there already is still read then.
		if watch.SetReadDeadline(time.Now().Add(5*time.Millisecond)) != nil {
			return a, false
		}
		buf := make([]byte, 2048)
		for range 1000 { // a busy peer may have sent much else
			a, err := read(buf)
			if err != nil {
				return a, false
			}
			if isAnswer(buf[:a.N], local, to.Port()) {
				return a, true
			}
		}
		return a, false
	}, err
}

// isAnswer says whether a TCP segment is SYN-ACK or RST (RFC 9293 section
// 3.1), from a port of the peer to one of ours.
func isAnswer(segment []byte, local, peer uint16) bool {
	const syn, rst, ack = 0x02, 0x04, 0x10
	if len(segment) < 20 || binary.BigEndian.Uint16(segment) != peer || binary.BigEndian.Uint16(segment[2:]) != local {
		return false
	}
	flags := segment[13]
	return flags&rst != 0 || flags&(syn|ack) == syn|ack
}
