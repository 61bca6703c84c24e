package farm

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// Servers that have the virtual address themselves answer the client directly
// (DSR): packets reach them unchanged, each connection one server, by weight;
// one that dies gets no new ones, and connections of others go on.
func TestB18_Direct_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{OneArm: true}))
	for _, h := range b.Hosts {
		h.Hold(b.Virtual4(1), b.Virtual6(1))
	}
	b.use(setup{Farm: b.Farm, farm: ", mode: direct", serve: ", interface: back0", server: map[int]string{3: ", weight: 2"}})
	replies := b.Watch("replies", "prerouting priority -400", "tcp sport 80 ip saddr 10.30.1.1")
	for family, route := range b.twins(1, 80) {
		b.takes(time.Second, route, 1, 2, 3)
		s := b.Connect(240, route)
		shared(t, family, s, 0.1, 1, 1, 2)
		_, to := route(0)
		if len(s.At) != 1 || s.At[to] != 240 || len(s.Source) != clients {
			t.Errorf("%s: servers see %v from %d clients, want %s from %d", family, s.At, len(s.Source), to, clients)
		}
		if s := b.Flows(90, 4, route); s.Failed > 0 {
			t.Errorf("%s, UDP: %v", family, s)
		}
	}
	held, opened := b.Hold(60, 0, b.to4(1, 80))
	b.Hosts[0].Die(80, true)
	b.takes(detected+interval, b.to4(1, 80), 2, 3)
	if fate := held.Ask(); fate.Lost != opened.By[1] || fate.Wrong > 0 {
		t.Errorf("one of three died, with %d connections of %v: %+v", opened.By[1], opened, fate)
	}
	if n := replies.Packets(); n > 0 {
		t.Errorf("%d answers came through the balancer", n)
	}
}

// Packets that go to servers unchanged, and whose answers come back through
// the balancer.
func TestB18_Routed_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	for _, h := range b.Hosts {
		h.Hold(b.Virtual4(1), b.Virtual6(1))
	}
	b.use(setup{Farm: b.Farm, farm: ", mode: routed"})
	for family, route := range b.twins(1, 80) {
		b.takes(time.Second, route, 1, 2, 3)
		s := b.Connect(120, route)
		_, to := route(0)
		if s.Failed > 0 || len(s.At) != 1 || s.At[to] != 120 || len(s.Source) != clients {
			t.Errorf("%s: %v at %v from %d clients", family, s, s.At, len(s.Source))
		}
		if s := b.Flows(90, 4, route); s.Failed > 0 {
			t.Errorf("%s, UDP: %v", family, s)
		}
	}
	talk, err := b.TCP(b.Client4(3), netip.AddrPortFrom(b.Virtual4(1), 80))
	if err != nil {
		t.Fatal(err)
	}
	defer talk.Close()
	for n := range 5 {
		if _, err := talk.Say(fmt.Sprint("line ", n)); err != nil {
			t.Fatal(err)
		}
	}
}
