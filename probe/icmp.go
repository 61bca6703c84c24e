package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// protocol numbers (IANA), as icmp.ParseMessage wants them.
const (
	protoICMP   = 1
	protoICMPv6 = 58
)

// probeICMP sends one echo request and waits for its own reply.
//
// Each probe has a socket of its own, connected to its target, so the kernel
// already keeps other peers' packets away. A raw socket still sees every reply
// of its peer, ours or not: what is not ours is dropped without a word (1.2.7,
// T53), and before it fills the socket's buffer. Without CAP_NET_RAW a ping socket is tried.
func probeICMP(ctx context.Context, t *Task) Result {
	r, err := t.echo(ctx, t.Probe.Size)
	if err != nil {
		return t.failed(err)
	}
	return t.pass("reply in %s", took(r.RTT))
}

// Reply is what is known of the reply to one packet.
type Reply struct {
	RTT time.Duration // from before the packet was sent until the kernel had its reply
	TTL int           // the reply's TTL or hop limit on arrival, 1..255; 0: not known
}

// echo makes one exchange of size octets of payload; 0 is the usual 56.
func (t *Task) echo(ctx context.Context, size int) (Reply, error) {
	e := newEcho(t.Target.Addr(), size)
	conn, hangUp, err := t.openICMP(ctx, e)
	if err != nil {
		return Reply{}, err
	}
	defer hangUp()
	read, err := ArrivalReader(conn, e.peer.Is4())
	if err != nil {
		return Reply{}, err
	}
	start := time.Now()
	if _, err := conn.Write(e.request()); err != nil {
		return Reply{}, err
	}
	// A read error may come from an ICMP error that another prober's packet
	// met, so only many of them in a row end the wait.
	buf := make([]byte, 2048)
	for errs := 0; errs < 16; {
		a, err := read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return Reply{}, err
		case err != nil:
			errs++
		case e.matches(buf[:a.N], a.From):
			return Reply{RTT: a.Since(start), TTL: a.TTL}, nil
		}
	}
	return Reply{}, errors.New("no reply, only errors from the socket")
}

// minEcho is the least payload of an echo request, in octets: the nonce and some.
const minEcho = 24

// echo is one request, and what its reply must look like.
type echo struct {
	peer    netip.Addr
	id, seq uint16
	payload []byte // begins with 16 random bytes, the nonce
	anyID   bool   // a ping socket: the kernel sets the id and matches it
}

func newEcho(peer netip.Addr, size int) *echo {
	if size == 0 {
		size = 56
	}
	e := &echo{peer: peer, payload: make([]byte, max(size, minEcho))}
	var ids [4]byte
	rand.Read(ids[:]) // never fails: crypto/rand ends the program instead
	rand.Read(e.payload[:16])
	e.id, e.seq = binary.BigEndian.Uint16(ids[:2]), binary.BigEndian.Uint16(ids[2:])
	return e
}

// request is the packet from its ICMP header on. The kernel fills in the
// ICMPv6 checksum.
func (e *echo) request() []byte {
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: int(e.id), Seq: int(e.seq), Data: e.payload}}
	if e.peer.Is6() {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil)
	if err != nil {
		panic("marshal of an echo request: " + err.Error()) // its fields cannot be wrong
	}
	return b
}

// wanted is what the header of the reply holds, for a sieve.
func (e *echo) wanted() []field {
	reply := uint32(ipv4.ICMPTypeEchoReply)
	if e.peer.Is6() {
		reply = uint32(ipv6.ICMPTypeEchoReply)
	}
	return []field{{0, 1, reply}, {4, 2, uint32(e.id)}, {6, 2, uint32(e.seq)}}
}

// matches says whether a packet is the reply to this request: id, sequence,
// nonce and peer all agree (T53).
func (e *echo) matches(packet []byte, peer netip.Addr) bool {
	proto, reply := protoICMP, icmp.Type(ipv4.ICMPTypeEchoReply)
	if e.peer.Is6() {
		proto, reply = protoICMPv6, ipv6.ICMPTypeEchoReply
	}
	m, err := icmp.ParseMessage(proto, packet)
	if err != nil || m.Type != reply || peer.WithZone("") != e.peer.WithZone("") {
		return false
	}
	body, ok := m.Body.(*icmp.Echo)
	return ok && body.Seq == int(e.seq) && (e.anyID || body.ID == int(e.id)) && bytes.Equal(body.Data, e.payload)
}

// addrOf gives the address of what ReadFrom calls the sender.
func addrOf(a net.Addr) netip.Addr {
	var ip net.IP
	switch a := a.(type) {
	case *net.IPAddr:
		ip = a.IP
	case *net.UDPAddr:
		ip = a.IP
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}

// openICMP opens a raw socket that lets through what may be the reply to e or,
// where that is not allowed, a ping socket.
func (t *Task) openICMP(ctx context.Context, e *echo) (conn net.Conn, hangUp func(), err error) {
	conn, hangUp, err = t.dial(ctx, "icmp")
	switch {
	case errors.Is(err, syscall.EPERM):
		return t.openPing(ctx, e)
	case err != nil:
		return nil, nil, err
	}
	if err := sieve(conn, e.peer.Is4(), e.wanted()...); err != nil {
		hangUp()
		return nil, nil, err
	}
	return conn, hangUp, nil
}

// openPing opens a ping socket, which takes its id from the kernel.
func (t *Task) openPing(ctx context.Context, e *echo) (conn net.Conn, hangUp func(), err error) {
	conn, err = t.dialPing()
	if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
		err = voidError("icmp needs the capability CAP_NET_RAW, or a group in net.ipv4.ping_group_range")
	}
	if err != nil {
		return nil, nil, err
	}
	e.anyID = true
	return conn, bound(ctx, conn), nil
}

// dialPing opens a ping socket (a datagram socket for ICMP echo, Linux), which
// package net has no name for.
func (t *Task) dialPing() (net.Conn, error) {
	family, proto := unix.AF_INET, protoICMP
	if t.Target.Addr().Is6() {
		family, proto = unix.AF_INET6, protoICMPv6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, proto)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "ping")
	defer f.Close() // FileConn works on a copy
	if err := t.prepare(f); err != nil {
		return nil, err
	}
	return net.FileConn(f)
}

// prepare does to a bare socket what the dialer does to its own: pin, bind,
// connect.
func (t *Task) prepare(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if err := t.pin(raw); err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		if t.Pin.Source.IsValid() {
			failed = unix.Bind(int(fd), sockaddr(t.Pin.Source))
		}
		if failed == nil {
			failed = unix.Connect(int(fd), sockaddr(t.Target.Addr()))
		}
	})
	return errors.Join(err, failed)
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	sa := &unix.SockaddrInet6{Addr: a.As16()}
	if i, err := net.InterfaceByName(a.Zone()); err == nil {
		sa.ZoneId = uint32(i.Index)
	}
	return sa
}
