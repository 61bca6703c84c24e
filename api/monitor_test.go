package api_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/api"
)

// However many scrapes hang on the monitor's port, operators are answered.
func TestMonitorStarvesNobody(t *testing.T) {
	opts := newDaemon().options()
	stats, entered, leave := opts.Stats, make(chan struct{}), make(chan struct{})
	opts.Stats = func() api.DNSStats { entered <- struct{}{}; <-leave; return stats() }
	s := api.New(opts)
	monitor := s.Monitor()
	var scraping sync.WaitGroup
	for range api.MaxScrapes {
		scraping.Go(func() {
			if w := ask(monitor, "GET", "/metrics", "", nil); w.Code != 200 {
				t.Errorf("a scrape: %d %s", w.Code, w.Body)
			}
		})
		<-entered
	}
	if w := ask(monitor, "GET", "/metrics", "", nil); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("one scrape too many: %d %s", w.Code, w.Body)
	}
	var holding sync.WaitGroup
	for range api.MaxRequests {
		holding.Go(func() {
			if w := ask(s.Handler(), "GET", "/v1/pools", "", nil); w.Code != 200 {
				t.Errorf("an operator: %d %s", w.Code, w.Body)
			}
		})
	}
	holding.Wait()
	close(leave)
	scraping.Wait()
}

// Who asks for the metrics and does not read them is hung up on, soon.
func TestMonitorHangsUpOnSlowReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		l := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- api.New(newDaemon().options()).ServeMonitor(ctx, l) }()
		ours, theirs := net.Pipe()
		l.conns <- theirs
		if _, err := ours.Write([]byte("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second) // of the bubble: no time passes outside
		synctest.Wait()
		if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("after 20 s: %v, want the end of the connection", err)
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// pipes is a listener for connections that have no kernel behind them.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipes) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "unix"} }
