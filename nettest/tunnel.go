package nettest

import (
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Tunnel puts a long line (a pair of TUN interfaces, both up) between this
// namespace and another: every packet needs delay to get to the other end. It
// carries up to 4096 packets at once each way and loses what is more. Packets
// have no Ethernet header, so addresses need no ARP: add them as
// "addr add 192.0.2.1/32 peer 192.0.2.2 dev NAME".
func (s *Space) Tunnel(name string, other *Space, otherName string, delay time.Duration) {
	s.t.Helper()
	a, b := s.tun(name), other.tun(otherName)
	var wg sync.WaitGroup
	wg.Go(func() { carry(a, b, delay) })
	wg.Go(func() { carry(b, a, delay) })
	s.t.Cleanup(func() { a.Close(); b.Close(); wg.Wait() })
}

func (s *Space) tun(name string) *os.File {
	s.t.Helper()
	fd, err := -1, error(nil)
	s.Do(func() { fd, err = openTUN(name) })
	if err != nil {
		Missing(s.t, "needs a TUN interface: %v", err)
	}
	s.IP("link set " + name + " up")
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
func carry(from, to *os.File, delay time.Duration) {
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
		case line <- parcel{time.Now().Add(delay), append([]byte(nil), buf[:n]...)}:
		default:
		}
	}
}
