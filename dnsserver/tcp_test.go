package dnsserver

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
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
// takes the core from UDP (reliability 2.2).
func TestAccept_BacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		l := newTCPListener(s, &exhausted{most: 12})
		start := time.Now()
		var wg sync.WaitGroup
		l.serve(t.Context(), &wg)
		// 5, 10, 20, ... 640 ms, then 1 s each
		if took, want := time.Since(start), 1275*time.Millisecond+4*time.Second; took != want {
			t.Errorf("12 failures took %v, want %v", took, want)
		}
		if n := s.Stats().Conns.Failed; n != 12 {
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
