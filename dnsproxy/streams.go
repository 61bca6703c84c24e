package dnsproxy

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	maxStreams     = 4                // connections to one server over one link
	maxInFlight    = 128              // queries that wait on one of them
	streamIdle     = 10 * time.Second // a connection is closed after so long without a query
	streamStrays   = 16               // answers that nobody waits for, on one connection
	maxStreamWrite = 2 * time.Second
)

var (
	errStreamsFull = errors.New("all connections to the server are full")
	errClosed      = errors.New("the connection was closed")
)

// streams are the connections to one server over one link: TCP or TLS, reused
// and shared (RFC 7766 6.2.1).
type streams struct {
	dial func(ctx context.Context) (net.Conn, error)
	wg   *sync.WaitGroup // counts readers
	stop <-chan struct{}

	mu  sync.Mutex
	all []*stream
}

// stream is one connection. Its reader gives answers to who waits for them.
type stream struct {
	of       *streams
	conn     net.Conn      // nil while it is being opened; written under of.mu
	opened   chan struct{} // closed when it is, or could not be
	expected int           // who waits for that

	write sync.Mutex
	mu    sync.Mutex
	wait  map[uint16]*waiter
	ended bool // takes no more queries
}

// waiter is a query in flight.
type waiter struct {
	sent  sent
	reply chan []byte // one message, or closed
}

// ask sends one query and waits for its answer until the deadline. A connection
// that the server closed just as it was used again is replaced once (RFC 7766
// 6.2.4); dup says that the query so went out twice.
func (p *streams) ask(ctx context.Context, query []byte, s sent) (msg []byte, dup bool, err error) {
	for {
		c, fresh, err := p.connection(ctx)
		if err != nil {
			return nil, dup, err
		}
		msg, err := c.exchange(ctx, query, s)
		if err == nil || fresh || ctx.Err() != nil || dup {
			return msg, dup, err
		}
		dup = true
	}
}

// connection gives a connection with room, a new one if there is none. Who comes
// while one is being opened waits for it: a burst opens one, not as many as
// there may be.
func (p *streams) connection(ctx context.Context) (c *stream, fresh bool, err error) {
	for {
		c, wait := p.place()
		switch {
		case c == nil && wait == nil:
			return nil, false, errStreamsFull
		case c == nil:
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, false, ctx.Err()
			}
		case c.conn != nil:
			return c, false, nil
		}
		return c, true, c.open(ctx)
	}
}

// place gives a connection to use, or one to open, or what to wait for.
func (p *streams) place() (c *stream, wait <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.all {
		if c.conn != nil && c.free() {
			return c, nil
		}
		if c.conn == nil && c.expected < maxInFlight {
			c.expected++
			return nil, c.opened
		}
	}
	if len(p.all) >= maxStreams {
		return nil, nil
	}
	c = &stream{of: p, wait: map[uint16]*waiter{}, opened: make(chan struct{})}
	p.all = append(p.all, c)
	return c, nil
}

// open dials, and starts the reader.
func (c *stream) open(ctx context.Context) error {
	defer close(c.opened)
	conn, err := c.of.dial(ctx)
	if err != nil {
		c.of.remove(c)
		return err
	}
	c.of.mu.Lock()
	c.conn = conn
	c.of.mu.Unlock()
	c.of.wg.Go(c.read)
	return nil
}

func (p *streams) remove(c *stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.all {
		if o == c {
			p.all = append(p.all[:i], p.all[i+1:]...)
			return
		}
	}
}

// free says whether a connection takes another query.
func (c *stream) free() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.ended && len(c.wait) < maxInFlight
}

// exchange sends a query whose id nobody else on the connection uses.
func (c *stream) exchange(ctx context.Context, query []byte, s sent) ([]byte, error) {
	w := &waiter{sent: s, reply: make(chan []byte, 1)}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return nil, errClosed
	}
	for c.wait[w.sent.id] != nil {
		w.sent.id++
	}
	c.wait[w.sent.id] = w
	_ = c.conn.SetReadDeadline(time.Time{})
	c.mu.Unlock()
	defer c.leave(w)
	if err := c.send(query, w.sent.id); err != nil {
		c.end()
		return nil, err
	}
	select {
	case msg, ok := <-w.reply:
		if !ok {
			return nil, errClosed
		}
		return msg, nil
	case <-ctx.Done():
		c.mu.Lock()
		c.ended = true // a server that is late is asked by a new connection
		c.mu.Unlock()
		return nil, ctx.Err()
	}
}

// send writes a query behind its length, in one go (RFC 7766 8).
func (c *stream) send(query []byte, id uint16) error {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(query)), uint16(len(query)))
	framed = append(framed, query...)
	binary.BigEndian.PutUint16(framed[2:], id)
	c.write.Lock()
	defer c.write.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(maxStreamWrite))
	_, err := c.conn.Write(framed)
	return err
}

// leave takes a query off the connection. The last one to leave starts the idle
// time.
func (c *stream) leave(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wait[w.sent.id] == w {
		delete(c.wait, w.sent.id)
	}
	if len(c.wait) == 0 {
		idle := streamIdle
		if c.ended {
			idle = 0
		}
		_ = c.conn.SetReadDeadline(time.Now().Add(idle))
	}
}

// end has the reader close the connection.
func (c *stream) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	_ = c.conn.SetReadDeadline(time.Unix(1, 0))
}

// read gives answers to who waits for them, until the connection ends. What
// does not answer a question of ours is thrown away; after some of that, the
// connection is.
func (c *stream) read() {
	done := make(chan struct{})
	defer close(done)
	c.of.wg.Go(func() {
		select {
		case <-c.of.stop:
			c.end()
		case <-done:
		}
	})
	for strays := 0; strays < streamStrays; {
		msg, err := readFramed(c.conn, maxStreamAnswer)
		if err != nil && !errors.Is(err, errOversized) {
			break
		}
		if err != nil || !c.deliver(msg) {
			strays++
		}
	}
	c.of.remove(c)
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for id, w := range c.wait {
		delete(c.wait, id)
		close(w.reply)
	}
}

// deliver gives a message to who waits for it. Letters do not matter here: the
// connection proves who answers.
func (c *stream) deliver(msg []byte) bool {
	if plausible(msg, maxStreamAnswer) != nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.wait[binary.BigEndian.Uint16(msg)]
	if w == nil || w.sent.matches(msg) == stray {
		return false
	}
	delete(c.wait, w.sent.id)
	w.reply <- msg // has room: a waiter gets one
	return true
}

// readFramed reads one message behind its length (RFC 1035 4.2.2). One that is
// too large is read past.
func readFramed(r io.Reader, most int) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(length[:]))
	if n > most {
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			return nil, err
		}
		return nil, errOversized
	}
	msg := make([]byte, n)
	_, err := io.ReadFull(r, msg)
	return msg, err
}

// dialTLS opens a connection that proves to be the server's: an unproven one is
// none (no silent downgrade).
func dialTLS(ctx context.Context, w way, conf *tls.Config) (net.Conn, error) {
	conn, err := dialTCP(ctx, w)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, conf)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}
