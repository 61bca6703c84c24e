package probe

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Arrival is how a packet came.
type Arrival struct {
	N    int        // its length, from the header of ICMP or TCP or the payload of UDP on
	From netip.Addr // who sent it
	TTL  int        // its TTL or hop limit, 1..255; 0: not known
	At   time.Time  // when the kernel got it, by the wall clock; zero: not known
}

// Since gives the time from start, which time.Now gave, to the arrival of a
// packet that was read just now. It goes by the kernel's time stamp, so that a
// busy machine that is slow to read does not make the target look far; where
// there is none, or the clock was set in between, by when it was read.
func (a Arrival) Since(start time.Time) time.Duration {
	read := time.Since(start)
	if d := a.At.Sub(start.Round(0)); !a.At.IsZero() && 0 < d && d < read {
		return d
	}
	return read
}

// WantArrivals has a new socket tell TTL and time of what comes. v4 is its
// family.
func WantArrivals(c syscall.RawConn, v4 bool) error {
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT
	if v4 {
		level, option = unix.IPPROTO_IP, unix.IP_RECVTTL
	}
	var failed error
	err := c.Control(func(fd uintptr) {
		failed = errors.Join(unix.SetsockoptInt(int(fd), level, option, 1), unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1))
	})
	return errors.Join(err, failed)
}

// ArrivalReader gives a function that reads the packets of an ICMP, UDP or raw
// TCP socket, each with how it came. v4 is the family of the socket. It obeys
// the read deadline.
func ArrivalReader(conn net.Conn, v4 bool) (func(b []byte) (Arrival, error), error) {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, err
	}
	_, isRaw := conn.(*net.IPConn)
	oob := make([]byte, 256)
	return func(b []byte) (a Arrival, err error) {
		var n, oobn int
		var from unix.Sockaddr
		waited := raw.Read(func(fd uintptr) (done bool) {
			n, oobn, _, from, err = unix.Recvmsg(int(fd), b, oob, unix.MSG_DONTWAIT)
			return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
		})
		if waited != nil {
			return Arrival{}, waited
		}
		if err != nil {
			return Arrival{}, os.NewSyscallError("recvmsg", err)
		}
		if a = ParseArrival(oob[:oobn]); isRaw && v4 {
			n = copy(b, withoutIPv4(b[:n])) // a raw socket of IPv6 gives none (RFC 3542 section 3)
		}
		a.N, a.From = n, peerOf(from)
		return a, nil
	}, WantArrivals(raw, v4)
}

// withoutIPv4 takes the IPv4 header off a packet; nothing is left of one that
// is too short for it.
func withoutIPv4(b []byte) []byte {
	if len(b) == 0 {
		return b
	}
	return b[min(int(b[0]&15)*4, len(b)):]
}

func peerOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).Unmap()
	}
	return netip.Addr{}
}

// ParseArrival reads TTL and time from the control messages of a packet. What
// is cut short is not known.
func ParseArrival(oob []byte) (a Arrival) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return Arrival{}
	}
	for _, m := range messages {
		switch level, kind := m.Header.Level, m.Header.Type; {
		case level == unix.IPPROTO_IP && kind == unix.IP_TTL, level == unix.IPPROTO_IPV6 && kind == unix.IPV6_HOPLIMIT:
			if len(m.Data) >= 4 {
				a.TTL = int(binary.NativeEndian.Uint32(m.Data) & 0xff)
			}
		case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPNS:
			a.At = timespec(m.Data)
		}
	}
	return a
}

// timespec reads seconds and nanoseconds, each as wide as a C long is.
func timespec(b []byte) time.Time {
	switch {
	case len(b) >= 16:
		return time.Unix(int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:])))
	case len(b) >= 8:
		return time.Unix(int64(int32(binary.NativeEndian.Uint32(b))), int64(int32(binary.NativeEndian.Uint32(b[4:]))))
	}
	return time.Time{}
}
