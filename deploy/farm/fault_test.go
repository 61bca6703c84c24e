package farm

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// fate says how a session answers now: same, moved, reset, told (by ICMP), or
// silent.
func fate(talk *nettest.Talk) string {
	first := talk.First
	now, err := talk.SayWithin(fmt.Sprintf("still %d", time.Now().UnixNano()), nettest.Patience)
	var slow net.Error
	switch {
	case err == nil && now == first:
		return "same"
	case err == nil:
		return "moved"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset"
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EACCES):
		return "told"
	case errors.As(err, &slow) && slow.Timeout():
		return "silent"
	}
	return err.Error()
}

// kept are sessions of a farm: TCP and UDP, of both families.
type kept struct{ tcp, udp []*nettest.Talk }

func (b *balancer) keep(n int) (k kept) {
	b.T.Helper()
	for _, route := range b.twins(1, 80) {
		for i := range n {
			from, to := route(i)
			c, err := b.TCP(from, to)
			if err != nil {
				b.T.Fatal(err)
			}
			u, err := b.UDP(from, to)
			if err == nil {
				_, err = u.Say("first")
			}
			if err != nil {
				b.T.Fatal(err)
			}
			b.T.Cleanup(func() { _, _ = c.Close(), u.Close() })
			k.tcp, k.udp = append(k.tcp, c), append(k.udp, u)
		}
	}
	return k
}

// fates counts how those of a host answer, and the others: "tcp1 reset" are TCP
// of host 1, "tcp reset" of another.
func (k kept) fates(host int) map[string]int {
	count := map[string]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for kind, all := range map[string][]*nettest.Talk{"tcp": k.tcp, "udp": k.udp} {
		for _, talk := range all {
			name := kind
			if talk.First.Host == host {
				name += "1"
			}
			wg.Go(func() {
				is := fate(talk)
				mu.Lock()
				defer mu.Unlock()
				count[name+" "+is]++
			})
		}
	}
	wg.Wait()
	return count
}

// like fails unless every kind that was counted has the fate that is wanted.
func like(got map[string]int, want map[string]string) error {
	for what := range got {
		kind, is := what[:4], what[5:]
		if what[3] == ' ' {
			kind, is = what[:3], what[4:]
		}
		if want[kind] != is {
			return fmt.Errorf("%v, want %v", got, want)
		}
	}
	if len(got) < len(want) {
		return fmt.Errorf("%v, want all of %v", got, want)
	}
	return nil
}

// Test 9: a server that is silent: what its clients see, by the farm's fault
// action, TCP and UDP of both families; the unreachables switch both ways
// (1.1.16, T38). Those of other servers notice nothing.
func TestB09_Fault_Root(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		mode string
		told bool
		tcp  string
		udp  string
	}{{"keep", true, "silent", "silent"}, {"reset", true, "reset", "told"}, {"reset", false, "reset", "silent"}, {"reschedule", true, "reset", "moved"}} {
		t.Run(fmt.Sprint(c.mode, " unreachables ", c.told), func(t *testing.T) {
			t.Parallel()
			b := before(t, farm(t, nettest.FarmLayout{}))
			b.use(setup{Farm: b.Farm, farm: ", onFailure: " + c.mode, virtual: virtual("any", b.Farm, 2, "", "type: ip, farm: bare"),
				probe: quickProbe + ", target: \":80\"", farms: setup{Farm: b.Farm}.bare(", probes: [alive], onFailure: " + c.mode), rest: fmt.Sprintf("slb: {unreachables: %v}\n", c.told)})
			b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
			b.takes(time.Second, b.to6(1, 80), 1, 2, 3)
			all := b.keep(12)
			told := b.toldOfPings()
			pings := b.pingsOf(1)
			b.Hosts[0].Silence(true)
			b.takes(detected+interval, b.to4(1, 80), 2, 3)
			var got map[string]int // all at once: after 10 s what is left of the server's sessions is ended
			var answered atomic.Int32
			var asked sync.WaitGroup
			asked.Go(func() { got = all.fates(1) })
			for _, p := range pings {
				asked.Go(func() {
					if nettest.Ping(b.Clients, p.from, p.to, p.id) == nil {
						answered.Add(1)
					}
				})
			}
			asked.Wait()
			if err := like(got, map[string]string{"tcp1": c.tcp, "udp1": c.udp, "tcp": "same", "udp": "same"}); err != nil {
				t.Error(err)
			}
			moved, heard := int(answered.Load()), told()
			switch c.mode {
			case "reschedule":
				if moved != len(pings) {
					t.Errorf("%d of %d pings of the dead server are answered by another", moved, len(pings))
				}
			default:
				if want := c.mode == "reset" && c.told; moved > 0 || (heard > 0) != want {
					t.Errorf("of %d pings %d were answered, and clients were told %d times", len(pings), moved, heard)
				}
			}
			b.Hosts[0].Silence(false)
			b.takes(5*time.Second, b.to4(1, 80), 1, 2, 3)
			if c.mode == "keep" {
				b.Until(late, func() error {
					return like(all.fates(1), map[string]string{"tcp1": "same", "udp1": "same", "tcp": "same", "udp": "same"})
				})
			}
		})
	}
}

// toldOfPings counts how often clients are told by ICMP that a ping went nowhere.
func (b *balancer) toldOfPings() func() int {
	b.T.Helper()
	four := b.Clients.Watch("told4", "prerouting priority -300", "icmp type destination-unreachable @th,136,8 1")
	six := b.Clients.Watch("told6", "prerouting priority -300", "icmpv6 type destination-unreachable @th,112,8 58")
	return func() int { return four.Packets() + six.Packets() }
}

// echo is a client's ICMP echo flow.
type echo struct {
	from, to netip.Addr
	id       uint16
}

// pingsOf opens flows of ICMP echo until a host has some of each family.
func (b *balancer) pingsOf(host int) (all []echo) {
	b.T.Helper()
	for family := range 2 {
		mine := 0
		for n := 0; n < 60 && mine < 2; n++ {
			e := echo{b.Client4(n), b.Virtual4(2), uint16(100 + n)}
			if family == 1 {
				e.from, e.to = b.Client6(n), b.Virtual6(2)
			}
			was := b.Hosts[host-1].Pings()
			if err := nettest.Ping(b.Clients, e.from, e.to, e.id); err != nil {
				b.T.Fatal(err)
			}
			if b.Hosts[host-1].Pings() > was {
				all = append(all, e)
				mine++
			}
		}
	}
	if len(all) < 4 {
		b.T.Fatalf("of 120 pings only %d go to host %d", len(all), host)
	}
	return all
}

// Nothing is ended while no other server of the farm lives.
func TestB09_NobodyElse_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{Hosts: 1}))
	b.use(setup{Farm: b.Farm, farm: ", onFailure: reset", rest: "slb: {unreachables: true}\n"})
	b.takes(time.Second, b.to4(1, 80), 1)
	all := b.keep(4)
	b.Hosts[0].Silence(true)
	b.Until(late, func() error {
		if s := b.InTurn(1, b.to4(1, 80)); s.OK() > 0 {
			return errors.New("it is not dead yet")
		}
		return nil
	})
	b.Pause(1500 * time.Millisecond) // whoever wanted to end sessions would have
	b.Hosts[0].Silence(false)
	b.takes(5*time.Second, b.to4(1, 80), 1)
	b.Until(late, func() error { return like(all.fates(1), map[string]string{"tcp1": "same", "udp1": "same"}) })
}

// A program that died is found, and new connections go elsewhere within the
// probe's bound; one that drains or is switched off keeps what it has; one that
// is held down does not.
func TestB11_Dead_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	b.use(setup{Farm: b.Farm})
	route := b.to4(1, 80)
	b.takes(time.Second, route, 1, 2, 3)
	b.Hosts[0].Die(80, true)
	began := time.Now()
	b.takes(detected+interval, route, 2, 3)
	dead, err := b.server("web", "h1")
	if took := dead.Row.Since.Sub(began); err != nil || took > interval+detected+probeLate {
		t.Errorf("it is down after %s, want %s (%v)", took, interval+detected, err)
	}
	b.Hosts[0].Die(80, false)
	b.takes(5*time.Second, route, 1, 2, 3)
	held, opened := b.Hold(30, 0, route)
	if opened.By[2] == 0 {
		t.Fatal(opened)
	}
	b.Does("hold", "realServer/web/h2", "--state", "drain", "--reason", "test")
	b.takes(time.Second, route, 1, 3)
	b.use(setup{Farm: b.Farm, server: map[int]string{3: ", enabled: false"}})
	b.takes(time.Second, route, 1)
	if fate := held.Ask(); fate.Lost+fate.Wrong > 0 || fate.Said != 30 {
		t.Errorf("drained and switched off: %+v", fate)
	}
	b.hold("h2", true) // down: at once
	b.Until(late, func() error {
		if lost := resets(held); lost < opened.By[2] {
			return fmt.Errorf("%d connections of a server that is held were reset, want %d", lost, opened.By[2])
		}
		return nil
	})
	b.use(setup{Farm: b.Farm})
	b.takes(time.Second, route, 1, 3)
	b.use(setup{Farm: b.Farm, farm: ", onFailure: reset, slowOffline: false", server: map[int]string{3: ", enabled: false"}})
	b.Until(late, func() error {
		if lost := resets(held); lost < opened.By[2]+opened.By[3] {
			return fmt.Errorf("%d connections of a server that goes at once and of one that is held were reset, want %d", lost, opened.By[2]+opened.By[3])
		}
		return nil
	})
}

// probeLate is how late a probe of a busy machine may be.
const probeLate = 2 * time.Second

// resets says how many of the connections are reset by now.
func resets(h *nettest.Held) (n int) {
	for _, talk := range h.Talks {
		if is := fate(talk); is == "reset" {
			n++
		}
	}
	return n
}

// A server that comes back takes none for the standby, then more and more
// (T31), by turns and with least connections alike.
func TestB12_SlowOnline_Root(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"round-robin", "source-hash"} {
		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			b := before(t, farm(t, nettest.FarmLayout{}))
			b.use(setup{Farm: b.Farm, farm: ", algorithm: " + algorithm + ", slowOnline: {standby: 2s, ramp: 4s}"})
			route := b.to4(1, 80)
			b.takes(time.Second, route, 1, 2, 3) // at the start nobody is held back
			usual := b.Connect(194, route).By[1]
			b.Hosts[0].Die(80, true)
			b.takes(detected+interval, route, 2, 3)
			b.Hosts[0].Die(80, false)
			// What servers see is compared with what the farm says before and after.
			var trail []string
			most := map[string]int{}
			b.Until(late, func() error {
				was, err1 := b.server("web", "h1")
				got := b.Connect(97, route)
				is, err2 := b.server("web", "h1")
				if err := errors.Join(err1, err2, got.Err); err != nil {
					return err
				}
				if step := fmt.Sprintf("%s %.0f %%", is.State, is.Share); !slices.Contains(trail, step) {
					trail = append(trail, step)
				}
				b.Pause(50 * time.Millisecond)
				if was.State == is.State {
					most[is.State] = max(most[is.State], got.By[1])
					switch {
					case is.State == "standby" && (got.By[1] > 0 || is.Until.Sub(is.Row.Since) < 2*time.Second-interval || is.Until.Sub(is.Row.Since) > 2*time.Second+probeLate),
						is.State == "ramp" && (got.By[1] > usual/2+usual/10 || is.Until.Sub(is.Row.Since) < 6*time.Second-interval || is.Until.Sub(is.Row.Since) > 6*time.Second+probeLate):
						t.Errorf("in %s, up since %s, until %s: %d of 97 (usually %d of 194)", is.State, is.Row.Since, is.Until, got.By[1], usual)
					case is.State == "up" && got.By[1] >= usual/2-usual/10:
						return nil
					}
				}
				return fmt.Errorf("it is in %s, and has %d of 97", is.State, got.By[1])
			})
			_, stood := most["standby"]
			if !stood || most["ramp"] == 0 {
				t.Errorf("it did not stand by and ramp: %v", trail)
			}
		})
	}
}

// A farm is available by two thresholds, and keeps its state between them
// (T30); its backup stands in for it.
func TestB13_Activate_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{Hosts: 5}))
	s := setup{Farm: &nettest.Farm{Space: b.Space, Hosts: b.Hosts[:4]}, farm: ", activate: {lower: 50%, upper: 75%}", serve: ", backup: spare",
		farms: fmt.Sprintf("  - {name: spare, servers: [{name: h5, addresses: [%s, \"%s\"], port: 80}]}\n", b.Hosts[4].Addr4, b.Hosts[4].Addr6)}
	b.use(s)
	for n, step := range []struct {
		out, back int
		take      []int
	}{
		{0, 0, []int{1, 2, 3, 4}},
		{1, 0, []int{2, 3, 4}},
		{2, 0, []int{3, 4}},    // between the thresholds, from above
		{3, 0, []int{5}},       // below lower
		{0, 3, []int{5}},       // between the thresholds, from below
		{0, 2, []int{2, 3, 4}}, // upper
		{0, 1, []int{1, 2, 3, 4}},
	} {
		if step.out != 0 {
			b.lose(step.out, true)
		}
		if step.back != 0 {
			b.lose(step.back, false)
		}
		b.takes(2*time.Second, b.to4(1, 80), step.take...)
		if n == 4 {
			b.Pause(1500 * time.Millisecond) // it stays so
			if err := only(b.Connect(12, b.to4(1, 80)), step.take...); err != nil {
				t.Error(err)
			}
		}
		if err := only(b.Connect(24, b.to6(1, 80)), step.take...); err != nil {
			t.Errorf("IPv6: %v", err)
		}
	}
}

// Without a probe a server goes out by what its connections show: resets; SYNs
// that are never answered. After the recovery time it is tried again.
func TestB14_AutoShutdown_Root(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, keys string
		fail       func(h *nettest.Host, on bool)
	}{
		{"resets", "resets: 10", func(h *nettest.Host, on bool) { h.Die(80, on) }},
		{"unanswered", "unanswered: 3", func(h *nettest.Host, on bool) { h.Mute(80, on) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := before(t, farm(t, nettest.FarmLayout{}))
			b.use(setup{Farm: b.Farm, unasked: true, farm: ", autoShutdown: {" + c.keys + ", within: 10s, recovery: 4s}"})
			route := b.to4(1, 80)
			b.takes(time.Second, route, 1, 2, 3)
			b.Pause(time.Second) // it is looked at each second
			if err := only(b.Connect(60, route), 1, 2, 3); err != nil {
				t.Fatalf("good connections count as bad: %v", err)
			}
			c.fail(b.Hosts[0], true)
			b.Until(late, func() error {
				b.Many(24, 24, func(i int) (nettest.Seen, error) { // clients come
					from, to := route(i)
					talk, err := nettest.Call(b.Clients, from, to, 300*time.Millisecond)
					if err != nil {
						return nettest.Seen{}, err
					}
					return talk.First, talk.Close()
				})
				s, err := b.server("web", "h1")
				if err == nil && (s.State != "out" || s.Until.IsZero()) {
					err = fmt.Errorf("it is %s", s.State)
				}
				return err
			})
			c.fail(b.Hosts[0], false) // nobody knows before it is tried again
			b.takes(time.Second, route, 2, 3)
			b.Until(late, func() error { return b.told("realServer/web/h1", "shut down by itself to tried again") })
			b.takes(time.Second, route, 1, 2, 3)
		})
	}
}
