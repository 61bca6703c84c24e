package gateway

import (
	"encoding/json"
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
	if err := p.Server.Signal(goesOn); err != nil {
		t.Fatal(err)
	}
	before := nettest.Waited(t, p.Cmd.Process.Pid)
	took := p.Until(longEnough, func() error {
		for n := range 3 {
			name := fmt.Sprintf("isp%d", n+1)
			got, err := p.connections(name)
			if err != nil {
				return err
			}
			if want := marked(t, g, n+1); got < want*99/100-50 || got > want*101/100+50 {
				return fmt.Errorf("%s: %d connections, connection tracking has %d", name, got, want)
			}
		}
		return nil
	})
	waited := nettest.Waited(t, p.Cmd.Process.Pid) - before
	t.Logf("right after %s, of which it waited for a processor %s", took.Round(time.Millisecond), waited.Round(time.Millisecond))
	if took > 2*time.Second+late+waited {
		t.Errorf("right after %s, want two ticks", took)
	}
}

// Signals that stop the program, as if the machine had no time for it, and let
// it go on.
const (
	stopped = syscall.SIGSTOP
	goesOn  = syscall.SIGCONT
)

// connections gives how many connections the program counts on a link.
func (p *portolan) connections(name string) (int, error) {
	out, err := p.Command("get", "links", "-o", "json")
	if err != nil {
		return 0, err
	}
	var links []struct {
		Name     string `json:"name"`
		Outbound struct {
			Connections *int `json:"connections"`
		} `json:"outbound"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return 0, err
	}
	for _, l := range links {
		if l.Name == name && l.Outbound.Connections != nil {
			return *l.Outbound.Connections, nil
		}
	}
	return 0, fmt.Errorf("no connections of %s in %s", name, out)
}
