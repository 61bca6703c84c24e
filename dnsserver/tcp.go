package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// tcpListener is one TCP address.
type tcpListener struct {
	server   *Server
	listener acceptor
	h        *handler // its counters are shared by the connections
}

// acceptor is what is used of a [net.TCPListener].
type acceptor interface {
	AcceptTCP() (*net.TCPConn, error)
	SetDeadline(time.Time) error
	net.Listener
}

func newTCPListener(s *Server, l acceptor) *tcpListener {
	return &tcpListener{server: s, listener: l, h: s.newHandler(true)}
}

// stop makes serve return.
func (l *tcpListener) stop() { _ = l.listener.SetDeadline(time.Unix(1, 0)) }

// serve accepts connections until it is stopped. When accept fails, most
// likely for want of descriptors, it waits: 5 ms, then twice that, up to 1 s.
// Trying on at once would take a core from those who answer over UDP.
func (l *tcpListener) serve(ctx context.Context, wg *sync.WaitGroup) {
	const first, most = 5 * time.Millisecond, time.Second
	wait := first
	for ctx.Err() == nil {
		conn, err := l.listener.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			l.server.conns.failed.Add(1)
			pause(ctx, wait)
			wait = min(2*wait, most)
			continue
		}
		wait = first
		if !l.server.conns.open(conn) {
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer l.server.conns.close(conn)
			l.talk(conn)
		})
	}
}

// talk answers the queries of one connection in the order in which they come
// (RFC 7766 6.2.1.1 lets clients send many at once). A client has the idle time
// to send one whole query, and the write time to take its answer; only one
// answer is held for it.
func (l *tcpListener) talk(conn *net.TCPConn) {
	source := conn.RemoteAddr().(*net.TCPAddr).AddrPort()
	in := bufio.NewReaderSize(conn, 2048)
	msg, out := make([]byte, 0, 512), make([]byte, 2048)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(l.server.opts.IdleTime))
		if l.server.conns.stopping.Load() {
			return // asked after setting the deadline: stop's own comes after ours
		}
		var err error
		if msg, err = readMessage(in, msg); err != nil || len(msg) < headerSize {
			return
		}
		reply := l.h.handle(msg, source, out)
		if reply == nil {
			continue
		}
		_ = conn.SetWriteDeadline(time.Now().Add(l.server.opts.WriteTime))
		if writeMessage(conn, reply) != nil {
			return
		}
	}
}

// readMessage reads one message behind its length (RFC 1035 4.2.2).
func readMessage(in *bufio.Reader, msg []byte) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(in, length[:]); err != nil {
		return msg, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if cap(msg) < n {
		msg = make([]byte, n)
	}
	msg = msg[:n]
	_, err := io.ReadFull(in, msg)
	return msg, err
}

// writeMessage sends length and message in one go (RFC 7766 section 8).
func writeMessage(conn *net.TCPConn, msg []byte) error {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(msg)))
	parts := net.Buffers{length, msg}
	_, err := parts.WriteTo(conn)
	return err
}

// connections counts and bounds the open TCP connections of a server.
type connections struct {
	most, each int
	stopping   atomic.Bool
	accepted   atomic.Uint64
	refused    atomic.Uint64 // over a limit
	failed     atomic.Uint64 // accept itself failed

	mu      sync.Mutex
	clients map[netip.Prefix]int
	conns   map[*net.TCPConn]netip.Prefix
}

func (c *connections) init(most, each int) {
	c.most, c.each = most, each
	c.clients, c.conns = map[netip.Prefix]int{}, map[*net.TCPConn]netip.Prefix{}
}

// open enters a connection, unless there are too many.
func (c *connections) open(conn *net.TCPConn) bool {
	who := clientPrefix(conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.conns) >= c.most || c.clients[who] >= c.each {
		c.refused.Add(1)
		return false
	}
	c.accepted.Add(1)
	c.clients[who]++
	c.conns[conn] = who
	return true
}

func (c *connections) close(conn *net.TCPConn) {
	conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	who := c.conns[conn]
	delete(c.conns, conn)
	if c.clients[who]--; c.clients[who] == 0 {
		delete(c.clients, who)
	}
}

// stop ends the waiting of every connection for its next query.
func (c *connections) stop() {
	c.stopping.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.conns {
		_ = conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *connections) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.conns)
}

// clientPrefix is what counts as one client: an IPv4 address, or the /64 that
// an IPv6 host has to itself.
func clientPrefix(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits) // cannot fail: bits fit the family
	return p
}
