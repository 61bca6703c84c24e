package farm

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// Test 5: servers see an address of the pool, which Portolan puts on the
// interface; when the pool has no port left new connections fail, that is
// counted and seen, and who is connected stays so. What ends makes room.
func TestB05_Pool_Root(t *testing.T) {
	t.Parallel()
	pool(t, before(t, farm(t, nettest.FarmLayout{Hosts: 1})))
}

func pool(t *testing.T, b *balancer) {
	route, address := b.to(1, 80), netip.MustParseAddr("10.30.9.1")
	if b.six {
		address = netip.MustParseAddr("fd10:30::9:1")
	}
	b.use(setup{Farm: b.Farm, unasked: true, farm: ", snatPool: pool",
		rest: "snatPools: [{name: pool, addresses: [10.30.9.1, \"fd10:30::9:1\"], ports: \"20000-20039\", interface: back0}]\n"})
	b.Until(late, func() error { return only(b.InTurn(1, route), 1) })
	held, opened := b.filled(40, 40, route) // the port of the first is free again
	if len(opened.Source) != 1 || opened.Source[address] != 40 {
		t.Errorf("the server sees %v, want %s", opened.Source, address)
	}
	for _, talk := range held.Talks {
		if p := talk.First.Source.Port(); p < 20000 || p > 20039 {
			t.Errorf("from port %d", p)
		}
	}
	if s := b.Connect(5, route); s.Failed != 5 {
		t.Errorf("with no port left: %v", s)
	}
	// becomes waits until the pool is so, and says so with an event.
	becomes := func(full bool, events ...string) {
		t.Helper()
		b.Until(late, func() error {
			pools, err := b.API.SNATPools(t.Context())
			if err != nil || len(pools) != 1 {
				return fmt.Errorf("%d pools, %w", len(pools), err)
			}
			p := &pools[0]
			if seen := p.State == "full" && p.Row.Full && p.InUse == 40 && p.Tightest == address && p.Failed > 0; seen != full || full == (p.State == "up") || p.Ports != 40 {
				return fmt.Errorf("the pool is %+v", p)
			}
			return b.told("snatPool/pool", events...)
		})
	}
	becomes(true, "up to up full")
	if fate := held.Ask(); fate.Lost+fate.Wrong > 0 || fate.Said != 40 {
		t.Errorf("connections of before: %+v", fate)
	}
	held.Close()
	b.Until(late, func() error { return b.InTurn(5, route).Err })
	becomes(false, "up to up full", "up full to up")
}

// A farm that is left without the pool, or the product without the farm, takes
// its addresses back, and leaves the administrator's.
func TestB05_PoolAddresses_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.IP("addr add 10.30.9.9/16 dev back0")
	b.use(setup{Farm: b.Farm, farm: ", snatPool: pool", virtual: virtual("mine", b.Farm, 7, "80", "farm: web, interface: front0"),
		rest: "snatPools: [{name: pool, addresses: [10.30.9.1-10.30.9.4, \"fd10:30::9:1-fd10:30::9:2\"], interface: back0}]\n"})
	has := func(want ...string) func() error {
		return func() error {
			out := b.Must("", "ip", "-o", "addr")
			for _, w := range []string{"10.30.9.1/", "10.30.9.4/", "fd10:30::9:2/", "203.0.113.7/", "2001:db8:113::7/", "10.30.9.9/"} {
				wanted := false
				for _, x := range want {
					wanted = wanted || w == x
				}
				if strings.Contains(out, w) != wanted {
					return fmt.Errorf("want %v:\n%s", want, out)
				}
			}
			return nil
		}
	}
	b.Until(late, has("10.30.9.1/", "10.30.9.4/", "fd10:30::9:2/", "203.0.113.7/", "2001:db8:113::7/", "10.30.9.9/"))
	b.Until(late, func() error { return only(b.Connect(6, b.to4(7, 80)), 1, 2, 3) })
	b.IP("addr del 203.0.113.7/32 dev front0")
	b.Until(late, has("10.30.9.1/", "10.30.9.4/", "fd10:30::9:2/", "203.0.113.7/", "2001:db8:113::7/", "10.30.9.9/"))
	b.use(setup{Farm: b.Farm})
	b.Until(late, has("10.30.9.9/"))
}

// A pool that lacks the family of its servers is refused, with its place.
func TestB05_PoolFamily_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.refused("a pool without IPv6", setup{Farm: b.Farm, farm: ", snatPool: pool", rest: "snatPools: [{name: pool, addresses: [10.30.9.1]}]\n"}.String(), "pool", "IPv6")
}

// Test 6 and its twin: a server that asks its own virtual server is answered,
// by itself too; clients keep their address all the same. On one arm, where
// clients and servers are neighbours, everybody is answered.
func TestB06_Hairpin_Root(t *testing.T) {
	t.Parallel()
	t.Run("server", func(t *testing.T) {
		b := before(t, farm(t, nettest.FarmLayout{}))
		b.use(setup{Farm: b.Farm})
		for family, route := range b.twins(1, 80) {
			b.takes(time.Second, route, 1, 2, 3)
			host, hosts := b.Hosts[0], map[int]bool{}
			for range 12 {
				_, to := route(0)
				from := host.Addr4
				if to.Addr().Is6() {
					from = host.Addr6
				}
				talk, err := nettest.Call(host.Space, from, to, nettest.Patience)
				if err != nil {
					t.Errorf("%s: %v", family, err)
					continue
				}
				hosts[talk.First.Host] = true
				talk.Close()
			}
			if len(hosts) != 3 {
				t.Errorf("%s: a server's own connections go to hosts %v", family, hosts)
			}
			if s := b.Connect(97, route); len(s.Source) != clients {
				t.Errorf("%s: servers see %d clients, want %d", family, len(s.Source), clients)
			}
		}
	})
	t.Run("one arm", func(t *testing.T) {
		b := before(t, farm(t, nettest.FarmLayout{OneArm: true}))
		b.use(setup{Farm: b.Farm, serve: ", interface: back0"})
		for family, route := range b.twins(1, 80) {
			b.takes(time.Second, route, 1, 2, 3)
			if s := b.Connect(120, route); s.Failed > 0 || len(s.Source) != 1 {
				t.Errorf("%s: %v, from %v", family, s, s.Source)
			}
			if s := b.Flows(60, 3, route); s.Failed > 0 {
				t.Errorf("%s, UDP: %v", family, s)
			}
		}
	})
	t.Run("own", func(t *testing.T) { // the balancer's own connections
		b := before(t, farm(t, nettest.FarmLayout{}))
		b.use(setup{Farm: b.Farm, serve: ", interface: front0"})
		for family, route := range b.twins(1, 80) {
			b.takes(time.Second, route, 1, 2, 3)
			_, to := route(0)
			hosts := map[int]bool{}
			for range 12 {
				talk, err := nettest.Call(b.Space, netip.Addr{}, to, nettest.Patience)
				if err != nil {
					t.Errorf("%s: %v", family, err)
					continue
				}
				hosts[talk.First.Host] = true
				talk.Close()
			}
			if len(hosts) != 3 {
				t.Errorf("%s: the balancer's own connections go to hosts %v", family, hosts)
			}
		}
	})
}
