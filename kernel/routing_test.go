package kernel

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// routingIn runs the part in a space until the test ends.
func routingIn(t *testing.T, s *nettest.Space) *routing {
	t.Helper()
	n, _ := routingUntil(t, s)
	return n
}

// routingUntil runs the part in a space until it is stopped, or the test ends.
func routingUntil(t *testing.T, s *nettest.Space) (_ *routing, stop func()) {
	t.Helper()
	var n *routing
	var err error
	s.Do(func() {
		n, err = newRouting(Options{Log: slog.New(slog.DiscardHandler)}, func(part, string, []string) {})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		n.close()
	})
	t.Cleanup(stop)
	return n, stop
}

// wish has the part wish for something, waits for it, and wants these words in
// what it says cannot be ("": all can).
func wish(t *testing.T, n *routing, owner string, w *Wishes, words string) {
	t.Helper()
	n.want(owner, w)
	err := n.sync(t.Context(), owner)
	switch {
	case words == "" && err != nil:
		t.Errorf("cannot: %v", err)
	case words != "" && (err == nil || !strings.Contains(err.Error(), words)):
		t.Errorf("got the error %v, want %q in it", err, words)
	}
}

// says waits until the part says words of what an owner wishes.
func says(t *testing.T, n *routing, words string) {
	t.Helper()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(promised)
	defer tick.Stop()
	for {
		err := n.sync(t.Context(), "outbound")
		if err != nil && strings.Contains(err.Error(), words) {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it says %v, want %q", err, words)
		}
	}
}

// actionIndex counts actions of tc since the machine started.
var actionIndex = regexp.MustCompile(`index \d+`)

// lines is what a program prints, without blanks at the ends of lines.
func lines(t *testing.T, s *nettest.Space, command string) string {
	t.Helper()
	var b strings.Builder
	for line := range strings.Lines(run(t, s, "", strings.Fields(command)...)) {
		b.WriteString(actionIndex.ReplaceAllString(strings.TrimSpace(line), "index N") + "\n")
	}
	return b.String()
}

// shows wants what a program prints to be lines, within two seconds.
func shows(t *testing.T, s *nettest.Space, what, command string, want ...string) {
	t.Helper()
	wanted := strings.Join(append(want, ""), "\n")
	start := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for got := ""; ; <-tick.C {
		if got = lines(t, s, command); got == wanted {
			return
		}
		if time.Since(start) > promised {
			t.Fatalf("%s: %s prints\n%s\nwant\n%s", what, command, got, wanted)
		}
	}
}

// listening hears whatever changes in a space from now on, by other hands than the
// kernel's.
func listening(t *testing.T, s *nettest.Space) (quiet func(what string)) {
	t.Helper()
	var l *socket
	var err error
	s.Do(func() { l, err = openSocket(unix.NETLINK_ROUTE, routingGroups, 1<<20) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return func(what string) {
		t.Helper()
		if err := l.file.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for {
			n, _, err := receive(l.conn.Read, l.buf)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			for m := range messages(l.buf[:n]) {
				if r, ok := parseRoad(m.body); m.kind == unix.RTM_NEWADDR || (m.kind == unix.RTM_NEWROUTE || m.kind == unix.RTM_DELROUTE) && ok && r.protocol == unix.RTPROT_KERNEL {
					continue // an address that is only now checked
				}
				t.Errorf("%s: something changed: message %d, %x (%v)", what, m.kind, m.body, err)
			}
		}
	}
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func ip(s string) netip.Addr       { return netip.MustParseAddr(s) }

var everywhere4, everywhere6 = prefix("0.0.0.0/0"), prefix("::/0")

// site is a space with two lines: eth1 and eth2, with addresses.
func site(t *testing.T) *nettest.Space {
	t.Helper()
	s, isp := nettest.New(t), nettest.New(t)
	s.Set("ipv6/conf/default/accept_dad", "0") // else link-local addresses are told of only after a second or two
	s.Cable("eth1", isp, "far1")
	s.Cable("eth2", isp, "far2")
	s.IP("addr add 203.0.113.7/24 dev eth1")
	s.IP("addr add 2001:db8:1::7/64 dev eth1 nodad")
	s.IP("addr add 198.51.100.7/24 dev eth2")
	s.IP("addr add 2001:db8:2::7/64 dev eth2 nodad")
	return s
}

func link1() []Route {
	return []Route{
		{Table: 1001, To: everywhere4, Interface: "eth1", Via: ip("203.0.113.1"), Source: ip("203.0.113.7")},
		{Table: 1001, To: everywhere4, Metric: 1 << 30, Kind: Unreachable},
		{Table: 1001, To: everywhere6, Interface: "eth1", Via: ip("fe80::1%eth1"), Source: ip("2001:db8:1::7")},
		{Table: 1001, To: everywhere6, Metric: 1 << 30, Kind: Unreachable},
	}
}

func rules1() []PolicyRule {
	return []PolicyRule{
		{Priority: 1001, Mark: 1, Mask: LinkMask, Table: 1001},
		{Priority: 1001, Mark: 1, Mask: LinkMask, Table: 1001, IPv6: true},
		{Priority: 2001, From: prefix("203.0.113.7/32"), Table: 1001},
		{Priority: 2001, From: prefix("2001:db8:1::7/128"), Table: 1001, IPv6: true},
	}
}

const (
	show4 = "ip -4 route show table 1001"
	show6 = "ip -6 route show table 1001"
)

var (
	stand4 = []string{"default via 203.0.113.1 dev eth1 proto 80 src 203.0.113.7", "unreachable default proto 80 metric 1073741824"}
	stand6 = []string{"default via fe80::1 dev eth1 proto 80 src 2001:db8:1::7 metric 1024 pref medium", "unreachable default dev lo proto 80 metric 1073741824 pref medium"}
)

// Routes of all kinds come, change in place and go; others' stay, even in a table
// of ours; and what is as wished already is not touched.
func TestRoutes_Root(t *testing.T) {
	s := site(t)
	n := routingIn(t, s)
	s.IP("route add 192.0.2.0/24 dev eth2 table 1001")
	foreign := "192.0.2.0/24 dev eth2 scope link"
	stand := append(append([]string{}, stand4...), foreign)
	w := &Wishes{Routes: link1()}
	wish(t, n, "outbound", w, "")
	shows(t, s, "added", show4, stand...)
	shows(t, s, "added", show6, stand6...)
	quiet := listening(t, s)
	wish(t, n, "outbound", &Wishes{Routes: link1()}, "")
	quiet("the same again")
	wish(t, n, "dnsproxy", &Wishes{Routes: []Route{
		{Table: 99, To: everywhere4, Interface: "lo", Kind: Local}, {Table: 99, To: everywhere6, Interface: "lo", Kind: Local}}}, "")
	shows(t, s, "another owner", "ip -4 route show table 99", "local default dev lo proto 81 scope host")
	shows(t, s, "another owner", "ip -6 route show table 99", "local default dev lo proto 81 metric 1024 pref medium")
	shows(t, s, "the first owner's", show4, stand...)

	changed := link1()
	changed[0].Via, changed[0].OnLink, changed[0].Source = ip("192.168.8.1"), true, netip.Addr{}
	changed[2].Via, changed[2].OnLink = ip("2001:db8:99::1"), true
	changed = append(changed, Route{Table: 1001, To: prefix("10.0.0.0/8"), Interface: "eth2"},
		Route{Table: 1001, To: prefix("10.9.0.0/16"), Interface: "eth2", Via: ip("fe80::2")})
	wish(t, n, "outbound", &Wishes{Routes: changed}, "")
	shows(t, s, "changed", show4, "default via 192.168.8.1 dev eth1 proto 80 onlink", stand4[1],
		"10.0.0.0/8 dev eth2 proto 80 scope link", "10.9.0.0/16 via inet6 fe80::2 dev eth2 proto 80", foreign)
	shows(t, s, "changed", show6, "default via 2001:db8:99::1 dev eth1 proto 80 src 2001:db8:1::7 metric 1024 onlink pref medium", stand6[1])
	quiet = listening(t, s)
	wish(t, n, "outbound", &Wishes{Routes: changed}, "")
	quiet("the changed ones again")

	s.IP("route append default via 203.0.113.99 dev eth1 table 1001") // in the same place as ours
	wish(t, n, "outbound", &Wishes{Routes: link1()}, "not ours, which stays")
	shows(t, s, "another's in the place", show4, "default via 203.0.113.99 dev eth1", stand4[1], foreign)
	s.IP("route del default via 203.0.113.99 dev eth1 table 1001")
	shows(t, s, "the place is free", show4, stand...)

	wish(t, n, "outbound", &Wishes{}, "")
	shows(t, s, "removed", show4, foreign)
	shows(t, s, "removed", show6)
	shows(t, s, "the other owner's", "ip -4 route show table 99", "local default dev lo proto 81 scope host")
}

// Rules come before those go that they replace, and others' stay.
func TestPolicyRules_Root(t *testing.T) {
	s := site(t)
	n := routingIn(t, s)
	s.IP("rule add pref 1001 fwmark 0x7/0x3ff lookup 7")
	stand := []string{"0:\tfrom all lookup local", "1001:\tfrom all fwmark 0x7/0x3ff lookup 7", "1001:\tfrom all fwmark 0x1/0x3ff lookup 1001 proto 80",
		"2001:\tfrom 203.0.113.7 lookup 1001 proto 80", "32766:\tfrom all lookup main", "32767:\tfrom all lookup default"}
	stand6 := []string{"0:\tfrom all lookup local", "1001:\tfrom all fwmark 0x1/0x3ff lookup 1001 proto 80", "2001:\tfrom 2001:db8:1::7 lookup 1001 proto 80", "32766:\tfrom all lookup main"}
	wish(t, n, "outbound", &Wishes{Rules: rules1()}, "")
	shows(t, s, "added", "ip -4 rule show", stand...)
	shows(t, s, "added", "ip -6 rule show", stand6...)
	quiet := listening(t, s)
	wish(t, n, "outbound", &Wishes{Rules: rules1()}, "")
	quiet("the same again")
	other := append(rules1()[:1], PolicyRule{Priority: 900, To: prefix("10.0.0.0/8"), In: "eth1", Table: 200})
	wish(t, n, "outbound", &Wishes{Rules: other}, "")
	shows(t, s, "changed", "ip -4 rule show", stand[0], "900:\tfrom all to 10.0.0.0/8 iif eth1 lookup 200 proto 80", stand[1], stand[2], stand[4], stand[5])
	shows(t, s, "changed", "ip -6 rule show", stand6[0], stand6[3])
	wish(t, n, "outbound", &Wishes{Rules: []PolicyRule{{Priority: 5, From: prefix("10.0.0.0/8"), IPv6: true, Table: 5}}}, "another family")
	shows(t, s, "removed", "ip -4 rule show", stand[0], stand[1], stand[4], stand[5])
	wish(t, n, "nobody", &Wishes{Rules: rules1()}, "no number")
}

// Acceptance 12: what others remove, and what Linux takes away with an interface,
// is back within two seconds: routes, rules, IPv6 addresses.
func TestRepair_Root(t *testing.T) {
	s := site(t)
	n := routingIn(t, s)
	wish(t, n, "outbound", &Wishes{Routes: link1(), Rules: rules1()}, "")
	stands := func(what string) {
		t.Helper()
		shows(t, s, what, show4, stand4...)
		shows(t, s, what, show6, stand6...)
		shows(t, s, what, "ip -6 rule show table 1001", "1001:\tfrom all fwmark 0x1/0x3ff lookup 1001 proto 80", "2001:\tfrom 2001:db8:1::7 lookup 1001 proto 80")
		shows(t, s, what, "ip rule show table 1001", "1001:\tfrom all fwmark 0x1/0x3ff lookup 1001 proto 80", "2001:\tfrom 203.0.113.7 lookup 1001 proto 80")
	}
	stands("at first")
	for _, attack := range []string{"rule del pref 1001 table 1001", "-6 rule del pref 1001 table 1001", "route flush table 1001", "-6 route flush table 1001",
		"route replace default via 203.0.113.66 dev eth1 table 1001 proto 80", "route replace default via 203.0.113.66 dev eth1 table 1001"} {
		calm(t, n) // what came before is not what has it look
		s.IP(attack)
		if !strings.Contains(attack, "proto") && strings.Contains(attack, "replace") {
			says(t, n, "not ours, which stays")
			s.IP("route del default via 203.0.113.66 table 1001")
		}
		stands(attack)
	}

	s.IP("link set eth1 down")
	says(t, n, "interface eth1 is switched off")
	shows(t, s, "off", show4, stand4[1])
	s.IP("link set eth1 up")
	stands("on again")
	shows(t, s, "on again", "ip -br -6 addr show dev eth1 scope global", "eth1@if2         UP             2001:db8:1::7/64")

	s.IP("addr del 2001:db8:1::7/64 dev eth1") // meant so
	s.IP("link set eth1 down")
	s.IP("link set eth1 up")
	shows(t, s, "an address that was removed", show4, stand4...)
	says(t, n, "dev eth1 src 2001:db8:1::7")
	s.IP("addr add 2001:db8:1::7/64 dev eth1 nodad")
	stands("added again")

	s.IP("link del eth1")
	says(t, n, "there is no interface eth1")
	s.IP("link add name eth1 type veth peer name far3")
	s.IP("addr add 203.0.113.7/24 dev eth1")
	s.IP("addr add 2001:db8:1::7/64 dev eth1 nodad")
	s.IP("link set far3 up")
	s.IP("link set eth1 up")
	stands("another interface of the same name")
}

// An interface that has no addresses of IPv6 tells of itself alone that it was off.
func TestRepairLink_Root(t *testing.T) {
	s := site(t)
	s.Set("ipv6/conf/eth2/disable_ipv6", "1")
	n := routingIn(t, s)
	wish(t, n, "outbound", &Wishes{Routes: []Route{{Table: 1002, To: everywhere4, Interface: "eth2", Via: ip("198.51.100.1")}}}, "")
	calm(t, n)
	s.IP("link set eth2 down")
	s.IP("link set eth2 up")
	shows(t, s, "on again", "ip route show table 1002", "default via 198.51.100.1 dev eth2 proto 80")
}

// calm waits until nothing is compared any more.
func calm(t *testing.T, n *routing) {
	t.Helper()
	tick, late := time.NewTicker(10*time.Millisecond), time.After(longEnough)
	defer tick.Stop()
	for same, last := 0, n.rounds.Load(); same < 20; same++ {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not come to rest")
		}
		if now := n.rounds.Load(); now != last {
			same, last = 0, now
		}
	}
}

// The commands that tell what we would do do the same.
func TestCommands_Root(t *testing.T) {
	s := site(t)
	w := &Wishes{Routes: link1(), Rules: rules1(), Shapers: []Shaper{{Interface: "eth1", Out: 20e6}},
		Sysctls: []Sysctl{{Name: "ipv4/conf/all/src_valid_mark", Values: []string{"0"}, Repair: true, Why: "TPROXY"}}}
	var fair bool
	s.Do(func() {
		fair = exec.CommandContext(t.Context(), "tc", "qdisc", "add", "dev", "eth2", "root", "fq_codel").Run() == nil
	})
	for line := range strings.Lines(w.Commands("outbound")) {
		line, other, _ := strings.Cut(line, " # or ")
		if other != "" && !fair { // a kernel without fq_codel
			line = strings.Replace(line, "fq_codel", strings.TrimSpace(other), 1)
		}
		line, _, _ = strings.Cut(line, " #")
		run(t, s, "", strings.Fields(line)...)
	}
	quiet := listening(t, s)
	n := routingIn(t, s)
	wish(t, n, "outbound", w, "")
	quiet("after the commands")
}
