package dnsproxy

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/config"
)

const (
	clientWrite = 5 * time.Second // for a client to take a reply
	slowAccept  = 50 * time.Millisecond
)

// tcpListener accepts connections of clients.
type tcpListener struct {
	of       *listeners
	listener *net.TCPListener

	mu   sync.Mutex
	open map[*clientConn]netip.Prefix
	of1  map[netip.Prefix]int
}

func newTCPListener(l *listeners, ln *net.TCPListener) *tcpListener {
	return &tcpListener{of: l, listener: ln, open: map[*clientConn]netip.Prefix{}, of1: map[netip.Prefix]int{}}
}

// clientConn is one connection (RFC 7766). Queries are answered side by side, in
// whatever order answers come.
type clientConn struct {
	l     *tcpListener
	conn  net.Conn
	query query // client, asked and device of each query

	write sync.Mutex
	slots chan struct{} // one for each query that is being asked
}

// serve accepts until it is stopped.
func (l *tcpListener) serve(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := l.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return
			}
			pause(ctx, slowAccept) // no descriptors: asking at once again would burn a core
			continue
		}
		if c := l.admit(conn); c != nil {
			l.of.wg.Go(func() { c.serve(ctx) })
		}
	}
}

// admit takes a connection if the limits allow, else closes it.
func (l *tcpListener) admit(conn net.Conn) *clientConn {
	p := l.of.proxy
	plan := p.plan.Load()
	client, asked := addrPort(conn.RemoteAddr()), addrPort(conn.LocalAddr())
	direct := !p.opts.Direct && asked.Port() == l.of.port
	if !plan.Enabled() || direct {
		if direct {
			p.count.drops[dropDirect].Add(1)
		}
		conn.Close()
		return nil
	}
	limits, who := &plan.conf.Limits, one(client.Addr())
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.count.connections.Load() >= int64(limits.Connections) || l.of1[who] >= limits.ConnectionsPerClient {
		p.count.refused.Add(1)
		conn.Close()
		return nil
	}
	c := &clientConn{l: l, conn: conn, slots: make(chan struct{}, limits.QueriesPerConnection)}
	c.query.client, c.query.asked = client, asked
	l.open[c] = who
	l.of1[who]++
	p.count.connections.Add(1)
	return c
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// leave closes a connection and takes it from the counts.
func (l *tcpListener) leave(c *clientConn) {
	c.conn.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	who := l.open[c]
	delete(l.open, c)
	if l.of1[who]--; l.of1[who] <= 0 {
		delete(l.of1, who)
	}
	l.of.proxy.count.connections.Add(-1)
}

// stop ends accepting, and the waiting of every connection for its next query.
func (l *tcpListener) stop() {
	l.listener.Close()
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// serve reads queries until the client goes, is idle for too long, or ctx is
// done; then it waits for the answers that are still to come.
func (c *clientConn) serve(ctx context.Context) {
	defer c.l.leave(c)
	p := c.l.of.proxy
	in, s := bufio.NewReaderSize(c.conn, 2048), newScratch()
	for ctx.Err() == nil {
		limits := c.limits()
		_ = c.conn.SetReadDeadline(time.Now().Add(c.patience(limits)))
		if ctx.Err() != nil { // after setting the deadline: stop's own comes after ours
			break
		}
		msg, err := readFramed(in, maxQuery)
		if err != nil {
			break
		}
		if len(msg) < headerSize { // whatever comes next is not where a length is to be found
			p.count.drops[dropMalformed].Add(1)
			break
		}
		p.count.tcp.Add(1)
		c.slots <- struct{}{} // when all are taken the client waits, not we: nothing is read
		q := &s.query
		q.client, q.asked, q.device, q.tcp = c.query.client, c.query.asked, 0, true
		started := false
		p.handle(s, msg, c.reply, func(start bool) {
			if start {
				started = true
			} else {
				<-c.slots
			}
		})
		if !started {
			<-c.slots
		}
	}
	for range cap(c.slots) { // who waits for an answer has it first
		c.slots <- struct{}{}
	}
}

// limits are those of the plan in use.
func (c *clientConn) limits() *config.DNSProxyLimits {
	if plan := c.l.of.proxy.plan.Load(); plan.Enabled() {
		return &plan.conf.Limits
	}
	return &config.DNSProxyLimits{Connections: 1, IdleTimeout: config.Duration(time.Second)}
}

// patience is how long to wait for a query: the idle time, and a tenth of it
// when more than 80 % of all connections are in use (RFC 7766 6.2.3).
func (c *clientConn) patience(l *config.DNSProxyLimits) time.Duration {
	idle := time.Duration(l.IdleTimeout)
	if c.l.of.proxy.count.connections.Load()*5 > int64(l.Connections)*4 {
		return idle / 10
	}
	return idle
}

// reply writes a reply behind its length, in one go (RFC 7766 8). A client that
// does not take it is given up.
func (c *clientConn) reply(_ *query, msg []byte) {
	framed := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(msg)), uint16(len(msg)))
	framed = append(framed, msg...)
	c.write.Lock()
	defer c.write.Unlock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(clientWrite))
	if _, err := c.conn.Write(framed); err != nil {
		c.l.of.proxy.count.drops[dropSocket].Add(1)
		c.conn.Close()
	}
}
