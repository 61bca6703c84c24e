package kernel

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// served gives a namespace with virtual servers on loopback: 10.9.9.N and
// fd09::N, N being 1 to 3, have the conntrack mark N in the bits of slb. Ports
// from 20000 on are those of server 127.0.1.1 or fd01::1, from 40000 on of 127.0.1.2 or
// fd01::2, port 8080; below they are their own. Those of 3 have a lent address.
func served(t testing.TB) *nettest.Space {
	t.Helper()
	s := nettest.New(t)
	s.IP("link set lo up")
	for _, a := range []string{"127.0.1.1/32", "127.0.1.2/32", "127.0.2.1/32", "fd01::1/128", "fd01::2/128", "fd02::1/128"} {
		s.IP("addr add " + a + " dev lo")
	}
	s.IP("route add 10.9.9.0/24 dev lo src 127.0.0.1")
	s.IP("-6 route add fd09::/64 dev lo src ::1")
	s.Set("ipv4/conf/lo/route_localnet", "1")
	rules := ""
	for i := 1; i <= 3; i++ {
		rules += fmt.Sprintf("ip daddr 10.9.9.%d ct mark set 0x%x\nip6 daddr fd09::%d ct mark set 0x%x\n", i, i<<10|0x20000001, i, i<<10|0x20000001)
	}
	mustNFT(t, s, `table inet served {
		chain zones { type filter hook output priority -300; udp dport 7000 ct zone set 7; udp dport 7001 ct original zone set 8; }
		chain early { type filter hook output priority -110; ct state new jump marking; }
		chain marking {
`+rules+`
		}
		chain to {
			type nat hook output priority -100;
			ip daddr 10.9.9.0/24 meta l4proto { tcp, udp } th dport 20000-39999 dnat ip to 127.0.1.1:8080
			ip daddr 10.9.9.0/24 meta l4proto { tcp, udp } th dport 40000-65535 dnat ip to 127.0.1.2:8080
			ip daddr 10.9.9.0/24 dnat ip to 127.0.1.1
			ip6 daddr fd09::/64 meta l4proto { tcp, udp } th dport 20000-39999 dnat ip6 to [fd01::1]:8080
			ip6 daddr fd09::/64 meta l4proto { tcp, udp } th dport 40000-65535 dnat ip6 to [fd01::2]:8080
			ip6 daddr fd09::/64 dnat ip6 to [fd01::1]
		}
		chain from {
			type nat hook postrouting priority 100;
			ct mark & 0x3fffc00 == 0xc00 meta nfproto ipv4 snat ip to 127.0.2.1
			ct mark & 0x3fffc00 == 0xc00 meta nfproto ipv6 snat ip6 to fd02::1
		}
	}`, "-f", "-")
	s.Set("netfilter/nf_conntrack_udp_timeout", "600") // none ends by itself while a test looks
	return s
}

func serverMark(n uint32) uint32 { return n << 10 }

func address4(n int) netip.AddrPort { return port(fmt.Sprintf("10.9.9.%d:20000", n)) }
func address6(n int) netip.AddrPort { return port(fmt.Sprintf("[fd09::%d]:20000", n)) }

// at gives an address with another port.
func at(a netip.AddrPort, port uint16) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), port) }

var (
	server1 = netip.MustParseAddr("127.0.1.1")
	server2 = netip.MustParseAddr("127.0.1.2")
	server6 = netip.MustParseAddr("fd01::1")
)

// Sessions are listed and ended by the server that answers them, its port and
// the virtual server; all others live on.
func TestEnd_Root(t *testing.T) {
	s := served(t)
	c := openConntrack(t, s)
	flows(t, s, address4(1), 10000)
	flows(t, s, at(address4(1), 40000), 5000)
	flows(t, s, at(address4(2), 20000), 3000)
	flows(t, s, at(address4(2), 5000), 20)
	flows(t, s, address4(3), 1000)
	flows(t, s, address6(1), 1000)
	flows(t, s, at(address6(2), 40000), 500)
	flows(t, s, port("127.0.1.1:20000"), 30) // of nobody
	all := 10000 + 5000 + 3000 + 20 + 1000 + 1000 + 500 + 30
	slb := SessionFilter{Mark: 0, Mask: ServerMask}
	one := func(f SessionFilter) SessionFilter { f.Mark, f.Mask = serverMark(1), ServerMask; return f }
	for name, c2 := range map[string]struct {
		filter SessionFilter
		want   int
		sent   int // by the kernel, which selects some of it
	}{
		"all":                        {SessionFilter{}, all, all},
		"of none":                    {slb, 30, 30},
		"a virtual server":           {one(SessionFilter{}), 16000, 16000},
		"its IPv6":                   {one(SessionFilter{Family: unix.AF_INET6}), 1000, 1000},
		"its server":                 {one(SessionFilter{Server: server2}), 5000, 5000},
		"its IPv6 server":            {one(SessionFilter{Server: server6}), 1000, 1000},
		"a server":                   {SessionFilter{Server: server1}, 14050, 14050},
		"a server's port":            {SessionFilter{Server: server1, ServerPort: 8080, Protocol: unix.IPPROTO_UDP}, 14000, 14000},
		"an IPv6 server's port":      {SessionFilter{Server: server6, ServerPort: 8080, Protocol: unix.IPPROTO_UDP}, 1000, 1500},
		"a port of no protocol":      {SessionFilter{Server: server1, ServerPort: 5003}, 1, 14050},
		"another port":               {SessionFilter{Server: server1, ServerPort: 81, Protocol: unix.IPPROTO_UDP}, 0, 0},
		"another protocol":           {SessionFilter{Server: server1, ServerPort: 8080, Protocol: unix.IPPROTO_TCP}, 0, 0},
		"the lent address":           {SessionFilter{AnswersTo: netip.MustParseAddr("127.0.2.1")}, 1000, 1000},
		"the lent address, a server": {SessionFilter{AnswersTo: netip.MustParseAddr("127.0.2.1"), Server: server2}, 0, 0},
		"asked for and answered by":  {SessionFilter{Destination: prefix("10.9.9.2/32"), Server: server1}, 3020, 3020},
		"two families":               {SessionFilter{Family: unix.AF_INET6, Server: server1}, 0, 1500},
	} {
		if got := sessions(t, c, c2.filter); len(got) != c2.want {
			t.Errorf("%s: %d sessions, want %d", name, len(got), c2.want)
		}
		sent := 0
		err := c.socket.ask(ctGet, unix.NLM_F_DUMP, c2.filter.header(), func(kind uint16, _ []byte) {
			if kind == ctNew {
				sent++
			}
		})
		if err != nil || sent != c2.sent {
			t.Errorf("%s: the kernel sends %d, want %d, %v", name, sent, c2.sent, err)
		}
	}
	end := func(what string, want int, filters ...SessionFilter) {
		t.Helper()
		start := time.Now()
		n, err := c.End(t.Context(), filters...)
		took := time.Since(start)
		if n != want || err != nil {
			t.Errorf("%s: ended %d, want %d, %v", what, n, want, err)
		}
		if all -= want; len(sessions(t, c, SessionFilter{})) != all {
			t.Errorf("%s: %d are left, want %d", what, len(sessions(t, c, SessionFilter{})), all)
		}
		for _, f := range filters {
			if got := sessions(t, c, f); f.Limit == 0 && len(got) > 0 {
				t.Errorf("%s: %d of %+v are left", what, len(got), f)
			}
		}
		t.Logf("%s: %d of %d sessions ended in %v", what, n, all+want, took)
		if took > longEnough { // some 50 ms for 10,000 where nothing else runs: BenchmarkEnd
			t.Errorf("%s: it took %v", what, took)
		}
	}
	end("a server of a virtual server", 10000, one(SessionFilter{Server: server1, ServerPort: 8080, Protocol: unix.IPPROTO_UDP}))
	end("again", 0, one(SessionFilter{Server: server1, ServerPort: 8080, Protocol: unix.IPPROTO_UDP}))
	end("several, one twice", 5000+3020, one(SessionFilter{Server: server2}), SessionFilter{Mark: serverMark(2), Mask: ServerMask, Server: server1}, one(SessionFilter{Server: server2, Family: unix.AF_INET}))
	end("some", 7, SessionFilter{Server: server1, Mark: serverMark(3), Mask: ServerMask, Limit: 7})
	end("a virtual server", 1000, one(SessionFilter{}))
	flows(t, s, at(address4(1), 7000), 2) // in zones of their own
	all += 2
	end("in zones", 2, SessionFilter{Mark: serverMark(1), Mask: ServerMask, Server: server1})
	end("those of a lent address", 993, SessionFilter{AnswersTo: netip.MustParseAddr("127.0.2.1")})
	for _, all := range []SessionFilter{{Limit: 3}, {Mark: 5}, {Family: unix.AF_INET}, {Source: netip.MustParsePrefix("0.0.0.0/0"), Destination: netip.MustParsePrefix("::/0")}} {
		if n, err := c.End(t.Context(), one(SessionFilter{}), all); n != 0 || err == nil {
			t.Errorf("a filter that means everything was taken: %+v", all)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := c.End(ctx, SessionFilter{Mask: ServerMask}); n != 0 || err == nil {
		t.Errorf("after the context ended: %d %v", n, err)
	}
	if len(sessions(t, c, SessionFilter{})) != all || all != 530 {
		t.Errorf("%d are left", all)
	}
}

// What another has ended meanwhile is not counted, and one in its place lives.
func TestEndAll_Root(t *testing.T) {
	s := served(t)
	c := openConntrack(t, s)
	flows(t, s, address4(1), 600)
	all := sessions(t, c, SessionFilter{})
	var bodies [][]byte
	for i := range all {
		switch {
		case i%3 == 0:
			if _, err := c.Delete(&all[i]); err != nil {
				t.Fatal(err)
			}
		case i%3 == 1:
			all[i].ID++
		}
		bodies = append(bodies, all[i].ending(all[i].Original.bytes()))
	}
	for _, part := range []struct { // the last one is gone in the first, and there in the second
		bodies [][]byte
		want   int
	}{{bodies[:299], 99}, {bodies[299:], 101}} {
		if n, err := c.endAll(part.bodies); err != nil || n != part.want {
			t.Errorf("ended %d, want %d, %v", n, part.want, err)
		}
	}
	if got := len(sessions(t, c, SessionFilter{})); got != 200 {
		t.Errorf("%d are left, want 200", got)
	}
	if _, err := c.Stats(); err != nil {
		t.Errorf("the next question: %v", err)
	}
	left := sessions(t, c, SessionFilter{})[0]
	if n, err := c.endAll([][]byte{bodies[0], append([]byte{unix.AF_INET, 1, 0, 0}, nested(ctaTupleOriginal, nil)...), left.ending(left.Original.bytes())}); n != 1 || !errors.Is(err, unix.EINVAL) {
		t.Errorf("one that is gone, one that makes no sense, and one more: ended %d %v", n, err)
	}
}

// BenchmarkEnd_Root ends 10,000 sessions of a server of 20,000.
func BenchmarkEnd_Root(b *testing.B) {
	s := served(b)
	c := openConntrack(b, s)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		if _, err := c.End(b.Context(), SessionFilter{Mask: OthersMask, Mark: 1 << 29}); err != nil {
			b.Fatal(err)
		}
		flows(b, s, address4(1), 10000)
		flows(b, s, at(address4(2), 40000), 10000)
		b.StartTimer()
		n, err := c.End(b.Context(), SessionFilter{Mark: serverMark(1), Mask: ServerMask, Server: server1, ServerPort: 8080, Protocol: unix.IPPROTO_UDP})
		if n != 10000 || err != nil {
			b.Fatal(n, err)
		}
	}
}
