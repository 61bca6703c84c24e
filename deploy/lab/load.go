package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/config"
)

const (
	// maxLoad is what a wire is tested to carry without loss.
	maxLoad = config.Bandwidth(50e6)
	// payload of a packet, and what interfaces count of it: with UDP, IPv4 and
	// Ethernet headers.
	payload     = 1200
	frameOctets = payload + 8 + 20 + 14
	// longestLoad bounds a load, whatever becomes of who asked for it.
	longestLoad = 2 * time.Minute
)

// load is real traffic over a link: UDP from the server of site east to a client
// network of the link's ISP, as a download is; or, with -direction in, the other
// way.
type load struct {
	rate           atomic.Uint64 // bits a second from now on
	sent, received atomic.Uint64 // octets of frames
	mu             sync.Mutex
	marks          []mark       // every 50 ms at most
	wait           func() error // until it has ended
	stop           func() error // ends it, and waits
}

// mark is how far a load was at a time.
type mark struct {
	at   time.Time
	sent uint64
}

// fill sends by a link at a steady rate until it is stopped, longest is over
// or the lab ends.
func (l *lab) fill(link string, rate config.Bandwidth, longest time.Duration) (*load, error) {
	if rate < 1000 || rate > maxLoad || longest <= 0 || longest > longestLoad {
		return nil, fmt.Errorf("a load of %s for %s: want 1kbps to %s, for at most %s", rate, longest, maxLoad, longestLoad)
	}
	server, client := l.servers[east+"-"+link], clientBehind(link)
	if server == nil {
		return nil, fmt.Errorf("there is no link %s; there are %s and %s", link, telecom, unicom)
	}
	source, err := l.udp(east, server.addr4)
	if err != nil {
		return nil, err
	}
	sink, err := l.udp(client.name, l.addr4(client.net, hostClient))
	if err != nil {
		return nil, errors.Join(err, source.Close())
	}
	if l.direction == "in" {
		source, sink = sink, source
	}
	f := &load{}
	f.rate.Store(uint64(rate))
	ctx, cancel := context.WithTimeout(l.ended, longest)
	var group errgroup.Group
	group.Go(func() error { f.receive(sink); return nil })
	group.Go(func() error {
		defer cancel()
		err := f.send(ctx, source, sink.LocalAddr().(*net.UDPAddr).AddrPort())
		return errors.Join(err, source.Close(), sink.Close())
	})
	f.wait = group.Wait
	f.stop = func() error { cancel(); return group.Wait() }
	return f, nil
}

// udp opens a socket in a place, with room for what comes while nobody reads.
func (l *lab) udp(place string, address netip.Addr) (conn *net.UDPConn, err error) {
	l.spaces[place].do(func() { conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(address, 0))) })
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) }) // root may
	}
	return conn, err
}

// send sends at a steady rate. What could not be sent in time because the
// machine was busy is made up for, but never more than 20 ms of it at once.
func (f *load) send(ctx context.Context, conn *net.UDPConn, to netip.AddrPort) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	packet := make([]byte, payload)
	due, last := 0.0, time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, perSecond := time.Now(), float64(f.rate.Load())/8/frameOctets
		due = min(due+perSecond*now.Sub(last).Seconds(), max(1, perSecond/50))
		f.note(now)
		for last = now; due >= 1; due-- {
			switch _, err := conn.WriteToUDPAddrPort(packet, to); {
			case err == nil:
				f.sent.Add(frameOctets)
			case isGone(err): // the cable is pulled
			default:
				return err
			}
		}
	}
}

func (f *load) note(now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.marks); n == 0 || now.Sub(f.marks[n-1].at) >= 50*time.Millisecond {
		f.marks = append(f.marks, mark{now, f.sent.Load()})
	}
}

// least gives the lowest mean over a window since a time: on a busy machine a
// load is not as even as it should be.
func (f *load) least(since time.Time, window time.Duration) config.Bandwidth {
	f.mu.Lock()
	defer f.mu.Unlock()
	lowest, j := float64(maxLoad), 0
	for _, a := range f.marks {
		for ; j < len(f.marks) && f.marks[j].at.Sub(a.at) < window; j++ {
		}
		if j == len(f.marks) {
			break
		}
		if b := f.marks[j]; !a.at.Before(since) {
			lowest = min(lowest, float64(b.sent-a.sent)*8/b.at.Sub(a.at).Seconds())
		}
	}
	return config.Bandwidth(lowest)
}

// isGone says whether there is no way for a packet now: an error of the
// network, not of ours.
func isGone(err error) bool {
	return errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || errors.Is(err, unix.ENOBUFS)
}

// receive counts until the socket is closed.
func (f *load) receive(conn *net.UDPConn) {
	packet := make([]byte, payload)
	for {
		n, _, err := conn.ReadFromUDPAddrPort(packet)
		if err != nil {
			return
		}
		f.received.Add(uint64(n + frameOctets - payload))
	}
}

// String says what became of it.
func (f *load) String() string {
	return fmt.Sprintf("%d octets of frames sent, %d arrived", f.sent.Load(), f.received.Load())
}

// clientBehind gives the first client network of an ISP; the zero one if there
// is none.
func clientBehind(isp string) clientNet {
	for _, c := range clients {
		if c.isp == isp {
			return c
		}
	}
	return clientNet{}
}
