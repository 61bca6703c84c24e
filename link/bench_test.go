package link

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// lines is 64 links with thresholds, each on an interface of its own.
func lines(window string) string {
	var yaml strings.Builder
	for i := range 64 {
		fmt.Fprintf(&yaml, "  - {name: l%d, interface: eth%d, maxBandwidth: {total: 1Gbps, in: 800Mbps, out: 800Mbps}, rateLimit: 2Gbps, busy: {window: %s}}\n", i, i+10, window)
	}
	return yaml.String()
}

func benchTick(b *testing.B, window string, change bool) {
	m := &machine{grown: time.Now(), totals: map[int]kernel.Counter{}, flow: map[int]kernel.Counter{}}
	for i := range 64 {
		m.interfaces = append(m.interfaces, eth(i+10, fmt.Sprintf("eth%d", i+10)))
	}
	l := New(status.NewBoard(1000), Options{Kernel: m})
	l.Want(specs(b, lines(window)))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for n := range m.totals {
			c := m.totals[n]
			c.In += 1000
			m.totals[n] = c
		}
		if change {
			bound := []float64{1, 1e18}[i%2]
			for _, k := range l.links {
				k.rule = busy.Rule{busy.Total: {Threshold: bound, Recovery: bound}}
			}
		}
		l.tick()
	}
	if n := l.board.Table().Generation(); change != (n > 2) {
		b.Errorf("%d tables", n)
	}
}

// The meter, the rule and the gauges of 64 links, once: the goal is under 0.1 %
// of a core, which is 1 ms. What the kernel takes for its part is not in it:
// see BenchmarkCounters in package kernel.
func BenchmarkTick64(b *testing.B) { benchTick(b, "1s", false) }

// The same with 300 samples a link.
func BenchmarkTick64Window300(b *testing.B) { benchTick(b, "300s", false) }

// The same with every link changing its state.
func BenchmarkTick64Change(b *testing.B) { benchTick(b, "1s", true) }
