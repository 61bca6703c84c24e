package farm

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// filled holds n connections, of which so many are below the limits, and gives
// what was opened. Where it is less, connections of before have not ended yet.
func (b *balancer) filled(n, below int, route nettest.Route) (held *nettest.Held, opened nettest.Spread) {
	b.T.Helper()
	b.Until(late, func() error {
		if held, opened = b.Hold(n, 0, route); opened.OK() < below {
			held.Close()
			return fmt.Errorf("of %d connections %v, want %d", n, opened, below)
		}
		return nil
	})
	return held, opened
}

// Test 4: small hard limits are exact. That of a virtual server; those of
// servers, with a second choice before anything is dropped.
func TestB04_Limits_Root(t *testing.T) {
	t.Parallel()
	for family := range 2 {
		b := before(t, farm(t, nettest.FarmLayout{}))
		route := []nettest.Route{b.to4(1, 80), b.to6(1, 80)}[family]
		b.use(setup{Farm: b.Farm, serve: ", maxConnections: 50"})
		b.Until(late, func() error { return only(b.InTurn(3, route), 1, 2, 3) })
		held, opened := b.filled(70, 50, route)
		if opened.OK() != 50 || opened.Failed != 20 {
			t.Errorf("virtual server: of 70 connections %v, want 50", opened)
		}
		held.Close()
		b.use(setup{Farm: b.Farm, server: map[int]string{1: ", maxConnections: 5", 2: ", maxConnections: 10", 3: ", maxConnections: 20"}})
		b.Until(late, func() error { return only(b.Connect(3, route), 1, 2, 3) })
		held, opened = b.filled(41, 35, route)
		if fmt.Sprint(opened.By) != "[0 5 10 20]" || opened.Failed != 6 {
			t.Errorf("servers with 5, 10 and 20: of 41 connections %v", opened)
		}
		if fate := held.Ask(); fate.Lost+fate.Wrong > 0 {
			t.Errorf("connections within the limit: %+v", fate)
		}
		held.Close()
	}
}

// Big limits, which conntrack events enforce, within 2 %.
func TestB04_BigLimit_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	route := func(i int) (netip.Addr, netip.AddrPort) {
		return b.Client4(i % 2000), netip.AddrPortFrom(b.Virtual4(1), 80)
	}
	b.use(setup{Farm: b.Farm, serve: ", maxConnections: 4000"})
	b.takes(time.Second, route, 1, 2, 3)
	held, opened := b.Hold(3900, 0, route)
	if opened.Failed > 0 {
		t.Fatalf("below the limit: %v", opened)
	}
	open, refused := 3900, 0
	for began := time.Now(); refused < 40 && time.Since(began) < late; { // as clients come, not all at once
		h, s := b.Hold(8, 0, route)
		defer h.Close()
		open, refused = open+s.OK(), refused+s.Failed
		b.Pause(100 * time.Millisecond)
	}
	t.Logf("%d connections at a limit of 4000", open)
	if open < 3920 || open > 4080 || refused < 40 {
		t.Errorf("%d connections at a limit of 4000, %d refused", open, refused)
	}
	held.Close()
	b.Until(late, func() error {
		if s := b.Connect(4, route); s.Failed > 0 {
			return fmt.Errorf("all have ended: %v", s)
		}
		return nil
	})
}

// What becomes of a connection while every server is at a limit: it is
// dropped; it waits, and is taken when there is room; it goes over the limit.
func TestB04_Busy_Root(t *testing.T) {
	t.Parallel()
	busyActions(t, before(t, farm(t, nettest.FarmLayout{})))
}

func busyActions(t *testing.T, b *balancer) {
	route := b.to(1, 80)
	for _, action := range []string{"drop", "queue", "force"} {
		b.use(setup{Farm: b.Farm, farm: ", onBusy: " + action, server: map[int]string{0: ", maxConnections: 10"}})
		b.Until(late, func() error { return only(b.Connect(9, route), 1, 2, 3) })
		held, opened := b.filled(30, 30, route)
		if opened.OK() != 30 {
			t.Errorf("%s: of 30 connections %v", action, opened)
		}
		switch over := b.Connect(6, route); {
		case action == "force" && over.OK() != 6, action == "drop" && over.Failed != 6:
			t.Errorf("%s: over the limit %v", action, over)
		}
		if action == "queue" {
			waits, refused := make(chan error), b.count("serverFarm", "web", "busy")
			go func() {
				from, to := route(1)
				talk, err := nettest.Call(b.Clients, from, to, late)
				if err == nil {
					err = talk.Close()
				}
				waits <- err
			}()
			b.Until(late, func() error {
				if b.count("serverFarm", "web", "busy") == refused {
					return errors.New("it does not wait yet")
				}
				return nil
			})
			held.Close()
			if err := <-waits; err != nil {
				t.Errorf("who waited was not taken: %v", err)
			}
		}
		held.Close()
	}
}

// New connections a second, of a virtual server and of a server.
func TestB04_Rate_Root(t *testing.T) {
	t.Parallel()
	newRates(t, before(t, farm(t, nettest.FarmLayout{})))
}

func newRates(t *testing.T, b *balancer) {
	_, to := b.to(1, 80)(0)
	counted := func() (taken, limited int) {
		return b.count("virtualServer", "udp", "taken"), b.count("virtualServer", "udp", "limited")
	}
	// flows begins n flows of a datagram each, and gives how many each host got, and
	// how many a bucket would have let by that gets so many a second and holds a
	// tenth of that, when they came as they did.
	flows := func(n int, gap time.Duration, perSecond float64) (got [4]int, fits int) {
		taken, limited := counted()
		for _, h := range b.Hosts {
			got[h.N] = -h.Datagrams()
		}
		tick := time.NewTicker(gap)
		defer tick.Stop()
		level, last := perSecond/10, time.Now()
		for i := range n {
			<-tick.C
			talk, err := b.UDP(b.client(i%clients), to)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = talk.Write([]byte("!"))
			now := time.Now()
			level, last = min(level+now.Sub(last).Seconds()*perSecond, perSecond/10), now
			if level >= 1 {
				level--
				fits++
			}
			_ = talk.Close()
		}
		b.Until(late, func() error { // what was let by is there
			t1, l1 := counted()
			got[0] = t1 - taken - (l1 - limited)
			sum := 0
			for _, h := range b.Hosts {
				sum += got[h.N] + h.Datagrams()
			}
			if sum != got[0] || t1-taken != n {
				return fmt.Errorf("of %d flows %d are counted, %d as refused, and %d came", n, t1-taken, l1-limited, sum)
			}
			return nil
		})
		for _, h := range b.Hosts {
			got[h.N] += h.Datagrams()
		}
		return got, fits
	}
	b.use(setup{Farm: b.Farm, serve: ", newConnections: 50"})
	b.Until(late, func() error { return b.InTurn(1, b.to(1, 80)).Err })
	if got, fits := flows(300, 4*time.Millisecond, 50); math.Abs(float64(got[0]-fits)) > 5+0.1*float64(fits) {
		t.Errorf("%d of 300 came in at 50 a second, want %d", got[0], fits)
	}
	b.use(setup{Farm: b.Farm, server: map[int]string{1: ", newConnections: 50"}})
	b.Until(late, func() error { // the limit of the virtual server is gone
		if got, _ := flows(30, time.Millisecond, 50); got[0] < 30 {
			return fmt.Errorf("%d of 30", got[0])
		}
		return nil
	})
	got, fits := flows(450, 2*time.Millisecond, 50)
	if got[0] < 450 {
		t.Errorf("only %d of 450 came in, though two servers have no limit", got[0])
	}
	if want := min(fits, 150); math.Abs(float64(got[1]-want)) > 5+0.2*float64(want) {
		t.Errorf("a server with 50 a second got %d of 450, want %d", got[1], want)
	}
}

// Bandwidth of a virtual server, and of a server, is bounded in to servers, out
// to clients, or both together: at most what the limit lets by, and a second's
// worth at once; not much less; and nothing in a direction that has no limit.
func TestB04_Bandwidth_Root(t *testing.T) {
	t.Parallel()
	bandwidth(t, before(t, farm(t, nettest.FarmLayout{Hosts: 6})))
}

func bandwidth(t *testing.T, b *balancer) {
	const limit, offered = 2_000_000, 6_000_000
	directions := []string{"in", "out", "total"}
	servers, farms := "", ""
	for n, h := range b.Hosts { // each its own, so that streams are told apart
		bound := ", rateLimit: {" + directions[n%3] + ": 2Mbps}"
		ofServer, ofVirtual := bound, ""
		if n >= 3 {
			ofServer, ofVirtual = ofVirtual, ofServer
		}
		servers += virtual(fmt.Sprint("vs", n), b.Farm, 1+n, "80", fmt.Sprint("type: udp, farm: f", n, ofVirtual))
		farms += fmt.Sprintf("  - {name: f%d, servers: [{name: h, addresses: [%s, \"%s\"], port: 80%s}]}\n", n, h.Addr4, h.Addr6, ofServer)
	}
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" + servers + "serverFarms:\n" + farms))
	began := make([]int, 6) // octets that hosts have before
	for n, h := range b.Hosts {
		b.Until(late, func() error { return only(b.Flows(1, 1, b.to(1+n, 80)), n+1) })
		began[n] = h.Octets()
	}
	var streams []*stream
	for n := range b.Hosts {
		_, to := b.to(1+n, 80)(n)
		streams = append(streams, b.stream(b.client(n), to, offered, true))
	}
	b.Pause(3 * time.Second) // for a bandwidth to be one
	for n, s := range streams {
		s.stop()
		took := time.Since(s.began).Seconds()
		sent, in, out := float64(s.sent.Load()), float64(b.Hosts[n].Octets()-began[n])*packet/float64(s.payload), float64(s.back.Load())
		what := fmt.Sprintf("virtual server, %s: of %.0f octets in %.2f s %.0f came in and %.0f back", directions[n%3], sent, took, in, out)
		if n < 3 {
			what = "server" + strings.TrimPrefix(what, "virtual server")
		}
		t.Log(what)
		passed := []float64{in, out, in + out}[n%3]
		wanted := []float64{sent, sent, 2 * sent}[n%3]
		if most := limit / 8 * (took + 1); passed > 1.03*most || passed < 0.75*min(wanted, limit/8*took) {
			t.Errorf("%s, want %.0f to %.0f", what, 0.75*min(wanted, limit/8*took), most)
		}
		if free := []float64{out, in, math.Inf(1)}[n%3]; free < 0.75*min(in, sent) || directions[n%3] == "out" && free < 0.75*sent {
			t.Errorf("%s: what has no limit is bounded too", what)
		}
	}
}

// A limit policy comes after the limit of the virtual server; at upper it
// refuses, and takes again only below lower; each source by itself (T29).
func TestB04_LimitPolicy_Root(t *testing.T) {
	t.Parallel()
	limitPolicies(t, before(t, farm(t, nettest.FarmLayout{})))
}

func limitPolicies(t *testing.T, b *balancer) {
	b.use(setup{Farm: b.Farm, serve: ", limitPolicy: each",
		rest: "slb: {limitPolicies: [{name: each, rules: [{per: [source], upper: 20, lower: 10}]}]}\n"})
	one, other := b.from(3, b.to(1, 80)), b.from(4, b.to(1, 80)) // clients
	b.takes(time.Second, b.to(1, 80), 1, 2, 3)
	held, opened := b.filled(25, 20, one)
	if opened.OK() != 20 || opened.Failed != 5 {
		t.Fatalf("of 25 connections of one client %v, want 20", opened)
	}
	if s := b.Connect(10, other); s.Failed > 0 {
		t.Errorf("another client: %v", s)
	}
	left := 20
	drop := func(n int) {
		for i, talk := range held.Talks {
			if n > 0 && talk != nil {
				_ = talk.Close()
				held.Talks[i] = nil
				n--
				left--
			}
		}
		b.Pause(1500 * time.Millisecond)
	}
	drop(6) // 14: between the bounds
	if s := b.Connect(2, one); s.OK() > 0 {
		t.Errorf("with %d open, not below lower: %v", left, s)
	}
	drop(6) // 8: below lower
	b.Until(late, func() error {
		if s := b.Connect(2, one); s.Failed > 0 {
			return fmt.Errorf("with %d open, below lower: %v", left, s)
		}
		return nil
	})
}
