package nettest

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// Blaster sends IPv4 datagrams with sources of its choice from a thread of a
// namespace. It ends with the test.
type Blaster struct {
	from *Space
	fd   int
}

// NewBlaster makes a blaster in a namespace.
func NewBlaster(t testing.TB, from *Space) *Blaster {
	t.Helper()
	s := &Blaster{from: from}
	var err error
	from.Do(func() { s.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// Stream is whence and whither.
type Stream struct{ From, To netip.AddrPort }

// packet writes a datagram with its headers. The kernel adds the checksum of
// the header; that of UDP may be missing.
func (f Stream) packet(b []byte) {
	clear(b)
	b[0], b[8], b[9] = 0x45, 64, unix.IPPROTO_UDP
	from, to := f.From.Addr().As4(), f.To.Addr().As4()
	copy(b[12:], from[:])
	copy(b[16:], to[:])
	binary.BigEndian.PutUint16(b[20:], f.From.Port())
	binary.BigEndian.PutUint16(b[22:], f.To.Port())
	binary.BigEndian.PutUint16(b[24:], uint16(len(b)-20))
}

// Blast sends a datagram of 60 octets with its headers of each flow, turns
// times, and gives the nanoseconds of CPU that one took: between veth
// interfaces the thread carries each as far as it goes before the next is sent.
func (s *Blaster) Blast(t testing.TB, flows []Stream, turns int) float64 {
	t.Helper()
	var took int64
	var failed error
	s.from.Do(func() {
		var cores unix.CPUSet
		if failed = unix.SchedGetaffinity(0, &cores); failed != nil {
			return
		}
		one := unix.CPUSet{}
		one.Set(runtime.NumCPU() - 1)
		_ = unix.SchedSetaffinity(0, &one) // where it may not, it is only noisier
		packet := make([]byte, 60)
		before := threadTime()
		for range turns {
			for _, f := range flows {
				f.packet(packet)
				if err := unix.Sendto(s.fd, packet, 0, &unix.SockaddrInet4{Addr: f.To.Addr().As4()}); err != nil {
					failed = err
				}
			}
		}
		took = threadTime() - before
		_ = unix.SchedSetaffinity(0, &cores)
	})
	if failed != nil {
		t.Fatal(failed)
	}
	return float64(took) / float64(turns*len(flows))
}

func threadTime() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t) // there on every Linux
	return t.Nano()
}
