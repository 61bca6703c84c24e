package pick

import (
	"fmt"
	"testing"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
)

func BenchmarkPick(b *testing.B) {
	for _, members := range []int{4, 64} {
		var lines []string
		for i := range members {
			lines = append(lines, fmt.Sprintf("m%d %d", i, i%5+1))
		}
		for _, tt := range []struct {
			name      string
			algorithm Algorithm
		}{
			{"round-robin", RoundRobin(true)}, {"random", Random(true)}, {"first", First()},
			{"source-hash", SourceHash(true, 24, 56)}, {"best", Best(topo, RoundRobin(true))},
		} {
			g := group(Rules{}, []Slot{{"s", tt.algorithm}, {"f", First()}}, lines...)
			g.Use(rowsUp)
			b.Run(fmt.Sprintf("%s/%d", tt.name, members), func(b *testing.B) {
				b.ReportAllocs()
				into := make([]*Member, 0, 1)
				for i := 0; b.Loop(); i++ {
					g.Pick(Input{Table: rowsUp, Client: classA, Draw: uint64(i)}, into, nil)
				}
			})
		}
	}
}

// BenchmarkLivePick is Pick by live numbers that differ for all members.
func BenchmarkLivePick(b *testing.B) {
	for _, members := range []int{4, 64} {
		var lines []string
		gauges := map[status.ID]status.Gauge{}
		for i := range members {
			name := fmt.Sprintf("m%d", i)
			lines = append(lines, fmt.Sprintf("%s %d", name, i%5+1))
			g := status.NoGauge()
			g.Remaining[busy.Out], g.Connections, g.Latency = float64(100e6+7919*i), float64(100+i), 0.01+float64(i)/1e4
			gauges[status.MakeID(status.KindLink, name)], gauges[vs(name)] = g, g
		}
		board := status.NewBoard(1)
		board.Measure(gauges)
		for _, a := range liveAlgorithms()[:6] {
			g := lined(a.Algorithm, lines...)
			g.Use(rowsUp)
			b.Run(fmt.Sprintf("%s/%d", a.Name, members), func(b *testing.B) {
				b.ReportAllocs()
				into := make([]*Member, 0, 1)
				in := Input{Table: rowsUp, Gauges: board.Gauges(), Client: classA}
				for b.Loop() {
					in.Draw++
					g.Pick(in, into, nil)
				}
			})
		}
	}
}
