package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// wire joins two interfaces as a long cable does: each frame that comes in at
// one leaves by the other a while later, in order. It is our own because netem
// is not in every kernel.
//
//	veth == socket --> queue, each frame with its time of release --> socket == veth
//	                   bounded; what does not fit is dropped, and counted
//
// One thread does both directions, so nothing is locked; it waits in ppoll for
// a frame or for the next release. Frames keep what the kernel knows of them
// (virtio header), so that packets larger than a frame and checksums that are
// not made yet cross it as they cross a veth.
type wire struct {
	delay   atomic.Int64 // of frames that come in from now on, in ns, each way
	dropped atomic.Uint64
	fds     [2]int // packet sockets
	wake    int    // eventfd: run ends
	queues  [2]queue
}

// queue holds the frames of one direction. What comes later leaves later, also
// where the delay has become shorter: a cable does not overtake itself.
type queue struct {
	frames []frame
	octets int
}

type frame struct {
	release time.Time
	octets  []byte
}

const (
	// maxQueued bounds a queue: a second of 64 Mbit/s.
	maxQueued = 8 << 20
	// maxDelay bounds the delay; the end of a run waits for nothing.
	maxDelay = 5 * time.Second
	// maxFrame is the largest packet that a veth carries (a GSO packet of 64 KiB)
	// with its Ethernet and virtio headers.
	maxFrame = 64<<10 + 64
	// vnetHeader is the length of struct virtio_net_hdr.
	vnetHeader = 10
	// burst is how many frames are read before those due are sent.
	burst = 64
)

// newWire joins two interfaces of the namespace that the calling thread is in.
func newWire(a, b string, delay time.Duration) (_ *wire, err error) {
	w := &wire{fds: [2]int{-1, -1}, wake: -1}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	for i, name := range []string{a, b} {
		if w.fds[i], err = packetSocket(name); err != nil {
			return nil, fmt.Errorf("wire at %s: %w", name, err)
		}
	}
	if w.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return nil, err
	}
	return w, w.setDelay(delay)
}

// packetSocket opens a socket that gets every frame that comes in at an
// interface and sends whole frames out by it.
func packetSocket(name string) (fd int, err error) {
	if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
		return -1, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, req)
	}
	const ignoreOutgoing, vnet = 23, 15 // PACKET_IGNORE_OUTGOING, PACKET_VNET_HDR
	err = errors.Join(err,
		unix.SetsockoptInt(fd, unix.SOL_PACKET, vnet, 1),
		unix.SetsockoptInt(fd, unix.SOL_PACKET, ignoreOutgoing, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 2*maxQueued)) // for while the thread gets no CPU
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: int(req.Uint32())})
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// bigEndian gives n as the kernel wants it there: in network order in memory.
func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// setDelay sets the delay each way of frames that come in from now on.
func (w *wire) setDelay(d time.Duration) error {
	if d < 0 || d > maxDelay {
		return fmt.Errorf("a delay of %s is not between 0s and %s", d, maxDelay)
	}
	w.delay.Store(int64(d))
	return nil
}

// run carries frames until ctx ends, and closes the sockets.
func (w *wire) run(ctx context.Context) error {
	defer w.close()
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(w.wake, []byte{1, 1, 1, 1, 1, 1, 1, 1}) // any number but 0
	})
	defer func() {
		if !stop() {
			<-woken
		}
	}()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	buf := make([]byte, maxFrame)
	for {
		polled := []unix.PollFd{{Fd: int32(w.fds[0]), Events: unix.POLLIN}, {Fd: int32(w.fds[1]), Events: unix.POLLIN}, {Fd: int32(w.wake), Events: unix.POLLIN}}
		if _, err := unix.Ppoll(polled, w.untilNext(time.Now()), nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wire: ppoll: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		for i := range w.queues {
			if err := w.take(i, buf); err != nil {
				return err
			}
		}
		for i := range w.queues {
			if err := w.release(i, time.Now()); err != nil {
				return err
			}
		}
	}
}

// untilNext says how long until a frame is due; nil if none is held.
func (w *wire) untilNext(now time.Time) *unix.Timespec {
	var next time.Time
	for _, q := range w.queues {
		if len(q.frames) > 0 && (next.IsZero() || q.frames[0].release.Before(next)) {
			next = q.frames[0].release
		}
	}
	if next.IsZero() {
		return nil
	}
	ts := unix.NsecToTimespec(max(0, next.Sub(now).Nanoseconds()))
	return &ts
}

// take reads what has come in at one end, a burst at most.
func (w *wire) take(end int, buf []byte) error {
	q := &w.queues[end]
	for range burst {
		n, err := unix.Read(w.fds[end], buf)
		switch {
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENETDOWN): // down: the cable is pulled
			return nil
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("wire: read: %w", err)
		case n <= vnetHeader:
			continue
		case q.octets+n > maxQueued:
			w.dropped.Add(1)
			continue
		}
		q.push(frame{time.Now().Add(time.Duration(w.delay.Load())), append([]byte(nil), buf[:n]...)})
	}
	return nil
}

func (q *queue) push(f frame) {
	if n := len(q.frames); n > 0 && f.release.Before(q.frames[n-1].release) {
		f.release = q.frames[n-1].release
	}
	q.frames = append(q.frames, f)
	q.octets += len(f.octets)
}

// release sends what came in at one end and is due out by the other.
func (w *wire) release(end int, now time.Time) error {
	q := &w.queues[end]
	n := 0
	for ; n < len(q.frames) && !q.frames[n].release.After(now); n++ {
		q.octets -= len(q.frames[n].octets)
		switch _, err := unix.Write(w.fds[1-end], q.frames[n].octets); {
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EAGAIN):
			w.dropped.Add(1)
		case err != nil:
			return fmt.Errorf("wire: write: %w", err)
		}
	}
	clear(q.frames[:n]) // the octets are garbage
	q.frames = q.frames[n:]
	return nil
}

func (w *wire) close() {
	for _, fd := range append(w.fds[:], w.wake) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}
