package gateway

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// load is datagrams of the LAN that fill a line: one flow that has found its
// line, at a rate that can be changed. Nobody answers them.
type load struct {
	s        *nettest.Session
	rate     atomic.Int64 // bits a second, of IP
	answered atomic.Bool  // the servers send each back
	end      context.CancelFunc
	wg       sync.WaitGroup
}

// datagram is the size of each with its headers of IP and UDP.
const datagram = 1400

// fill opens flows until one goes by the ISP, and fills its line with so many
// bits a second, of IP.
func fill(t *testing.T, g *nettest.Gateway, isp int, bits int64) *load {
	t.Helper()
	for n := range 200 {
		s, err := nettest.UDP(g.LAN, nettest.Client4(600+n), netip.AddrPortFrom(nettest.Server4(0, 1), 80))
		if err != nil {
			t.Fatal(err)
		}
		source, err := s.Say()
		if err == nil && g.ISPOf(source.Addr()) == isp {
			l := &load{s: s}
			l.rate.Store(bits)
			ctx, cancel := context.WithCancel(t.Context())
			l.end = cancel
			l.wg.Go(func() { l.run(ctx) })
			return l
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatalf("no flow of 200 goes by isp%d", isp)
	return nil
}

// run sends every 5 ms what is due since.
func (l *load) run(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	packet := make([]byte, datagram-28)
	last, due := time.Now(), 0.0
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			packet[0] = '!'
			if l.answered.Load() {
				packet[0] = 'e'
			}
			due += float64(l.rate.Load()) / 8 / datagram * now.Sub(last).Seconds()
			last = now
			for ; due >= 1; due-- {
				if _, err := l.s.Write(packet); err != nil && ctx.Err() == nil {
					continue // an ICMP error about one of them
				}
			}
		}
	}
}

// stop ends the load.
func (l *load) stop() {
	l.end()
	l.wg.Wait()
	_ = l.s.Close()
}
