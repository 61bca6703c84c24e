package gateway

import (
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// The program misses events of connection tracking, and counts rightly again
// within two ticks.
func TestA19_MissedEvents_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	g.Set("netfilter/nf_conntrack_udp_timeout", "120")
	p := start(t, g, setup{Gateway: g, link: map[int]string{0: ", maxConnections: 500000"}, rest: equal(", algorithm: least-connections", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	if err := p.Server.Signal(stopped); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		s, err := nettest.Unconnected(g.LAN, nettest.Client4(w))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		wg.Go(func() {
			for k := range 20_000 {
				if err := s.To(netip.AddrPortFrom(nettest.Server4(k/250, 1+k%250), 80), "!new"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	var want [3]int // they stay for two minutes
	for n := range want {
		want[n] = marked(t, g, n+1)
	}
	before := p.waited()
	if err := p.Server.Signal(goesOn); err != nil {
		t.Fatal(err)
	}
	took := p.Until(longEnough, func() error {
		for n := range 3 {
			name := fmt.Sprintf("isp%d", n+1)
			got, err := p.connections(name)
			if err != nil {
				return err
			}
			if want := want[n]; got < want*99/100-50 || got > want*101/100+50 {
				return fmt.Errorf("%s: %d connections, connection tracking has %d", name, got, want)
			}
		}
		return nil
	})
	t.Logf("right after %s", took.Round(time.Millisecond))
	p.within("right", took, 2*time.Second, before) // two ticks
}

// Signals that stop the program, as if the machine had no time for it, and let
// it go on.
const (
	stopped = syscall.SIGSTOP
	goesOn  = syscall.SIGCONT
)

// connections gives how many connections the program counts on a link.
func (p *portolan) connections(name string) (int, error) {
	l, err := p.API.Link(p.T.Context(), name)
	switch {
	case err != nil:
		return 0, err
	case l.Outbound == nil || l.Outbound.Connections == nil:
		return 0, fmt.Errorf("nobody counts the connections of %s", name)
	}
	return *l.Outbound.Connections, nil
}
