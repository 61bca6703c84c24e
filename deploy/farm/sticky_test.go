package farm

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/nettest"
)

// Test 3 and its twin: a client has the same server across 100 connections. A
// server that is lost moves only its own clients, and their entry changes with
// them: they stay where they are when it comes back (the update trap).
func TestB03_Sticky_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm, serve: ", persistence: same", rest: "persistence: [{name: same}]\n"})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	for family, route := range b.twins(1, 80) {
		for h := range 3 {
			s := b.Connect(100, b.from(100+h, route))
			if s.Failed > 0 || len(s.At) != 1 {
				t.Errorf("%s: one client has %v", family, s)
			}
		}
		first := b.homes(t, route, 2)
		b.lose(1, true)
		b.Until(detected+interval+late+nettest.Patience, func() error { return only(b.Connect(12, b.stranger(route)), 2, 3) })
		during := b.homes(t, route, 2)
		b.lose(1, false)
		b.Until(late, func() error { return only(b.Connect(12, b.stranger(route)), 1, 2, 3) })
		after := b.homes(t, route, 2)
		moved := 0
		for c, h := range first {
			switch {
			case h == 1:
				moved++
				if during[c] == 1 || after[c] != during[c] {
					t.Errorf("%s: client %s had host 1, which went, then host %d, then host %d", family, c, during[c], after[c])
				}
			case during[c] != h || after[c] != h:
				t.Errorf("%s: client %s had host %d, which lives, then host %d, then host %d", family, c, h, during[c], after[c])
			}
		}
		if moved < clients/6 {
			t.Errorf("%s: only %d clients had host 1", family, moved)
		}
	}
}

// stranger goes where a route goes, from clients that have been nowhere.
func (b *balancer) stranger(route nettest.Route) nettest.Route {
	next := 5000 + int(time.Now().UnixNano()%1000)*10
	return func(i int) (netip.Addr, netip.AddrPort) { return b.from(next+i, route)(i) }
}

// Of many first connections of a client at once the first decides for all.
func TestB03_StickyBurst_Root(t *testing.T) {
	t.Parallel()
	bursts(t, before(t, farm(t, nettest.FarmLayout{})))
}

func bursts(t *testing.T, b *balancer) {
	b.use(setup{Farm: b.Farm, serve: ", persistence: same", rest: "persistence: [{name: same}]\n"})
	b.takes(time.Second, b.to(1, 80), 1, 2, 3)
	split := 0
	for n := range 100 {
		s := b.Burst(12, b.from(1000+n, b.to(1, 80)))
		if s.Failed > 0 {
			t.Fatal(s)
		}
		if len(s.At) > 1 {
			split++
		}
	}
	if split > 0 {
		t.Errorf("%d of 100 bursts were split", split)
	}
}

// What makes two connections similar: source, with a mask; source and port;
// destination; both.
func TestB03_StickyBy_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	for n, c := range []struct {
		keys string
		key  func(from netip.AddrPort, to netip.Addr) string
	}{
		{"by: source", func(from netip.AddrPort, _ netip.Addr) string { return from.Addr().String() }},
		{"by: source, mask: {v4: 29, v6: 125}", func(from netip.AddrPort, _ netip.Addr) string { return network(from.Addr(), 29, 125) }},
		{"by: source-port", func(from netip.AddrPort, _ netip.Addr) string { return from.String() }},
		{"by: destination", func(_ netip.AddrPort, to netip.Addr) string { return to.String() }},
		{"by: destination, destinationMask: {v4: 30, v6: 126}", func(_ netip.AddrPort, to netip.Addr) string { return network(to, 30, 126) }},
		{"by: source-destination", func(from netip.AddrPort, to netip.Addr) string { return from.Addr().String() + " " + to.String() }},
	} {
		// A network of sixteen addresses is one virtual server, so that destinations
		// differ; each time another one: when it answers what it uses is in effect.
		base := 16 * (n + 1)
		b.use(setup{Farm: b.Farm, virtual: fmt.Sprintf("  - {name: net, addresses: [%s, \"%s\"], port: 80, serve: {farm: web, mask: {v4: 28, v6: 124}, persistence: same}}\n", b.Virtual4(base), b.Virtual6(base)),
			rest: "persistence: [{name: same, " + c.keys + "}]\n"})
		b.Until(late, func() error { return b.InTurn(1, b.to6(base, 80)).Err })
		b.Does("sticky", "clear", "--all", "--reason", "test")
		whose, hosts := map[string]int{}, map[int]bool{}
		for i := range 600 { // each client by two ports, each of them to several destinations
			j := i / 2
			dest := base + (j+j/80)%16
			from, to := b.Client4(j%40), b.Virtual4(dest)
			if i%2 == 1 {
				from, to = b.Client6(j%40), b.Virtual6(dest)
			}
			by := netip.AddrPortFrom(from, uint16(20000+j/40%2))
			talk, err := nettest.CallFrom(b.Clients, by, netip.AddrPortFrom(to, 80), nettest.Patience)
			if err != nil {
				t.Fatalf("%s: %v", c.keys, err)
			}
			talk.Close()
			key := c.key(by, to)
			if was, ok := whose[key]; ok && was != talk.First.Host {
				t.Errorf("%s: %s has host %d and host %d", c.keys, key, was, talk.First.Host)
			}
			whose[key], hosts[talk.First.Host] = talk.First.Host, true
		}
		if len(hosts) != 3 {
			t.Errorf("%s: only hosts %v", c.keys, hosts)
		}
		if list, err := b.API.Sticky(t.Context(), api.StickyQuery{}, 0); err != nil || len(list.Entries) != len(whose) {
			t.Errorf("%s: %d entries, want %d (%v)", c.keys, len(list.Entries), len(whose), err)
		}
	}
}

func network(a netip.Addr, v4, v6 int) string {
	bits := v4
	if a.Is6() {
		bits = v6
	}
	return netip.PrefixFrom(a, bits).Masked().String()
}

// Entries are listed and cleared; they are shared across virtual servers where
// that is said; they outlive the program and are read back.
func TestB03_StickyShown_Root(t *testing.T) {
	t.Parallel()
	stickyShown(t, before(t, farm(t, nettest.FarmLayout{})))
}

func stickyShown(t *testing.T, b *balancer) {
	more := virtual("alt", b.Farm, 2, "80", "farm: web, persistence: same")
	b.use(setup{Farm: b.Farm, serve: ", persistence: same", virtual: more, rest: "persistence: [{name: same, shared: true}]\n"})
	b.takes(time.Second, b.to(1, 80), 1, 2, 3)
	first := b.homes(t, b.to(1, 80), 1)
	same := func(what string) {
		t.Helper()
		for _, vs := range []int{1, 2} {
			for c, h := range b.homes(t, b.to(vs, 80), 1) {
				if first[c] != h {
					t.Errorf("%s: client %s had host %d, and host %d at address %d", what, c, first[c], h, vs)
				}
			}
		}
	}
	same("shared")
	b.Kill()
	same("without the program")
	b.Start()
	same("after a restart")
	said := b.Does("sticky", "list", "--limit", "0")
	for c := range first {
		if !strings.Contains(said, c.String()) {
			t.Errorf("sticky list has no entry of %s:\n%s", c, said)
			break
		}
	}
	if !strings.Contains(said, "h1") {
		t.Errorf("sticky list names no server:\n%s", said)
	}
	b.Does("sticky", "clear", "--all", "--reason", "test")
	if said = b.Does("sticky", "list", "--limit", "0"); strings.Contains(said, b.client(3).String()) {
		t.Errorf("cleared, and still there:\n%s", said)
	}
}

// An entry passes limits with overrideLimit, and then only one that was there
// before (T23); without, one whose server is at its limit is passed over.
func TestB03_StickyOverLimits_Root(t *testing.T) {
	t.Parallel()
	stickyOverLimits(t, before(t, farm(t, nettest.FarmLayout{})))
}

func stickyOverLimits(t *testing.T, b *balancer) {
	route := b.to(1, 80)
	later := func(i int) (netip.Addr, netip.AddrPort) { return route(60 + i) }
	for _, c := range []struct {
		keys   string
		passes bool
	}{{", overrideLimit: true", true}, {"", false}} {
		b.use(setup{Farm: b.Farm, serve: ", maxConnections: 30, persistence: same", rest: "persistence: [{name: same" + c.keys + "}]\n"})
		b.takes(time.Second, route, 1, 2, 3)
		known := b.homes(t, route, 1) // 97 clients with an entry
		held, opened := b.filled(30, 30, route)
		if opened.OK() != 30 {
			t.Fatal(opened)
		}
		if s := b.Connect(6, b.stranger(route)); s.Failed != 6 {
			t.Errorf("keys %q: 6 clients without an entry came in over the limit: %v", c.keys, s)
		}
		s := b.Connect(6, later)
		if passed := s.OK() == 6; passed != c.passes {
			t.Errorf("keys %q: clients with an entry: %v", c.keys, s)
		}
		held.Close()
		b.Until(late, func() error { return b.Connect(6, later).Err })
		for from, h := range b.homes(t, route, 1) {
			if h != known[from] {
				t.Errorf("keys %q: client %s moved from host %d to host %d", c.keys, from, known[from], h)
			}
		}
	}
}
