package traffic

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// server is the number of a virtual server in the mark of a connection.
func server() kernel.Value {
	return kernel.Masked{Of: kernel.CtMark, Mask: kernel.Number(kernel.ServerMask)}
}

// bounded gives a world whose packets pass a limit policy, one chain for all
// virtual servers.
func bounded(rules ...*config.LimitRule) *kernel.World {
	b := NewBuilder("t", NewFixed())
	b.Base("in", kernel.Hook{Type: "filter", Point: "prerouting"}, func() []kernel.Rule {
		chain := b.LimitPolicy(&config.LimitPolicy{Name: "p", Rules: rules},
			Bounded{Key: server(), Type: kernel.TypeNumber, Refuse: []kernel.Step{kernel.Drop{}}})
		return []kernel.Rule{Rule("", kernel.Jump{Chain: chain})}
	})
	table, _ := b.Done()
	return kernel.NewWorld(&kernel.Wishes{Tables: []kernel.Table{table}})
}

// One chain bounds the connections of several virtual servers, each by itself,
// for the number of each is in what is counted: one that is shut at upper stays
// so until it is below lower (T29), and another is not shut with it.
func TestLimitPolicy_Key(t *testing.T) {
	for _, per := range [][]string{nil, {config.LimitPerSource}, {config.LimitPerDestination, config.LimitPerService}} {
		for _, from := range []string{"10.0.0.5", "2001:db8::5"} {
			world := bounded(&config.LimitRule{Per: per, Upper: 20, Lower: 10})
			live := map[uint32]int{}
			world.Over = func(l kernel.Limit) bool {
				return live[asNumber(l.Key)>>10]+1 > int(l.Step.(kernel.Change).Over)
			}
			world.Remember = true
			for i, c := range []struct {
				live  int
				admit bool
			}{{0, true}, {19, true}, {20, false}, {19, false}, {10, false}, {9, true}, {19, true}} {
				live[1], live[2] = c.live, 15
				for number, admit := range map[uint32]bool{1: c.admit, 2: true} {
					p := kernel.Packet{Source: address(from), Dest: address(from).Next(), Protocol: 6, SourcePort: 1, DestPort: 80,
						Ct: kernel.CtInfo{State: kernel.CtNew, Mark: number<<10 | kernel.Inbound | 3}}
					trace, err := world.Walk("prerouting", p)
					if err != nil {
						t.Fatal(err)
					}
					if (trace.End != kernel.Dropped) != admit {
						t.Errorf("per %v, %s, step %d: virtual server %d with %d connections: %v", per, from, i, number, live[number], trace.End)
					}
				}
			}
		}
	}
}

// asNumber reads the first part of a key.
func asNumber(key []byte) (n uint32) {
	for n = 0; string(kernel.Number(n<<10)) != string(key[:4]); n++ {
		if n == 1<<16 {
			return 0
		}
	}
	return n << 10
}

// The first rule that a connection matches decides (1.2.9), whatever its family.
func TestLimitPolicy_First(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	world := bounded(
		&config.LimitRule{Sources: prefixes("10.0.0.0/24"), Upper: 1, Lower: 1},
		&config.LimitRule{Destinations: prefixes("192.0.2.0/24", "2001:db8:9::/48"), Upper: 2, Lower: 2},
		&config.LimitRule{Sources: prefixes("10.0.0.0/8"), Upper: 5000, Lower: 3000},
	)
	for _, c := range []struct {
		from, to string
		asks     string // the bounds that are asked, upper and lower
	}{
		{"10.0.0.5", "192.0.2.1", "[1]"},
		{"10.0.1.5", "192.0.2.1", "[2]"},
		{"2001:db8::5", "2001:db8:9::1", "[2]"},
		{"10.0.1.5", "198.51.100.1", "[1000 600]"}, // of five parts
		{"2001:db8::5", "2001:db8:8::1", "[]"},
	} {
		var asked []uint32
		world.Over = func(l kernel.Limit) bool {
			asked = append(asked, l.Step.(kernel.Change).Over)
			return false
		}
		if _, err := world.Walk("prerouting", kernel.Packet{Source: address(c.from), Dest: address(c.to), Protocol: 17, SourcePort: 1, DestPort: 53, Ct: kernel.CtInfo{State: kernel.CtNew}}); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(asked) != c.asks {
			t.Errorf("%s to %s: bounds %d are asked, want %s", c.from, c.to, asked, c.asks)
		}
	}
}
