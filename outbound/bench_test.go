package outbound

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
)

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
