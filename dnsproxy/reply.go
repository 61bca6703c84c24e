package dnsproxy

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// replier sends replies from whatever address and port a client asked, over UDP.
//
// It writes the UDP header itself, on a raw socket a family: the source address
// goes along as a control message, the source port stands in the header. So a
// reply is one system call, and nothing is bound to the asked address. A socket
// that is, as the usual way has it, takes queries for that address away from
// whoever serves them on this host, and costs seven calls a reply.
//
//	a socket a reply (socket, 3 options, bind, sendto, close)    18.0 us
//	raw, as here                                                  5.7 us
//
// (side by side on a busy virtual machine; BenchmarkReply_Root)
//
// The kernel finds the way back by its routing table, as for any reply; only an
// address of meaning on one interface alone goes out by the one that the query
// came in by.
type replier struct {
	four, six int // descriptors; -1: none
}

const udpHeader = 8

// newReplier opens the sockets.
func newReplier() (*replier, error) {
	r := &replier{four: -1, six: -1}
	var err error
	if r.four, err = rawSocket(unix.AF_INET, unix.IPPROTO_IP, unix.IP_TRANSPARENT); err != nil {
		return nil, err
	}
	if r.six, err = rawSocket(unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT); err != nil && err != unix.EAFNOSUPPORT {
		r.close()
		return nil, err
	}
	return r, nil
}

// rawSocket opens a raw socket for UDP that sends from any address and takes
// nothing in: a raw socket gets a copy of every datagram of the host, so a
// filter lets none through.
func rawSocket(family, level, transparent int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		if err == unix.EAFNOSUPPORT {
			return -1, err
		}
		return -1, fmt.Errorf("dnsProxy: socket for replies: %w; it needs the capability CAP_NET_RAW", err)
	}
	none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &none[0]})
	if err == nil {
		err = unix.SetsockoptInt(fd, level, transparent, 1)
	}
	if err == nil {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 4<<20) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4<<20)
		}
		return fd, nil
	}
	unix.Close(fd)
	return -1, fmt.Errorf("dnsProxy: socket for replies: %w; it needs the capability CAP_NET_ADMIN", err)
}

func (r *replier) close() {
	if r == nil {
		return
	}
	for _, fd := range []int{r.four, r.six} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// send sends a reply to who asked, from where he asked. It does not wait: what
// the kernel has no room for is lost, and the client asks again.
func (r *replier) send(q *query, msg []byte) error {
	from, to := q.asked, q.client
	var header [udpHeader]byte
	length := udpHeader + len(msg)
	binary.BigEndian.PutUint16(header[0:], from.Port())
	binary.BigEndian.PutUint16(header[2:], to.Port())
	binary.BigEndian.PutUint16(header[4:], uint16(length))
	binary.BigEndian.PutUint16(header[6:], udpChecksum(from.Addr(), to.Addr(), header[:], msg))
	device := 0
	if to.Addr().IsLinkLocalUnicast() || from.Addr().IsLinkLocalUnicast() {
		device = q.device
	}
	parts, c := [][]byte{header[:], msg}, &control{}
	if to.Addr().Is4() {
		_, err := unix.SendmsgBuffers(r.four, parts, c.pktinfo4(from.Addr(), device), &unix.SockaddrInet4{Addr: to.Addr().As4()}, unix.MSG_DONTWAIT)
		return err
	}
	sa := &unix.SockaddrInet6{Addr: to.Addr().As16()}
	if to.Addr().IsLinkLocalUnicast() {
		sa.ZoneId = uint32(q.device)
	}
	_, err := unix.SendmsgBuffers(r.six, parts, c.pktinfo6(from.Addr(), device), sa, unix.MSG_DONTWAIT)
	return err
}

// control is room for one control message with an address and an interface.
type control struct {
	head unix.Cmsghdr
	data [24]byte
}

// pktinfo4 and pktinfo6 say where a packet comes from, and by which interface
// it leaves; 0: as routing says.
func (c *control) pktinfo4(from netip.Addr, device int) []byte {
	binary.NativeEndian.PutUint32(c.data[:], uint32(device))
	a := from.As4()
	copy(c.data[4:], a[:])
	return c.of(unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
}

func (c *control) pktinfo6(from netip.Addr, device int) []byte {
	a := from.As16()
	copy(c.data[:], a[:])
	binary.NativeEndian.PutUint32(c.data[16:], uint32(device))
	return c.of(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
}

func (c *control) of(level, kind int32, size int) []byte {
	c.head.Level, c.head.Type = level, kind
	c.head.SetLen(unix.CmsgLen(size))
	return unsafe.Slice((*byte)(unsafe.Pointer(c)), unix.CmsgSpace(size)) // head and data lie side by side
}

// udpChecksum is the checksum of a datagram (RFC 768, RFC 8200 8.1): over a
// header of its addresses, its own and what it carries. 0 is sent as all ones,
// for 0 means that there is none.
func udpChecksum(from, to netip.Addr, header, msg []byte) uint16 {
	sum := uint64(unix.IPPROTO_UDP) + uint64(len(header)+len(msg))
	if from.Is4() {
		a, b := from.As4(), to.As4()
		sum = onesSum(onesSum(sum, a[:]), b[:])
	} else {
		a, b := from.As16(), to.As16()
		sum = onesSum(onesSum(sum, a[:]), b[:])
	}
	sum = onesSum(onesSum(sum, header), msg) // the header is of even length
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	if c := ^uint16(sum); c != 0 {
		return c
	}
	return 0xffff
}

// onesSum adds the 16-bit words of b; the last octet of an odd number is a
// high one.
func onesSum(sum uint64, b []byte) uint64 {
	for len(b) >= 4 {
		sum += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}
