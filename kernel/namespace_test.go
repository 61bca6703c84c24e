package kernel

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const longEnough = time.Minute

// promised is within what time Linux is as wished again, 2 s, and what a busy machine
// adds; what nobody noticed would take half a minute.
const promised = 10 * time.Second

// openIn opens a reader in a space, and watches it.
func openIn(t *testing.T, s *nettest.Space) (*Reader, *watched) {
	t.Helper()
	var r *Reader
	var err error
	s.Do(func() { r, err = Open() })
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{t: t, r: r, told: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- r.Watch(ctx, func() {
			select {
			case w.told <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch: %v", err)
		}
		r.Close()
	})
	return r, w
}

// watched looks again only when it is told to, so that a notification that does
// not come is noticed.
type watched struct {
	t    *testing.T
	r    *Reader
	told chan struct{}
}

// until waits until the interfaces are as wanted, and gives the named one (nil:
// there is none).
func (w *watched) until(what, name string, ok func(i *Interface) bool) *Interface {
	w.t.Helper()
	late := time.After(longEnough)
	for {
		i := find(w.t, w.r, name)
		if ok(i) {
			return i
		}
		select {
		case <-w.told:
		case <-late:
			w.t.Fatalf("%s: not seen: %+v", what, i)
		}
	}
}

func find(t *testing.T, r *Reader, name string) *Interface {
	t.Helper()
	all, err := r.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if at := slices.IndexFunc(all, func(i Interface) bool { return i.Name == name }); at >= 0 {
		return &all[at]
	}
	return nil
}

func is(i *Interface, up bool, why string) bool { return i != nil && i.Up == up && i.Why == why }

// Interfaces come, lose their carrier, are switched off, renamed and go, and one
// may come back as another of the same name.
func TestInterfaces_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	_, w := openIn(t, here)
	if lo := find(t, w.r, "lo"); !is(lo, true, "") || lo.Index != 1 {
		t.Errorf("lo is %+v", lo)
	}
	here.Cable("eth1", there, "peer")
	first := w.until("added", "eth1", func(i *Interface) bool { return is(i, true, "") })
	if first.Speed != 10e9 {
		t.Errorf("speed %d: a veth has 10 Gbit/s", first.Speed)
	}
	there.IP("link set peer down")
	w.until("no carrier", "eth1", func(i *Interface) bool {
		return is(i, false, "no carrier") || is(i, false, "the interface below it is down")
	})
	there.IP("link set peer up")
	w.until("carrier", "eth1", func(i *Interface) bool { return is(i, true, "") })
	here.IP("link set eth1 down")
	w.until("switched off", "eth1", func(i *Interface) bool { return is(i, false, "it is switched off (ip link set eth1 up)") })
	here.IP("link set eth1 name wan0")
	w.until("the old name", "eth1", func(i *Interface) bool { return i == nil })
	w.until("the new name", "wan0", func(i *Interface) bool { return i != nil && i.Index == first.Index })
	here.IP("link del wan0")
	w.until("removed", "wan0", func(i *Interface) bool { return i == nil })
	here.Cable("eth1", there, "peer")
	w.until("another of the same name", "eth1", func(i *Interface) bool { return i != nil && i.Index != first.Index })
}

func (w *watched) addresses(what string, want ...string) {
	w.t.Helper()
	w.until(what, "eth1", func(i *Interface) bool {
		var got []string
		for _, p := range i.Addresses {
			if !p.Addr().IsLinkLocalUnicast() {
				got = append(got, p.String())
			}
		}
		return slices.Equal(got, want)
	})
}

// Addresses come and go, and those that are no use yet are not told.
func TestAddresses_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	_, w := openIn(t, here)
	here.Cable("eth1", there, "peer")
	w.addresses("none")
	here.IP("addr add 192.0.2.1/24 dev eth1")
	w.addresses("one", "192.0.2.1/24")
	here.IP("addr add 192.0.2.7 peer 198.51.100.1/32 dev eth1")
	w.addresses("two", "192.0.2.1/24", "192.0.2.7/32")
	here.IP("addr add 2001:db8::1/64 dev eth1 nodad")
	w.addresses("three", "192.0.2.1/24", "192.0.2.7/32", "2001:db8::1/64")
	here.IP("addr del 192.0.2.1/24 dev eth1")
	w.addresses("less", "192.0.2.7/32", "2001:db8::1/64")

	there.IP("addr add 2001:db8::2/64 dev peer nodad")
	here.IP("addr add 2001:db8::2/64 dev eth1") // a duplicate
	here.IP("addr add 2001:db8::3/64 dev eth1")
	w.until("3 after the check", "eth1", func(i *Interface) bool {
		return slices.Contains(i.Addresses, netip.MustParsePrefix("2001:db8::3/64"))
	})
	if i := find(t, w.r, "eth1"); slices.Contains(i.Addresses, netip.MustParsePrefix("2001:db8::2/64")) {
		t.Errorf("a duplicate address is usable: %v", i.Addresses)
	}
}

func (w *watched) hops(what, name, v4, v6 string) {
	w.t.Helper()
	show := func(a netip.Addr) string {
		if !a.IsValid() {
			return ""
		}
		return a.String()
	}
	w.until(what+": want "+v4+" and "+v6, name, func(i *Interface) bool { return show(i.NextHop4) == v4 && show(i.NextHop6) == v6 })
}

// Next hops follow the default routes: of several the best, of several lines each
// its own, of any kind that Linux has.
func TestNextHops_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	_, w := openIn(t, here)
	here.Cable("eth1", there, "peer1")
	here.Cable("eth2", there, "peer2")
	here.IP("addr add 192.0.2.1/24 dev eth1")
	here.IP("addr add 198.51.100.1/24 dev eth2")
	w.hops("none", "eth1", "", "")
	here.IP("route add default via 192.0.2.20 dev eth1 metric 20")
	w.hops("first", "eth1", "192.0.2.20", "")
	here.IP("route add default via 192.0.2.10 dev eth1 metric 10")
	w.hops("a lower metric", "eth1", "192.0.2.10", "")
	here.IP("route add default via 198.51.100.9 dev eth2 table 102")
	w.hops("a table of its own", "eth2", "198.51.100.9", "")
	here.IP("route add default via 192.0.2.99 dev eth1 table 101")
	here.IP("route del default via 192.0.2.10 dev eth1 metric 10")
	w.hops("back to the first; main goes before others", "eth1", "192.0.2.20", "")
	here.IP("route replace default metric 20 nexthop via 192.0.2.30 dev eth1 nexthop via 198.51.100.30 dev eth2")
	w.hops("multipath", "eth1", "192.0.2.30", "")
	w.hops("multipath", "eth2", "198.51.100.30", "")
	here.IP("route replace default via 203.0.113.1 dev eth1 metric 20 onlink")
	w.hops("onlink", "eth1", "203.0.113.1", "")
	w.hops("onlink", "eth2", "198.51.100.9", "")
	here.IP("route flush table 101")
	here.IP("-4 route replace default via inet6 fe80::5 dev eth1 metric 20")
	w.hops("IPv4 over IPv6 (RFC 8950)", "eth1", "fe80::5%eth1", "")
	here.IP("route del default")
	w.hops("gone", "eth1", "", "")

	here.IP("addr add 2001:db8::1/64 dev eth1 nodad")
	here.IP("-6 route add default via 2001:db8::20 dev eth1 metric 20")
	w.hops("IPv6", "eth1", "", "2001:db8::20")
	here.IP("-6 route add default via fe80::10 dev eth1 metric 10")
	w.hops("IPv6 link-local", "eth1", "", "fe80::10%eth1")
	here.IP("-6 route add unreachable default metric 5")
	here.IP("-6 route del default via fe80::10 dev eth1")
	w.hops("IPv6 back", "eth1", "", "2001:db8::20")
	here.IP("-6 route replace default metric 20 nexthop via 2001:db8::31 dev eth1 nexthop via fe80::32 dev eth2")
	w.hops("IPv6 multipath", "eth1", "", "2001:db8::31")
	w.hops("IPv6 multipath", "eth2", "198.51.100.9", "fe80::32%eth2")
	here.IP("link set eth2 down")
	w.hops("IPv6 of a line that is off", "eth2", "", "")
	w.hops("IPv6 of a line that is on", "eth1", "", "2001:db8::31")
}

// Networks behind routers are those of table main, whatever else there is.
func TestBeyond_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	here.Cable("lan0", there, "eth0")
	here.IP("addr add 10.0.0.1/24 dev lan0")
	here.IP("addr add fd00::1/64 dev lan0 nodad")
	here.IP("route add 192.168.0.0/16 via 10.0.0.254")
	here.IP("route add fd01::/48 via fd00::fe")
	here.IP("route add 172.16.0.0/12 dev lan0")
	here.IP("route add 198.18.0.0/15 via 10.0.0.9 table 77")
	here.IP("route add unreachable 198.51.100.0/24")
	here.IP("route add default via 10.0.0.253")
	want := []Beyond{
		{netip.MustParsePrefix("192.168.0.0/16"), netip.MustParseAddr("10.0.0.254")},
		{netip.MustParsePrefix("fd01::/48"), netip.MustParseAddr("fd00::fe")},
	}
	here.Do(func() {
		r, err := Open()
		if err != nil {
			t.Error(err)
			return
		}
		defer r.Close()
		list, err := r.Interfaces()
		if err != nil {
			t.Error(err)
		}
		for _, n := range list {
			if n.Name == "lan0" && !slices.Equal(n.Beyond, want) {
				t.Errorf("beyond lan0: %v, want %v", n.Beyond, want)
			}
		}
	})
}

// A next hop object that changes takes the routes with it that use it.
func TestNextHopObject_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	here.Set("ipv4/nexthop_compat_mode", "0") // routes are not told again
	_, w := openIn(t, here)
	here.Cable("eth1", there, "peer")
	here.IP("addr add 192.0.2.1/24 dev eth1")
	here.IP("nexthop add id 5 via 192.0.2.50 dev eth1")
	here.IP("route add default nhid 5")
	w.hops("first", "eth1", "192.0.2.50", "")
	here.IP("nexthop replace id 5 via 192.0.2.51 dev eth1")
	w.hops("changed", "eth1", "192.0.2.51", "")
	here.IP("nexthop add id 6 via 192.0.2.61 dev eth1")
	here.IP("nexthop add id 7 group 6")
	here.IP("route replace default nhid 7")
	w.hops("a group", "eth1", "192.0.2.61", "")
	here.IP("nexthop add id 8 blackhole")
	here.IP("route replace default nhid 8")
	w.hops("a black hole", "eth1", "", "")
}

// A default route without a gateway leads to the other end of the line.
func TestPointToPoint_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	_, w := openIn(t, here)
	here.Cable("ppp0", there, "peer")
	here.IP("addr add 192.0.2.1 peer 198.51.100.1 dev ppp0")
	here.IP("route add default dev ppp0")
	w.hops("peer", "ppp0", "198.51.100.1", "")
	here.IP("addr add 203.0.113.1/24 dev ppp0")
	here.IP("addr del 192.0.2.1 peer 198.51.100.1 dev ppp0")
	here.IP("route replace default dev ppp0")
	w.hops("an interface without another end", "ppp0", "", "")
}

// Counters of both ways of asking agree with what was sent, on the wire.
func TestCounters_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	r, _ := openIn(t, here)
	here.Set("ipv6/conf/default/disable_ipv6", "1") // its own packets would be counted
	there.Set("ipv6/conf/default/disable_ipv6", "1")
	here.Cable("eth1", there, "peer")
	here.IP("addr add 192.0.2.1/24 dev eth1")
	there.IP("addr add 192.0.2.2/24 dev peer")
	here.IP("neigh add 192.0.2.2 lladdr 02:00:00:00:00:02 dev eth1 nud permanent")
	index := find(t, r, "eth1").Index
	for _, noStats := range []bool{false, true} {
		t.Run("noStats="+strconv.FormatBool(noStats), func(t *testing.T) {
			r.noStats.Store(noStats)
			before, after := map[int]Counter{}, map[int]Counter{99: {}}
			if err := r.Counters(before); err != nil {
				t.Fatal(err)
			}
			here.Do(func() { send(t, "192.0.2.2:9", 50, 1000) })
			if err := r.Counters(after); err != nil {
				t.Fatal(err)
			}
			const want = 50 * (14 + 20 + 8 + 1000) // Ethernet, IP, UDP
			if got := after[index].Out - before[index].Out; got != want {
				t.Errorf("%d octets were counted, %d were sent", got, want)
			}
			if _, stale := after[99]; stale || len(after) != 2 {
				t.Errorf("counters of %v", after)
			}
		})
	}
}

// send sends datagrams to a host that does not listen.
func send(t *testing.T, to string, count, size int) {
	conn, err := net.Dial("udp", to)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	for range count {
		if _, err := conn.Write(make([]byte, size)); err != nil && !strings.Contains(err.Error(), "refused") {
			t.Error(err)
			return
		}
	}
}

// What Interfaces tells differently is told, and a route to some network is not:
// a router may learn thousands a second.
func TestTold_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	here.Set("ipv4/nexthop_compat_mode", "0") // else routes are told with their object
	here.Set("ipv6/conf/default/disable_ipv6", "0")
	_, w := openIn(t, here)
	here.Cable("eth1", there, "peer")
	here.IP("addr add 192.0.2.1/24 dev eth1")
	here.IP("addr add 2001:db8::1/64 dev eth1 nodad")
	here.IP("nexthop add id 5 via 192.0.2.50 dev eth1")
	w.until("the link-local address is no longer checked", "eth1", func(i *Interface) bool {
		return slices.ContainsFunc(i.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() })
	})
	for _, c := range []struct {
		command string
		told    bool
	}{
		{"addr add 198.51.100.1/32 dev lo", true},
		{"addr add 2001:db8:1::1/128 dev lo nodad", true},
		{"addr del 198.51.100.1/32 dev lo", true},
		{"route add default via 192.0.2.20", true},
		{"route del default", true},
		{"-6 route add default via 2001:db8::20", true},
		{"-6 route del default", true},
		{"route add default nhid 5 table 7", true},
		{"nexthop replace id 5 via 192.0.2.51 dev eth1", true},
		{"route add 203.0.113.0/24 via 192.0.2.20", false},
		{"-6 route add 2001:db8:2::/48 via 2001:db8::20", false},
		{"link set lo mtu 60000", true},
	} {
		w.quiet()
		here.IP(c.command)
		patience := 200 * time.Millisecond
		if c.told {
			patience = longEnough
		}
		told := false
		select {
		case <-w.told:
			told = true
		case <-time.After(patience):
		}
		if told != c.told {
			t.Errorf("ip %s: told is %v", c.command, told)
		}
	}
}

// quiet waits until nothing is told any more.
func (w *watched) quiet() {
	for {
		select {
		case <-w.told:
		case <-time.After(500 * time.Millisecond):
			return
		}
	}
}

// A reader belongs to the namespace in which it was opened, whoever asks it.
func TestReaderStaysHome_Root(t *testing.T) {
	here, there := nettest.New(t), nettest.New(t)
	here.Cable("east", there, "west")
	r, _ := openIn(t, here)
	there.Do(func() {
		if find(t, r, "east") == nil || find(t, r, "west") != nil {
			t.Error("the reader sees the network of the thread that asks")
		}
	})
	if find(t, r, "east") == nil {
		t.Error("the reader sees the test's own network")
	}
}

// Lost notifications are told as well, and those that come afterwards are heard.
func TestLostNotifications_Root(t *testing.T) {
	here := nettest.New(t)
	var r *Reader
	var err error
	here.Do(func() { r, err = Open() })
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	raw, err := r.changes.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	shrink(t, raw)
	for i := range 60 { // nobody reads: the buffer runs over
		here.IP("addr add 192.0.2." + strconv.Itoa(i+1) + "/32 dev lo")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	told := make(chan struct{}, 1000)
	done := make(chan error, 1)
	go func() { done <- r.Watch(ctx, func() { told <- struct{}{} }) }()
	n := drain(told)
	if n == 0 || n >= 60 {
		t.Errorf("told %d times: want some, and fewer than 60 for the buffer is too small", n)
	}
	here.IP("addr add 198.51.100.1/32 dev lo")
	if drain(told) == 0 {
		t.Error("deaf after the loss")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// drain counts what comes until nothing has come for a while.
func drain(told chan struct{}) (n int) {
	for wait := longEnough; ; wait = 300 * time.Millisecond {
		select {
		case <-told:
			n++
		case <-time.After(wait):
			return n
		}
	}
}

// A watch that ended leaves the reader good for another; a closed reader gives
// errors and hangs nobody.
func TestWatchTwice_Root(t *testing.T) {
	here := nettest.New(t)
	var r *Reader
	var err error
	here.Do(func() { r, err = Open() })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		told, done := make(chan struct{}, 100), make(chan error, 1)
		go func() { done <- r.Watch(ctx, func() { told <- struct{}{} }) }()
		here.IP("link set lo down")
		select {
		case <-told:
		case <-time.After(longEnough):
			t.Error("not told")
		}
		here.IP("link set lo up")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- r.Watch(t.Context(), func() {}) }()
	r.Close()
	if err := <-done; err == nil {
		t.Error("a closed reader watches")
	}
	if _, err := r.Interfaces(); err == nil {
		t.Error("a closed reader lists interfaces")
	}
	if err := r.Counters(map[int]Counter{}); err == nil {
		t.Error("a closed reader reads counters")
	}
}
