package dnsserver

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// connection is an open TCP connection.
type connection struct {
	conn   net.Conn
	source netip.AddrPort
	last   atomic.Int64 // when it was opened, sent a whole query or took an answer; ns since 1970
}

func (c *connection) moved() { c.last.Store(time.Now().UnixNano()) }

// connections counts and bounds the open TCP connections of a server.
//
// A client has at most each of them, an IPv6 /48 four times that. Clients
// together may have most: then who comes takes the place of the connection that
// has been idle longest (RFC 7766 6.2.3), so that many who only hold theirs
// open lock nobody out.
type connections struct {
	most, each int
	stopping   atomic.Bool
	accepted   atomic.Uint64
	refused    atomic.Uint64 // over a client's limit
	displaced  atomic.Uint64 // closed for another when there were too many
	failed     atomic.Uint64 // accept itself failed
	load       atomic.Int64  // len(open), for patience

	mu      sync.Mutex
	clients map[netip.Prefix]int
	all     map[*connection]struct{}
}

// netFactor is how many times the connections of one client an IPv6 /48 may
// have: that is a site, which has 65,536 /64 to come from.
const netFactor = 4

func (c *connections) init(most, each int) {
	c.most, c.each = most, each
	c.clients, c.all = map[netip.Prefix]int{}, map[*connection]struct{}{}
}

// open enters a connection, or gives nil if its client has too many.
func (c *connections) open(conn net.Conn, source netip.AddrPort) *connection {
	made := &connection{conn: conn, source: source}
	made.moved()
	client, site := clientPrefixes(source.Addr())
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client] >= c.each || c.clients[site] >= c.each*netFactor {
		c.refused.Add(1)
		return nil
	}
	if len(c.all) >= c.most {
		c.displace()
	}
	c.accepted.Add(1)
	c.clients[client]++
	if site.IsValid() {
		c.clients[site]++
	}
	c.all[made] = struct{}{}
	c.load.Store(int64(len(c.all)))
	return made
}

// displace closes the connection on which nothing has moved for longest. One
// that its client does not read from is idle too.
func (c *connections) displace() {
	var oldest *connection
	for o := range c.all {
		if oldest == nil || o.last.Load() < oldest.last.Load() {
			oldest = o
		}
	}
	if oldest != nil {
		c.displaced.Add(1)
		c.leave(oldest)
	}
}

func (c *connections) close(conn *connection) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leave(conn)
}

// leave closes a connection and takes it from the counts, once.
func (c *connections) leave(conn *connection) {
	conn.conn.Close()
	if _, ok := c.all[conn]; !ok {
		return
	}
	delete(c.all, conn)
	c.load.Store(int64(len(c.all)))
	client, site := clientPrefixes(conn.source.Addr())
	for _, p := range []netip.Prefix{client, site} {
		if c.clients[p]--; c.clients[p] <= 0 {
			delete(c.clients, p)
		}
	}
}

// patience gives how long to wait for a query: the idle time, and a tenth of it
// when more than 80 % of all connections are in use (RFC 7766 6.2.3).
func (c *connections) patience(idle time.Duration) time.Duration {
	if c.load.Load()*5 > int64(c.most)*4 {
		return idle / 10
	}
	return idle
}

// stop ends the waiting of every connection for its next query.
func (c *connections) stop() {
	c.stopping.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	for conn := range c.all {
		_ = conn.conn.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *connections) count() int { return int(c.load.Load()) }

// clientPrefixes gives what counts as one client, an IPv4 address or the /64
// that an IPv6 host has to itself, and the IPv6 site around it; site is zero
// for IPv4.
func clientPrefixes(addr netip.Addr) (client, site netip.Prefix) {
	addr = addr.Unmap().WithZone("")
	if addr.Is4() {
		return netip.PrefixFrom(addr, 32), netip.Prefix{}
	}
	client, _ = addr.Prefix(64) // cannot fail: the bits fit the family
	site, _ = addr.Prefix(48)
	return client, site
}
