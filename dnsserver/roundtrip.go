package dnsserver

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Observation is what a client's own TCP connection told of the way to it. The
// client sent an acknowledgement of a number that only a packet to its address
// carried, so the address is not forged.
type Observation struct {
	Client    netip.Addr    // the peer: with Client Subnet the resolver, never the client behind it
	Local     netip.Addr    // where it connected to
	Interface int           // index of the interface by which its packets came in; 0: not known
	RTT       time.Duration // the least time there and back; more than 0
	TTL       int           // that its packet had left, 1 to 255; 0: not known
}

// sight is what became of a connection that was looked at.
type sight uint8

const (
	sightTaken   sight = iota // its time was told to Options.Observe
	sightUnsure               // the kernel does not know better than by its clock's ticks
	sightUnknown              // the kernel has no time of it
	sightNear                 // of this host, or a link-local address, which names no network
	sights
)

var sightNames = [sights]string{"taken", "unsure", "unknown", "near"}

// sighted counts connections by what became of looking at them.
type sighted [sights]atomic.Uint64

// Sighted counts TCP connections by what became of their round trip times:
// taken, unsure, unknown, near. Every word is there.
func (s *Server) Sighted() map[string]uint64 {
	m := make(map[string]uint64, sights)
	for i, name := range sightNames {
		m[name] = s.sighted[i].Load()
	}
	return m
}

// longestTrip is the longest that is believed. Within 1 s Linux sends its part
// of the handshake again, and then knows no time.
const longestTrip = 3 * time.Second

// loopback is the index of the interface lo, the first of every namespace.
const loopback = 1

// look tells the round trip time of the connection, when its first reply is
// ready: who asked nothing that is answered tells nothing. By then the kernel
// has one time, that of the handshake, from our SYN-ACK to the client's ACK. It
// is the best that a connection has to give:
//
//   - no client delays this ACK; that of a reply may wait 40 to 200 ms for
//     something to go with it;
//   - no client can be early with it, for it acknowledges a number that only our
//     packet to it carried; an ACK of the reply could be sent before the reply
//     is there. So no network can seem nearer than it is.
//
// What the kernel says as min_rtt is judged so:
//
//	0 or all ones                      no time was measured  no
//	a whole number of milliseconds     from TCP timestamps   no: behind a SYN cookie up to 64 ms too much
//	over 3 s                           beyond belief         no
//	else                               the handshake's time  yes
//
// One good time in a thousand is a whole number of milliseconds: no loss.
func (s *stream) look() {
	observe := s.l.server.opts.Observe
	if observe == nil || !s.l.server.table.Load().observes() {
		return
	}
	seen, what := s.sight()
	s.l.server.sighted[what].Add(1)
	if what == sightTaken {
		observe(seen)
	}
}

// observes says whether anybody wants to know: not where no pool asks.
func (t *Table) observes() bool {
	plan := t.pools.proximity
	return plan == nil || plan.Observes() // nil: a table that is not of a configuration
}

func (s *stream) sight() (seen Observation, what sight) {
	client := s.source.Addr().Unmap()
	local, ok := s.conn.LocalAddr().(*net.TCPAddr)
	if !ok {
		return seen, sightUnknown
	}
	seen = Observation{Client: client, Local: local.AddrPort().Addr().Unmap()}
	if client.IsLoopback() || client.IsLinkLocalUnicast() || client == seen.Local {
		return seen, sightNear
	}
	info, ok := sockopt(s.conn, func(fd int) (*unix.TCPInfo, error) {
		return unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	})
	if !ok {
		return seen, sightUnknown
	}
	if seen.RTT, what = credible(info.Min_rtt); what == sightTaken {
		got, _ := sockopt(s.conn, arrival(client.Is4()))
		if seen.Interface, seen.TTL = got.index, got.ttl; got.index == loopback {
			return seen, sightNear // from one address of this host to another
		}
	}
	return seen, what
}

// credible judges what the kernel says, in microseconds; see [stream.look].
func credible(micros uint32) (time.Duration, sight) {
	rtt := time.Duration(micros) * time.Microsecond
	switch {
	case rtt == 0 || rtt > longestTrip:
		return 0, sightUnknown
	case rtt%time.Millisecond == 0:
		return 0, sightUnsure
	}
	return rtt, sightTaken
}

// arrived is how a packet came in: by which interface, with which TTL, and where
// it was sent to.
type arrived struct {
	index, ttl int
	local      netip.Addr
}

// arrival gives what reads it. Linux keeps it for every accepted socket, and
// tells it as control messages of IP_PKTOPTIONS or IPV6_2292PKTOPTIONS, of the
// kinds that are asked for. IPv6 would then keep a copy of each packet for us,
// so there the asking ends at once.
func arrival(v4 bool) func(fd int) (arrived, error) {
	level, options, kinds := unix.IPPROTO_IP, unix.IP_PKTOPTIONS, []int{unix.IP_PKTINFO, unix.IP_RECVTTL}
	if !v4 {
		level, options, kinds = unix.IPPROTO_IPV6, unix.IPV6_2292PKTOPTIONS, []int{unix.IPV6_RECVPKTINFO, unix.IPV6_RECVHOPLIMIT}
	}
	return func(fd int) (arrived, error) {
		for _, kind := range kinds {
			if err := unix.SetsockoptInt(fd, level, kind, 1); err != nil {
				return arrived{}, err
			}
			defer func() { _ = unix.SetsockoptInt(fd, level, kind, 0) }()
		}
		var control [128]byte
		size := uint32(len(control))
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(options),
			uintptr(unsafe.Pointer(&control)), uintptr(unsafe.Pointer(&size)), 0)
		if errno != 0 {
			return arrived{}, errno
		}
		return parseArrival(control[:min(int(size), len(control))]), nil
	}
}

// parseArrival reads control messages. What is not there stays 0.
func parseArrival(control []byte) (a arrived) {
	for len(control) >= unix.SizeofCmsghdr {
		length := cmsgLength(control)
		if length < unix.SizeofCmsghdr || length > len(control) {
			return a
		}
		data := control[unix.SizeofCmsghdr:length]
		switch {
		case isControl(control, unix.IPPROTO_IP, unix.IP_PKTINFO) && len(data) >= unix.SizeofInet4Pktinfo:
			a.index, a.local = int(binary.NativeEndian.Uint32(data)), netip.AddrFrom4([4]byte(data[8:12]))
		case isControl(control, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO) && len(data) >= unix.SizeofInet6Pktinfo:
			a.index, a.local = int(binary.NativeEndian.Uint32(data[16:])), netip.AddrFrom16([16]byte(data[:16]))
		case (isControl(control, unix.IPPROTO_IP, unix.IP_TTL) || isControl(control, unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT)) && len(data) >= 4:
			if ttl := binary.NativeEndian.Uint32(data); ttl <= 255 {
				a.ttl = int(ttl)
			}
		}
		control = control[min(unix.CmsgSpace(length-unix.SizeofCmsghdr), len(control)):]
	}
	return a
}

// cmsgLength reads the length of the first control message; it stands in front,
// as wide as a pointer.
func cmsgLength(control []byte) int {
	if unsafe.Sizeof(uintptr(0)) == 4 {
		return int(binary.NativeEndian.Uint32(control))
	}
	return int(min(binary.NativeEndian.Uint64(control), 1<<20))
}
