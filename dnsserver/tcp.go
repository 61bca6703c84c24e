package dnsserver

import (
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// tcpListener is one TCP address.
type tcpListener struct {
	server   *Server
	listener acceptor
	h        *handler // its counters are shared by the connections
	buffer   int      // octets that the kernel may hold of a connection, each way
	reserve  reserve
	lanes    sync.Pool // of *lane
	parallel int       // lanes that a burst of queries gets
}

// acceptor is what is used of a [net.TCPListener].
type acceptor interface {
	AcceptTCP() (*net.TCPConn, error)
	SetDeadline(time.Time) error
	net.Listener
}

func newTCPListener(s *Server, l acceptor) *tcpListener {
	return &tcpListener{server: s, listener: l, h: s.newHandler(true),
		lanes: sync.Pool{New: newLane}, parallel: min(parallel, runtime.GOMAXPROCS(0))}
}

// sizeBuffer bounds what the kernel holds of connections from now on: they have
// it from the listener.
func (l *tcpListener) sizeBuffer(octets int) {
	sockopt(l.listener, func(fd int) (_ struct{}, err error) { // a kernel that will not is no worse than before
		return struct{}{}, errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, octets),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, octets))
	})
}

// stop makes serve return.
func (l *tcpListener) stop() { _ = l.listener.SetDeadline(time.Unix(1, 0)) }

// serve accepts connections until it is stopped. When accept fails, most
// likely for want of descriptors, it waits: 5 ms, then twice that, up to 1 s.
// Trying on at once would take a core from those who answer over UDP.
//
// Without descriptors the reserve lets one client in, only to be told by the
// end of the connection to go elsewhere, rather than to wait for nothing.
func (l *tcpListener) serve(ctx context.Context, wg *sync.WaitGroup) {
	const first, most = 5 * time.Millisecond, time.Second
	wait := first
	l.reserve.take()
	defer l.reserve.drop()
	for ctx.Err() == nil {
		conn, err := l.listener.AcceptTCP()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
				return
			}
			l.server.conns.failed.Add(1)
			if scarce(err) && l.reserve.held() {
				l.reserve.drop() // for the next to come
				continue
			}
			l.reserve.take()
			pause(ctx, wait)
			wait = min(2*wait, most)
			continue
		}
		if !l.reserve.take() { // that was the last descriptor
			l.server.conns.turnAway()
			conn.Close()
			l.reserve.take()
			pause(ctx, wait)
			wait = min(2*wait, most)
			continue
		}
		wait = first
		l.admit(conn, wg)
	}
}

// scarce says whether an error means that there are no descriptors.
func scarce(err error) bool { return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) }

// admit serves a connection, unless its client has too many.
func (l *tcpListener) admit(conn *net.TCPConn, wg *sync.WaitGroup) {
	c := l.server.conns.open(conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort(), l.server.limits())
	if c == nil {
		conn.Close()
		return
	}
	wg.Go(func() { l.talk(c, wg) })
}
