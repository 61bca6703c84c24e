package outbound

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
)

// tenLinks is a group of 10 links with all that costs: busy protection, limits.
func tenLinks(tb testing.TB, a config.LinkAlgorithm) *world {
	w := newWorld(tb, a, func(g *config.LinkGroup, links []*config.Link) {
		g.BusyProtection, g.Min = true, 10
		slowly(g, links)
		for i := range links {
			links[i].MaxConnections, links[i].RateLimit.Total = 100000, 1e9
		}
	}, "a 3 1", "b 2 1", "c 1 1", "d 1 1", "e 1 1", "f 1 0", "g 5 0", "h 1 0", "i 2 0", "j 1 0")
	w.rates("a:0/100 b:10/200 c:20/300 d:1/100 e:1/200 f:5/300 g:6/600 h:7/900 i:1/400 j:50/100")
	for i := range w.live {
		w.live[i] = float64(100 * i % 700)
	}
	w.load.Arrivals = Arrivals{Mean: 400, Last: 400, Known: true}
	w.tick(0)
	return w
}

// Goal: a tick of 64 groups of 10 links in less than a millisecond.
func BenchmarkTick64Groups(b *testing.B) {
	for _, a := range []config.LinkAlgorithm{config.LinkRoundRobin, config.LinkLeastConnections, config.LinkSourceHash, config.LinkBandwidth} {
		b.Run(string(a), func(b *testing.B) {
			w := tenLinks(b, a)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for range 64 {
					w.live[1+i%10]++ // so that a table that goes by them changes
					w.tick(time.Millisecond)
				}
			}
		})
	}
	b.Run("all ramp apart", func(b *testing.B) {
		w := tenLinks(b, config.LinkRoundRobin)
		for _, l := range w.links {
			w.fail(l.Name)
		}
		w.tick(7 * time.Second)
		b.ReportAllocs()
		for b.Loop() {
			for range 64 {
				w.tick(0)
			}
		}
	})
}

// A turn of 50,000 networks whose nearest link is known: what is looked at again
// in one of them, while ticks wait.
func BenchmarkNearest50000(b *testing.B) {
	p := compile(b, strings.Replace(simple, "members: [one, two, three]", "members: [one, two, three], proximity: true", 1)+
		"proximity: {methods: [icmp], static: [{prefix: 0.0.0.0/0, link: two}]}\n", nil)
	quiet := &bench{}
	o := New(Options{Board: status.NewBoard(1), Kernel: quiet, Sessions: quiet, Interfaces: func() ([]kernel.Interface, error) { return nil, nil }})
	quiet.Outbound = o
	o.Use(p, proximity.Compile(p.model))
	for i := range 50000 {
		a := netip.AddrFrom4([4]byte{11, byte(i >> 8), byte(i), 0})
		o.ranked.ranks[netip.PrefixFrom(a, 24)] = RanksOf(2)
	}
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		now = now.Add(nearEvery)
		quiet.notes = nil
		o.nearest(now)
	}
}

// To compile a group of 64 links by a hash, which a reload does.
func BenchmarkPreferences(b *testing.B) {
	var names []string
	for i := range 64 {
		names = append(names, string(rune('a'+i)))
	}
	b.ReportAllocs()
	for b.Loop() {
		preferencesOf(names)
	}
}
