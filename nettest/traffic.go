package nettest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Tally is what became of many connections or flows, as the servers saw them.
type Tally struct {
	By     []int // by ISP; 0: from a source that is no ISP's
	Failed int
	Err    error // of one that failed
}

// OK says how many did not fail.
func (t Tally) OK() (n int) {
	for _, by := range t.By {
		n += by
	}
	return n
}

func (t Tally) String() string {
	if t.Failed > 0 {
		return fmt.Sprintf("%v, %d failed (%v)", t.By[1:], t.Failed, t.Err)
	}
	if t.By[0] > 0 {
		return fmt.Sprintf("%v, %d from elsewhere", t.By[1:], t.By[0])
	}
	return fmt.Sprint(t.By[1:])
}

// workers do the work of Many side by side.
const workers = 16

// Many calls one n times, from several goroutines, and counts the sources that
// it gives by ISP.
func (g *Gateway) Many(n int, one func(i int) (source netip.Addr, err error)) Tally {
	t := Tally{By: make([]int, len(g.ISPs)+1)}
	var mu sync.Mutex
	var next atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				source, err := one(i)
				mu.Lock()
				if err != nil {
					t.Failed++
					t.Err = err
				} else {
					t.By[g.ISPOf(source)]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return t
}

// Route is where from and where to the i-th of many connections goes.
type Route func(i int) (from netip.Addr, to netip.AddrPort)

// Connect makes n TCP connections from the LAN, one exchange each.
func (g *Gateway) Connect(n int, route Route) Tally {
	return g.Many(n, func(i int) (netip.Addr, error) {
		from, to := route(i)
		s, source, err := TCP(g.LAN, from, to)
		if err != nil {
			return netip.Addr{}, err
		}
		return source.Addr(), s.Close()
	})
}

// Flows makes n UDP flows from the LAN, with so many exchanges each. One whose
// source changes has failed.
func (g *Gateway) Flows(n, exchanges int, route Route) Tally {
	return g.Many(n, func(i int) (netip.Addr, error) {
		from, to := route(i)
		s, err := UDP(g.LAN, from, to)
		if err != nil {
			return netip.Addr{}, err
		}
		defer s.Close()
		var source netip.AddrPort
		for k := range exchanges {
			now, err := s.Say()
			if err != nil {
				return netip.Addr{}, err
			}
			if k > 0 && now != source {
				return netip.Addr{}, fmt.Errorf("%s to %s: from %s, then from %s", from, to, source, now)
			}
			source = now
		}
		return source.Addr(), nil
	})
}

// Ping sends an ICMP echo request with an id, and waits for its reply.
func Ping(s *Space, from, to netip.Addr, id uint16) error {
	fd, err := pingSocket(s, from, id)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request := []byte{8, 0, 0, 0, 0, 0, 0, 1, 'p', 'i', 'n', 'g'}
	if to.Is6() {
		request[0] = 128
	}
	binary.BigEndian.PutUint16(request[4:], id)
	if err := unix.Sendto(fd, request, 0, sockaddr(to, 0)); err != nil {
		return fmt.Errorf("ping %s: %w", to, err)
	}
	err = unix.EINTR // a socket with a timeout is not restarted after a signal, as of Go's own
	for end := time.Now().Add(Patience); errors.Is(err, unix.EINTR) && time.Now().Before(end); {
		_, _, err = unix.Recvfrom(fd, make([]byte, 256), 0)
	}
	if err != nil {
		return fmt.Errorf("ping %s: %w", to, err)
	}
	return nil
}

func pingSocket(s *Space, from netip.Addr, id uint16) (fd int, err error) {
	family, protocol := unix.AF_INET, unix.IPPROTO_ICMP
	if from.Is6() {
		family, protocol = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	s.Do(func() { fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, protocol) })
	if err != nil {
		return -1, err
	}
	wait := unix.NsecToTimeval(Patience.Nanoseconds())
	if err := errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait), unix.Bind(fd, sockaddr(from, id))); err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

func sockaddr(a netip.Addr, port uint16) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4(), Port: int(port)}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), Port: int(port)}
}

// Burst makes n connections from one source at once, as near to the same moment
// as can be, and gives the sources that the servers saw.
func (g *Gateway) Burst(n int, from netip.Addr, to netip.AddrPort) (sources []netip.Addr, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for range n {
		wg.Go(func() {
			<-start
			s, source, failed := TCP(g.LAN, from, to)
			if failed == nil {
				failed = s.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			sources, err = append(sources, source.Addr()), errors.Join(err, failed)
		})
	}
	close(start)
	wg.Wait()
	return sources, err
}

// Load is traffic of the LAN that goes on beside a test.
type Load struct {
	tally Tally
	mu    sync.Mutex
	stop  chan struct{}
	wg    sync.WaitGroup
	ended sync.Once
	gap   time.Duration
}

// Busy keeps so many workers at it from now on, each with a connection or a flow
// at a time: one, over and over, with a pause between two.
func (g *Gateway) Busy(n int, pause time.Duration, one func(i int) (source netip.Addr, err error)) *Load {
	l := &Load{tally: Tally{By: make([]int, len(g.ISPs)+1)}, stop: make(chan struct{})}
	var next atomic.Int64
	for range n {
		l.wg.Go(func() {
			tick := time.NewTicker(max(pause, time.Microsecond))
			defer tick.Stop()
			for {
				began := time.Now()
				source, err := one(int(next.Add(1)) - 1)
				l.count(g, source, err, time.Since(began))
				select {
				case <-l.stop:
					return
				case <-tick.C:
				}
			}
		})
	}
	g.t.Cleanup(func() { l.Stop() })
	return l
}

func (l *Load) count(g *Gateway, source netip.Addr, err error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gap = max(l.gap, took)
	if err != nil {
		l.tally.Failed++
		l.tally.Err = err
		return
	}
	l.tally.By[g.ISPOf(source)]++
}

// Stop ends the load, waits for it, and gives what became of it and how long
// the slowest took.
func (l *Load) Stop() (Tally, time.Duration) {
	l.ended.Do(func() { close(l.stop) })
	l.wg.Wait()
	return l.tally, l.gap
}
