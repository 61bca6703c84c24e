package proximity

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"

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
	to := netip.AddrPortFrom(target, p.Port)
	for try := 1; ; try++ {
		local := uint16(32768 + rand.IntN(28232)) // where Linux takes ports from, too
		s, err := connect(ctx, p.Pin, local, to)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || try == 5 {
			return s, err
		}
	}
}

// connect makes one attempt from a local port. It fails without a packet if
// the port is in use.
func connect(ctx context.Context, pin probe.Pin, local uint16, to netip.AddrPort) (Sample, error) {
	watch, unwatch, err := pin.Dial(ctx, "raw-tcp", 0, to)
	if err != nil {
		watch = nil
	} else {
		defer unwatch()
	}
	answer, err := answerReader(watch, local, to)
	if err != nil {
		return Sample{}, err
	}
	start := time.Now()
	conn, hangUp, err := pin.Dial(ctx, "tcp", local, to)
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
	a, seen := answer()
	switch {
	case seen:
		return Sample{RTT: a.Since(start), Hops: hopsOf(a.TTL), Via: to.Addr()}, nil
	case watch != nil && err != nil:
		return Sample{}, errors.New("refused, but not by the target")
	}
	return Sample{RTT: took, Via: to.Addr()}, nil
}

// answerReader gives what finds the answer among the packets that a raw socket
// has got from the peer, without waiting: the kernel gives a segment to raw
// sockets before TCP sees it. Without a socket it finds none.
func answerReader(watch net.Conn, local uint16, to netip.AddrPort) (func() (a probe.Arrival, seen bool), error) {
	if watch == nil {
		return func() (a probe.Arrival, seen bool) { return a, false }, nil
	}
	read, err := probe.ArrivalReader(watch, to.Addr().Is4())
	return func() (a probe.Arrival, seen bool) {
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
