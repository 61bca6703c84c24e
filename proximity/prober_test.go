package proximity

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// Concurrent wants of one network make one round, and another only perTarget
// later (T1).
func TestOneRound_T1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("icmp"))
		defer b.stop()
		w := client("192.0.2.7", "one", "two")
		var wg sync.WaitGroup
		accepted := make(chan bool, 100)
		for range 100 {
			wg.Go(func() { accepted <- b.Ask(w) == nil })
		}
		wg.Wait()
		n := 0
		for range 100 {
			if <-accepted {
				n++
			}
		}
		time.Sleep(5 * time.Millisecond)
		ask(t, b, w, ErrAsked) // out
		time.Sleep(time.Second)
		ask(t, b, client("192.0.2.200", "one"), ErrTooSoon) // the same network
		calls := b.takeCalls()
		if n != 1 || len(calls) != 2 || calls[0].link == calls[1].link {
			t.Errorf("%d accepted, %+v", n, calls)
		}
		if d := calls[1].at.Sub(calls[0].at); d != stagger {
			t.Errorf("the second link began %s after the first", d)
		}
		if r := b.take(); len(r) != 2 || r[0].Err != nil || r[0].Sample.RTT != 10*time.Millisecond || r[0].Sample.Method != "icmp" || r[0].Sample.Link != r[0].Link {
			t.Errorf("%+v", r)
		}
		time.Sleep(29*time.Second - 10*time.Millisecond)
		ask(t, b, w, ErrTooSoon)
		time.Sleep(10 * time.Millisecond)
		ask(t, b, w, nil)
	})
}

// Links that are busy, down, held or not ours are not measured, and it counts
// how they are when their turn comes, not when they were asked for; afterwards
// they are measured again (T13, 1.2.26).
func TestLinksLeftAlone_T13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("icmp", "tcp"))
		defer b.stop()
		one := status.MakeID(status.KindLink, "one")
		host := byte(0)
		round := func(what string, wantErr error, change func()) {
			t.Helper()
			host++
			b.bucket.reserve(100, time.Now()) // its turn is some time from now
			ask(t, b, client(netip.AddrFrom4([4]byte{192, 0, host, 1}).String(), "one"), nil)
			change()
			time.Sleep(5 * time.Second)
			r, calls := b.take(), b.takeCalls()
			if len(r) != 1 || !errors.Is(r[0].Err, wantErr) || (len(calls) == 0) != (wantErr != nil) {
				t.Errorf("%s: %+v, %d calls", what, r, len(calls))
			}
		}
		up := status.Row{ID: one, Health: status.Up}
		b.board.Update(up)
		round("up", nil, func() {})
		round("busy", ErrBusy, func() { b.board.Mark(map[status.ID]status.Load{one: {Busy: true}}) })
		round("free", nil, func() { b.board.Mark(map[status.ID]status.Load{one: {}}) })
		round("sheds some", nil, func() { b.board.Mark(map[status.ID]status.Load{one: {Shed: 10}}) })
		round("down", ErrDown, func() { b.board.Update(status.Row{ID: one, Health: status.Down}) })
		round("held", ErrDown, func() {
			b.board.Update(up)
			if err := b.board.Hold(one, status.Hold{State: status.HoldDrain}); err != nil {
				t.Error(err)
			}
		})
		round("released", nil, func() { b.board.Release(one, "", "") })
		round("gone", ErrNotOurs, func() { b.mu.Lock(); delete(b.pins, "one"); b.mu.Unlock() })
		if s := b.Stats(); s.Refused["link-busy"] != 1 || s.Refused["link-down"] != 2 || s.Refused["not-ours"] != 1 || s.Methods["icmp"].Answered != 4 || s.Methods["icmp"].Packets != 4 {
			t.Errorf("%+v", s)
		}
	})
}

// A link that becomes busy while it is being measured is left alone from the
// next method on.
func TestBusyMidway_T13(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("icmp", "tcp", "dns"))
		defer b.stop()
		b.answer = func(string, Path, netip.Addr) (int, time.Duration, error) {
			b.board.Update(status.Row{ID: "link/one", Health: status.Up})
			b.board.Mark(map[status.ID]status.Load{"link/one": {Busy: true}})
			return 2, time.Second, errSilent
		}
		ask(t, b, client("192.0.2.7", "one"), nil)
		time.Sleep(10 * time.Second)
		if r, calls := b.take(), b.takeCalls(); len(r) != 1 || r[0].Err != ErrBusy || len(calls) != 1 {
			t.Errorf("%+v, %+v", r, calls)
		}
	})
}

// Methods are tried in order until one yields; a panic in one is its own
// failure.
func TestMethodsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("tcp", "icmp", "dns", "udp"))
		defer b.stop()
		b.answer = func(method string, _ Path, _ netip.Addr) (int, time.Duration, error) {
			switch method {
			case "tcp":
				return 1, time.Second, errSilent
			case "icmp":
				panic("no")
			}
			return 1, time.Millisecond, nil
		}
		ask(t, b, client("192.0.2.7", "one"), nil)
		time.Sleep(5 * time.Second)
		r := b.take()
		if len(r) != 1 || r[0].Err != nil || r[0].Sample.Method != "dns" || r[0].Sample.Via != netip.MustParseAddr("192.0.2.7") {
			t.Errorf("%+v", r)
		}
		if s := b.Stats(); s.Methods["tcp"].Silent != 1 || s.Methods["icmp"].Failed != 1 || s.Methods["dns"].Answered != 1 || s.Methods["udp"].Packets != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// Switched off, what waits is told so and nothing more is sent (1.2.23); switched
// on, it goes on.
func TestOff_1223(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conf("icmp")
		c.ProbesPerSecond = 1
		b := newProberBench(c)
		defer b.stop()
		for i := range 50 {
			ask(t, b, client(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}).String(), "one", "two"), nil)
		}
		time.Sleep(3 * time.Second)
		off := *c
		off.Enabled = false
		b.Use(&off)
		ask(t, b, client("203.0.113.1", "one"), ErrOff)
		time.Sleep(time.Minute)
		before, told := len(b.takeCalls()), 0
		for _, r := range b.take() {
			if r.Err == ErrOff {
				told++
			}
		}
		if before == 0 || before+told != 100 {
			t.Errorf("%d measured, %d told that it is off", before, told)
		}
		b.Use(c)
		ask(t, b, client("203.0.113.1", "one"), nil)
		time.Sleep(time.Minute)
		if n := len(b.takeCalls()); n != 1 {
			t.Errorf("%d calls after it was switched on", n)
		}
	})
}

// What waits longer than anybody cares is dropped, and says so.
func TestWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conf("icmp")
		c.ProbesPerSecond = 1
		b := newProberBench(c)
		defer b.stop()
		for i := range 100 {
			ask(t, b, client(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}).String(), "one"), nil)
		}
		time.Sleep(3 * time.Minute)
		measured, waited := 0, 0
		for _, r := range b.take() {
			switch r.Err {
			case nil:
				measured++
			case ErrWaited:
				waited++
			}
		}
		// 7 at once, then one in two seconds, for new ones have half: for 15 s.
		if measured < 13 || measured > 16 || measured+waited != 100 {
			t.Errorf("%d measured, %d waited too long", measured, waited)
		}
	})
}

// Every accepted want has one result a link, and a prober that is stopped leaves
// nothing running and delivers nothing more.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("icmp", "udp"))
		b.answer = func(string, Path, netip.Addr) (int, time.Duration, error) { return 5, 2 * time.Second, errSilent }
		for i := range 200 {
			ask(t, b, client(netip.AddrFrom4([4]byte{192, 0, byte(i), 1}).String(), "one", "two", "three"), nil)
		}
		time.Sleep(4 * time.Second)
		start := time.Now()
		b.stop()
		if time.Since(start) != 0 {
			t.Errorf("it took %s to stop", time.Since(start))
		}
		b.take()
		time.Sleep(time.Minute)
		if r := b.take(); len(r) != 0 {
			t.Errorf("delivered after the stop: %+v", r)
		}
	})
}

// Nothing is sent to where it must not be.
func TestTargets_T14(t *testing.T) {
	exclude := []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("2001:db8:dead::/48")}
	for host, want := range map[string]bool{
		"192.0.2.1": true, "10.0.0.1": true, "2001:db8::1": true, "fd00::1": true, "127.0.0.1": true, "::1": true, // those two by link
		"203.0.113.9": false, "2001:db8:dead::1": false,
		"224.0.0.1": false, "239.1.1.1": false, "ff02::1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false,
		"169.254.0.1": false, "fe80::1": false, "fe80::1%eth0": false, "255.255.255.255": false, "240.0.0.1": false, "::ffff:192.0.2.1": false,
	} {
		if got := mayAsk(netip.MustParseAddr(host), exclude); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
	if mayAsk(netip.Addr{}, nil) {
		t.Error("the zero address may be asked")
	}
	own := func(a netip.Addr) bool { return a == netip.MustParseAddr("198.51.100.1") }
	for _, c := range []struct {
		target, source string
		want           bool
	}{
		{"192.0.2.1", "198.51.100.1", true}, {"192.0.2.1", "", true}, {"198.51.100.1", "", false},
		{"127.0.0.1", "", false}, {"127.0.0.1", "198.51.100.1", false}, {"127.0.0.9", "127.0.0.2", true}, {"::1", "::1", true}, {"::1", "", false},
	} {
		var source netip.Addr
		if c.source != "" {
			source = netip.MustParseAddr(c.source)
		}
		if got := mayReach(netip.MustParseAddr(c.target), source, own); got != c.want {
			t.Errorf("%s from %q: %v", c.target, c.source, got)
		}
	}
}

// Addresses of this machine are not measured, and a source address of the other
// family is left out where something else ties the packets to the link.
func TestAdmit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("icmp"))
		defer b.stop()
		v4 := netip.MustParseAddr("198.51.100.1")
		b.mu.Lock()
		b.pins["one"] = probe.Pin{Source: v4}
		b.pins["two"] = probe.Pin{Source: v4, Device: "wan1"}
		b.mu.Unlock()
		for _, c := range []struct {
			host, link string
			err        error
			pin        probe.Pin
		}{
			{"192.0.2.1", "one", nil, probe.Pin{Source: v4}},
			{"2001:db8:1::1", "one", ErrFamily, probe.Pin{}},
			{"2001:db8:2:100::1", "two", nil, probe.Pin{Device: "wan1"}},
			{"198.51.100.1", "two", ErrOwn, probe.Pin{}},
			{"127.0.0.1", "two", ErrOwn, probe.Pin{}},
		} {
			ask(t, b, client(c.host, c.link), nil)
			time.Sleep(time.Second)
			r, calls := b.take(), b.takeCalls()
			if len(r) != 1 || r[0].Err != c.err || c.err == nil && (len(calls) != 1 || calls[0].pin != c.pin) {
				t.Errorf("%s by %s: %+v, %+v", c.host, c.link, r, calls)
			}
		}
	})
}

// The counters have a line for each method and reason from the start, and none
// is forgotten.
func TestStatsAreComplete(t *testing.T) {
	s := NewProber(Options{}).Stats()
	if len(s.Methods) != len(methods) || len(s.Refused) != len(reasons) {
		t.Errorf("%+v", s)
	}
	for _, e := range []error{ErrOff, ErrExcluded, ErrAsked, ErrTooSoon, ErrFull, ErrWaited, ErrNotOurs, ErrDown, ErrBusy, ErrFamily, ErrOwn} {
		if !slices.ContainsFunc(reasons, func(r struct {
			err  error
			name string
		}) bool {
			return r.err == e
		}) {
			t.Errorf("%q has no counter", e)
		}
	}
}

// What a want costs who asks: new ones that are taken or find the line full, and
// one that is asked for all the time.
func BenchmarkAsk(b *testing.B) {
	p := NewProber(Options{Board: status.NewBoard(1), Deliver: func(Result) {}})
	p.Use(conf("icmp"))
	links := []string{"one", "two"}
	for _, name := range []string{"flood", "again"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := range b.N {
				if name == "again" {
					i = 0
				}
				a := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
				p.Ask(Want{Prefix: netip.PrefixFrom(a, 24), Target: a, Links: links})
			}
		})
	}
}

// No more links are measured at once than there are places, in either lane, so
// that no more descriptors are held than Files says.
func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conf("icmp")
		c.ProbesPerSecond = 10000
		b := newProberBench(c)
		defer b.stop()
		var out, most int
		var mu sync.Mutex
		b.Prober.opts.Methods["icmp"] = func(ctx context.Context, p Path, target netip.Addr) (Sample, error) {
			mu.Lock()
			out++
			most = max(most, out)
			mu.Unlock()
			err := pause(ctx, 2*time.Second)
			mu.Lock()
			out--
			mu.Unlock()
			return Sample{RTT: time.Second, Via: target}, err
		}
		for i := range 600 {
			w := client(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String(), "one", "two")
			w.Known = i%2 == 0
			ask(t, b, w, nil)
		}
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if most != 2*b.opts.MaxOut || b.Files() != 2*most {
			t.Errorf("%d were measured at once, %d files", most, b.Files())
		}
		if n := len(b.take()); n != 1200 {
			t.Errorf("%d results of 1200", n)
		}
	})
}

// Our own lack of something, and a budget that is too small for all that is out,
// are told as such: they say nothing of the distance.
func TestOurOwnLack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conf("icmp")
		b := newProberBench(c)
		defer b.stop()
		b.answer = func(string, Path, netip.Addr) (int, time.Duration, error) { return 1, 0, syscall.EMFILE }
		ask(t, b, client("192.0.2.7", "one"), nil)
		time.Sleep(time.Second)
		if r := b.take(); len(r) != 1 || !errors.Is(r[0].Err, ErrVoid) || !errors.Is(r[0].Err, syscall.EMFILE) {
			t.Errorf("%+v", r)
		}
		if s := b.Stats(); s.Methods["icmp"].Void != 1 {
			t.Errorf("%+v", s)
		}
		b.mu.Lock()
		b.answer = func(string, Path, netip.Addr) (int, time.Duration, error) { return 1000, 0, nil }
		b.mu.Unlock()
		c = conf("icmp")
		c.ProbesPerSecond = 10
		b.Use(c)
		ask(t, b, client("203.0.113.7", "one"), nil)
		time.Sleep(time.Minute)
		if r := b.take(); len(r) != 1 || r[0].Err != ErrWaited {
			t.Errorf("%+v", r)
		}
	})
}
