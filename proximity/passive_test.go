package proximity

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// lines tells links by the address that a connection went to: telecom's is
// 192.0.2.1, unicom's is 192.0.2.2; or by the interface, 1 and 2.
func lines(local netip.Addr, index int) (string, bool) {
	switch {
	case index == 1 || index == 0 && local == netip.MustParseAddr("192.0.2.1"):
		return "telecom", true
	case index == 2 || index == 0 && local == netip.MustParseAddr("192.0.2.2"):
		return "unicom", true
	}
	return "", false
}

func tripOf(client, local string, index int, rtt time.Duration) Trip {
	return Trip{Client: netip.MustParseAddr(client), Local: netip.MustParseAddr(local), Index: index, RTT: rtt, TTL: 57, At: time.Now()}
}

// What a client's connection showed counts for its network and the link that it
// came by; of no one link, or of a network that nobody asked for, it is dropped
// and counted. Only queries make entries.
func TestPassive_Observe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], weights: {cost: 0}}\n")
		p := NewPassive(b.table, lines)
		p.Observe(tripOf("203.0.113.7", "192.0.2.1", 0, 30*time.Millisecond))
		if st := p.Stats(); st.Unasked != 1 || b.table.Stats().Entries != 0 {
			t.Errorf("before any query: %+v, %d entries", st, b.table.Stats().Entries)
		}
		b.learn("203.0.113.7", nil) // silent
		if got := b.best("203.0.113.7", nil); got != "" {
			t.Errorf("silent, and %s is the best", got)
		}
		p.Observe(tripOf("203.0.113.7", "192.0.2.1", 2, 20*time.Millisecond)) // by unicom's interface, whatever address it went to
		p.Observe(tripOf("203.0.113.200", "192.0.2.1", 0, 30*time.Millisecond))
		p.Observe(tripOf("203.0.113.7", "192.0.2.3", 0, time.Millisecond)) // of no link
		p.Observe(tripOf("203.0.113.7", "192.0.2.1", 3, time.Millisecond))
		if st := p.Stats(); st.Unowned != 2 || st.Unasked != 1 || b.table.Stats().Heard != 2 {
			t.Errorf("%+v, heard %d", st, b.table.Stats().Heard)
		}
		if got := b.best("203.0.113.7", nil); got != "unicom" {
			t.Errorf("best is %q", got)
		}
		entries, _ := b.table.List(Query{Client: netip.MustParseAddr("203.0.113.7")}, nil, time.Now())
		for _, d := range entries[0].Links {
			want := map[string]time.Duration{"telecom": 30 * time.Millisecond, "unicom": 20 * time.Millisecond}[d.Link]
			if d.Passive != want || d.RTT != want || d.Heard != 1 || d.Hops != 8 || d.Active != 0 {
				t.Errorf("%s: %+v", d.Link, d)
			}
		}
	})
}

// Who answers nobody is not far for it: what its connections showed counts until
// it is old. Who answered and does so no more is gone.
func TestPassive_Silence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp]}\n")
		p := NewPassive(b.table, lines)
		b.learn("203.0.113.7", nil)
		p.Observe(tripOf("203.0.113.7", "192.0.2.2", 0, 20*time.Millisecond))
		for range 3 {
			time.Sleep(5*time.Minute + time.Second)
			b.want("203.0.113.7")
			for _, w := range b.asked() {
				b.deliver(w, nil)
			}
		}
		if got := b.best("203.0.113.7", nil); got != "unicom" {
			t.Errorf("never answered a method: best is %q", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp]}\n")
		b.learn("203.0.113.7", toTelecom)
		for range 6 {
			time.Sleep(5*time.Minute + time.Second)
			b.want("203.0.113.7")
			for _, w := range b.asked() {
				b.deliver(w, map[string]time.Duration{"unicom": 50 * time.Millisecond})
			}
		}
		if got := b.best("203.0.113.7", nil); got != "unicom" {
			t.Errorf("telecom is silent: best is %q", got)
		}
	})
}

// A round that found something else is soon followed by another one, so that a
// change is told from an outlier before it costs a refresh.
func TestMeasuredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], weights: {ttl: 0, cost: 0}}\n")
		b.learn("203.0.113.7", toTelecom)
		round := func(after time.Duration, telecom time.Duration) (links int, best string) {
			time.Sleep(after)
			b.want("203.0.113.7")
			for _, w := range b.asked() {
				b.deliver(w, map[string]time.Duration{"telecom": telecom, "unicom": 50 * time.Millisecond})
				links += len(w.Links)
			}
			return links, b.best("203.0.113.7", nil)
		}
		for _, c := range []struct {
			name    string
			after   time.Duration
			telecom time.Duration
			links   int
			best    string
		}{
			{"nothing is due", time.Minute, 0, 0, "telecom"},
			{"a refresh", 4 * time.Minute, 10 * time.Millisecond, 2, "telecom"},
			{"an outlier", 5*time.Minute + time.Second, 300 * time.Millisecond, 2, "telecom"},
			{"too soon", 20 * time.Second, 0, 0, "telecom"},
			{"it was one", 11 * time.Second, 11 * time.Millisecond, 1, "telecom"},
			{"settled", 40 * time.Second, 0, 0, "telecom"},
			{"a refresh again", 5 * time.Minute, 10 * time.Millisecond, 2, "telecom"},
			{"farther", 5*time.Minute + time.Second, 300 * time.Millisecond, 2, "telecom"},
			{"it is so", 31 * time.Second, 290 * time.Millisecond, 1, "unicom"},
		} {
			if links, best := round(c.after, c.telecom); links != c.links || best != c.best {
				t.Errorf("%s: %d links measured, best %s; want %d, %s", c.name, links, best, c.links, c.best)
			}
		}
	})
}

// Only a client whose network has an entry, and that for a while, and no fresh
// distance over the link that it came by, is to come over TCP; once.
func TestPassive_Solicit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], passive: {solicit: {share: 100%}}}\n")
		p := NewPassive(b.table, lines)
		solicit := func(local string) bool {
			return p.Solicit(netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr(local), 0, time.Now())
		}
		if solicit("192.0.2.1") {
			t.Error("without an entry")
		}
		b.want("203.0.113.7")
		time.Sleep(grace - time.Second)
		if solicit("192.0.2.1") {
			t.Error("before methods had time to measure")
		}
		time.Sleep(time.Second)
		b.deliver(b.asked()[0], map[string]time.Duration{"telecom": 10 * time.Millisecond})
		for _, c := range []struct {
			local string
			want  bool
		}{{"192.0.2.1", false}, {"192.0.2.3", false}, {"192.0.2.2", true}, {"192.0.2.2", false}} {
			if got := solicit(c.local); got != c.want {
				t.Errorf("by %s: %v", c.local, got)
			}
		}
		time.Sleep(5*time.Minute + 2*time.Second)
		if !solicit("192.0.2.1") {
			t.Error("telecom's distance is old")
		}
		for _, text := range []string{"proximity: {methods: [icmp]}\n", "proximity: {methods: [icmp], passive: {enabled: false, solicit: {share: 100%}}}\n",
			"proximity: {enabled: false, methods: [icmp], passive: {solicit: {share: 100%}}}\n"} {
			b.use(asking(t, text))
			b.want("203.0.113.7")
			time.Sleep(time.Hour)
			b.want("203.0.113.7")
			time.Sleep(time.Minute)
			if solicit("192.0.2.2") {
				t.Errorf("with %s", text)
			}
		}
	})
}

// No empty table is silent (T15, FAQ 1.2.28).
func TestWhy_T15(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.table.plan.Store(nil)
		for _, c := range []struct{ text, table, client string }{
			{"", "no configuration", "no configuration"},
			{"proximity: {enabled: false, methods: [icmp]}\n", "not enabled", "not enabled"},
			{"proximity: {static: [{prefix: 203.0.113.0/24, link: unicom}]}\n", "no methods", "link unicom is configured as the best; proximity has no methods"},
			{byICMP, "nobody has asked", "the next query makes it"},
		} {
			if c.text != "" {
				b.use(asking(t, c.text))
			}
			if got := b.table.Why(netip.Addr{}, time.Now()); !strings.Contains(got, c.table) {
				t.Errorf("%s: %q", c.text, got)
			}
			if got := b.table.Why(netip.MustParseAddr("203.0.113.7"), time.Now()); !strings.Contains(got, c.client) {
				t.Errorf("%s for a client: %q", c.text, got)
			}
		}
		b.want("203.0.113.7")
		time.Sleep(6 * time.Second)
		if got := b.table.Why(netip.MustParseAddr("203.0.113.7"), time.Now()); !strings.Contains(got, "counts in 4s") {
			t.Errorf("warming: %q", got)
		}
		if got := b.table.Why(netip.Addr{}, time.Now()); got != "" {
			t.Errorf("with an entry: %q", got)
		}
	})
}
