package dnsserver

import (
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// BenchmarkHandle measures one packet to its reply, without sockets and
// without choosing.
func BenchmarkHandle(b *testing.B) {
	www := &fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30, scope: 24}}
	table := newTable(&config.DNS{ECS: true}, mustZone(b, "example.com.", dynamicZone, map[string]decider{"www": www}))
	for _, q := range []struct {
		name  string
		qtype uint16
	}{{"ns", dns.TypeA}, {"www", dns.TypeA}, {"svc", dns.TypeHTTPS}, {"mx", dns.TypeMX}, {"nothing", dns.TypeA}} {
		b.Run(q.name, func(b *testing.B) {
			s := New(Options{})
			s.Use(table)
			h, out := s.newHandler(false), make([]byte, udpReplySize)
			m := asking(q.name+".example.com.", q.qtype)
			m.SetEdns0(1232, false)
			packet, _ := m.Pack()
			b.ReportAllocs()
			for b.Loop() {
				if h.handle(packet, benchSource, out) == nil {
					b.Fatal("no reply")
				}
			}
		})
	}
}
