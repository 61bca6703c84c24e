package slots

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// tenLinks is a group of 10 links with all that costs: busy protection, limits.
func tenLinks(tb testing.TB, a Algorithm) *world {
	w := newWorld(tb, a, func(g *Spec) {
		g.BusyProtection, g.Min = true, 10
		slowly(g)
		for i := range g.Members {
			g.Members[i].MaxEverywhere, g.Members[i].RateLimit[busy.Total] = 100000, 1e9
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
	for _, a := range []Algorithm{RoundRobin, LeastConnections, LeastTime, SourceHash, Bandwidth} {
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
		w := tenLinks(b, RoundRobin)
		for _, name := range w.names {
			w.fail(name)
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

// farms are specs of 10,000 farms of ten servers, and a board with all their
// rows.
func farms(a Algorithm, n int) (specs []Spec, table *status.Table) {
	board := status.NewBoard(1)
	var rows []status.Row
	for f := range n {
		s := Spec{Name: fmt.Sprint("farm", f), Algorithm: a, Size: 64, Spill: pick.SpillDown, Words: Words{Members: "servers", Group: "farm"}}
		for k := range 10 {
			name := fmt.Sprintf("server%d", k)
			row := status.ID("realServer/" + s.Name + "/" + name)
			s.Members = append(s.Members, Member{Name: name, ID: ID(10*f + k + 1), Weight: k%3 + 1, Row: row, Needs: []status.ID{row}})
			rows = append(rows, status.Row{ID: row, Health: status.Up})
		}
		specs = append(specs, s)
	}
	board.Update(rows...)
	return specs, board.Table()
}

// Goal: 10,000 farms of ten servers and 64 slots are compiled and have their
// first tick in well under 500 ms, and with what they keep take under 200 MB.
func BenchmarkFarms10000(b *testing.B) {
	for _, a := range []Algorithm{RoundRobin, SourceHash, LeastConnections} {
		b.Run(string(a), func(b *testing.B) {
			specs, table := farms(a, 10_000)
			in := Input{Table: table, Now: at0(), Every: time.Second}
			type kept struct {
				*Group
				State
				Result
			}
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var all []kept
			b.ReportAllocs()
			for b.Loop() {
				all = make([]kept, 0, len(specs))
				for _, s := range specs {
					g, err := New(s)
					if err != nil {
						b.Fatal(err)
					}
					state, r := g.Tick(in, Load{}, State{})
					all = append(all, kept{g, state, r})
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-kept")
			runtime.KeepAlive(all)
		})
	}
}
