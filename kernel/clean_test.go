package kernel

import (
	"slices"
	"strings"
	"testing"
)

// What is ours is told and removed, whoever put it there and with nothing
// running; what is others' stays.
func TestClean_Root(t *testing.T) {
	s := site(t)
	everything := func() string {
		t.Helper()
		var b strings.Builder
		for _, c := range []string{"nft list ruleset", "ip -4 rule show", "ip -6 rule show", "ip -4 route show table all", "ip -6 route show table main", "tc qdisc show", "tc filter show dev eth2 ingress"} {
			b.WriteString(lines(t, s, c))
		}
		return b.String()
	}
	run(t, s, "table inet portolan_of_the_administrator { chain c { }; }\ntable ip portolan_outbound { chain c { }; }\ntable netdev portolan_outbound_n { chain c { }; }\n", "nft", "-f", "-")
	s.IP("rule add pref 1001 fwmark 0x1/0x3ff lookup 1001")
	s.IP("route add default via 203.0.113.1 dev eth1 table 1001 metric 7")
	run(t, s, "", "tc", "qdisc", "add", "dev", "eth2", "root", "handle", "5050:", "tbf", "rate", "1mbit", "burst", "10kb", "latency", "50ms")
	run(t, s, "", "tc", "qdisc", "add", "dev", "eth2", "ingress")
	run(t, s, "", "tc", "filter", "add", "dev", "eth2", "ingress", "prio", "1", "u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", "eth1")
	s.IP("link add portolan99 type ifb")
	others := everything()

	run(t, s, "table inet portolan_outbound { map m { type mark : verdict; }; chain c { meta mark vmap @m; }; }\ntable inet portolan_dnsproxy { chain d { }; }\ntable ip portolan_outbound_x { chain d { }; }\ntable ip6 portolan_outbound_x { chain d { }; }\n", "nft", "-f", "-")
	n, stop := routingUntil(t, s)
	wish(t, n, "outbound", &Wishes{Routes: link1(), Rules: rules1(), Shapers: []Shaper{{Interface: "eth1", Out: 20e6, In: 40e6}}}, "")
	wish(t, n, "dnsproxy", &Wishes{Routes: []Route{{Table: 99, To: everywhere4, Interface: "lo", Kind: Local}}}, "")
	stop() // as kill -9 does: nothing is taken down

	var ours, removed []string
	var err error
	s.Do(func() { ours, err = Ours() })
	want := []string{
		"table inet portolan_dnsproxy", "route -4 local default dev lo table 99",
		"table inet portolan_outbound", "table ip portolan_outbound_x", "table ip6 portolan_outbound_x",
		"rule -4 pref 1001 fwmark 0x1/0x3ff lookup 1001", "rule -4 pref 2001 from 203.0.113.7/32 lookup 1001",
		"rule -6 pref 1001 fwmark 0x1/0x3ff lookup 1001", "rule -6 pref 2001 from 2001:db8:1::7/128 lookup 1001",
		"route -4 default via 203.0.113.1 dev eth1 src 203.0.113.7 table 1001", "route -4 unreachable default table 1001 metric 1073741824",
		"route -6 default via fe80::1 dev eth1 src 2001:db8:1::7 table 1001 metric 1024", "route -6 unreachable default table 1001 metric 1073741824",
		"queue htb 5050: of eth1", "filter 20560 of what comes in by eth1", "queue htb 5050: of portolan2", "interface portolan2",
	}
	if err != nil || !slices.Equal(ours, want) {
		t.Errorf("%v: ours is\n%s", err, strings.Join(ours, "\n"))
	}
	s.Do(func() { removed, err = Clean() })
	if err != nil || !slices.Equal(removed, want) {
		t.Errorf("%v: removed\n%s", err, strings.Join(removed, "\n"))
	}
	if left := everything(); left != others {
		t.Errorf("left is\n%s\nwant\n%s", left, others)
	}
	s.Do(func() { removed, err = Clean() })
	if err != nil || len(removed) > 0 {
		t.Errorf("a second time: %v %v", removed, err)
	}
}
