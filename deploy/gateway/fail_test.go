package gateway

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// session is a long connection or flow, and where it began.
type session struct {
	*nettest.Session
	tcp    bool
	isp    int
	source netip.AddrPort
}

// sessions opens n TCP connections and n flows.
func sessions(t *testing.T, g *nettest.Gateway, n int) []session {
	t.Helper()
	var all []session
	for i := range 2 * n {
		from, to := nettest.Client4(i), netip.AddrPortFrom(nettest.Server4(i%7, 1), 80)
		s := session{tcp: i < n}
		var err error
		if s.tcp {
			s.Session, s.source, err = nettest.TCP(g.LAN, from, to)
		} else if s.Session, err = nettest.UDP(g.LAN, from, to); err == nil {
			s.source, err = s.Say()
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		s.isp = g.ISPOf(s.source.Addr())
		all = append(all, s)
	}
	return all
}

// fate says how a session answers now: same, moved, reset, told (by ICMP), or
// silent.
func (s session) fate() string {
	now, err := s.Say()
	var slow net.Error
	switch {
	case err == nil && now == s.source:
		return "same"
	case err == nil:
		return "moved"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.As(err, &slow) && slow.Timeout():
		return "silent"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EACCES):
		return "told"
	}
	return err.Error()
}

// fates asks all sessions at once and counts their fates: "tcp1 reset" are TCP
// connections of ISP 1.
func fates(all []session) map[string]int {
	count := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range all {
		wg.Go(func() {
			fate, kind := s.fate(), "udp"
			if s.tcp {
				kind = "tcp"
			}
			mu.Lock()
			defer mu.Unlock()
			count[fmt.Sprintf("%s%d %s", kind, s.isp, fate)]++
		})
	}
	wg.Wait()
	return count
}

// An ISP that says nothing behind a line that looks well: the health check marks
// it in time (T51), new connections avoid it, and its sessions have the fate that
// the group says (T38); those of other lines are untouched, and nothing is ended
// while no other line is alive.
func TestA11_SilentISP_Root(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode string
		want map[string]string // of the dead line's, and after it is mended
		back map[string]string
	}{
		{"keep", map[string]string{"tcp1": "silent", "udp1": "silent"}, map[string]string{"tcp1": "same", "udp1": "same"}},
		{"reschedule", map[string]string{"tcp1": "reset", "udp1": "moved"}, nil},
		{"reset", map[string]string{"tcp1": "reset", "udp1": "told"}, nil},
	} {
		t.Run(c.mode, func(t *testing.T) {
			g := gateway(t, nettest.Layout{ISPs: 2})
			p := start(t, g, setup{Gateway: g, rest: grouped("[isp1, isp2]", ", onFailure: "+c.mode, "", "")}.String())
			p.up("isp1", "isp2")
			all := sessions(t, g, 30)
			began, before := time.Now(), p.waited()
			g.ISPs[0].Silence(true)
			p.row("isp1", longEnough, "down", func(r status.Row) bool { return r.Health == status.Down })
			took := time.Since(began)
			t.Logf("down after %s; the bound is %s", took.Round(time.Millisecond), interval+detected)
			p.within("found down", took, interval+detected, before)
			p.Until(longEnough, func() error { // the row comes first, the kernel's tables next, and who came between waits
				if tally := g.Connect(20, web4); tally.By[2] != 20 {
					return fmt.Errorf("new connections go %v", tally)
				}
				return nil
			})
			shared(t, "new connections", g.Connect(200, web4), 0, 0, 1)
			p.Until(longEnough, func() error { // new connections go elsewhere first, then those there are have their fate
				got := fates(all)
				t.Logf("%v", got)
				return difference(got, map[string]string{"tcp1": c.want["tcp1"], "udp1": c.want["udp1"], "tcp2": "same", "udp2": "same"})
			})
			g.ISPs[0].Silence(false)
			p.up("isp1")
			if c.back != nil {
				p.Until(longEnough, func() error { // TCP sends again later and later
					return difference(fates(all), map[string]string{"tcp1": c.back["tcp1"], "udp1": c.back["udp1"], "tcp2": "same", "udp2": "same"})
				})
			}
			clean(t, g)
		})
	}
	t.Run("nobody else", func(t *testing.T) {
		g := gateway(t, nettest.Layout{ISPs: 1})
		p := start(t, g, setup{Gateway: g, rest: grouped("[isp1]", ", onFailure: reset", "", "")}.String())
		p.up("isp1")
		all := sessions(t, g, 5)
		g.ISPs[0].Silence(true)
		p.row("isp1", longEnough, "down", func(r status.Row) bool { return r.Health == status.Down })
		p.Pause(1500 * time.Millisecond) // whoever wanted to end sessions would have
		g.ISPs[0].Silence(false)
		p.up("isp1")
		wanted(t, fates(all), map[string]string{"tcp1": "same", "udp1": "same"})
	})
}

// difference says which sessions have another fate than is wanted of their kind.
func difference(got map[string]int, want map[string]string) error {
	for what := range got {
		kind, fate, _ := strings.Cut(what, " ")
		if want[kind] != fate {
			return fmt.Errorf("%v, want %v", got, want)
		}
	}
	return nil
}

func wanted(t *testing.T, got map[string]int, want map[string]string) {
	t.Helper()
	if err := difference(got, want); err != nil {
		t.Error(err)
	}
}

// An interface that goes down and up, a cable that is pulled, and what others
// took away: routes and rules are there again without a restart, and new
// connections are right from then on. A link that comes back does so slowly
// (T31).
func TestA12_Repair_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	p := start(t, g, setup{Gateway: g, rest: equal("", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	all := func() error {
		for _, route := range []nettest.Route{web4, web6} {
			if tally := g.Connect(30, route); tally.Failed > 0 || tally.By[1] < 5 || tally.By[2] < 5 || tally.By[3] < 5 {
				return fmt.Errorf("new connections go %v", tally)
			}
		}
		return nil
	}
	without1 := func() error {
		for _, route := range []nettest.Route{web4, web6} {
			if tally := g.Connect(30, route); tally.Failed > 0 || tally.By[1] > 0 {
				return fmt.Errorf("new connections go %v", tally)
			}
		}
		return nil
	}
	p.Until(longEnough, all)
	one := g.ISPs[0]
	for _, c := range []struct {
		name      string
		out, back func()
	}{
		{"interface", func() { g.IP("link set dev wan1 down") }, func() { g.IP("link set dev wan1 up") }},
		{"cable", func() { one.Pull(true) }, func() { one.Pull(false) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.out()
			t.Logf("new connections elsewhere after %s", p.Until(longEnough, without1).Round(time.Millisecond))
			c.back()
			p.up("isp1")
			t.Logf("all as before after %s", p.Until(longEnough, all).Round(time.Millisecond))
		})
	}
	for _, c := range []struct {
		name string
		take func()
	}{
		{"table", func() { g.Must("delete table inet portolan_outbound\n", "nft", "-f", "-") }},
		{"rules of the table", func() { g.Must("flush table inet portolan_outbound\n", "nft", "-f", "-") }},
		{"rules of routing", func() { g.Batch("rule del pref 1001", "-6 rule del pref 1001", "rule del pref 1002") }},
		{"routes", func() { g.Batch("route flush table 1001", "-6 route flush table 1001", "route flush table 1003") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := p.waited()
			c.take()
			p.within("repaired", p.Until(longEnough, all), 2*time.Second, before)
		})
	}
	t.Run("slow online", func(t *testing.T) { testSlowOnline(t, p) })
	clean(t, g)
}

// testSlowOnline: none in the standby, then more and more.
func testSlowOnline(t *testing.T, p *portolan) {
	p.Apply(setup{Gateway: p.Gateway, rest: equal(", slowOnline: {standby: 2s, ramp: 4s}", "", "")}.String())
	shared(t, "a reload takes nobody out", p.Connect(300, web4), 0.02, 1, 1, 1)
	p.ISPs[0].Silence(true)
	p.row("isp1", longEnough, "down", func(r status.Row) bool { return r.Health == status.Down })
	p.ISPs[0].Silence(false)
	p.up("isp1")
	began, before := time.Now(), p.waited()
	if tally := p.Connect(30, web4); tally.Failed > 0 || tally.By[1] > 0 && time.Since(began) < time.Second {
		t.Errorf("in the standby: %v", tally)
	}
	var share []int
	var none time.Duration
	took := p.Until(longEnough, func() error {
		now := slotsOf(t, p.Gateway, "all")[1]
		if now == 0 {
			none = time.Since(began)
		}
		if len(share) == 0 || now != share[len(share)-1] {
			share = append(share, now)
		}
		if now < 85 {
			return fmt.Errorf("isp1 has %d slots", now)
		}
		return nil
	})
	t.Logf("slots of isp1: %v", share)
	if none < time.Second || took < 4*time.Second {
		t.Errorf("nothing new for %s and its whole share after %s, want 2 s and 6 s", none, took)
	}
	p.within("its first connection", none, 2*time.Second, before)
	p.within("its whole share", took, 6*time.Second, before)
	if len(share) < 4 || !slices.IsSorted(share) {
		t.Errorf("it did not grow step by step: %v", share)
	}
	shared(t, "all", p.Connect(300, web4), 0.02, 1, 1, 1)
}

// A failure moves on to the next priority, a connection limit does not
// (1.2.13, 1.2.14, T24); min and max (1.1.14).
func TestA13_Priority_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	members := "[{link: isp1, priority: 8}, {link: isp2, priority: 4}, {link: isp3, priority: 4}]"
	p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", maxConnections: 50"}, rest: grouped(members, "", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	t.Run("full", func(t *testing.T) {
		got, dropped := hold(t, g, 70)
		if got[1] != 50 || got[2]+got[3] > 0 || dropped != 20 {
			t.Errorf("of 70 connections %v were taken and %d dropped, want 50 by isp1 and none elsewhere", got[1:], dropped)
		}
	})
	t.Run("down", func(t *testing.T) {
		p.Does("hold", "link/isp1", "--reason", "test")
		p.Until(longEnough, func() error {
			if tally := g.Connect(20, web4); tally.By[1]+tally.Failed > 0 {
				return fmt.Errorf("%v", tally)
			}
			return nil
		})
		shared(t, "without isp1", g.Connect(300, web4), 0.02, 0, 1, 1)
		p.Does("release", "link/isp1", "--reason", "test")
	})
	for _, c := range []struct {
		keys   string
		shares []int
	}{{", min: 2", []int{1, 1, 1}}, {", min: 2, max: 2", []int{1, 1, 0}}, {", min: 9", []int{1, 1, 1}}, {", max: 1", []int{1, 0, 0}}} {
		p.Apply(setup{Gateway: g, rest: grouped(members, c.keys, "", "")}.String())
		p.Until(longEnough, func() error {
			if tally := g.Connect(12, web4); tally.Failed > 0 {
				return fmt.Errorf("%v", tally)
			}
			return nil
		})
		p.parts("all", 1, c.shares...)
		shared(t, c.keys, g.Connect(300, web4), 0.02, c.shares...)
	}
	clean(t, g)
}

// hold opens n connections one after the other and keeps them until the test
// ends: how many each ISP took, and how many got no answer.
func hold(t *testing.T, g *nettest.Gateway, n int) (by []int, dropped int) {
	t.Helper()
	by = make([]int, len(g.ISPs)+1)
	var mu sync.Mutex
	tally := g.Many(n, func(i int) (netip.Addr, error) {
		from, to := web4(i)
		s, source, err := nettest.TCP(g.LAN, from, to)
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			t.Cleanup(func() { s.Close() })
		}
		return source.Addr(), err
	})
	copy(by, tally.By)
	return by, tally.Failed
}
