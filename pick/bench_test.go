package pick

import (
	"fmt"
	"testing"
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
