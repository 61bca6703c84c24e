package proximity

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// desk is a table with its plan, and what it asked for.
type desk struct {
	t     testing.TB
	table *Table
	plan  *Plan

	mu     sync.Mutex
	wants  []Want
	refuse error
	events []status.Event
}

const byICMP = "proximity: {methods: [icmp]}\n"

func newDesk(t testing.TB, text string) *desk {
	b := &desk{t: t}
	b.table = NewTable(TableOptions{Ask: b.ask, Record: func(e status.Event) { b.events = append(b.events, e) }})
	b.use(asking(t, text))
	return b
}

func (b *desk) use(m *config.Model) {
	b.plan = Compile(m)
	b.table.Use(b.plan)
}

func (b *desk) ask(w Want) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wants = append(b.wants, w)
	return b.refuse
}

// asked gives the wants since the last call.
func (b *desk) asked() []Want {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := b.wants
	b.wants = nil
	return w
}

func (b *desk) want(client string) {
	a := netip.MustParseAddr(client)
	b.plan.Want(Asked{Client: a, Target: a, Now: time.Now()})
}

// wantProven is want by a client that has proved its address.
func (b *desk) wantProven(client string) {
	a := netip.MustParseAddr(client)
	b.plan.Want(Asked{Client: a, Target: a, Proven: true, Now: time.Now()})
}

func (b *desk) look(client string) View { return b.plan.Look(netip.MustParseAddr(client), time.Now()) }

// deliver answers a want: round trip times by link, 0 for silence.
func (b *desk) deliver(w Want, rtts map[string]time.Duration) {
	for _, link := range w.Links {
		r := Result{Prefix: w.Prefix, Link: link, Tag: w.Tag, Sample: Sample{Link: link, RTT: rtts[link], Hops: 5, Method: "icmp", At: time.Now()}}
		if rtts[link] == 0 {
			r.Err = errSilent
		}
		b.table.Deliver(r)
	}
}

// learn makes the entry of a client, has it measured and waits for the warm-up.
func (b *desk) learn(client string, rtts map[string]time.Duration) {
	b.t.Helper()
	b.want(client)
	w := b.asked()
	if len(w) != 1 {
		b.t.Fatalf("%s: %d wants, want 1", client, len(w))
	}
	b.deliver(w[0], rtts)
	time.Sleep(10 * time.Second)
}

// best names the best of all links, "" if none is.
func (b *desk) best(client string, gauges *status.Gauges) string {
	v := b.look(client)
	return b.bestOf(&v, gauges, 1)
}

func (b *desk) bestOf(v *View, gauges *status.Gauges, circle uint16) string {
	numbers := []int{}
	for i := range v.plan.Links {
		numbers = append(numbers, i)
	}
	r := v.rank(circle, numbers, gauges, nil)
	if r.Best < 0 {
		return ""
	}
	return v.plan.Links[r.Rated[r.Best].Link].Name
}

var toTelecom = map[string]time.Duration{"telecom": 10 * time.Millisecond, "unicom": 50 * time.Millisecond}

// T1, FAQ 1.4.5: warming for exactly the warm-up, from the first query on; one
// entry and one probe set however many ask at once.
func TestWarmUp_T1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		if v := b.look("203.0.113.7"); v.State != Absent || !v.Wants || v.Width != 24 || !v.Next.Equal(time.Now().Add(10*time.Second)) {
			t.Errorf("before: %+v", v)
		}
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() { b.want(fmt.Sprintf("203.0.113.%d", i)) })
		}
		all.Wait()
		w := b.asked()
		if len(w) != 1 || b.table.Stats().Entries != 1 {
			t.Fatalf("%d wants, %d entries; want one of each", len(w), b.table.Stats().Entries)
		}
		if want := netip.MustParsePrefix("203.0.113.0/24"); w[0].Prefix != want || !slices.Equal(w[0].Links, []string{"telecom", "unicom"}) || w[0].Known {
			t.Errorf("asked for %+v", w[0])
		}
		b.deliver(w[0], toTelecom)
		for _, c := range []struct {
			after time.Duration
			state State
			best  string
		}{{9900 * time.Millisecond, Warming, ""}, {10*time.Second - 1, Warming, ""}, {10 * time.Second, Ready, "telecom"}, {10100 * time.Millisecond, Ready, "telecom"}} {
			v := b.plan.Look(netip.MustParseAddr("203.0.113.9"), time.Now().Add(c.after))
			if got := b.bestOf(&v, nil, 1); v.State != c.state || got != c.best {
				t.Errorf("after %v: %v, best %q; want %v, %q", c.after, v.State, got, c.state, c.best)
			}
		}
	})
}

// laps has the sweep go round.
func (b *desk) laps(n int) {
	for range n * (lapTicks + numShards) {
		b.table.sweep(time.Now())
	}
}

// FAQ 1.2.2, T12: an entry that nobody asks for ages; asking keeps it.
func TestAgeing_T12(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], timeout: 1m}\n")
		b.learn("203.0.113.7", toTelecom)
		b.learn("198.51.100.7", toTelecom)
		for range 10 {
			time.Sleep(30 * time.Second)
			b.want("203.0.113.7")
			b.laps(1)
		}
		if b.look("203.0.113.7").State != Ready || b.look("198.51.100.7").State != Absent {
			t.Errorf("asked for: %v; not: %v", b.look("203.0.113.7").State, b.look("198.51.100.7").State)
		}
		// At once when it is over, whether the sweep came by or not; and who asks
		// then begins anew.
		time.Sleep(61 * time.Second)
		if b.look("203.0.113.7").State != Absent || b.table.Stats().Entries != 1 {
			t.Error("an aged entry counts until it is swept")
		}
		b.want("203.0.113.7")
		if b.look("203.0.113.7").State != Warming {
			t.Error("an aged entry does not begin anew")
		}
	})
}

// T14: at the cap new ones are refused and counted, and nobody is pushed out who
// has not aged; no more than so many are made a second.
func TestCaps_T14(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], maxEntries: 500, newPerSecond: 200, timeout: 1m}\n")
		for i := range 1000 {
			b.want(fmt.Sprintf("10.1.%d.1", i%256))
			b.want(fmt.Sprintf("10.%d.1.1", i%256))
		}
		if s := b.table.Stats(); s.Entries != 200 || s.RefusedRate == 0 || s.RefusedFull != 0 {
			t.Errorf("in one moment: %+v", s)
		}
		for i := range 3000 {
			time.Sleep(10 * time.Millisecond)
			b.want(fmt.Sprintf("172.%d.%d.1", i/256, i%256))
		}
		s := b.table.Stats()
		if s.Entries != 500 || s.RefusedFull == 0 {
			t.Errorf("at the cap: %+v", s)
		}
		if len(b.events) != 1 || b.events[0].New != "full" {
			t.Errorf("%v; want one event", b.events)
		}
		if v := b.look("192.0.2.1"); v.Why(time.Now()) != "no entry: the table is full with 500" {
			t.Errorf("%s", v.Why(time.Now()))
		}
		time.Sleep(2 * time.Minute) // all have aged: some make room even before the sweep
		b.table.fresh.set(100_000)
		time.Sleep(time.Second)
		for i := range 100 {
			b.want(fmt.Sprintf("192.168.%d.1", i))
		}
		if got := b.table.Stats(); got.Entries != 500 || got.Made <= s.Made {
			t.Errorf("over aged ones: %+v", got)
		}
	})
}

// T14: a flood of forged sources that fills the table keeps others out for a
// minute at most: who was asked for once gives way, who was asked for again or
// has proved his address does not. And those who prove theirs do not wait for
// room in the second.
func TestFloodGivesWay_T14(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, "proximity: {methods: [icmp], maxEntries: 1000, newPerSecond: 1000}\n")
		flood := func(net int) {
			for i := range 1000 {
				b.want(fmt.Sprintf("%d.%d.%d.1", net, i/256, i%256))
			}
		}
		b.want("203.0.113.7")
		b.wantProven("198.51.100.7")
		flood(10)
		time.Sleep(30 * time.Second)
		b.want("203.0.113.7")
		time.Sleep(32 * time.Second)
		flood(172)
		for _, a := range []string{"203.0.113.7", "198.51.100.7"} {
			if v := b.look(a); v.State != Ready {
				t.Errorf("%s: %v; it does not give way", a, v.State)
			}
		}
		if v := b.look("172.16.1.1"); v.State != Absent && v.State != Warming {
			t.Errorf("%v", v.State)
		}
		found := 0
		for i := range 20 { // in a table as small as this some shards have nobody to give way
			client := fmt.Sprintf("192.0.%d.7", i)
			b.wantProven(client)
			if b.look(client).State == Warming {
				found++
			}
		}
		if found < 15 {
			t.Errorf("%d of 20 proven clients found room beside a flood of the same second", found)
		}
		if s := b.table.Stats(); s.Entries != 1000 || s.Made < 1500 {
			t.Errorf("%+v", s)
		}
	})
}

// Measured anew when old and asked for; links of which nobody answered sooner;
// at most once in perTarget; three rounds without an answer end what was found.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.learn("203.0.113.7", toTelecom)
		for range 4 {
			b.want("203.0.113.7")
			time.Sleep(time.Minute)
		}
		if w := b.asked(); len(w) != 0 {
			t.Fatalf("fresh, and asked for again: %v", w)
		}
		time.Sleep(time.Minute)
		for round, want := range []string{"telecom", "telecom", "unicom"} {
			b.want("203.0.113.7")
			b.want("203.0.113.7")
			w := b.asked()
			if len(w) != 1 || !w[0].Known {
				t.Fatalf("round %d: wants %+v", round, w)
			}
			b.deliver(w[0], map[string]time.Duration{"unicom": 50 * time.Millisecond})
			if got := b.best("203.0.113.7", nil); got != want {
				t.Errorf("round %d: best %q, want %q", round, got, want)
			}
			b.want("203.0.113.7")
			if w := b.asked(); len(w) != 0 {
				t.Errorf("round %d: asked again at once: %v", round, w)
			}
			time.Sleep(30 * time.Second)
		}
		b.want("203.0.113.7")
		if w := b.asked(); len(w) != 0 {
			t.Errorf("a link that is silent is asked each time: %v", w)
		}
	})
}

// List pages through every entry once, in the face of changes to others.
func TestListPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		for i := range 300 {
			b.want(fmt.Sprintf("10.%d.%d.1", i%2, i/2))
		}
		seen := map[netip.Prefix]bool{}
		for after := (netip.Prefix{}); ; {
			list, next := b.table.List(Query{After: after, Limit: 7}, nil, time.Now())
			for _, e := range list {
				if seen[e.Network] {
					t.Errorf("%s twice", e.Network)
				}
				seen[e.Network] = true
			}
			b.want(fmt.Sprintf("172.16.%d.1", rand.IntN(256)))
			if after = next; !next.IsValid() {
				break
			}
		}
		for i := range 300 {
			if p := netip.MustParsePrefix(fmt.Sprintf("10.%d.%d.0/24", i%2, i/2)); !seen[p] {
				t.Errorf("%s is missing", p)
			}
		}
		list, _ := b.table.List(Query{Client: netip.MustParseAddr("10.1.3.200")}, nil, time.Now())
		if len(list) != 1 || list[0].Network.String() != "10.1.3.0/24" || list[0].State != "warming" || len(list[0].Links) != 2 {
			t.Errorf("%+v", list)
		}
	})
}

// A link that goes and comes back is the same; numbers of links that are gone
// are given out again when no entry holds them.
func TestLinkNumbers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newDesk(t, byICMP)
		b.learn("203.0.113.7", toTelecom)
		without := func() *config.Model {
			m := asking(t, byICMP)
			m.VirtualServers[0].Link, m.Links = "", m.Links[1:]
			return m
		}
		b.use(without())
		b.use(asking(t, byICMP))
		if got := b.best("203.0.113.7", nil); got != "telecom" {
			t.Errorf("a link that came back: best %q", got)
		}
		b.use(without())
		b.want("203.0.113.7")
		b.laps(2)
		b.use(asking(t, byICMP))
		if got := b.best("203.0.113.7", nil); got != "unicom" {
			t.Errorf("a link that was gone long: best %q", got)
		}
	})
}

// Numbers are bounded, and given out again when no entry can hold them.
func TestLinkNumbersAreGivenBack(t *testing.T) {
	x := newIDs()
	for i := range 3 * maxLinks {
		id := x.use([]*config.Link{{Name: "stays"}, {Name: fmt.Sprint(i)}})
		if id[0] != 1 || id[1] == 0 || len(x.has) > maxLinks {
			t.Fatalf("%d: numbers %v of %d", i, id, len(x.has))
		}
		if i%4000 == 3999 {
			x.freed(slices.Collect(maps.Keys(x.gone)))
		}
	}
	for i := range maxLinks - 2 {
		x.use([]*config.Link{{Name: "stays"}, {Name: fmt.Sprintf("more%d", i)}})
	}
	if id := x.use([]*config.Link{{Name: "stays"}, {Name: "one too many"}}); id[0] != 1 || id[1] != 0 {
		t.Errorf("beyond the bound: %v", id)
	}
}
