package proximity

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/probe"
)

// answer is what came back to a datagram: an ICMP error from a router or from
// the target, or the reply of a service.
type answer struct {
	to     netip.AddrPort // where the datagram went
	from   netip.Addr     // who answered
	came   probe.Arrival  // how
	quoted []byte         // what an ICMP error quotes of the datagram's payload; may be empty
}

// wantErrors has a new UDP socket keep ICMP errors in its error queue, and tell
// how they came.
func wantErrors(c syscall.RawConn, v4 bool) error {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	if v4 {
		level, option = unix.IPPROTO_IP, unix.IP_RECVERR
	}
	var failed error
	err := c.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, failed, probe.WantArrivals(c, v4))
}

// readAnswer waits for one answer, until the read deadline of conn.
func readAnswer(conn *net.UDPConn) (answer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return answer{}, err
	}
	for buf, oob := make([]byte, 512), make([]byte, 512); ; {
		var m message
		err := raw.Read(func(fd uintptr) (done bool) {
			m, done = receive(int(fd), buf, oob)
			return done
		})
		if err != nil {
			return answer{}, err
		}
		if m.err != nil {
			return answer{}, os.NewSyscallError("recvmsg", m.err)
		}
		if a, ok := m.answer(); ok {
			return a, nil
		}
	}
}

// message is one message of a UDP socket as the kernel gives it.
type message struct {
	payload, control []byte
	peer             unix.Sockaddr // of an error: where the datagram went
	isError          bool          // from the error queue
	err              error
}

// receive takes a message, errors first; done is false when there is none.
func receive(fd int, buf, oob []byte) (m message, done bool) {
	for range 16 {
		for _, flags := range []int{unix.MSG_ERRQUEUE, 0} {
			n, oobn, _, peer, err := unix.Recvmsg(fd, buf, oob, flags|unix.MSG_DONTWAIT)
			switch {
			case err == nil:
				return message{buf[:n], oob[:oobn], peer, flags != 0, nil}, true
			case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			case flags == 0 && isICMP(err):
				// What the queue held already, told a second time.
			default:
				return message{err: err}, true
			}
		}
		if !pending(fd) {
			return message{}, false
		}
	}
	return message{}, false
}

// pending says whether a socket has something to read, or an error.
func pending(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// isICMP says whether an error of a socket may be what an ICMP message becomes.
func isICMP(err error) bool {
	for _, e := range []error{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EHOSTDOWN, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EMSGSIZE, unix.ENONET} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// answer reads what a message says. Errors of our own machine are none.
func (m *message) answer() (answer, bool) {
	peer, ok := addrPort(m.peer)
	if !ok {
		return answer{}, false
	}
	a := answer{to: peer, from: peer.Addr(), came: probe.ParseArrival(m.control)}
	if !m.isError {
		return a, true
	}
	a.from, a.quoted = parseOffender(m.control), m.payload
	return a, a.from.IsValid()
}

// What of ICMP tells a distance: that the packet's time was over, and that it
// got to its end or no further.
const (
	exceeded4, unreachable4 = 11, 3 // RFC 792
	exceeded6, unreachable6 = 3, 1  // RFC 4443
)

// parseOffender gives who sent the ICMP error that control messages tell of; it
// is not valid if there is none that tells a distance.
//
// The layout of an error (linux/errqueue.h), in the machine's byte order: errno
// uint32, origin, type, code, padding uint8, info uint32, data uint32, then the
// sockaddr of who sent it.
func parseOffender(oob []byte) netip.Addr {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return netip.Addr{}
	}
	for _, m := range messages {
		switch level, kind := m.Header.Level, m.Header.Type; {
		case level == unix.IPPROTO_IP && kind == unix.IP_RECVERR, level == unix.IPPROTO_IPV6 && kind == unix.IPV6_RECVERR:
			return offenderOf(m.Data)
		}
	}
	return netip.Addr{}
}

const extendedErr = 16 // octets before the sockaddr

func offenderOf(b []byte) netip.Addr {
	if len(b) < extendedErr+2 {
		return netip.Addr{}
	}
	origin, kind, name := b[4], b[5], b[extendedErr:]
	family := int(binary.NativeEndian.Uint16(name))
	switch {
	case origin == unix.SO_EE_ORIGIN_ICMP && (kind == exceeded4 || kind == unreachable4) && family == unix.AF_INET && len(name) >= 8:
		return netip.AddrFrom4([4]byte(name[4:8])) // family, port, address
	case origin == unix.SO_EE_ORIGIN_ICMP6 && (kind == exceeded6 || kind == unreachable6) && family == unix.AF_INET6 && len(name) >= 24:
		return netip.AddrFrom16([16]byte(name[8:24])) // family, port, flow, address
	}
	return netip.Addr{}
}

func addrPort(sa unix.Sockaddr) (netip.AddrPort, bool) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port)), true
	}
	return netip.AddrPort{}, false
}
