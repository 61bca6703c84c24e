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

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/probe"
)

const (
	tcpPackets = 3                      // SYN, ACK, and the RST that ends it
	tcpWait    = 900 * time.Millisecond // after 1 s the kernel sends a second SYN
)

// measureTCP connects and hangs up at once, by RST: at most three packets. An
// answer is one, be it SYN-ACK or RST. The answer's TTL is read from a raw
// socket beside, where we may open one; then an RST has to be seen there, for
// "connection refused" is also what a router's ICMP message leads to.
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
	if err == nil {
		defer unwatch()
	}
	read := func() (int, bool) { return 0, true } // without it, all is believed
	if err == nil {
		if read, err = answerReader(watch, local, to); err != nil {
			return Sample{}, err
		}
	}
	start := time.Now()
	conn, hangUp, err := pin.Dial(ctx, "tcp", local, to)
	s := Sample{RTT: time.Since(start), Via: to.Addr()}
	switch {
	case err == nil:
		s.RTT = kernelRTT(conn, s.RTT)
		// Without lingering a close is an RST, and no packet is left over.
		err = conn.(*net.TCPConn).SetLinger(0)
		hangUp()
		if err != nil {
			return Sample{}, err
		}
		ttl, _ := read()
		s.Hops = hopsOf(ttl)
		return s, nil
	case errors.Is(err, syscall.ECONNREFUSED):
		ttl, seen := read()
		if !seen {
			return Sample{}, errors.New("refused, but not by the target")
		}
		s.Hops = hopsOf(ttl)
		return s, nil
	case isTimeout(err):
		return Sample{}, errSilent
	}
	return Sample{}, err
}

// kernelRTT is the time from SYN to SYN-ACK as the kernel has measured it,
// which does not count how long we took to wake up; else what we measured.
func kernelRTT(conn net.Conn, measured time.Duration) time.Duration {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return measured
	}
	var info *unix.TCPInfo
	failed := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	if failed != nil || err != nil {
		return measured
	}
	if rtt := time.Duration(info.Rtt) * time.Microsecond; 0 < rtt && rtt < measured {
		return rtt
	}
	return measured
}

// answerReader gives what finds the answer among the packets that a raw socket
// has got from the peer, without waiting: the kernel gives a segment to raw
// sockets before TCP sees it.
func answerReader(watch net.Conn, local uint16, to netip.AddrPort) (func() (ttl int, seen bool), error) {
	read, err := probe.TTLReader(watch, to.Addr().Is4())
	return func() (int, bool) {
		// Not in the past: what is there already is still read then.
		if watch.SetReadDeadline(time.Now().Add(5*time.Millisecond)) != nil {
			return 0, false
		}
		buf := make([]byte, 2048)
		for range 1000 { // a busy peer may have sent much else
			n, ttl, _, err := read(buf)
			if err != nil {
				return 0, false
			}
			if isAnswer(buf[:n], local, to.Port()) {
				return ttl, true
			}
		}
		return 0, false
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
