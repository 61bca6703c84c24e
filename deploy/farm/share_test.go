package farm

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// Test 2 and its IPv6 twin (test 7): connections go by weight, in turn exactly;
// the same of UDP flows. The client's own address reaches the server.
func TestB02_Weights_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm, farm: ", slots: 64", server: map[int]string{1: ", weight: 3", 2: ", weight: 2"}})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	for family, route := range b.twins(1, 80) {
		// 64 connections in a row are a whole round.
		first, second := b.InTurn(64, route), b.InTurn(64, route)
		shared(t, "a round, "+family, first, 1./64, 3, 2, 1)
		if fmt.Sprint(first) != fmt.Sprint(second) {
			t.Errorf("%s: a round is %v, the next %v", family, first, second)
		}
		shared(t, "side by side, "+family, b.Connect(640, route), 1./64, 3, 2, 1)
		flows := b.Flows(320, 3, route)
		shared(t, "UDP, "+family, flows, 1./64, 3, 2, 1)
		if len(flows.Source) != clients {
			t.Errorf("%s: servers see %d clients, want %d", family, len(flows.Source), clients)
		}
	}
}

// Weights count in the algorithms that say so, and in no other (1.1.15); by
// lot within three standard deviations.
func TestB02_Algorithms_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	weights := map[int]string{1: ", weight: 1", 2: ", weight: 1", 3: ", weight: 4"}
	with := func(algorithm string) setup {
		return setup{Farm: b.Farm, farm: ", algorithm: " + algorithm, server: weights}
	}
	many := func(i int) (netip.Addr, netip.AddrPort) {
		return b.Client4(i), netip.AddrPortFrom(b.Virtual4(1), 80)
	}
	b.use(setup{Farm: b.Farm})
	for _, c := range []struct {
		algorithm string
		slack     float64
		shares    []float64
	}{
		{"round-robin", 1. / 64, []float64{1, 1, 4}},
		{"random", lot(900, 1./3) + 1./64, []float64{1, 1, 1}},
		{"source-hash", lot(900, 1./3) + 1./64, []float64{1, 1, 1}},
		{"source-port-hash", lot(900, 1./3) + 1./64, []float64{1, 1, 1}},
		{"least-time", 1, []float64{1, 1, 1}},
	} {
		b.part(t, c.algorithm, func(t *testing.T) {
			b.use(with(c.algorithm))
			b.Until(late, func() error {
				if s := b.Connect(6, many); s.Failed > 0 {
					return s.Err
				}
				return nil
			})
			shared(t, c.algorithm, b.Connect(900, many), c.slack, c.shares...)
		})
	}
	for _, c := range []struct {
		algorithm string
		shares    []float64
	}{{"least-connections", []float64{1, 1, 1}}, {"weighted-least-connections", []float64{1, 1, 4}},
		{"member-least-connections", []float64{1, 1, 1}}, {"member-weighted-least-connections", []float64{1, 1, 4}}} {
		t.Run(c.algorithm, func(t *testing.T) {
			b := before(t, farm(t, nettest.FarmLayout{}))
			b.use(setup{Farm: b.Farm, farm: ", algorithm: " + c.algorithm, server: weights})
			b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
			b.Pause(1500 * time.Millisecond) // what was has ended
			total := nettest.Spread{By: make([]int, 4)}
			for range 60 { // as clients come
				_, opened := b.Hold(4, 0, func(i int) (netip.Addr, netip.AddrPort) {
					return b.Client4(i), netip.AddrPortFrom(b.Virtual4(1), 80)
				})
				for n, by := range opened.By {
					total.By[n] += by
				}
				total.Failed += opened.Failed
				b.Pause(70 * time.Millisecond)
			}
			shared(t, c.algorithm, total, 0.08, c.shares...)
		})
	}
}

// A hash keeps each client on its server; a server that is lost moves only its
// own clients, one that comes back gets those back (T32).
func TestB02_Hash_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm, farm: ", algorithm: source-hash"})
	for family, route := range b.twins(1, 80) {
		b.takes(time.Second, route, 1, 2, 3)
		first := b.homes(t, route, 3)
		b.lose(1, true)
		b.takes(detected+interval, route, 2, 3)
		without := b.homes(t, route, 2)
		for c, h := range first {
			if h != 1 && without[c] != h {
				t.Errorf("%s: client %s had host %d, which lives, and moved to host %d", family, c, h, without[c])
			}
		}
		b.lose(1, false)
		b.takes(time.Second, route, 1, 2, 3)
		if again := b.homes(t, route, 2); !maps.Equal(first, again) {
			t.Errorf("%s: not the same as before: %v, then %v", family, first, again)
		}
	}
	b.use(setup{Farm: b.Farm, farm: ", algorithm: source-port-hash"})
	b.takes(time.Second, b.from(1, b.to4(1, 80)), 1, 2, 3)
	b.use(setup{Farm: b.Farm, farm: ", algorithm: source-hash, mask: {v4: 24, v6: 120}"})
	b.Until(late, func() error {
		if s := b.Connect(clients, b.to4(1, 80)); s.Failed > 0 || s.By[1] != clients && s.By[2] != clients && s.By[3] != clients {
			return fmt.Errorf("clients of one network have several servers: %v", s)
		}
		return nil
	})
}

// homes connects each client so often, and gives its host; one with two is an
// error.
func (b *balancer) homes(t *testing.T, route nettest.Route, times int) map[netip.Addr]int {
	t.Helper()
	all := map[netip.Addr]int{}
	for range times {
		homes := make([]int, clients)
		s := b.Many(clients, 16, func(i int) (nettest.Seen, error) {
			from, to := route(i)
			talk, err := b.TCP(from, to)
			if err != nil {
				return nettest.Seen{}, err
			}
			homes[i] = talk.First.Host
			return talk.First, talk.Close()
		})
		if s.Failed > 0 {
			t.Fatal(s)
		}
		for i, h := range homes {
			from, _ := route(i)
			if was, ok := all[from]; ok && was != h {
				t.Errorf("client %s has host %d and host %d", from, was, h)
			}
			all[from] = h
		}
	}
	return all
}

// The table of priority, min and max (1.1.14, T24, T25): of those that live the
// highest level takes part; levels are added until there are min; never more
// than max; fewer than min: all.
func TestB02_Priority_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{Hosts: 4}))
	server := map[int]string{1: ", priority: 8", 2: ", priority: 4", 3: ", priority: 4", 4: ", priority: 1"}
	route := b.to4(1, 80)
	for _, c := range []struct {
		keys string
		out  []int
		take []int
	}{
		{"", nil, []int{1}},
		{", min: 2", nil, []int{1, 2, 3}},
		{", min: 2, max: 2", nil, []int{1, 2}},
		{", min: 4", nil, []int{1, 2, 3, 4}},
		{", min: 9", nil, []int{1, 2, 3, 4}},
		{", max: 1", nil, []int{1}},
		{"", []int{1}, []int{2, 3}},
		{"", []int{1, 2, 3}, []int{4}},
		{", max: 1", []int{1}, []int{2}},
		{", min: 3, max: 3", []int{2}, []int{1, 3, 4}},
		{", min: 3", []int{2, 4}, []int{1, 3}},
	} {
		b.use(setup{Farm: b.Farm, farm: c.keys, server: server})
		for _, h := range c.out {
			b.lose(h, true)
		}
		b.takes(2*time.Second, route, c.take...)
		for _, h := range c.out {
			b.lose(h, false)
		}
	}
}

// A server that is full does not spill to lower priorities; one that is down
// does (T24), unless the farm says so.
func TestB02_Spill_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	with := func(keys string) setup {
		return setup{Farm: b.Farm, farm: keys, server: map[int]string{1: ", priority: 8, maxConnections: 60"}}
	}
	for _, c := range []struct {
		keys  string
		other bool
	}{{"", false}, {", spill: [down, full]", true}} {
		b.use(with(c.keys))
		b.takes(time.Second, b.to4(1, 80), 1)
		b.Until(10*time.Second, func() error { // connections before have ended
			held, opened := b.Hold(60, 0, b.to4(1, 80))
			if opened.By[1] != 60 {
				held.Close()
				return fmt.Errorf("%v", opened)
			}
			b.Pause(1500 * time.Millisecond) // full is told by a tick
			over := b.Connect(6, b.to4(1, 80))
			if c.other && over.By[2]+over.By[3] != 6 || !c.other && over.Failed != 6 {
				t.Errorf("spill%s: over the limit go %v", c.keys, over)
			}
			held.Close()
			return nil
		})
	}
}
