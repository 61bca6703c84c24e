package kernel

import (
	"context"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// tracked gives a namespace in which UDP to port n has its connection marked:
// 1 from 10000 on, 2 from 30000 on, with a bit of others, and 0 below.
func tracked(t *testing.T) *nettest.Space {
	t.Helper()
	s := nettest.New(t)
	run(t, s, `table inet marking {
		chain output {
			type filter hook output priority 0;
			ct state new udp dport 10000-29999 ct mark set 1
			ct state new udp dport 30000-59999 ct mark set 0x20000002 ct label set 120
			ct state new udp dport 1-9999 ct mark set 0x20000000
		}
	}`, "nft", "-f", "-")
	s.Set("netfilter/nf_conntrack_udp_timeout", "600") // none ends by itself while a test looks
	return s
}

func run(t *testing.T, s *nettest.Space, in string, args ...string) string {
	t.Helper()
	var out []byte
	var err error
	s.Do(func() {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Stdin = strings.NewReader(in)
		out, err = cmd.CombinedOutput()
	})
	if err != nil {
		nettest.Missing(t, "%s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// flows makes a session each by sending from one socket to n ports.
func flows(t testing.TB, s *nettest.Space, to netip.AddrPort, n int) {
	t.Helper()
	flowsOpen(t, s, to, n)
}

// flowsOpen is flows, and gives what sends the same once more.
func flowsOpen(t testing.TB, s *nettest.Space, to netip.AddrPort, n int) (again func()) {
	t.Helper()
	var c *net.UDPConn
	var err error
	s.Do(func() { c, err = net.ListenUDP("udp", nil) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	send := func() {
		for i := range n {
			if _, err := c.WriteToUDPAddrPort([]byte("x"), netip.AddrPortFrom(to.Addr(), to.Port()+uint16(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	send()
	return send
}

func openConntrack(t testing.TB, s *nettest.Space) *Conntrack {
	t.Helper()
	var c *Conntrack
	var err error
	s.Do(func() { c, err = OpenConntrack() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func sessions(t *testing.T, c *Conntrack, f SessionFilter) (list []Session) {
	t.Helper()
	if err := c.Sessions(t.Context(), f, func(s Session) bool { list = append(list, s); return true }); err != nil {
		t.Fatal(err)
	}
	return list
}

// Sessions are listed by what is asked for, and told as they are.
func TestSessions_Root(t *testing.T) {
	s := tracked(t)
	c := openConntrack(t, s)
	flows(t, s, port("127.0.0.1:10000"), 10)
	flows(t, s, port("[::1]:10000"), 20)
	flows(t, s, port("127.0.0.2:30000"), 30)
	flows(t, s, port("127.0.0.1:500"), 40)
	for name, f := range map[string]struct {
		filter SessionFilter
		want   int
	}{
		"all":               {SessionFilter{}, 100},
		"mark":              {SessionFilter{Mark: 1, Mask: LinkMask}, 30},
		"mark and family":   {SessionFilter{Mark: 1, Mask: LinkMask, Family: unix.AF_INET6}, 20},
		"family":            {SessionFilter{Family: unix.AF_INET}, 80},
		"others' bits":      {SessionFilter{Mark: 0x20000000, Mask: OthersMask}, 70},
		"unmarked":          {SessionFilter{Mark: 0, Mask: LinkMask}, 40},
		"destination":       {SessionFilter{Destination: netip.MustParsePrefix("127.0.0.2/32")}, 30},
		"source, nowhere":   {SessionFilter{Source: netip.MustParsePrefix("127.0.0.8/32")}, 0},
		"a port":            {SessionFilter{Port: 30007}, 1},
		"another protocol":  {SessionFilter{Protocol: unix.IPPROTO_TCP}, 0},
		"only some":         {SessionFilter{Limit: 7}, 7},
		"bits not of mask ": {SessionFilter{Mark: 0xffff0001, Mask: LinkMask}, 30},
	} {
		if got := sessions(t, c, f.filter); len(got) != f.want {
			t.Errorf("%s: got %d sessions, want %d", name, len(got), f.want)
		}
	}
	one := sessions(t, c, SessionFilter{Port: 30007})[0]
	if one.Mark != 0x20000002 || one.Label != [labelWidth]byte(ServiceLabel(0)) || one.Original.Protocol != unix.IPPROTO_UDP || one.Original.Destination != port("127.0.0.2:30007") || one.Timeout <= 0 || one.ID == 0 {
		t.Errorf("got %+v", one)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Sessions(ctx, SessionFilter{}, func(Session) bool { return true }); err == nil {
		t.Error("no error of a context that has ended")
	}
	if got := sessions(t, c, SessionFilter{}); len(got) != 100 {
		t.Errorf("after a dump that was left: %d sessions", len(got))
	}
	stats, err := c.Stats()
	if err != nil || stats.Entries != 100 || stats.Max == 0 {
		t.Errorf("statistics: %+v %v", stats, err)
	}
}

// One question ends all sessions of a link and no others, of 10,000 as of one
// (outbound.md 4(f)); what cannot be selected so is ended one by one.
func TestDeleteSessions_Root(t *testing.T) {
	s := tracked(t)
	c := openConntrack(t, s)
	flows(t, s, port("127.0.0.1:10000"), 10000)
	flows(t, s, port("127.0.0.1:30000"), 5000)
	flows(t, s, port("127.0.0.2:30000"), 100)
	flows(t, s, port("[::1]:10000"), 50)
	if err := c.DeleteByMark(0, 0, 0); err == nil {
		t.Fatal("a mask of 0 was taken")
	}
	left := func(what string, want ...int) {
		t.Helper()
		for i, f := range []SessionFilter{{Mark: 1, Mask: LinkMask, Family: unix.AF_INET}, {Mark: 1, Mask: LinkMask, Family: unix.AF_INET6}, {Mark: 2, Mask: LinkMask}} {
			if got := sessions(t, c, f); len(got) != want[i] {
				t.Errorf("%s: %d sessions of %+v are left, want %d", what, len(got), f, want[i])
			}
		}
	}
	left("before", 10000, 50, 5100)
	start := time.Now()
	if err := c.DeleteByMark(1, LinkMask, unix.AF_INET); err != nil {
		t.Fatal(err)
	}
	t.Logf("10,000 of 15,150 sessions deleted by mark in %v", time.Since(start))
	left("by mark and family", 0, 50, 5100)
	n, err := c.End(t.Context(), SessionFilter{Mark: 2, Mask: LinkMask, Destination: netip.MustParsePrefix("127.0.0.2/32")})
	if n != 100 || err != nil {
		t.Errorf("by mark and destination: %d %v", n, err)
	}
	left("by mark and destination", 0, 50, 5000)
	if _, err := c.End(t.Context(), SessionFilter{Limit: 3}); err == nil {
		t.Error("a filter that means everything was taken")
	}
	one := sessions(t, c, SessionFilter{Port: 30007})[0]
	other := one
	other.ID++
	if ended, err := c.Delete(&other); ended || err != nil {
		t.Errorf("another's id: %v %v", ended, err)
	}
	left("another's id", 0, 50, 5000)
	if ended, err := c.Delete(&one); !ended || err != nil {
		t.Errorf("one: %v %v", ended, err)
	}
	if ended, err := c.Delete(&one); ended || err != nil {
		t.Errorf("twice: %v %v", ended, err)
	}
	left("one", 0, 50, 4999)
	if err := c.DeleteByMark(1, LinkMask, 0); err != nil {
		t.Fatal(err)
	}
	left("of both families", 0, 0, 4999)
}

// One session is found by its tuple, in either direction; those between two
// addresses are listed by the kernel's filter.
func TestFindSession_Root(t *testing.T) {
	s := tracked(t)
	c := openConntrack(t, s)
	flows(t, s, port("127.0.0.1:10000"), 100)
	flows(t, s, port("127.0.0.3:10000"), 5)
	flows(t, s, port("[::1]:10000"), 20)
	for _, one := range []Session{sessions(t, c, SessionFilter{Port: 10042})[0], sessions(t, c, SessionFilter{Port: 10003, Family: unix.AF_INET6})[0]} {
		for name, tuple := range map[string]Tuple{"original": one.Original, "reply": one.Reply} {
			got, found, err := c.Find(tuple)
			if err != nil || !found || got.ID != one.ID || got.Original != one.Original || got.Mark != 1 {
				t.Errorf("%s: %+v %v %v, want %+v", name, got, found, err, one)
			}
		}
	}
	for _, none := range []Tuple{
		{unix.IPPROTO_UDP, port("127.0.0.1:1"), port("127.0.0.1:2"), 0, 0, 0},
		{unix.IPPROTO_TCP, port("[::1]:1"), port("[::1]:10003"), 0, 0, 0},
	} {
		if got, found, err := c.Find(none); found || err != nil {
			t.Errorf("%+v: %+v %v %v", none, got, found, err)
		}
	}
	whole := netip.MustParsePrefix
	for _, f := range []struct {
		filter SessionFilter
		want   int
	}{
		{SessionFilter{Family: unix.AF_INET, Source: whole("127.0.0.1/32"), Destination: whole("127.0.0.3/32")}, 5},
		{SessionFilter{Family: unix.AF_INET, Source: whole("127.0.0.1/32"), Destination: whole("127.0.0.3/32"), Port: 10002, Protocol: unix.IPPROTO_UDP}, 1},
		{SessionFilter{Family: unix.AF_INET, Source: whole("127.0.0.3/32"), Destination: whole("127.0.0.3/32")}, 0},
		{SessionFilter{Family: unix.AF_INET6, Source: whole("::1/128"), Destination: whole("::1/128")}, 20},
		{SessionFilter{Family: unix.AF_INET6, Source: whole("127.0.0.1/32"), Destination: whole("127.0.0.3/32")}, 0},
	} {
		if got := sessions(t, c, f.filter); len(got) != f.want {
			t.Errorf("%+v: %d sessions, want %d", f.filter, len(got), f.want)
		}
		sent := 0 // by the kernel, before we look again
		err := c.socket.ask(ctGet, unix.NLM_F_DUMP, f.filter.header(), func(kind uint16, _ []byte) {
			if kind == ctNew {
				sent++
			}
		})
		if err != nil || f.want > 1 && f.filter.Family == unix.AF_INET && sent != f.want {
			t.Errorf("%+v: the kernel sends %d sessions, %v", f.filter, sent, err)
		}
	}
}
