package proximity

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// T10, C4, FAQ 1.2.4, 1.2.5, 1.2.23, 1.2.29: what clears, and what does not.
func TestClearing_T10(t *testing.T) {
	model := func(text string, links func([]*config.Link)) func(testing.TB) *config.Model {
		return func(t testing.TB) *config.Model {
			m := asking(t, text)
			if links != nil {
				links(m.Links)
			}
			return m
		}
	}
	for name, c := range map[string]struct {
		next  func(testing.TB) *config.Model
		state State
		best  string
	}{
		"the same":       {model(byICMP, nil), Ready, "telecom"},
		"cost":           {model(byICMP, func(l []*config.Link) { l[0].Cost++ }), Absent, ""},
		"cost elsewhere": {model(byICMP, func(l []*config.Link) { l[2].Cost++ }), Ready, "telecom"},
		"method":         {model("proximity: {methods: [tcp]}\n", nil), Absent, ""},
		"one method":     {model("proximity: {methods: [icmp, tcp]}\n", nil), Absent, ""},
		"port":           {model("proximity: {methods: [icmp], port: 443}\n", nil), Absent, ""},
		"mask":           {model("proximity: {methods: [icmp], mask: 20}\n", nil), Absent, ""},
		"rateLimit":      {model(byICMP, func(l []*config.Link) { l[0].RateLimit.In *= 3 }), Ready, "telecom"},
		"weights":        {model("proximity: {methods: [icmp], weights: {rtt: 7}}\n", nil), Ready, "telecom"},
		"refresh":        {model("proximity: {methods: [icmp], refresh: 1h}\n", nil), Ready, "telecom"},
		"off":            {model("proximity: {enabled: false, methods: [icmp]}\n", nil), Off, ""},
		"no pool":        {func(t testing.TB) *config.Model { return load(t, world+byICMP) }, Unasked, ""},
		"no methods":     {model("proximity: {}\n", nil), NoMethods, ""},
		"another way":    {model(byICMP, func(l []*config.Link) { l[0].Mark = 7 }), Ready, "unicom"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newDesk(t, byICMP)
				b.learn("203.0.113.7", toTelecom)
				b.use(c.next(t))
				if v := b.look("203.0.113.7"); v.State != c.state || b.bestOf(&v, nil, 1) != c.best {
					t.Errorf("%v, best %q; want %v, %q", v.State, b.bestOf(&v, nil, 1), c.state, c.best)
				}
				entries := 1
				if c.state == Absent {
					entries = 0
				}
				if got := b.table.Stats().Entries; got != entries {
					t.Errorf("%d entries, want %d", got, entries)
				}
			})
		})
	}
}

// FAQ 1.2.23, T11: switched off, entries stay and age, and nothing is asked
// for; switched on again, what has not aged counts.
func TestDisabledKeepsEntries_1_2_23(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.learn("203.0.113.7", toTelecom)
		b.learn("198.51.100.7", toTelecom)
		off, on := asking(t, "proximity: {enabled: false, methods: [icmp]}\n"), asking(t, byICMP)
		b.use(off)
		b.want("203.0.113.7")
		b.want("192.0.2.7")
		if w := b.asked(); len(w) != 0 || b.table.Stats().Entries != 2 || b.table.Stats().States["off"] != 2 {
			t.Errorf("switched off: %d wants, %+v", len(w), b.table.Stats())
		}
		b.use(on)
		if got := b.best("203.0.113.7", nil); got != "telecom" {
			t.Errorf("switched on again: best %q", got)
		}
		b.use(off)
		time.Sleep(30 * time.Minute)
		b.laps(2)
		if n := b.table.Stats().Entries; n != 0 {
			t.Errorf("%d entries after the timeout, want 0", n)
		}
	})
}

// FAQ 1.2.23: that no pool asks, or that there are no methods, is switched off too;
// methods are compared with the last that there were (FAQ 1.2.4).
func TestDisabledOtherwise_1_2_23(t *testing.T) {
	for name, c := range map[string]struct {
		off, on, want string
		remark        bool
	}{
		"no pool":            {world + byICMP, byICMP, "telecom", false},
		"no methods":         {"proximity: {}\n", byICMP, "telecom", false},
		"other methods then": {"proximity: {}\n", "proximity: {methods: [tcp]}\n", "", false},
		"another way then":   {world + byICMP, byICMP, "unicom", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newDesk(t, byICMP)
				b.learn("203.0.113.7", toTelecom)
				off := asking
				if strings.HasPrefix(c.off, world) {
					off = func(t testing.TB, text string) *config.Model { return load(t, text) }
				}
				b.use(off(t, c.off))
				b.want("203.0.113.7")
				b.laps(2)
				if s := b.table.Stats(); s.Entries != 1 || len(b.asked()) != 0 {
					t.Errorf("switched off: %+v", s)
				}
				m := asking(t, c.on)
				if c.remark {
					m.Links[0].Mark = 7
				}
				b.use(m)
				if got := b.best("203.0.113.7", nil); got != c.want {
					t.Errorf("switched on again: best %q, want %q", got, c.want)
				}
			})
		})
	}
}

// What was asked for before a clear says nothing of what is made after it.
func TestLateResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.want("203.0.113.7")
		w := b.asked()[0]
		if n := b.table.Clear(netip.Prefix{}, "op", "test"); n != 1 {
			t.Errorf("cleared %d", n)
		}
		b.want("203.0.113.7")
		b.deliver(w, toTelecom)
		time.Sleep(10 * time.Second)
		if got := b.best("203.0.113.7", nil); got != "" {
			t.Errorf("best %q by a result from before", got)
		}
		b.deliver(b.asked()[0], toTelecom)
		if got := b.best("203.0.113.7", nil); got != "telecom" {
			t.Errorf("best %q", got)
		}
	})
}

// Who is refused for now is asked for again by a query a second later, not only
// after perTarget.
func TestRefusedForNow(t *testing.T) {
	for _, refusal := range []error{ErrFull, ErrAsked, ErrTooSoon} {
		synctest.Test(t, func(t *testing.T) {
			b := newDesk(t, byICMP)
			b.refuse = refusal
			b.want("203.0.113.7")
			b.want("203.0.113.7")
			b.refuse = nil
			if n := len(b.asked()); n != 1 {
				t.Errorf("%v: asked %d times at once", refusal, n)
			}
			time.Sleep(time.Second)
			b.want("203.0.113.7")
			time.Sleep(time.Second)
			b.want("203.0.113.7")
			if n := len(b.asked()); n != 1 {
				t.Errorf("%v: asked %d times afterwards, want 1", refusal, n)
			}
		})
	}
}

func TestClearPrefix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		for i := range 100 {
			b.want(fmt.Sprintf("10.0.%d.1", i))
			b.want(fmt.Sprintf("2001:db8:%x::1", i<<8))
		}
		if n := b.table.Clear(netip.MustParsePrefix("10.0.0.0/18"), "op", ""); n != 64 {
			t.Errorf("/18: %d", n)
		}
		if n := b.table.Clear(netip.MustParsePrefix("10.0.70.9/32"), "op", ""); n != 1 {
			t.Errorf("/32: %d", n)
		}
		if n := b.table.Clear(netip.MustParsePrefix("2001:db8::/32"), "op", ""); n != 100 || b.table.Stats().Entries != 35 {
			t.Errorf("v6: %d, left %d", n, b.table.Stats().Entries)
		}
	})
}

// What was cleared is measured again at once, and no other network.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newProberBench(conf("icmp"))
		defer b.stop()
		one, two := client("192.0.2.7", "one"), client("198.51.100.7", "one")
		again := func(wantOne, wantTwo error) {
			t.Helper()
			ask(t, b, one, wantOne)
			ask(t, b, two, wantTwo)
			time.Sleep(time.Second)
		}
		again(nil, nil)
		again(ErrTooSoon, ErrTooSoon)
		b.Forget(netip.MustParsePrefix("192.0.2.0/25")) // a part of its network
		again(nil, ErrTooSoon)
		b.Forget(netip.Prefix{})
		again(nil, nil)
		again(ErrTooSoon, ErrTooSoon)
		time.Sleep(27 * time.Second)
		again(ErrTooSoon, ErrTooSoon)
		again(nil, nil)
	})
}
