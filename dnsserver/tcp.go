package dnsserver

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
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
		c := l.server.conns.open(conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort())
		if c == nil {
			conn.Close()
			continue
		}
		wg.Go(func() {
			defer l.server.conns.close(c)
			l.talk(c)
		})
	}
}

// talk answers the queries of one connection in the order in which they come
// (RFC 7766 6.2.1.1 lets clients send many at once). A client has the idle time
// to send one whole query, and the write time to take its answer; only one
// answer is held for it.
func (l *tcpListener) talk(c *connection) {
	in := bufio.NewReaderSize(c.conn, 2048)
	msg, out := make([]byte, 0, 512), make([]byte, 2048)
	for {
		idle := l.server.conns.patience(l.server.opts.IdleTime)
		_ = c.conn.SetReadDeadline(time.Now().Add(idle))
		if l.server.conns.stopping.Load() {
			return // asked after setting the deadline: stop's own comes after ours
		}
		var err error
		if msg, err = readMessage(in, msg); err != nil || len(msg) < headerSize {
			return
		}
		c.moved()
		reply := l.h.handle(msg, c.source, out)
		if reply == nil {
			continue
		}
		_ = c.conn.SetWriteDeadline(time.Now().Add(l.server.opts.WriteTime))
		if writeMessage(c.conn, reply) != nil {
			return
		}
		c.moved()
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
func writeMessage(conn net.Conn, msg []byte) error {
	length := binary.BigEndian.AppendUint16(nil, uint16(len(msg)))
	parts := net.Buffers{length, msg}
	_, err := parts.WriteTo(conn)
	return err
}
