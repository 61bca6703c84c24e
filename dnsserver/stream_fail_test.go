package dnsserver

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// failing is the connection of a stream whose write, in another lane, fails as
// soon as it can once the first lane has chosen until when to read.
type failing struct {
	net.Conn
	stream *stream
	once   atomic.Bool
}

func (f *failing) SetReadDeadline(t time.Time) error {
	if f.once.CompareAndSwap(false, true) {
		fail := func() {
			f.stream.fail(io.ErrClosedPipe)
			f.stream.mu.Unlock()
		}
		if f.stream.mu.TryLock() { // nobody keeps it from failing right now
			fail()
		} else {
			go func() { f.stream.mu.Lock(); fail() }()
		}
	}
	return f.Conn.SetReadDeadline(t)
}

// A connection that takes no more answers ends at once, also if that is found
// out at the moment when a lane begins to wait for the next query.
func TestStream_FailsBeforeWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table, _ := slowTable(t, func(l *config.Limits) { l.IdleTimeout = config.Duration(10 * time.Second) })
		p := joined(t, table)
		p.stream.conn = &failing{Conn: p.stream.conn, stream: p.stream}
		start := time.Now()
		p.done.Go(p.stream.run)
		if got := p.ended(start); got != 0 || p.reached(limitIdleTimeout) != 0 {
			t.Errorf("a failed connection is held for %v, idle timeouts counted %d", got, p.reached(limitIdleTimeout))
		}
	})
}
