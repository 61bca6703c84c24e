package dnsserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// exhausted is a listener that has no descriptors left until it is closed.
type exhausted struct {
	acceptor
	tries, most int
}

func (e *exhausted) AcceptTCP() (*net.TCPConn, error) {
	if e.tries++; e.tries > e.most {
		return nil, net.ErrClosed
	}
	return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
}

// Without descriptors accept is tried ever less often, not in a loop that
// takes the core from UDP (reliability 2.2). Each failure but those after a
// wait is followed by one with the reserve given up, which comes at once.
func TestAccept_BacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		l := newTCPListener(s, &exhausted{most: 24})
		start := time.Now()
		var wg sync.WaitGroup
		l.serve(t.Context(), &wg)
		// 5, 10, 20, ... 640 ms, then 1 s each
		if took, want := time.Since(start), 1275*time.Millisecond+4*time.Second; took != want {
			t.Errorf("2 x 12 failures took %v, want %v", took, want)
		}
		if n := s.Stats().Conns.Failed; n != 24 {
			t.Errorf("%d failures counted", n)
		}
	})
}

// Waiting for descriptors does not hold up a stop.
func TestAccept_StopsWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		l := newTCPListener(New(Options{}), &exhausted{most: 1000})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.serve(ctx, new(sync.WaitGroup))
		}()
		synctest.Wait()
		start := time.Now()
		cancel()
		<-ended
		if took := time.Since(start); took != 0 {
			t.Errorf("stopped after %v", took)
		}
	})
}

// pipes opens connections of clients without sockets.
type pipes struct {
	t      *testing.T
	conns  *connections
	limits config.Limits
}

func (p *pipes) open(source string) *connection {
	here, there := net.Pipe()
	p.t.Cleanup(func() { here.Close(); there.Close() })
	return p.conns.open(here, netip.MustParseAddrPort(source), &p.limits)
}

func isClosed(c *connection) bool {
	_ = c.conn.SetReadDeadline(time.Now().Add(-time.Second))
	_, err := c.conn.Read(make([]byte, 1))
	return errors.Is(err, io.ErrClosedPipe)
}

// When all connections are taken, who comes gets the place of the one that has
// been idle longest (RFC 7766 6.2.3).
func TestConnections_Displace(t *testing.T) {
	c := &connections{}
	c.init(func(limit) {})
	p := &pipes{t, c, config.Limits{Connections: 4, ConnectionsPerClient: 2}}
	var all []*connection
	for i := range 4 {
		all = append(all, p.open(fmt.Sprintf("192.0.2.%d:1000", i)))
		all[i].last.Store(int64(i))
	}
	all[0].moved() // has just asked
	last := p.open("203.0.113.1:1000")
	for i, conn := range all {
		if got, want := isClosed(conn), i == 1; got != want {
			t.Errorf("connection %d is closed: %v", i, got)
		}
	}
	if last == nil || isClosed(last) || c.count() != 4 || c.displaced.Load() != 1 {
		t.Errorf("the newcomer %v, %d open, %d displaced", last, c.count(), c.displaced.Load())
	}
	c.close(all[1]) // its own goroutine comes to it
	if c.count() != 4 || len(c.clients) != 4 {
		t.Errorf("closed twice: %d open, %v", c.count(), c.clients)
	}
	for _, conn := range append(all, last) {
		c.close(conn)
	}
	if c.count() != 0 || len(c.clients) != 0 {
		t.Errorf("all are closed: %d open, %v", c.count(), c.clients)
	}
}

// One client cannot displace others, whatever addresses its network has.
func TestConnections_PerClient(t *testing.T) {
	tests := []struct {
		name   string
		source string // with the number of the connection
		want   int
	}{
		{"an IPv4 address", "192.0.2.1:%d", 2},
		{"IPv4 addresses", "192.0.2.%d:1", 20},
		{"an IPv4 address written as IPv6", "[::ffff:192.0.2.1]:%d", 2},
		{"a /64", "[2001:db8::%d]:1", 2},
		{"the /64 of a /48", "[2001:db8:0:%d::1]:1", 2 * netFactor},
		{"the /48 of a /32", "[2001:db8:%d::1]:1", 20},
	}
	for _, test := range tests {
		c := &connections{}
		c.init(func(limit) {})
		p, opened := &pipes{t, c, config.Limits{Connections: 100, ConnectionsPerClient: 2}}, 0
		for i := range 20 {
			if p.open(fmt.Sprintf(test.source, i+1)) != nil {
				opened++
			}
		}
		if opened != test.want || c.refused.Load() != uint64(20-test.want) {
			t.Errorf("%s: %d opened, %d refused; want %d", test.name, opened, c.refused.Load(), test.want)
		}
	}
}

// Above 80 % of the connections the idle time is short.
func TestConnections_Patience(t *testing.T) {
	c := &connections{}
	c.init(func(limit) {})
	p := &pipes{t, c, config.Limits{Connections: 10, ConnectionsPerClient: 10, IdleTimeout: config.Duration(10 * time.Second)}}
	for i := range 10 {
		want := 10 * time.Second
		if i > 8 {
			want = time.Second
		}
		if got := c.patience(&p.limits); got != want {
			t.Errorf("with %d of 10 open: %v, want %v", i, got, want)
		}
		p.open("192.0.2.1:1")
	}
}
