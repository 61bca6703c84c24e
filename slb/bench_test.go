package slb

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// large serves so many virtual servers over a farm of ten each.
func large(n int, more string) string {
	var virtuals, farms strings.Builder
	for i := range n {
		fmt.Fprintf(&virtuals, "  - {name: v%d, address: 203.%d.%d.%d, port: 80, serve: {farm: f%d}}\n", i, 1+i>>16, i>>8&255, i&255, i)
		fmt.Fprintf(&farms, "  - {name: f%d, slots: 64%s, servers: [", i, more)
		for k := range 10 {
			fmt.Fprintf(&farms, "{name: s%d, address: 10.%d.%d.%d, port: 80}, ", k, i>>8, i&255, k+1)
		}
		farms.WriteString("]}\n")
	}
	return "version: 1\nvirtualServers:\n" + virtuals.String() + "serverFarms:\n" + farms.String()
}

// Of 10,000 farms of ten servers one server goes down or comes back: from the row
// to what the kernel is given. Goal: less than a millisecond.
func BenchmarkServerDown10000(b *testing.B) {
	s := newBench(b, large(10000, ""))
	s.quiet()
	rows := [2]status.Row{{ID: "realServer/f5000/s3", Health: status.Down}, {ID: "realServer/f5000/s3", Health: status.Up}}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.board.Update(rows[i%2])
		s.turn(time.Now())
	}
}

// A turn at rest, of which there is one in 30 seconds, or five a second where
// connections are counted.
func BenchmarkTurnAtRest10000(b *testing.B) {
	for _, more := range []string{"", ", algorithm: least-connections"} {
		b.Run(more, func(b *testing.B) {
			s := newBench(b, large(10000, more))
			ctx, cancel := context.WithCancel(b.Context())
			s.count.Run(ctx, s.opts.Count, s.opts.Log)
			b.Cleanup(func() { cancel(); s.count.End() })
			s.quiet()
			for b.Loop() {
				s.turn(time.Now())
			}
		})
	}
}

// A reload of 10,000 virtual servers of which one is new.
func BenchmarkUse10000(b *testing.B) {
	s := newBench(b, large(10000, ""))
	s.quiet()
	m, p, n := s.SLB.model, s.plan, s.number
	for b.Loop() {
		s.Use(p, m, n)
	}
}

// quiet takes notes of nothing, and has all turns that were asked for.
func (b *bench) quiet() {
	b.SLB.opts.Kernel = silent{b}
	for range 3 {
		b.turn(time.Now())
	}
}

// silent is a kernel that takes no notes.
type silent struct{ *bench }

func (silent) Want(string, *kernel.Wishes)         {}
func (silent) Changed(string, ...*kernel.Elements) {}
