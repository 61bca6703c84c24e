package link

import (
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
)

// A link that sheds slices of its clients is not busy.
func TestShed(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1, maxBandwidth: 100Mbps, busy: {shed: hash-slices}}\n", func(b *bench) {
		b.flows(7, 50e6, 0)
		time.Sleep(30 * sec)
		b.flows(7, 90e6, 0)
		time.Sleep(10 * sec)
		r := b.board.Table().Row("link/a")
		if r.Busy || r.Shed == 0 || !strings.Contains(r.LoadWhy, "slices") || !b.States()[0].Sheds {
			t.Errorf("%+v", r)
		}
		b.Want(specs(t, "  - {name: a, interface: eth1, maxBandwidth: 100Mbps}\n"))
		time.Sleep(2 * sec)
		if r := b.board.Table().Row("link/a"); !r.Busy || r.Shed != 0 {
			t.Errorf("all at once: %+v", r)
		}
		b.Want(specs(t, "  - {name: a, interface: eth1, maxBandwidth: 100Mbps, busy: {shed: hash-slices}}\n"))
		b.flows(7, 0, 0)
		time.Sleep(2 * sec)
		b.isBusy("slices again, and nothing flows", false, "busy.shed was changed: it is judged afresh")
	}, func(_ *bench, o *Options) {
		o.DeadTime = func(link string) time.Duration {
			if link != "a" {
				t.Errorf("dead time of %s", link)
			}
			return 5 * sec
		}
	})
}

// One report is one measurement, however long it counts: until the next one it
// says nothing of what was shed since.
func TestShedByReports(t *testing.T) {
	inBubble(t, "  - {name: a, meter: push, maxBandwidth: 100Mbps, busy: {shed: hash-slices}}\n", func(b *bench) {
		shed, load := uint16(0), 0.0
		for i := range 15 {
			load = 95e6 * (1 - float64(shed)/busy.Slices) // caches let go before the next report
			if err := b.Push("a", busy.Rates{nan, load, 0}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * sec)
			shed = b.board.Table().Row("link/a").Shed
			time.Sleep(18 * sec)
			if now := b.board.Table().Row("link/a").Shed; now != shed || now == 0 || now > 96 {
				t.Fatalf("report %d, %.1f Mbps: sheds %d, 18s later %d", i, load/1e6, shed, now)
			}
		}
		if load > 70e6 || load < 60e6 {
			t.Errorf("%.1f Mbps in the end", load/1e6)
		}
	}, func(_ *bench, o *Options) { o.DeadTime = func(string) time.Duration { return 5 * sec } })
}

// Without a kernel nothing is known, and nothing breaks.
func TestBlind(t *testing.T) {
	inBubble(t, "  - {name: a, interface: eth1, nextHop: 192.0.2.1}\n", func(b *bench) {
		b.row("interface/eth1", status.Unknown, "this server cannot read interfaces")
		time.Sleep(3 * sec)
		b.rates("blind", nan, nan)
		if s := b.States()[0]; s.Why != "this server cannot read interfaces" || s.Way.NextHop.String() != "192.0.2.1" {
			t.Errorf("%+v", s)
		}
	}, func(_ *bench, o *Options) { o.Kernel = nil })
}

// The dead time is what caches keep, and how late the rates show it: the window,
// and what a router takes until it is asked again.
func TestDeadTime(t *testing.T) {
	l := New(status.NewBoard(1), Options{DeadTime: func(string) time.Duration { return 30 * sec }})
	l.Want(specs(t, `
  - {name: a, interface: eth1, busy: {window: 20s}, maxBandwidth: 1Gbps}
  - {name: b, meter: {snmp: {address: 192.0.2.1, community: x, index: 1, interval: 7s}}, maxBandwidth: 1Gbps}
`))
	for i, want := range []time.Duration{50 * sec, 38 * sec} {
		if got := l.deadTime(l.links[i]); got != want {
			t.Errorf("link %s: %s, want %s", l.links[i].spec.Name, got, want)
		}
	}
}
