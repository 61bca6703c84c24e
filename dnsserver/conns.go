package dnsserver

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// connection is an open TCP connection.
type connection struct {
	conn   net.Conn
	source netip.AddrPort
	opened time.Time
	last   atomic.Int64 // when it was opened, sent a whole query or took an answer; ns since 1970
}

func (c *connection) moved() { c.last.Store(time.Now().UnixNano()) }

// connections counts and bounds the open TCP connections of a server.
//
// A client has at most dns.limits.connectionsPerClient of them, an IPv6 /48
// four times that. Clients together may have dns.limits.connections: then who
// comes takes the place of the connection that has been idle longest (RFC 7766
// 6.2.3), so that many who only hold theirs open lock nobody out.
type connections struct {
	reach      func(limit)
	stopping   atomic.Bool
	accepted   atomic.Uint64
	refused    atomic.Uint64 // over a client's limit, or without descriptors
	displaced  atomic.Uint64 // closed for another when there were too many
	failed     atomic.Uint64 // accept itself failed
	load       atomic.Int64  // len(all), for those who may not wait
	affordable atomic.Int64  // connections that there are descriptors for; 0: not counted yet

	mu      sync.Mutex
	clients map[netip.Prefix]int
	all     map[*connection]struct{}
}

const (
	// netFactor is how many times the connections of one client an IPv6 /48 may
	// have: that is a site, which has 65,536 /64 to come from.
	netFactor = 4

	// looked bounds the connections that are looked at to find an idle one.
	looked = 1000
)

func (c *connections) init(reach func(limit)) {
	c.reach = reach
	c.clients, c.all = map[netip.Prefix]int{}, map[*connection]struct{}{}
}

// bound gives how many connections there may be now.
func (c *connections) bound(l *config.Limits) int {
	if n := int(c.affordable.Load()); n > 0 {
		return min(n, l.Connections)
	}
	return l.Connections
}

// open enters a connection, or gives nil if its client has too many.
func (c *connections) open(conn net.Conn, source netip.AddrPort, l *config.Limits) *connection {
	made := &connection{conn: conn, source: source, opened: time.Now()}
	made.moved()
	client, site := clientPrefixes(source.Addr())
	each := l.ConnectionsPerClient
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clients[client] >= each || c.clients[site] >= each*netFactor {
		c.refused.Add(1)
		c.reach(limitConnectionsPerClient)
		return nil
	}
	for most := c.bound(l); len(c.all) >= most; { // more than one when the bound was lowered
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

// turnAway counts a connection that there was no descriptor for.
func (c *connections) turnAway() {
	c.refused.Add(1)
	c.reach(limitConnections)
}

// displace closes the connection on which nothing has moved for longest, of
// those looked at. One that its client does not read from is idle too.
func (c *connections) displace() {
	var oldest *connection
	n := 0
	for o := range c.all {
		if oldest == nil || o.last.Load() < oldest.last.Load() {
			oldest = o
		}
		if n++; n == looked {
			break
		}
	}
	if oldest != nil {
		c.displaced.Add(1)
		c.reach(limitConnections)
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
func (c *connections) patience(l *config.Limits) time.Duration {
	idle := time.Duration(l.IdleTimeout)
	if c.load.Load()*5 > int64(c.bound(l))*4 {
		return idle / 10
	}
	return idle
}

// until gives when the waiting for a query ends, and which limit ends it.
func (c *connections) until(conn *connection, l *config.Limits) (time.Time, limit) {
	until := time.Now().Add(c.patience(l))
	if l.ConnectionTime > 0 {
		if end := conn.opened.Add(time.Duration(l.ConnectionTime)); end.Before(until) {
			return end, limitConnectionTime
		}
	}
	return until, limitIdleTimeout
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
