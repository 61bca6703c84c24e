package dnsserver

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
)

// nearby is a world with a table of distances, behind a server's handler.
type nearby struct {
	*world
	distances *proximity.Table
	handler   *handler

	rtts map[string]time.Duration // by link, what measuring finds; none: silence
	mute bool                     // nothing is measured
	asks []proximity.Want
}

// measured gives a model the links of its virtual servers, and methods.
func measured(m *config.Model) *config.Model {
	m.Proximity = config.Proximity{Enabled: true, Methods: []string{"icmp"}, Port: 53, Mask: config.Mask{V4: 24, V6: 56},
		Weights: config.ProximityWeights{RTT: 100, TTL: 100, Cost: 100, In: 100, Out: 100}, Margin: 10,
		WarmUp: config.Duration(10 * time.Second), Timeout: config.Duration(30 * time.Minute), Refresh: config.Duration(5 * time.Minute),
		MaxEntries: 1000, NewPerSecond: 1000, ProbesPerSecond: 100, PerTarget: config.Duration(30 * time.Second)}
	for i := range 6 {
		m.Links = append(m.Links, &config.Link{Name: "link-" + string(rune('a'+i))})
	}
	return m
}

func newNearby(t testing.TB, m *config.Model) *nearby {
	n := &nearby{world: newWorld(t, m), rtts: map[string]time.Duration{"link-a": 50 * time.Millisecond, "link-b": 10 * time.Millisecond, "link-c": 90 * time.Millisecond}}
	n.distances = proximity.NewTable(proximity.TableOptions{Ask: n.measure})
	n.distances.Use(n.table.Proximity())
	s := New(Options{Rows: n.board.Table, Gauges: n.board.Gauges})
	s.Use(n.table)
	n.handler = s.newHandler(false)
	return n
}

// measure takes the place of a prober, and is done at once.
func (n *nearby) measure(w proximity.Want) error {
	n.asks = append(n.asks, w)
	for _, link := range w.Links {
		r := proximity.Result{Prefix: w.Prefix, Link: link, Tag: w.Tag, Sample: proximity.Sample{RTT: n.rtts[link], Hops: 9, Method: "icmp", At: time.Now()}}
		if n.rtts[link] == 0 {
			r.Err = errors.New("no answer in time")
		}
		if !n.mute {
			n.distances.Deliver(r)
		}
	}
	return nil
}

// query asks the server over UDP, by the path that packets take.
func (n *nearby) query(name, client string) *dns.Msg { return n.queryECS(name, client, netip.Prefix{}) }

func (n *nearby) queryECS(name, client string, ecs netip.Prefix) *dns.Msg {
	n.t.Helper()
	ask := Ask{Name: name, Client: netip.MustParseAddr(client), ECS: ecs}
	msg, err := ask.message()
	if err != nil {
		n.t.Fatal(err)
	}
	out := n.handler.handle(msg, netip.AddrPortFrom(ask.Client, 4242), nil)
	if out == nil {
		return nil
	}
	reply := new(dns.Msg)
	if err := reply.Unpack(out); err != nil {
		n.t.Fatal(err)
	}
	return reply
}

func proximityPool(members ...string) *config.Pool {
	return &config.Pool{Name: "www", Preferred: config.Slot{Algorithm: "proximity"}, Members: servers(members...)}
}

func withAlternate(p *config.Pool) *config.Pool {
	p.Alternate = config.Slot{Algorithm: "first"}
	return p
}

// T1, FAQ 1.4.5: the first query makes the entry; at 9.9 s it is declined still,
// from 10.0 s on proximity answers. T6: till then no answer may be kept longer
// than the warm-up lasts, not even by the name's lower bound of 5 s.
func TestProximityWarmUp_T1_T6(t *testing.T) {
	type step struct {
		at   time.Duration
		want string
		ttl  uint32
	}
	for name, c := range map[string]struct {
		pool  *config.Pool
		steps []step
	}{
		"alone": {proximityPool("a", "b"), []step{
			{0, "REFUSED", 0}, {5 * time.Second, "REFUSED", 0}, {9900 * time.Millisecond, "REFUSED", 0},
			{10 * time.Second, "NOERROR 192.0.2.2", 30}, {10100 * time.Millisecond, "NOERROR 192.0.2.2", 30}}},
		"with an alternate": {withAlternate(proximityPool("a", "b")), []step{
			{0, "NOERROR 192.0.2.1", 10}, {5500 * time.Millisecond, "NOERROR 192.0.2.1", 4}, {7 * time.Second, "NOERROR 192.0.2.1", 3},
			{9900 * time.Millisecond, "NOERROR 192.0.2.1", 1}, {10 * time.Second, "NOERROR 192.0.2.2", 30}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNearby(t, measured(pooled(c.pool)))
				began := time.Now()
				for _, s := range c.steps {
					time.Sleep(time.Until(began.Add(s.at)))
					m := n.query("www.example.com", "203.0.113.7")
					if short(m) != s.want || len(m.Answer) > 0 && m.Answer[0].Header().Ttl != s.ttl {
						t.Errorf("at %v: %s %v, want %s with TTL %d", s.at, short(m), m.Answer, s.want, s.ttl)
					}
				}
				if len(n.asks) != 1 || n.asks[0].Prefix.String() != "203.0.113.0/24" || n.asks[0].Target.String() != "203.0.113.7" || n.asks[0].Known {
					t.Errorf("asked for %+v", n.asks)
				}
			})
		})
	}
}

// What is refused, dropped by policy or only explained makes no entry; what the
// slot saw does, also where the pool gives no reply.
func TestWhoMakesEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := proximityPool("a", "b")
		p.OnDecline = config.DeclineDrop
		n := newNearby(t, measured(pooled(p, &config.Pool{Name: "other", Members: servers("a")})))
		n.query("other.example.com", "203.0.113.7")
		n.query("nothing.example.org", "203.0.113.7")
		if _, err := n.table.Explain(n.board.Table(), Ask{Name: "www.example.com", Client: v4(7), At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if s := n.distances.Stats(); s.Entries != 0 {
			t.Errorf("%d entries", s.Entries)
		}
		if m := n.query("www.example.com", "203.0.113.7"); m != nil || n.distances.Stats().Entries != 1 {
			t.Errorf("%v, %d entries", m, n.distances.Stats().Entries)
		}
	})
}

// With Client Subnet the entry is the client's network, its first host is
// measured, and the answer holds for that network alone, also where there is no
// entry yet (RFC 7871 7.2.1).
func TestProximityOfClientSubnet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNearby(t, measured(pooled(withAlternate(proximityPool("a", "b")))))
		ecs := netip.MustParsePrefix("203.0.113.0/24")
		if m := n.queryECS("www.example.com", "192.0.2.99", ecs); scopeIn(m) != 24 || short(m) != "NOERROR 192.0.2.1" {
			t.Errorf("warming: scope %d, %s", scopeIn(m), short(m))
		}
		if len(n.asks) != 1 || n.asks[0].Target.String() != "203.0.113.1" || n.asks[0].Prefix != ecs {
			t.Errorf("asked for %+v", n.asks)
		}
		time.Sleep(10 * time.Second)
		if m := n.queryECS("www.example.com", "192.0.2.99", ecs); scopeIn(m) != 24 || short(m) != "NOERROR 192.0.2.2" {
			t.Errorf("ready: scope %d, %s", scopeIn(m), short(m))
		}
	})
}

// scopeIn is scopeOf of a reply that was unpacked.
func scopeIn(m *dns.Msg) int {
	for _, o := range m.IsEdns0().Option {
		if s, ok := o.(*dns.EDNS0_SUBNET); ok {
			return int(s.SourceScope)
		}
	}
	return -1
}

// ready gives a world whose client 203.0.113.7 is measured.
func ready(t *testing.T, m *config.Model) *nearby {
	n := newNearby(t, measured(m))
	n.query("www.example.com", "203.0.113.7")
	time.Sleep(10 * time.Second)
	return n
}

// FAQ 1.2.16: the higher priority is the best, whatever was measured. FAQ
// 1.2.26: a busy link takes no part; 1.2.19: nor does one at its rate limit.
func TestProximityAmongCandidates_1_2_16(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := pooled(proximityPool("a@5", "b"))
		n := ready(t, m)
		if got := short(n.query("www.example.com", "203.0.113.7")); got != "NOERROR 192.0.2.1" {
			t.Errorf("priority: %s", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		p := proximityPool("a", "b", "c")
		p.BusyProtection = true
		n := ready(t, pooled(p))
		n.model.Links[1].RateLimit.Total = 100_000_000
		for _, s := range []struct{ row, want string }{
			{"link/link-b:up", "NOERROR 192.0.2.2"}, {"link/link-b:busy", "NOERROR 192.0.2.1"}, {"link/link-b:up", "NOERROR 192.0.2.2"},
			{"virtualServer/b:down", "NOERROR 192.0.2.1"}, {"virtualServer/b:up", "NOERROR 192.0.2.2"},
		} {
			n.set(s.row)
			if got := short(n.query("www.example.com", "203.0.113.7")); got != s.want {
				t.Errorf("%s: %s, want %s", s.row, got, s.want)
			}
		}
		for _, remains := range []float64{0, 90e6, -1, 90e6} {
			g := status.NoGauge()
			g.Rate[0] = 100e6 - remains
			n.board.Measure(map[status.ID]status.Gauge{"link/link-b": g})
			want := "NOERROR 192.0.2.2"
			if remains <= 0 {
				want = "NOERROR 192.0.2.1"
			}
			if got := short(n.query("www.example.com", "203.0.113.7")); got != want {
				t.Errorf("%v remains: %s, want %s", remains, got, want)
			}
		}
	})
}

// T15, FAQ 1.2.28: explain names why there is no best link, each cause by its
// own name.
func TestExplainProximity_T15(t *testing.T) {
	for name, c := range map[string]struct {
		change func(m *config.Model)
		before func(n *nearby)
		want   string
	}{
		"not enabled":          {func(m *config.Model) { m.Proximity.Enabled = false }, nil, "proximity is not enabled"},
		"no method":            {func(m *config.Model) { m.Proximity.Methods = nil }, nil, "proximity has no methods"},
		"no entry":             {nil, nil, "no entry: the next query makes it"},
		"warming":              {nil, func(n *nearby) { n.query("www.example.com", "203.0.113.7"); time.Sleep(4 * time.Second) }, "counts in 6s"},
		"link down":            {nil, func(n *nearby) { n.set("link/link-b:down") }, "b left out: down: link/link-b is down"},
		"link busy":            {func(m *config.Model) { m.Pools[0].BusyProtection = true }, func(n *nearby) { n.set("link/link-b:busy") }, "b left out"},
		"nobody answered":      {nil, func(n *nearby) { n.rtts = nil; n.make() }, "link-b: nobody answered over it"},
		"not measured yet":     {nil, func(n *nearby) { n.mute = true; n.make() }, "link-b: not measured yet"},
		"table full":           {func(m *config.Model) { m.Proximity.MaxEntries = 0 }, nil, "the table is full with 0"},
		"refused by rate":      {func(m *config.Model) { m.Proximity.NewPerSecond = 0 }, nil, "no more than 0 are made a second"},
		"a member has no link": {func(m *config.Model) { m.VirtualServers[0].Link = "" }, (*nearby).make, "a: no link"},
		"the contributions":    {nil, (*nearby).make, "b: link-b: score 120.0 = rtt 20.0 (10ms) + ttl 100.0 (9 hops) + cost 0.0 (0) + in 0.0 (0% used) + out 0.0 (0% used); the best so far"},
		"the others'":          {nil, (*nearby).make, "a: link-a: score 200.0 = rtt 100.0 (50ms)"},
		"at its limit": {func(m *config.Model) { m.Links[1].RateLimit.In = 1 }, func(n *nearby) {
			g := status.NoGauge()
			g.Rate[1] = 1
			n.board.Measure(map[status.ID]status.Gauge{"link/link-b": g})
			n.make()
		}, "b: link-b: at its rate limit: passed over for the second best"},
		"configured": {func(m *config.Model) {
			m.Proximity.Static = []*config.StaticProximity{{Prefix: netip.MustParsePrefix("203.0.113.0/24"), Link: "link-a"}}
		}, nil, "a: link-a: configured as the best for this network"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := measured(pooled(withAlternate(proximityPool("a", "b"))))
				if c.change != nil {
					c.change(m)
				}
				n := newNearby(t, m)
				if c.before != nil {
					c.before(n)
				}
				e, err := n.table.Explain(n.board.Table(), Ask{Name: "www.example.com", Client: netip.MustParseAddr("203.0.113.7"), At: time.Now(), Gauges: n.board.Gauges()})
				if err != nil {
					t.Fatal(err)
				}
				var text bytes.Buffer
				if err := e.WriteText(&text, time.Now()); err != nil || !strings.Contains(text.String(), c.want) {
					t.Errorf("no %q in\n%s", c.want, &text)
				}
			})
		})
	}
}

// make has the client's network measured and ready, and answered once.
func (n *nearby) make() {
	n.query("www.example.com", "203.0.113.7")
	time.Sleep(10 * time.Second)
	n.query("www.example.com", "203.0.113.7")
}

// Without a running table, as for explain offline, it declines and says so.
func TestProximityOffline(t *testing.T) {
	w := newWorld(t, measured(pooled(withAlternate(proximityPool("a", "b")))))
	if got := short(w.ask("www.example.com", "A", "203.0.113.7")); got != "NOERROR 192.0.2.1" {
		t.Error(got)
	}
	e, err := w.table.Explain(w.board.Table(), Ask{Name: "www.example.com", Client: v4(7), At: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _ = e.WriteText(&text, time.Now()); !strings.Contains(text.String(), "known to a running server only") {
		t.Error(text.String())
	}
}

// A nested pool is as near as the nearest of its members that take part; tie
// chooses among members on one link.
func TestProximityOfNestedPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &config.Pool{Name: "inner", Members: servers("b", "c")}
		outer := proximityPool("a")
		outer.Members = append(outer.Members, &config.Member{Pool: "inner", Weight: 1})
		n := ready(t, pooled(inner, outer))
		seen := map[string]bool{}
		for range 4 {
			seen[short(n.query("www.example.com", "203.0.113.7"))] = true
		}
		if len(seen) != 2 || !seen["NOERROR 192.0.2.2"] || !seen["NOERROR 192.0.2.3"] {
			t.Errorf("answers %v", seen)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		m := pooled(proximityPool("a", "b*3", "c"))
		m.VirtualServers[2].Link = "link-b"
		n := ready(t, m)
		count := map[string]int{}
		for range 8 {
			count[short(n.query("www.example.com", "203.0.113.7"))]++
		}
		if count["NOERROR 192.0.2.2"] != 6 || count["NOERROR 192.0.2.3"] != 2 {
			t.Errorf("answers %v", count)
		}
	})
}

// A nested pool is as near as its members that take part for this client: a link
// that sheds it brings it no nearer.
func TestProximityOfNestedPools_Shed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := &config.Pool{Name: "inner", BusyProtection: true, Members: servers("b", "c"), Preferred: config.Slot{Algorithm: "first"}}
		outer := proximityPool("a")
		outer.Members = append(outer.Members, &config.Member{Pool: "inner", Weight: 1})
		n := newNearby(t, measured(pooled(inner, outer)))
		n.board.Mark(map[status.ID]status.Load{"link/link-b": {Shed: 128}})
		n.table.Ready(n.board.Table(), nil)
		count := map[string]int{}
		for i := range 128 {
			client := fmt.Sprintf("203.0.%d.7", i%64)
			if i == 64 {
				time.Sleep(10 * time.Second)
			}
			if got := short(n.query("www.example.com", client)); i >= 64 {
				count[got]++
			}
		}
		if len(count) != 2 || count["NOERROR 192.0.2.2"] < 16 || count["NOERROR 192.0.2.1"] < 16 {
			t.Errorf("%v: want the nearest, or who is next where its link sheds; never the farthest", count)
		}
	})
}

// nearer has some slots of a random model go by proximity, with masks as coarse
// as its universe is.
func nearer(m *config.Model, r *rand.Rand) *config.Model {
	if r.IntN(2) == 0 {
		return m
	}
	measured(m)
	m.Proximity.Mask = config.Mask{V4: []int{4, 6, 8}[r.IntN(3)], V6: []int{20, 34, 40}[r.IntN(3)]}
	for range r.IntN(3) {
		client := clientIn(r, false)
		prefix, _ := client.Prefix(2 + r.IntN(8))
		m.Proximity.Static = append(m.Proximity.Static, &config.StaticProximity{Prefix: prefix, Link: "link-" + string(rune('a'+r.IntN(6)))})
	}
	if r.IntN(6) == 0 {
		m.Proximity.Methods = nil // configured ones alone
	}
	for _, p := range m.Pools {
		switch r.IntN(4) {
		case 0, 1:
			p.Alternate, p.Preferred = p.Preferred, config.Slot{Algorithm: "proximity", Tie: "round-robin"}
		case 2:
			p.Fallback = config.Slot{Algorithm: "proximity", Tie: "source-hash", Mask: config.Mask{V4: 8, V6: 40}}
		}
	}
	return m
}

// distances puts random entries into the table of a random world, some warming,
// some with links that nobody measured.
func (w *world) distances(r *rand.Rand) {
	table := proximity.NewTable(proximity.TableOptions{Ask: func(proximity.Want) error { return nil }})
	p := w.table.Proximity()
	table.Use(p)
	for range 1 + r.IntN(200) {
		client := clientIn(r, r.IntN(4) == 0)
		at := w.now.Add(-time.Minute)
		if r.IntN(5) == 0 {
			at = w.now
		}
		p.Want(proximity.Asked{Client: client, Target: client, Now: at})
		for _, l := range p.Links {
			if r.IntN(3) > 0 {
				table.Deliver(proximity.Result{Prefix: netip.PrefixFrom(client, client.BitLen()), Link: l.Name, Tag: 1,
					Sample: proximity.Sample{RTT: time.Duration(1+r.IntN(3)) * time.Millisecond, Hops: r.IntN(3), Method: "icmp", At: at}})
			}
		}
	}
}

// A server with a pool of proximity serves while the table is changed and
// cleared under it (for the race detector), and none of its answers is of a
// member that is not there.
func TestProximityUnderChange(t *testing.T) {
	n := newNearby(t, measured(pooled(withAlternate(proximityPool("a", "b", "c")))))
	n.mute = true
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			n.distances.Deliver(proximity.Result{Prefix: netip.MustParsePrefix("10.0.7.0/24"), Link: "link-b", Tag: 1, Sample: proximity.Sample{RTT: time.Millisecond, Method: "icmp", At: time.Now()}})
			if i%100 == 0 {
				n.distances.Clear(netip.MustParsePrefix("10.0.0.0/16"), "test", "test")
			}
			if i%1000 == 0 {
				n.distances.Use(n.table.Proximity())
			}
		}
	}()
	for i := range 3000 {
		if m := n.query("www.example.com", fmt.Sprintf("10.0.%d.1", i%256)); m.Rcode != dns.RcodeSuccess || len(m.Answer) != 1 {
			t.Fatalf("%v", m)
		}
	}
	close(stop)
	<-done
}
