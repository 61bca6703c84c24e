package dnsserver

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/status"
)

// overload counts queries that the kernel threw away, because they came over UDP
// faster than they were answered and the buffer of the socket was full.
//
// Nothing else is done with them: answers to those that are in the buffer are
// worth more than a word to those that are not, which ask again by themselves.
type overload struct {
	buffer atomic.Int64 // octets that the kernel gives a socket, which may be less than wanted

	mu   sync.Mutex
	of   map[*udpSocket]uint32 // as the kernel counts, which may wrap
	sum  uint64
	told uint64    // of sum, in the log
	when time.Time // it was told last
}

// watch looks after what comes to pass outside of any query, until ctx is done:
// the buffers of sockets, queries lost, and descriptors.
func (s *Server) watch(ctx context.Context) {
	const beat, descriptors = time.Second, 10
	s.lost.when = time.Now().Add(-tellEvery)
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for n := 0; ; n++ {
		s.sizeBuffers()
		s.countLost()
		s.tellLost(time.Now())
		if n%descriptors == 0 {
			s.afford()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// tellEvery is how often the log speaks of an overload that goes on.
const tellEvery = time.Minute

// sizeBuffers gives sockets the buffers that are wanted now. UDP's bursts wait
// in the kernel, which gives no more than net.core.rmem_max. Of a TCP connection
// it holds megabytes if it is let, of a thousand of them gigabytes.
func (s *Server) sizeBuffers() {
	for _, u := range s.udp {
		if want := int(s.limits().UDPBuffer); u.buffer != want {
			u.buffer = want
			_ = u.conn.SetReadBuffer(want) // what came of it is read back
			if got, ok := sockopt(u.conn, func(fd int) (int, error) { return unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF) }); ok {
				s.lost.buffer.Store(int64(got / 2)) // the kernel doubles it for its own records
			}
		}
	}
	for _, l := range s.tcp {
		if want := int(s.limits().ConnectionBuffer); l.buffer != want {
			l.buffer = want
			l.sizeBuffer(want)
		}
	}
}

// countLost asks the kernel how many queries it threw away.
func (s *Server) countLost() {
	s.lost.mu.Lock()
	defer s.lost.mu.Unlock()
	if s.lost.of == nil {
		s.lost.of = map[*udpSocket]uint32{}
	}
	for _, u := range s.udp {
		if n, ok := sockopt(u.conn, drops32); ok {
			s.lost.sum += uint64(n - s.lost.of[u])
			s.lost.of[u] = n
		}
	}
}

// total gives the queries lost, as counted last.
func (l *overload) total() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sum
}

// tellLost says that queries are lost: at once when it begins, then once in a
// while.
func (s *Server) tellLost(now time.Time) {
	l := &s.lost
	l.mu.Lock()
	n := l.sum - l.told
	if n == 0 || now.Sub(l.when) < tellEvery {
		l.mu.Unlock()
		return
	}
	since := min(now.Sub(l.when), tellEvery)
	l.told, l.when = l.sum, now
	l.mu.Unlock()
	s.opts.Log.Warn("overload: more queries than can be answered; the kernel dropped some", "dropped", n, "within", since)
	if s.opts.Record != nil {
		s.opts.Record(status.Event{ID: "dns", New: "overload", By: "dnsserver",
			Why: fmt.Sprintf("the kernel dropped %d queries within %s: they came faster than they were answered", n, since)})
	}
}

// sockopt asks the kernel about a socket. It is false for one that is closed,
// or that is none, as in tests.
func sockopt[T any](conn any, ask func(fd int) (T, error)) (got T, ok bool) {
	socket, is := conn.(syscall.Conn)
	if !is {
		return got, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return got, false
	}
	ctl := raw.Control(func(fd uintptr) { got, err = ask(int(fd)) })
	return got, ctl == nil && err == nil
}

// drops32 reads how many packets the kernel did not put into a socket
// (SO_MEMINFO, Linux 4.12).
func drops32(fd int) (uint32, error) {
	const drops = 8 // SK_MEMINFO_DROPS, the last of its numbers
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return info[drops], nil
}
