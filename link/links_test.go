package link

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Rates are unknown at the start and after a gap, and known from the second
// reading on (T28).
func TestRates_T28(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1, rateLimit: {total: 100Mbps, out: 50Mbps}}\n", func(b *bench) {
		b.flows(7, 8e6, 24e6)
		b.rates("after one reading", nan, nan)
		time.Sleep(sec)
		b.rates("after two", 8e6, 24e6)
		g, _ := b.board.Gauges().Get("link/a")
		if g.Remaining[busy.Total] != 68e6 || g.Remaining[busy.Out] != 26e6 || !math.IsNaN(g.Remaining[busy.In]) {
			t.Errorf("remaining %v: want what there is below a limit, and nothing known without one", g.Remaining)
		}
		b.machine.now(func() { b.err = errors.New("no memory") })
		time.Sleep(3 * sec)
		b.rates("3 s without counters", 8e6, 24e6)
		if s := b.States()[0]; s.Error != "no memory" {
			t.Errorf("state says %q", s.Error)
		}
		time.Sleep(sec)
		b.rates("more than 3 s without", nan, nan)
		b.machine.now(func() { b.err = nil })
		time.Sleep(sec)
		b.rates("the first after a gap", nan, nan)
		time.Sleep(sec)
		b.rates("the second", 8e6, 24e6)
	})
}

// Another interface of the same name has other counters; before anybody told us
// of it, too.
func TestReplaced_T28(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1}\n", func(b *bench) {
		b.flows(7, 8e6, 8e6)
		time.Sleep(2 * sec)
		b.mu2(func() { // nobody tells
			b.interfaces[1] = eth(9, "eth1")
			b.totals[9] = kernel.Counter{In: 1 << 40, Out: 1 << 40}
			b.flow[9] = kernel.Counter{In: 2e6}
		})
		time.Sleep(every)
		b.rates("no counters of the old one", 8e6, 8e6)
		time.Sleep(every)
		b.rates("one reading of the new one", nan, nan)
		time.Sleep(sec - every)
		b.rates("less than a second of it", nan, nan)
		time.Sleep(every)
		b.rates("a second of the new one", 16e6, 0)
		b.row("interface/eth1", status.Up, "interface 9 is up")
	})
}

const thresholds = "  - {name: a, interface: eth1, maxBandwidth: {total: 1Gbps, out: 400Mbps}, busy: {rate: 70%, recovery: 60%, out: {rate: 80%, recovery: 50%}}}\n"

// A link is busy over the threshold of any direction, and free under the
// recovery of all (1.2.12, 1.2.26, C5, T17, T20); each change is an event that
// names rate, bound and direction. It is noticed a quarter of a second after the
// mean over the window has passed the bound, and told with what it was then.
func TestBusy_1_2_12(t *testing.T) {
	inBubble(t, thresholds, func(b *bench) {
		for _, step := range []struct {
			in, out uint64
			busy    bool
			why     string
		}{
			{600e6, 100e6, false, ""}, // at the threshold, not over it
			{700e6, 112e6, true, "total 728Mbps is over 700Mbps (70% of 1Gbps)"},
			{550e6, 100e6, true, "total 728Mbps is over 700Mbps (70% of 1Gbps)"}, // between
			{489.6e6, 100e6, false, "total 590Mbps is under 600Mbps (60% of 1Gbps)"},
			{590e6, 100e6, false, "total 590Mbps is under 600Mbps (60% of 1Gbps)"}, // between
			{0, 321e6, true, "out 321Mbps is over 320Mbps (80% of 400Mbps)"},
			{0, 200e6, true, "out 321Mbps is over 320Mbps (80% of 400Mbps)"}, // at recovery, not under it
			{0, 1.5e3, false, "out 150Mbps is under 200Mbps (50% of 400Mbps)"},
		} {
			b.flows(7, step.in, step.out)
			time.Sleep(2 * sec)
			b.isBusy("in "+busy.Show(float64(step.in))+", out "+busy.Show(float64(step.out)), step.busy, step.why)
		}
		want := []string{
			"new -> unknown busy: total 728Mbps is over 700Mbps (70% of 1Gbps)",
			"unknown busy -> unknown: total 590Mbps is under 600Mbps (60% of 1Gbps)",
			"unknown -> unknown busy: out 321Mbps is over 320Mbps (80% of 400Mbps)",
			"unknown busy -> unknown: out 150Mbps is under 200Mbps (50% of 400Mbps)",
		}
		if got := b.events(); !slices.Equal(got, want) {
			t.Errorf("events:\n%s", strings.Join(got, "\n"))
		}
	})
}

// Without maxBandwidth a link is never busy, whatever its rateLimit (T21, T22, C8).
func TestNeverBusy_T21_T22(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1, rateLimit: 1Mbps}\n", func(b *bench) {
		b.flows(7, 100e9, 100e9)
		time.Sleep(3 * sec)
		b.isBusy("100 Gbit/s", false, "")
		if g, _ := b.board.Gauges().Get("link/a"); g.Remaining[busy.Total] >= 0 {
			t.Errorf("%v remain", g.Remaining)
		}
	})
}

// A link that is free again is told by what made it busy.
func TestFreeSentence(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1, maxBandwidth: {in: 1Gbps, out: 20Mbps}}\n", func(b *bench) {
		b.flows(7, 8e6, 16e6)
		time.Sleep(2 * sec)
		b.isBusy("out", true, "out 16Mbps is over 14Mbps (70% of 20Mbps)")
		b.flows(7, 8e6, 8e3)
		time.Sleep(2 * sec)
		b.isBusy("neither", false, "out 8Mbps is under 12Mbps (60% of 20Mbps)")
	})
}

// The mean over a window of 10 s passes the threshold later than the rate does.
func TestWindow(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1, maxBandwidth: 100Mbps, busy: {window: 10s}}\n", func(b *bench) {
		time.Sleep(20 * sec)
		b.flows(7, 90e6, 0)
		time.Sleep(7*sec + 3*every)
		b.isBusy("69.75 of 70", false, "")
		time.Sleep(every)
		b.isBusy("72 of 70", true, "total 72Mbps is over 70Mbps (70% of 100Mbps)")
		b.flows(7, 1e9, 0)
		time.Sleep(sec)
		b.flows(7, 0, 0)
		time.Sleep(9 * sec)
		b.isBusy("a burst is still in the window", true, "total 72Mbps is over 70Mbps (70% of 100Mbps)")
		time.Sleep(sec)
		b.isBusy("and is not any more", false, "total 50Mbps is under 60Mbps (60% of 100Mbps)")
	})
}

// What is not measured keeps the state (T28), but not for ever.
func TestUnknownKeepsBusy_T28(t *testing.T) {
	const over = "total 80Mbps is over 70Mbps (70% of 100Mbps)"
	inBubble(t, "  - {name: a, interface: eth1, maxBandwidth: 100Mbps}\n", func(b *bench) {
		b.flows(7, 80e6, 0)
		time.Sleep(2 * sec)
		b.isBusy("80 of 70", true, over)
		b.machine.now(func() { b.err = errors.New("no memory") })
		time.Sleep(longest)
		b.isBusy("unknown for a while", true, over)
		time.Sleep(5 * sec)
		b.isBusy("unknown for long", false, "it was not measured for 5m: whether it is busy is not known")
		b.machine.now(func() { b.err = nil })
		time.Sleep(3 * sec)
		b.isBusy("measured again", true, over)
	})
}

// A link that did not change keeps rates and state; one that did keeps what is
// still true (T60). One that goes leaves nothing behind.
func TestWant_T60(t *testing.T) {
	const yaml = "  - {name: a, interface: eth1, maxBandwidth: 100Mbps}\n"
	inBubble(t, yaml, func(b *bench) {
		b.flows(7, 80e6, 0)
		b.flows(8, 8e6, 0)
		time.Sleep(2 * sec)
		since := b.board.Table().Row("link/a").LoadSince
		b.Want(specs(t, "  - {name: other, interface: eth2}\n"+yaml)) // moved down a line
		time.Sleep(sec)
		if _, ok := b.board.Gauges().Get("link/other"); !ok {
			t.Error("a new link has no gauge")
		}
		if s := b.States()[1]; s.Rates[busy.In] != 80e6 {
			t.Errorf("rates of an unchanged link: %v", s.Rates)
		}
		b.Want(specs(t, yaml))
		b.rates("unchanged", 80e6, 0)
		b.isBusy("unchanged", true, "total 80Mbps is over 70Mbps (70% of 100Mbps)")
		if now := b.board.Table().Row("link/a").LoadSince; !now.Equal(since) {
			t.Errorf("busy since %v, not %v", now, since)
		}
		if _, ok := b.board.Table().Lookup("interface/eth2"); ok {
			t.Error("the row of an interface that no link has is still there")
		}
		if _, ok := b.board.Gauges().Get("link/other"); ok {
			t.Error("the gauge of a link that is gone is still there")
		}

		b.Want(specs(t, "  - {name: a, interface: eth1, maxBandwidth: 200Mbps}\n"))
		b.rates("other bounds", 80e6, 0)
		time.Sleep(sec)
		b.isBusy("measured by other bounds", false, "total 80Mbps is under 120Mbps (60% of 200Mbps)")
		b.rates("other bounds, one tick later", 80e6, 0)

		b.Want(specs(t, yaml))
		time.Sleep(sec)
		b.Want(specs(t, "  - {name: a, interface: eth1}\n"))
		time.Sleep(sec)
		b.isBusy("no bounds any more", false, "it has no maxBandwidth any more")

		b.Want(specs(t, "  - {name: a, interface: eth2}\n"))
		time.Sleep(sec)
		b.rates("another interface", nan, nan)
		time.Sleep(sec)
		b.rates("another interface", 8e6, 0)

		b.Want(specs(t, yaml))
		time.Sleep(2 * sec)
		b.Want(nil)
		if r, ok := b.board.Table().Lookup("link/a"); ok {
			t.Errorf("left behind: %+v", r)
		}
		if _, ok := b.Way("a"); ok {
			t.Error("the way of a link that is gone is still known")
		}
	})
}

// An interface that goes, is renamed, or comes back, says so in its row; its
// links keep the next hop that was learnt, for probes to fail on.
func TestInterfaceRow(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1}\n  - {name: b, interface: eth9}\n  - {name: c, interface: eth1, mark: 3}\n", func(b *bench) {
		b.row("interface/eth1", status.Up, "interface 7 is up")
		b.row("interface/eth9", status.Down, "there is no interface eth9")
		b.machine.now(func() { b.interfaces[1].Up, b.interfaces[1].Why = false, "no carrier" })
		time.Sleep(sec)
		b.row("interface/eth1", status.Down, "no carrier")
		b.machine.now(func() { b.interfaces[1].Name = "wan0" })
		time.Sleep(sec)
		b.row("interface/eth1", status.Down, "interface eth1 is gone (renamed to wan0)")
		w, _ := b.Way("a")
		if w.NextHop != netip.MustParseAddr("192.0.2.1") || !w.Learnt || !w.Lost {
			t.Errorf("way %+v", w)
		}
		time.Sleep(5 * sec)
		b.rates("gone", nan, nan)
		b.machine.now(func() { b.interfaces = b.interfaces[:1] })
		time.Sleep(sec)
		b.row("interface/eth1", status.Down, "interface eth1 is gone")
		if n := b.moved.Load(); n != 0 {
			t.Errorf("moved %d times", n)
		}
		b.machine.now(func() {
			b.interfaces = append(b.interfaces, eth(12, "eth1", hop4("192.0.2.254"), addresses("192.0.2.7/24")))
		})
		time.Sleep(sec)
		b.row("interface/eth1", status.Up, "interface 12 is up")
		if w, _ := b.Way("a"); w.NextHop != netip.MustParseAddr("192.0.2.254") || w.Lost || b.moved.Load() != 1 {
			t.Errorf("way %+v, moved %d times", w, b.moved.Load())
		}
		b.machine.now(func() { b.err = errors.New("no memory") })
		time.Sleep(sec)
		b.row("interface/eth1", status.Unknown, "no memory")
		if !b.Own(netip.MustParseAddr("192.0.2.7")) {
			t.Error("an error took the machine's addresses away")
		}
	})
}

// Nobody tells, as when a notification was lost: it is seen all the same.
func TestLooksNowAndThen(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1}\n", func(b *bench) {
		b.mu2(func() { b.interfaces[1].Up, b.interfaces[1].Why = false, "no carrier" })
		time.Sleep(lookEvery + sec)
		b.row("interface/eth1", status.Down, "no carrier")
	})
}

// A storm of notifications does not become one of looks; still less where a look
// takes long.
func TestStorm(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1}\n", func(b *bench) {
		before := b.looks.Load()
		for range 1000 {
			b.machine.now(func() {})
			time.Sleep(10 * time.Millisecond)
		}
		if n := b.looks.Load() - before; n > int32(10*sec/lookLeast)+1 {
			t.Errorf("%d looks in 10 s", n)
		}
		b.slow.Store(int64(sec))
		time.Sleep(5 * sec)
		before = b.looks.Load()
		for range 600 {
			b.machine.now(func() {})
			time.Sleep(100 * time.Millisecond)
		}
		if n := b.looks.Load() - before; n < 10 || n > 13 {
			t.Errorf("%d looks of 1 s in 60 s", n)
		}
		time.Sleep(5 * sec)
		before = b.looks.Load()
		time.Sleep(500 * sec)
		if n := b.looks.Load() - before; n < 4 || n > 6 {
			t.Errorf("%d looks of 1 s in 500 s, though nothing was told", n)
		}
	})
}

func TestPinAndOwner(t *testing.T) {
	const yaml = `
  - {name: a, interface: eth1}
  - {name: b, interface: eth2, source: 198.51.100.2, mark: 0x7}
  - {name: c, interface: eth2, source: 198.51.100.3}
  - {name: d, source: 203.0.113.4}
  - {name: e, nextHop: 203.0.113.9}
`
	inBubble(t, yaml, func(b *bench) {
		for name, want := range map[string]probe.Pin{
			"a": {Device: "eth1"},
			"b": {Device: "eth2", Source: netip.MustParseAddr("198.51.100.2"), Mark: 7},
			"d": {Source: netip.MustParseAddr("203.0.113.4")},
		} {
			if pin, ours := b.Pin(name); !ours || pin != want {
				t.Errorf("%s: %+v, %v", name, pin, ours)
			}
		}
		for _, name := range []string{"e", "nobody"} {
			if pin, ours := b.Pin(name); ours || pin != (probe.Pin{}) {
				t.Errorf("%s: %+v, %v", name, pin, ours)
			}
		}
		for _, c := range []struct {
			local string
			index int
			want  string
		}{
			{"192.0.2.7", 0, "a"},
			{"192.0.2.7", 7, "a"},
			{"::ffff:192.0.2.7", 0, "a"},
			{"198.51.100.9", 7, "a"}, // in by eth1, though to an address of eth2
			{"198.51.100.2", 8, "b"},
			{"198.51.100.3", 0, "c"},
			{"198.51.100.3", 7, ""}, // not by c's interface, nor to a's address alone
			{"198.51.100.9", 0, ""}, // b or c
			{"198.51.100.9", 8, ""},
			{"203.0.113.4", 0, "d"},
			{"203.0.113.4", 8, "d"},
			{"127.0.0.1", 1, ""},
			{"127.0.0.1", 0, ""},
			{"192.0.2.7", 99, ""},
			{"fe80::7%eth1", 0, "a"},
		} {
			if got, ok := b.Owner(netip.MustParseAddr(c.local), c.index); got != c.want || ok != (c.want != "") {
				t.Errorf("to %s by %d: %q %v, want %q", c.local, c.index, got, ok, c.want)
			}
		}
		if !b.Own(netip.MustParseAddr("127.0.0.1")) || !b.Own(netip.MustParseAddr("fe80::7%eth1")) || b.Own(netip.MustParseAddr("192.0.2.1")) {
			t.Error("own addresses")
		}
	}, func(b *bench, o *Options) {
		b.interfaces = []kernel.Interface{
			eth(1, "lo", addresses("127.0.0.1/8")),
			eth(7, "eth1", addresses("192.0.2.7/24", "fe80::7/64")),
			eth(8, "eth2", addresses("198.51.100.2/24", "198.51.100.3/24", "198.51.100.9/24")),
		}
	})
}

func TestPush(t *testing.T) {
	inBubble(t, "  - {name: a, meter: {from: push, maxAge: 10s}, maxBandwidth: 100Mbps}\n  - {name: b, interface: eth1}\n", func(b *bench) {
		if err := b.Push("a", busy.Rates{nan, 60e6, 20e6}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(sec)
		b.rates("pushed", 60e6, 20e6)
		b.isBusy("pushed", true, "total 80Mbps is over 70Mbps (70% of 100Mbps)")
		time.Sleep(10 * sec)
		b.rates("too old", nan, nan)
		if err := b.Push("b", busy.Rates{}); !errors.Is(err, ErrNotPushed) {
			t.Error(err)
		}
		if err := b.Push("x", busy.Rates{}); !errors.Is(err, ErrNoLink) {
			t.Error(err)
		}
	})
}

// What the rule does not judge by may stay unknown for ever.
func TestPushOneDirection(t *testing.T) {
	inBubble(t, "  - {name: a, meter: push, maxBandwidth: {in: 100Mbps}}\n", func(b *bench) {
		for range 2 * int(longest/sec) / 10 {
			if err := b.Push("a", busy.Rates{nan, 80e6, nan}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * sec)
		}
		b.isBusy("in", true, "in 80Mbps is over 70Mbps (70% of 100Mbps)")
	})
}

// A source runs while its link is wanted, is not disturbed by other changes, and
// what it says after it was ended does not count.
func TestSource(t *testing.T) {
	const yaml = "  - {name: a, cost: %, meter: {snmp: {address: 192.0.2.1, community: x, index: 1}}}\n"
	with := func(cost string) []*config.Link { return specs(t, strings.Replace(yaml, "%", cost, 1)) }
	var started, ended atomic.Int32
	fail := make(chan error)
	source := func(*config.Link) Source {
		return func(ctx context.Context, give func(Sample, error)) {
			started.Add(1)
			defer ended.Add(1)
			tick := time.NewTicker(5 * sec)
			defer tick.Stop()
			n := uint64(0)
			next := func() { give(Sample{At: time.Now(), Every: 5 * sec, In: n * 5e6, Bits: 64}, nil); n++ }
			next()
			for {
				select {
				case <-ctx.Done():
					give(Sample{}, errors.New("too late"))
					return
				case err := <-fail:
					give(Sample{}, err)
				case <-tick.C:
					next()
				}
			}
		}
	}
	inBubble(t, strings.Replace(yaml, "%", "1", 1), func(b *bench) {
		b.rates("one sample", nan, nan)
		time.Sleep(6 * sec)
		b.rates("two", 8e6, 0)
		b.Want(with("2"))
		b.rates("another cost", 8e6, 0)
		time.Sleep(11 * sec)
		b.rates("another cost", 8e6, 0)
		if started.Load() != 1 || ended.Load() != 0 {
			t.Errorf("started %d, ended %d", started.Load(), ended.Load())
		}
		fail <- errors.New("no answer from 192.0.2.1")
		time.Sleep(time.Millisecond)
		if s := b.States()[0]; s.Error != "no answer from 192.0.2.1" {
			t.Errorf("error %q", s.Error)
		}
		time.Sleep(5 * sec)
		if s := b.States()[0]; s.Error != "" {
			t.Errorf("error %q after a good sample", s.Error)
		}
		b.rates("after a good sample", 8e6, 0)
		b.Want(nil)
		time.Sleep(sec)
		b.Want(with("1"))
		time.Sleep(sec)
		b.rates("it came back", nan, nan)
		if started.Load() != 2 || ended.Load() != 1 {
			t.Errorf("started %d, ended %d", started.Load(), ended.Load())
		}
		b.Want(specs(t, "  - {name: a, meter: {snmp: {address: 192.0.2.1, community: x, index: 2}}}\n"))
		time.Sleep(sec)
		b.rates("another counter", nan, nan)
		if s := b.States()[0]; s.Error != "" || started.Load() != 3 || ended.Load() != 2 {
			t.Errorf("error %q, started %d, ended %d", s.Error, started.Load(), ended.Load())
		}
		fail <- errors.New("no answer from 192.0.2.1")
		b.Want(specs(t, "  - {name: a, meter: push}\n"))
		time.Sleep(sec)
		b.Links.mu.Lock()
		defer b.Links.mu.Unlock()
		if why := b.failing[meterOf(b.links[0])]; why != "" {
			t.Errorf("a meter that the link has no more counts as failing: %q", why)
		}
	}, func(_ *bench, o *Options) {
		o.Sources = map[string]func(*config.Link) Source{config.MeterSNMP: source}
		fail = make(chan error)
	})
}

func TestShowRate(t *testing.T) {
	for bits, want := range map[float64]string{0: "0bps", 0.4: "0bps", 5: "5bps", 999: "999bps", 999.4: "999bps", 999.6: "1kbps", 1500: "1.5kbps", 81.24e6: "81.2Mbps", 812e6: "812Mbps", 1.236e9: "1.24Gbps", 5e15: "5e+03Tbps"} {
		if got := busy.Show(bits); got != want {
			t.Errorf("%v: %s, want %s", bits, got, want)
		}
	}
}
