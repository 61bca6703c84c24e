package proximity

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

type rawConn = syscall.RawConn

// answer is what came back to a datagram: an ICMP error from a router or from
// the target, or the reply of a service.
type answer struct {
	to     netip.AddrPort // where the datagram went
	from   netip.Addr     // who answered
	ttl    int            // TTL or hop limit that the answer came with; 0: not known
	quoted []byte         // what an ICMP error quotes of the datagram's payload; may be empty
}

// wantErrors has a new UDP socket keep ICMP errors in its error queue, with
// their TTL.
func wantErrors(c rawConn, v4 bool) error {
	level, options := unix.IPPROTO_IPV6, []int{unix.IPV6_RECVERR, unix.IPV6_RECVHOPLIMIT}
	if v4 {
		level, options = unix.IPPROTO_IP, []int{unix.IP_RECVERR, unix.IP_RECVTTL}
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		for _, o := range options {
			failed = errors.Join(failed, unix.SetsockoptInt(int(fd), level, o, 1))
		}
	})
	return errors.Join(err, failed)
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
	c := parseControl(m.control)
	a := answer{to: peer, from: peer.Addr(), ttl: c.ttl}
	if !m.isError {
		return a, true
	}
	a.from, a.quoted = c.offender, m.payload
	return a, c.offender.IsValid()
}

// control is what the control messages of a received message say.
type control struct {
	ttl      int        // 0: not known
	offender netip.Addr // who sent the ICMP error; invalid: there is none that tells a distance
}

// What of ICMP tells a distance: that the packet's time was over, and that it
// got to its end or no further.
const (
	exceeded4, unreachable4 = 11, 3 // RFC 792
	exceeded6, unreachable6 = 3, 1  // RFC 4443
)

// parseControl reads control messages; those that are cut short are ignored.
//
// The layout of an error (linux/errqueue.h), in the machine's byte order: errno
// uint32, origin, type, code, padding uint8, info uint32, data uint32, then the
// sockaddr of who sent it.
func parseControl(oob []byte) (c control) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return control{}
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.IPPROTO_IP
		switch {
		case v4 && m.Header.Type == unix.IP_TTL, m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT:
			if len(m.Data) >= 4 {
				c.ttl = int(binary.NativeEndian.Uint32(m.Data) & 0xff)
			}
		case v4 && m.Header.Type == unix.IP_RECVERR, m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR:
			c.offender = offenderOf(m.Data)
		}
	}
	return c
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
