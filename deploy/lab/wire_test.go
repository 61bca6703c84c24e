package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// rig is a wire between two hosts.
type rig struct {
	*wire
	a, b *nettest.Space
}

func newRig(t *testing.T, delay time.Duration) *rig {
	t.Helper()
	box := nettest.New(t)
	r := &rig{a: nettest.New(t), b: nettest.New(t)}
	for name, host := range map[string]*nettest.Space{"a": r.a, "b": r.b} {
		box.Cable(name, host, "eth0")
	}
	r.a.IP("addr add 192.0.2.1/24 dev eth0")
	r.b.IP("addr add 192.0.2.2/24 dev eth0")
	var err error
	box.Do(func() { r.wire, err = newWire("a", "b", delay) })
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- r.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

// udp opens a socket of a host.
func udp(t *testing.T, s *nettest.Space, address string) (conn *net.UDPConn) {
	t.Helper()
	var err error
	s.Do(func() { conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}) })
	if err != nil {
		t.Fatal(err)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var forced error // what arrives while nobody has time to read it is not lost
	if err := raw.Control(func(fd uintptr) {
		forced = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 32<<20)
	}); errors.Join(err, forced) != nil {
		t.Fatal(err, forced)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// crossings sends packets of a size at a pace from a to b, and gives how long
// each that arrived took, in the order of arrival, and how many overtook one.
func (r *rig) crossings(t *testing.T, n, size int, pace time.Duration) (took []time.Duration, overtook int) {
	t.Helper()
	from, to := udp(t, r.a, "192.0.2.1"), udp(t, r.b, "192.0.2.2")
	base := time.Now()
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		packet := make([]byte, size)
		for sent := 0; sent < n; <-tick.C {
			for ; sent < n && time.Duration(sent)*pace <= time.Since(base); sent++ {
				binary.BigEndian.PutUint64(packet, uint64(time.Since(base)))
				if _, err := from.WriteTo(packet, to.LocalAddr()); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	var last time.Duration
	packet := make([]byte, size)
	for len(took) < n {
		if err := to.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := to.ReadFrom(packet); err != nil {
			break
		}
		sent := time.Duration(binary.BigEndian.Uint64(packet))
		if sent < last {
			overtook++
		}
		last = sent
		took = append(took, time.Since(base)-sent)
	}
	return took, overtook
}

// A frame takes as long as it should: never less, and where the machine lets
// us, no more than 1 ms longer: the quickest tell, for other programs want the
// processors too.
func TestWireDelay_Root(t *testing.T) {
	r := newRig(t, 0)
	r.crossings(t, 1, 100, 0) // the neighbours find each other
	for _, delay := range []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 0} {
		if err := r.setDelay(delay); err != nil {
			t.Fatal(err)
		}
		best := time.Hour
		for round := 0; round < 10 && best > time.Millisecond; round++ {
			took, overtook := r.crossings(t, 200, 100, time.Millisecond)
			slices.Sort(took)
			if len(took) < 200 || overtook > 0 || took[0] < delay {
				t.Fatalf("delay %s: %d of 200 arrived, the first after %s; %d overtook another", delay, len(took), took[0], overtook)
			}
			t.Logf("delay %s: least %s, median %s, 95%% %s", delay, took[0], took[100], took[190])
			best = min(best, took[0]-delay)
		}
		if best > time.Millisecond {
			t.Errorf("delay %s: the quickest packet is late by %s, in the best of 10 rounds", delay, best)
		}
	}
}

// Nothing is lost at 50 Mbit/s, in order, with the longest delay that scenes
// use.
func TestWireLoad_Root(t *testing.T) {
	r := newRig(t, 100*time.Millisecond)
	r.crossings(t, 1, 100, 0)
	const size, seconds = 1400, 1
	pace := time.Duration(float64(8*(size+42)) / float64(maxLoad) * 1e9)
	n := int(seconds * time.Second / pace)
	took, overtook := r.crossings(t, n, size, pace)
	if len(took) != n || overtook > 0 || r.dropped.Load() > 0 {
		t.Errorf("%d of %d packets arrived, %d overtook another, the wire dropped %d", len(took), n, overtook, r.dropped.Load())
	}
	slices.Sort(took)
	t.Logf("%d packets at %s: median %s, 99%% %s", n, maxLoad, took[n/2], took[n*99/100])
}

// TCP crosses with packets larger than a frame and checksums that were never
// made, and arrives whole.
func TestWireTCP_Root(t *testing.T) {
	r := newRig(t, time.Millisecond)
	var l net.Listener
	var err error
	r.b.Do(func() { l, err = net.Listen("tcp", "192.0.2.2:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	sum := make(chan [32]byte)
	go func() {
		h := sha256.New()
		if conn, err := l.Accept(); err == nil {
			_, _ = io.Copy(h, conn) // a short copy has another sum
			conn.Close()
		}
		sum <- [32]byte(h.Sum(nil))
	}()
	data := make([]byte, 4<<20)
	for i := range data {
		data[i] = byte(i * i >> 7)
	}
	var conn net.Conn
	r.a.Do(func() { conn, err = net.DialTimeout("tcp", l.Addr().String(), patience) })
	if err != nil {
		l.Close()
		<-sum
		t.Fatal(err)
	}
	if _, err := conn.Write(data); err != nil {
		t.Error(err)
	}
	conn.Close()
	if got := <-sum; got != sha256.Sum256(data) {
		t.Error("what arrives is not what was sent")
	}
}

// A shorter delay lets no frame overtake another, and counts for the next ones
// at once.
func TestWireShortens_Root(t *testing.T) {
	r := newRig(t, 0)
	r.crossings(t, 1, 100, 0)
	if err := r.setDelay(200 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	shorten := time.AfterFunc(50*time.Millisecond, func() { _ = r.setDelay(0) })
	defer shorten.Stop()
	took, overtook := r.crossings(t, 400, 100, time.Millisecond)
	if len(took) != 400 || overtook > 0 || took[0] < 200*time.Millisecond || slices.Min(took[200:]) > 100*time.Millisecond {
		t.Errorf("%d of 400 arrived, %d overtook another; the first took %s, the quickest of the last %s", len(took), overtook, took[0], slices.Min(took[len(took)/2:]))
	}
}

// A queue is bounded: what does not fit is dropped and counted, and the wire
// goes on.
func TestQueueIsBounded(t *testing.T) {
	var q queue
	now := time.Now()
	q.push(frame{now.Add(time.Second), make([]byte, 10)})
	q.push(frame{now, make([]byte, 7)})
	if q.octets != 17 || !q.frames[1].release.Equal(q.frames[0].release) {
		t.Errorf("%d octets, releases %s and %s", q.octets, q.frames[0].release, q.frames[1].release)
	}
}

func TestWireDrops_Root(t *testing.T) {
	r := newRig(t, 0)
	r.crossings(t, 1, 100, 0)
	if err := r.setDelay(time.Second); err != nil {
		t.Fatal(err)
	}
	from, to := udp(t, r.a, "192.0.2.1"), udp(t, r.b, "192.0.2.2")
	packet := make([]byte, 1400)
	for deadline := time.Now().Add(10 * time.Second); r.dropped.Load() == 0; {
		if _, err := from.WriteTo(packet, to.LocalAddr()); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatal("the queue has no end")
		}
	}
	if err := r.setDelay(0); err != nil {
		t.Fatal(err)
	}
	arrived := 0
	for round := 0; round < 5 && arrived != 10; round++ { // until what is queued has left
		took, _ := r.crossings(t, 10, 100, time.Millisecond)
		arrived = len(took)
	}
	if arrived != 10 {
		t.Errorf("afterwards %d of 10 arrive", arrived)
	}
}
