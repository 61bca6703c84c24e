package dnsserver

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// RFC 8482 4.4: who asks for ANY over TCP gets all that there is at the name,
// and over UDP one set of it.
func TestAnswer_ANY(t *testing.T) {
	names := map[string]decider{
		"www": &fixed{decision: decision{v4: addrs("192.0.2.10"), v6: addrs("2001:db8::1"), ttl: 30}},
		"v6":  &fixed{decision: decision{v6: addrs("2001:db8::2"), ttl: 30}},
		"own": &fixed{decision: decision{ttl: 30}},
	}
	zone := zoneHead + `
mix  A 192.0.2.1
mix  A 192.0.2.2
mix  MX 10 mail
mix  TXT "text"
mail A 192.0.2.25
to   CNAME mix
*.w  TXT "star"
*.w  A 192.0.2.3
www  TXT "beside"
own  TXT "beside"
`
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", zone, names))
	tests := []struct{ name, udp, tcp string }{
		{"mix", "A, A", "A, A, MX, TXT + A"},
		{"to", "CNAME", "CNAME"},
		{"x.w", "TXT", "TXT, A"},
		{"www", "A", "A, AAAA, TXT"},
		{"v6", "AAAA", "AAAA"},
		{"own", "TXT", "TXT"},
	}
	types := func(rrs []dns.RR) string {
		var all []string
		for _, rr := range rrs {
			all = append(all, dns.TypeToString[rr.Header().Rrtype])
		}
		return strings.Join(all, ", ")
	}
	for _, test := range tests {
		for i, want := range []string{test.udp, test.tcp} {
			overTCP := i == 1
			m := newBench(t, table, overTCP).ask(asking(test.name+".example.com.", dns.TypeANY))
			got := types(m.Answer)
			if len(m.Extra) > 0 {
				got += " + " + types(m.Extra)
			}
			if got != want || m.Rcode != 0 || !m.Authoritative || len(m.Ns) > 0 {
				t.Errorf("%s (TCP: %v): got %s, want %s: %v", test.name, overTCP, got, want, m)
			}
		}
	}
}

// What does not fit even over TCP is left out by whole sets: no answer over TCP
// is truncated.
func TestAnswer_ANYTooLarge(t *testing.T) {
	var zone strings.Builder
	zone.WriteString(zoneHead)
	text := strings.Repeat(`"`+strings.Repeat("x", 255)+`" `, 100)
	for i := range 4 {
		fmt.Fprintf(&zone, "big TYPE%d \\# 25000 %s\n", 65300+i, strings.Repeat("ab", 25000))
	}
	fmt.Fprintf(&zone, "big TXT %s\n", text)
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", zone.String(), nil))
	m := newBench(t, table, true).ask(asking("big.example.com.", dns.TypeANY))
	if m.Truncated || m.Rcode != 0 || len(m.Answer) != 2 || m.Len() > tcpSize {
		t.Errorf("%v", m.MsgHdr)
	}
}
