package api

import (
	"errors"
	"net"
	"testing"
	"testing/synctest"
)

// pipes accepts as many connections as are asked for.
type pipes struct{ closed chan struct{} }

func (p pipes) Accept() (net.Conn, error) { c, _ := net.Pipe(); return c, nil }
func (p pipes) Close() error              { close(p.closed); return nil }
func (p pipes) Addr() net.Addr            { return nil }

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limit(pipes{make(chan struct{})}, 2)
		accepted := make(chan error, 10)
		conns := make(chan net.Conn, 10)
		go func() {
			for {
				c, err := l.Accept()
				accepted <- err
				if err != nil {
					return
				}
				conns <- c
			}
		}()
		synctest.Wait()
		if len(conns) != 2 {
			t.Fatalf("%d connections, want 2", len(conns))
		}
		c := <-conns
		for range 2 { // closing twice lets only one in
			_ = c.Close()
		}
		synctest.Wait()
		if len(conns) != 2 || len(accepted) != 3 {
			t.Errorf("after one closed: %d accepted", len(accepted))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for range 3 {
			<-accepted
		}
		if err := <-accepted; !errors.Is(err, net.ErrClosed) {
			t.Errorf("after close: %v", err)
		}
	})
}
