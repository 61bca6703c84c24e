package nettest

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Tunnel puts a long line (a pair of TUN interfaces, both up) between this
// namespace and another: every packet needs delay to get to the other end. It
// carries up to 4096 packets at once each way and loses what is more. Packets
// have no Ethernet header, so addresses need no ARP: add them as
// "addr add 192.0.2.1/32 peer 192.0.2.2 dev NAME".
func (s *Space) Tunnel(name string, other *Space, otherName string, delay time.Duration) *Line {
	s.t.Helper()
	a, b := s.tun(name), other.tun(otherName)
	l := &Line{}
	l.SetDelay(delay)
	var wg sync.WaitGroup
	wg.Go(func() { l.carry(a, b) })
	wg.Go(func() { l.carry(b, a) })
	s.t.Cleanup(func() { a.Close(); b.Close(); wg.Wait() })
	return l
}

// Line is what a Tunnel leads through.
type Line struct{ delay atomic.Int64 }

// SetDelay sets the delay each way of packets that come in from now on. Those
// under way stay in front of them.
func (l *Line) SetDelay(d time.Duration) { l.delay.Store(int64(d)) }

func (s *Space) tun(name string) *os.File {
	s.t.Helper()
	fd, err := -1, error(nil)
	s.Do(func() { fd, err = openTUN(name) })
	if err != nil {
		Missing(s.t, "needs a TUN interface: %v", err)
	}
	s.IP("link set dev " + name + " up")
	return os.NewFile(uintptr(fd), name)
}

func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// carry takes packets from one end to the other until one of them is closed.
func (l *Line) carry(from, to *os.File) {
	type parcel struct {
		due    time.Time
		packet []byte
	}
	line := make(chan parcel, 4096)
	var wg sync.WaitGroup
	wg.Go(func() {
		for p := range line {
			time.Sleep(time.Until(p.due))
			_, _ = to.Write(p.packet) // a packet that the other end does not take is lost
		}
	})
	defer func() { close(line); wg.Wait() }()
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case line <- parcel{time.Now().Add(time.Duration(l.delay.Load())), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}
