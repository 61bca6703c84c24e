package farm

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
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

// Weights count in the algorithms that say so, and in no other (1.1.15).
func TestB02_Algorithms_Root(t *testing.T) {
	t.Parallel()
	algorithms(t, before(t, farm(t, nettest.FarmLayout{})))
}

func algorithms(t *testing.T, b *balancer) {
	weights := map[int]string{1: ", weight: 1", 2: ", weight: 1", 3: ", weight: 4"}
	many := func(i int) (netip.Addr, netip.AddrPort) {
		_, to := b.to(1, 80)(i)
		return b.client(i), to
	}
	for _, c := range []struct {
		algorithm string
		slack     float64
		shares    []float64
	}{
		{"round-robin", 1. / 64, []float64{1, 1, 4}},
		{"random", lot(900, 1./3) + 1./64, []float64{1, 1, 1}},
		{"source-hash", lot(900, 1./3) + 1./64, []float64{1, 1, 1}},
		{"source-port-hash", lot(900, 1./3) + 1./64, []float64{1, 1, 1}},
	} {
		b.use(setup{Farm: b.Farm, farm: ", algorithm: " + c.algorithm, server: weights})
		b.Until(late, func() error { return uneven(b.Connect(900, many), c.slack, c.shares...) })
	}
}

// Those that go by connections level out those that are open: of the server in
// all farms, or in this one, for its weight or each alike. So who has many of
// another farm gets fewer, or does not.
func TestB02_Counting_Root(t *testing.T) {
	t.Parallel()
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3})
	kinds := []struct {
		algorithm string
		shares    []float64 // of 180, where host 1 has 60 of another farm
	}{
		{"least-connections", []float64{20, 80, 80}},
		{"weighted-least-connections", []float64{0, 36, 144}},
		{"member-least-connections", []float64{60, 60, 60}},
		{"member-weighted-least-connections", []float64{30, 30, 120}},
	}
	var servers, farms strings.Builder
	for k, kind := range kinds { // each with servers of its own, by port
		port := 80 + k
		f.Serve(uint16(port))
		one := fmt.Sprintf("addresses: [%s, \"%s\"], port: %d", f.Hosts[0].Addr4, f.Hosts[0].Addr6, port)
		fmt.Fprintf(&farms, "  - {name: other%d, servers: [{name: h1, %s}]}\n  - {name: farm%d, algorithm: %s, servers: [{name: h1, %s}", k, one, k, kind.algorithm, one)
		for n, weight := range []int{1, 4} {
			fmt.Fprintf(&farms, ", {name: h%d, addresses: [%s, \"%s\"], port: %d, weight: %d}", n+2, f.Hosts[n+1].Addr4, f.Hosts[n+1].Addr6, port, weight)
		}
		farms.WriteString("]}\n")
		servers.WriteString(virtual(fmt.Sprint("vs", k), f, 1, strconv.Itoa(port), fmt.Sprint("farm: farm", k)) +
			virtual(fmt.Sprint("other", k), f, 2, strconv.Itoa(port), fmt.Sprint("farm: other", k)))
	}
	b := before(t, f)
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" + servers.String() + "serverFarms:\n" + farms.String()))
	// counted waits until so many connections of each farm are known.
	counted := func(farm string, n int) {
		t.Helper()
		b.Until(late, func() error {
			list, err := b.API.RealServers(t.Context(), "", 0)
			if err != nil {
				return err
			}
			known := map[string]int{}
			for _, s := range list.Servers {
				if s.Connections != nil {
					known[s.Farm] += *s.Connections
				}
			}
			for k := range kinds {
				if is := known[fmt.Sprint(farm, k)]; is != n {
					return fmt.Errorf("%s%d has %d connections, want %d", farm, k, is, n)
				}
			}
			return nil
		})
	}
	to := func(address int) nettest.Route { // by turns to each of the farms, over both families
		return func(i int) (netip.Addr, netip.AddrPort) {
			return []func(int, uint16) nettest.Route{b.to4, b.to6}[i/4%2](address, uint16(80+i%4))(i)
		}
	}
	counted("farm", 0)
	if _, opened := b.Hold(4*60, 0, to(2)); opened.By[1] != 4*60 {
		t.Fatal(opened)
	}
	counted("other", 60)
	const rounds, each = 30, 6
	got := make([]nettest.Spread, len(kinds))
	for round := range rounds { // as clients come
		held, opened := b.Hold(4*each, 0, to(1))
		if opened.Failed > 0 {
			t.Fatal(opened)
		}
		for i, talk := range held.Talks {
			if round == 0 && got[i%4].By == nil {
				got[i%4].By = make([]int, 4)
			}
			got[i%4].By[talk.First.Host]++
		}
		counted("farm", each*(round+1))
	}
	for k, kind := range kinds {
		t.Logf("%s: %v", kind.algorithm, got[k])
		shared(t, kind.algorithm, got[k], 0.04, kind.shares...)
	}
}

// A hash keeps who is alike on one server: clients, clients with their port, or
// destinations. A server that is lost moves only its own; one that is back has
// those again, and no others (T32).
func TestB02_Hash_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm})
	for n, c := range []struct {
		algorithm string
		alike     int // how many keys the flows that are asked have, of a family
	}{{"source-hash", 48}, {"destination-hash", 16}, {"source-port-hash", 96}, {"source-hash, mask: {v4: 29, v6: 125}", 7}} {
		b.part(t, c.algorithm, func(t *testing.T) {
			b.use(setup{Farm: b.Farm, farm: ", algorithm: " + c.algorithm,
				virtual: "  - {name: net, addresses: [203.0.113.64, \"2001:db8:113::40\"], port: 80, serve: {farm: web, mask: {v4: 28, v6: 124}}}\n"})
			// homes gives the host of each key, over both families.
			homes := func() (map[string]int, error) {
				all := map[string]int{}
				var mu sync.Mutex
				s := b.Many(2*192, 16, func(i int) (nettest.Seen, error) { // each client by two ports, each of them to two destinations
					j := i / 2
					client, port, dest := j%48, uint16(20000+100*n+j/48%2), 64+(j+j/48+j/96)%16
					from, to := b.Client4(client), b.Virtual4(dest)
					if i%2 == 1 {
						from, to = b.Client6(client), b.Virtual6(dest)
					}
					key := from.String()
					switch c.algorithm {
					case "source-port-hash":
						key = netip.AddrPortFrom(from, port).String()
					case "destination-hash":
						key = to.String()
					case "source-hash":
					default:
						key = network(from, 29, 125)
					}
					talk, err := nettest.CallFrom(b.Clients, netip.AddrPortFrom(from, port), netip.AddrPortFrom(to, 80), nettest.Patience)
					if err != nil {
						return nettest.Seen{}, err
					}
					mu.Lock()
					defer mu.Unlock()
					if was, known := all[key]; known && was != talk.First.Host {
						err = fmt.Errorf("%s has host %d and host %d", key, was, talk.First.Host)
					}
					all[key] = talk.First.Host
					return talk.First, errors.Join(err, talk.Close())
				})
				switch {
				case s.Err == nil && len(all) != 2*c.alike:
					s.Err = fmt.Errorf("%d keys, want %d", len(all), 2*c.alike)
				case s.Err == nil && c.algorithm == "source-port-hash":
					s.Err = errors.New("each client has one host, whatever his port")
					for client := range 48 {
						if at := func(port uint16) string { return netip.AddrPortFrom(b.Client4(client), port).String() }; all[at(uint16(20000+100*n))] != all[at(uint16(20001+100*n))] {
							s.Err = nil
						}
					}
				}
				return all, s.Err
			}
			var first map[string]int
			b.Until(late, func() (err error) { first, err = homes(); return err })
			lost := slices.Sorted(maps.Values(first))[len(first)/2] // some have it, whatever the hash
			b.hold(fmt.Sprint("h", lost), true)
			var without map[string]int
			b.Until(late, func() (err error) {
				if without, err = homes(); err == nil && slices.Contains(slices.Collect(maps.Values(without)), lost) {
					err = fmt.Errorf("some still go to host %d", lost)
				}
				return err
			})
			for key, h := range first {
				if h != lost && without[key] != h {
					t.Errorf("%s had host %d, which lives, and moved to host %d", key, h, without[key])
				}
			}
			b.hold(fmt.Sprint("h", lost), false)
			b.Until(late, func() error {
				again, err := homes()
				if err == nil && !maps.Equal(again, first) {
					err = fmt.Errorf("not the same as before: %v, then %v", first, again)
				}
				return err
			})
		})
	}
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
	priorities(t, before(t, farm(t, nettest.FarmLayout{Hosts: 4})))
}

func priorities(_ *testing.T, b *balancer) {
	server := map[int]string{1: ", priority: 8", 2: ", priority: 4", 3: ", priority: 4", 4: ", priority: 1"}
	route := b.to(1, 80)
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
	spill(t, before(t, farm(t, nettest.FarmLayout{})))
}

func spill(t *testing.T, b *balancer) {
	with := func(keys string) setup {
		return setup{Farm: b.Farm, farm: keys, server: map[int]string{1: ", priority: 8, maxConnections: 60"}}
	}
	for _, c := range []struct {
		keys  string
		other bool
	}{{"", false}, {", spill: [down, full]", true}} {
		b.use(with(c.keys))
		b.takes(time.Second, b.to(1, 80), 1)
		held, opened := b.filled(60, 60, b.to(1, 80))
		if opened.By[1] != 60 {
			t.Fatalf("spill%s: below the limit go %v", c.keys, opened)
		}
		if c.other { // it is a tick that finds it full
			b.takes(time.Second, b.to(1, 80), 2, 3)
		} else if over := b.Connect(6, b.to(1, 80)); over.Failed != 6 {
			t.Errorf("spill%s: over the limit go %v", c.keys, over)
		}
		held.Close()
	}
}
