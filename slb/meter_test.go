package slb

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// flow has octets flow to a server and from it, in what the kernel counts.
func (b *bench) flow(server string, in, out uint64) {
	at := addrPort(server)
	key := kernel.Key(kernel.Addr(at.Addr()), kernel.Port(at.Port()))
	for set, n := range map[string]uint64{"octets_in4": in, "octets_out4": out} {
		found := false
		for i := range b.elements[set] {
			if string(b.elements[set][i].Key) == string(key) {
				b.elements[set][i].Octets += n
				found = true
			}
		}
		if !found {
			b.elements[set] = append(b.elements[set], kernel.Element{Key: key, Octets: n})
		}
	}
}

// A server that was busy when a reload took its maxBandwidth away is busy no more,
// and nobody is told rates of it that nobody reads (T60).
func TestBusyNoMore_T60(t *testing.T) {
	plain := fmt.Sprintf(web, "slots: 64\n    busyProtection: true")
	text := strings.Replace(plain, "{name: b,", "{name: b, maxBandwidth: {in: 8Mbps},", 1)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		for range 4 {
			b.flow("10.1.0.2:8080", 5e6, 0)
			b.wait(time.Second)
		}
		b.want("b is busy", b.slots("web"), "a:32 c:32")
		b.use(plain)
		b.wait(time.Second)
		b.want("b is not bounded any more", b.slots("web"), "a:22 b:21 c:21")
		if r := b.board.Table().Row("realServer/web/b"); r.Busy {
			t.Errorf("%+v", r)
		}
		if g, is := b.board.Gauges().Get("realServer/web/b"); is {
			t.Errorf("its rates stay: %+v", g)
		}
	})
}

// Busy protection by rates that the kernel counts: above the threshold a server
// gets nothing new, below its recovery it does again (FAQ 1.2.12, T17); rates are
// not known before there are two readings (T28).
func TestBusy_T17(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(web, "slots: 64\n    busyProtection: true"), "{name: b,", "{name: b, maxBandwidth: {in: 8Mbps}, busy: {rate: 70%, recovery: 50%},", 1)
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.flow("10.1.0.2:8080", 50e6, 0) // before anybody looked
		b.wait(1500 * time.Millisecond)
		if g, _ := b.board.Gauges().Get("realServer/web/b"); !math.IsNaN(g.Rate[1]) {
			t.Errorf("after one reading: %v", g.Rate)
		}
		for _, c := range []struct {
			octets uint64 // a second
			slots  string
		}{{600e3, "a:22 b:21 c:21"}, {800e3, "a:32 c:32"}, {600e3, "a:32 c:32"}, {400e3, "a:22 b:21 c:21"}} {
			b.flow("10.1.0.2:8080", c.octets, 0)
			b.wait(time.Second)
			b.want(fmt.Sprintf("%d octets a second", c.octets), b.slots("web"), c.slots)
			if g, _ := b.board.Gauges().Get("realServer/web/b"); math.Abs(g.Rate[1]-8*float64(c.octets)) > 1 {
				t.Errorf("the gauge: %v", g.Rate)
			}
		}
		if !b.heard("in 6.4Mbps is over 5.6Mbps (70% of 8Mbps)") {
			t.Error("nobody was told why")
		}
	})
}

// bandwidth shares by what remains below rateLimits (T27): a server with nothing
// left gets nothing, and at rest no farm is ticked.
func TestBandwidth_T27(t *testing.T) {
	text := strings.ReplaceAll(fmt.Sprintf(web, "slots: 64\n    algorithm: bandwidth"), "port: 8080}", "port: 8080, rateLimit: {total: 8Mbps}}")
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		for range 5 {
			b.flow("10.1.0.1:8080", 0, 500e3) // half of it
			b.flow("10.1.0.2:8080", 500e3, 500e3)
			b.flow("10.1.0.3:8080", 0, 0)
			b.wait(time.Second)
		}
		b.want("by what remains", b.slots("web"), "a:21 c:43")
		b.wait(time.Minute)
		b.want("nothing flows", b.slots("web"), "a:22 b:21 c:21")
		b.farms["web"].state.Up = false
		b.wait(time.Minute)
		if b.farms["web"].state.Up || len(b.notes) > 0 {
			t.Error("a farm is ticked though nothing flows")
		}
	})
}

// least-time goes by how soon probes were answered.
func TestLeastTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "slots: 64\n    algorithm: least-time")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		for name, l := range map[string]float64{"a": 0.5, "b": 0.001, "c": 0.5} {
			b.latency[status.ID("realServer/web/"+name)] = l
		}
		for s, n := range map[string]int{"10.1.0.1:8080": 10, "10.1.0.2:8080": 10, "10.1.0.3:8080": 10} {
			b.has("web", s, n)
		}
		b.wait(3 * time.Second)
		b.want("the quick one", b.slots("web"), "b:64")
	})
}

// Counters that begin anew, and gaps, make rates unknown, not wrong (T28).
func TestMeter_T28(t *testing.T) {
	m := &meter{window: time.Second}
	now := time.Now()
	rate := func(after time.Duration, n uint64) float64 {
		now = now.Add(after)
		m.count(now, [2]uint64{n, 0})
		g := status.NoGauge()
		m.gauge(now, &g)
		return g.Rate[1]
	}
	for i, c := range []struct {
		after time.Duration
		n     uint64
		want  float64
	}{{0, 100, math.NaN()}, {time.Second, 1100, 8000}, {time.Second, 1100, 0}, {4 * time.Second, 9100, math.NaN()}, {time.Second, 9200, 800},
		{time.Second, 5, math.NaN()}, {time.Second, 1005, 8000}} {
		if got := rate(c.after, c.n); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
			t.Errorf("%d: %v, want %v", i, got, c.want)
		}
	}
}
