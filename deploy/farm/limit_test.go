package farm

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// filled holds connections until the limits are reached as they should be, and
// gives what was opened; counts of connections that have ended go first.
func (b *balancer) filled(n int, route nettest.Route) (*nettest.Held, nettest.Spread) {
	b.T.Helper()
	b.Pause(200 * time.Millisecond)
	held, opened := b.Hold(n, 0, route)
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
		held, opened := b.filled(70, route)
		if opened.OK() != 50 || opened.Failed != 20 {
			t.Errorf("virtual server: of 70 connections %v, want 50", opened)
		}
		held.Close()
		b.use(setup{Farm: b.Farm, server: map[int]string{1: ", maxConnections: 5", 2: ", maxConnections: 10", 3: ", maxConnections: 20"}})
		b.Until(10*time.Second, func() error { return only(b.Connect(3, route), 1, 2, 3) })
		held, opened = b.filled(41, route)
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
	for began := time.Now(); refused < 40 && time.Since(began) < 15*time.Second; { // as clients come, not all at once
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
	b.Until(20*time.Second, func() error {
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
	b := before(t, farm(t, nettest.FarmLayout{}))
	route := b.to4(1, 80)
	for _, action := range []string{"drop", "queue", "force"} {
		b.use(setup{Farm: b.Farm, farm: ", onBusy: " + action, server: map[int]string{0: ", maxConnections: 10"}})
		b.Until(10*time.Second, func() error { return only(b.Connect(9, route), 1, 2, 3) })
		held, opened := b.filled(30, route)
		if opened.OK() != 30 {
			t.Errorf("%s: of 30 connections %v", action, opened)
		}
		switch over := b.Connect(6, route); {
		case action == "force" && over.OK() != 6, action == "drop" && over.Failed != 6:
			t.Errorf("%s: over the limit %v", action, over)
		}
		if action == "queue" {
			waits := make(chan error)
			go func() {
				from, to := route(1)
				talk, err := nettest.Call(b.Clients, from, to, 15*time.Second)
				if err == nil {
					err = talk.Close()
				}
				waits <- err
			}()
			b.Pause(500 * time.Millisecond)
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
	b := before(t, farm(t, nettest.FarmLayout{}))
	flows := func(n int, gap time.Duration) (ok int) { // datagrams without an answer are not waited for
		tick := time.NewTicker(gap)
		defer tick.Stop()
		for i := range n {
			<-tick.C
			talk, err := b.UDP(b.Client4(i%clients), netip.AddrPortFrom(b.Virtual4(1), 80))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = talk.Write([]byte("!"))
			_ = talk.Close()
		}
		b.Pause(100 * time.Millisecond)
		for _, h := range b.Hosts {
			ok += h.Datagrams()
		}
		return ok
	}
	b.use(setup{Farm: b.Farm, serve: ", newConnections: 50"})
	b.Until(late, func() error {
		if s := b.InTurn(1, b.to4(1, 80)); s.Failed > 0 {
			return s.Err
		}
		return nil
	})
	b.Pause(1200 * time.Millisecond)
	began := time.Now()
	got := flows(500, 3*time.Millisecond)
	if want := 50 * time.Since(began).Seconds(); float64(got) < want*0.8 || float64(got) > want*1.1+10 {
		t.Errorf("%d of 500 at 50 a second in %s", got, time.Since(began))
	}
	b.use(setup{Farm: b.Farm, server: map[int]string{1: ", newConnections: 20"}})
	b.Pause(1200 * time.Millisecond)
	was := b.Hosts[0].Datagrams()
	all := flows(600, time.Millisecond) - got
	if all < 590 {
		t.Errorf("only %d of 600 came in, though two servers have no limit", all)
	}
	if first := b.Hosts[0].Datagrams() - was; first < 10 || first > 60 {
		t.Errorf("a server with 20 a second got %d of 600 in less than a second or two", first)
	}
}

// Bandwidth of a virtual server is bounded in each direction.
func TestB04_Bandwidth_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm, serve: ", rateLimit: {in: 8Mbps}"})
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	talk, err := b.UDP(b.Client4(1), netip.AddrPortFrom(b.Virtual4(1), 80))
	if err != nil {
		t.Fatal(err)
	}
	defer talk.Close()
	payload := make([]byte, 1372)
	payload[0] = '!'
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	send := func(d time.Duration) (octets int, took float64) {
		began := time.Now()
		for time.Since(began) < d { // 32 Mbit/s
			<-tick.C
			for range 14 {
				_, _ = talk.Write(payload)
			}
		}
		for _, h := range b.Hosts {
			octets += h.Octets()
		}
		return octets, time.Since(began).Seconds()
	}
	burst, _ := send(1500 * time.Millisecond) // what a second may have at once
	octets, took := send(2 * time.Second)
	octets -= burst
	if mbps := float64(octets) * 1400 / 1372 * 8 / 1e6 / took; mbps < 6.5 || mbps > 9 {
		t.Errorf("%.1f Mbit/s came through a limit of 8", mbps)
	}
}

// A limit policy comes after the limit of the virtual server; at upper it
// refuses, and takes again only below lower; each source by itself (T29).
func TestB04_LimitPolicy_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm, serve: ", limitPolicy: each",
		rest: "slb: {limitPolicies: [{name: each, rules: [{per: [source], upper: 20, lower: 10}]}]}\n"})
	one, other := b.from(3, b.to4(1, 80)), b.from(4, b.to4(1, 80))
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	held, opened := b.filled(25, one)
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
	b.Until(5*time.Second, func() error {
		if s := b.Connect(2, one); s.Failed > 0 {
			return fmt.Errorf("with %d open, below lower: %v", left, s)
		}
		return nil
	})
}
