package dnsserver

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// BenchmarkAdmission measures one plain packet to its reply, with and without
// what admission can be asked to do. The sources are not loopback; "flood" is
// one /24 far over its limit.
func BenchmarkAdmission(b *testing.B) {
	c := rrl()
	c.TableSize = 1 << 18
	some := newACL(&config.ACL{Deny: prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "240.0.0.0/4")}, "")
	with := func(change func(*Table)) *Table {
		t := answerTable(b)
		change(t)
		return t
	}
	limited := func(t *Table) { t.limiter = newLimiter(&c, nil, time.Now()) }
	for _, bench := range []struct {
		name    string
		sources int
		table   *Table
	}{
		{"nothing", 1 << 20, with(func(*Table) {})},
		{"rrl/sources=1000", 1000, with(limited)},
		{"rrl/sources=1000000", 1 << 20, with(limited)},
		{"rrl/flood", 1, with(limited)},
		{"acl", 1 << 20, with(func(t *Table) { t.acl = some })},
		{"four acls, two views, rrl", 1 << 20, with(func(t *Table) {
			limited(t)
			t.acl, t.listenerACLs, t.rest.acl = some, []listenerACL{{acl: some}}, some
			t.zones.get("example.com.").acl = some
			for _, p := range []string{"10.0.0.0/8", "172.16.0.0/12"} {
				t.views = append(t.views, &clientView{view: t.rest, clients: newPrefixMap(prefixes(p))})
			}
		})},
	} {
		b.Run(bench.name, func(b *testing.B) {
			d := newDoor(b, bench.table)
			r := rand.New(rand.NewPCG(1, 9))
			sources := make([]netip.AddrPort, bench.sources)
			for i := range sources {
				a := netip.AddrFrom4([4]byte{11 + byte(r.IntN(100)), byte(r.IntN(256)), byte(r.IntN(256)), 1})
				sources[i] = netip.AddrPortFrom(a, 4242)
			}
			packet, err := asking("mail.example.com.", dns.TypeA).Pack()
			if err != nil {
				b.Fatal(err)
			}
			out, silent := make([]byte, udpReplySize), 0
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if d.udp.handle(packet, sources[i%len(sources)], out) == nil {
					silent++
				}
			}
			if silent > 0 != (bench.name == "rrl/flood") && b.N > 10000 {
				b.Errorf("%d of %d had no reply", silent, b.N)
			}
		})
	}
}
