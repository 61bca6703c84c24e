package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// Linux is asked where a packet goes: whoever's rules and routes decide, by what
// it comes in by, its mark, source and ports.
func TestLookup_Root(t *testing.T) {
	here, lan, out := nettest.New(t), nettest.New(t), nettest.New(t)
	here.Cable("lan0", lan, "eth0")
	here.Cable("out0", out, "eth0")
	here.Set("ipv4/ip_forward", "1")
	here.Set("ipv6/conf/all/forwarding", "1")
	here.Batch("addr add 10.0.0.1/24 dev lan0", "addr add 192.0.2.1/24 dev out0", "route add default via 192.0.2.254 src 192.0.2.1",
		"route add 8.8.4.0/24 via 192.0.2.253 table 77", "rule add pref 77 fwmark 7 lookup 77",
		"route add 8.8.4.0/24 via 192.0.2.252 table 78", "rule add pref 78 ipproto udp dport 53 lookup 78",
		"route add unreachable 8.8.6.0/24", "route add prohibit 8.8.7.0/24",
		"addr add fd00::1/64 dev lan0 nodad", "addr add 2001:db8::1/64 dev out0 nodad")
	r, _ := openIn(t, here)
	for _, c := range []struct {
		in, from, to string
		mark         uint32
		protocol     uint8
		port         uint16
		want         string
	}{
		{"lan0", "10.0.0.5", "8.8.8.8", 0, unix.IPPROTO_TCP, 443, "via 192.0.2.254 dev out0 table 254"},
		{"", "192.0.2.1", "8.8.8.8", 0, unix.IPPROTO_TCP, 443, "via 192.0.2.254 dev out0 table 254"},
		{"lan0", "10.0.0.5", "8.8.4.4", 7, unix.IPPROTO_TCP, 443, "via 192.0.2.253 dev out0 table 77"},
		{"lan0", "10.0.0.5", "8.8.4.4", 0, unix.IPPROTO_UDP, 53, "via 192.0.2.252 dev out0 table 78"},
		{"lan0", "10.0.0.5", "8.8.4.4", 0, unix.IPPROTO_ICMP, 0, "via 192.0.2.254 dev out0 table 254"},
		{"lan0", "10.0.0.5", "8.8.4.4", 0, unix.IPPROTO_GRE, 0, "via 192.0.2.254 dev out0 table 254"},
		{"lan0", "10.0.0.5", "192.0.2.9", 0, unix.IPPROTO_TCP, 443, "dev out0 table 254"},
		{"lan0", "10.0.0.5", "192.0.2.1", 0, unix.IPPROTO_TCP, 443, "local"},
		{"lan0", "10.0.0.5", "8.8.6.1", 0, unix.IPPROTO_TCP, 443, "unreachable"},
		{"lan0", "10.0.0.5", "8.8.7.1", 0, unix.IPPROTO_TCP, 443, "unreachable"},
		{"lan0", "fd00::5", "2001:db8::9", 0, unix.IPPROTO_UDP, 53, "dev out0 table 254"},
		{"lan0", "fd00::5", "2001:db8:9::9", 0, unix.IPPROTO_TCP, 443, "unreachable"},
		{"", "2001:db8::1", "2001:db8:9::9", 0, unix.IPPROTO_TCP, 443, "unreachable"},
		{"lan0", "127.0.0.1", "8.8.8.8", 0, unix.IPPROTO_TCP, 443, "error"},
		{"none0", "10.0.0.5", "8.8.8.8", 0, unix.IPPROTO_TCP, 443, "error"},
	} {
		p := Packet{In: c.in, Source: netip.MustParseAddr(c.from), Dest: netip.MustParseAddr(c.to), Mark: c.mark, Protocol: c.protocol, SourcePort: 1000, DestPort: c.port}
		got, err := r.Lookup(p)
		text := got.String()
		if err != nil {
			text = "error"
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%+v: %s %v, want %s", c, text, err, c.want)
		}
	}
}
