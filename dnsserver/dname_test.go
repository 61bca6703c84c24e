package dnsserver

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

const dnameZone = `$TTL 300
@      SOA ns root 1 2 3 4 60
@      NS  ns.example.net.
up     DNAME @
self   DNAME self
down   DNAME x.down
left   DNAME right
right  DNAME left
out    DNAME in
y.in   CNAME z.out
z.in   CNAME www
grow   DNAME x.more
more   DNAME grow
www    A   192.0.2.1
`

// TestDNAME_Again: one DNAME may apply twice on the way to an answer (RFC 6672
// 3.2 goes back to step 1 whatever was used); one that leads below itself is
// applied once, and every other loop ends by limits.cnameChain or where it was before.
func TestDNAME_Again(t *testing.T) {
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", dnameZone, nil))
	tests := []struct{ rule, name, want string }{
		{"the parent is above: twice", "www.up.up", "up DNAME example.com., www.up.up CNAME www.up, www.up CNAME www, www A 192.0.2.1"},
		{"through an alias", "y.out", "out DNAME in, y.out CNAME y.in, y.in CNAME z.out, z.out CNAME z.in, z.in CNAME www, www A 192.0.2.1"},
		{"to itself", "a.self", "self DNAME self, a.self CNAME a.self"},
		{"below itself", "a.down", "down DNAME x.down, a.down CNAME a.x.down"},
		{"in a ring", "a.left", "left DNAME right, a.left CNAME a.right, right DNAME left, a.right CNAME a.left"},
		{"in a ring that grows: limits.cnameChain", "a.grow", "grow DNAME x.more, a.grow CNAME a.x.more, more DNAME grow, a.x.more CNAME a.x.grow," +
			" a.x.grow CNAME a.x.x.more, a.x.x.more CNAME a.x.x.grow, a.x.x.grow CNAME a.x.x.x.more, a.x.x.x.more CNAME a.x.x.x.grow," +
			" a.x.x.x.grow CNAME a.x.x.x.x.more, a.x.x.x.x.more CNAME a.x.x.x.x.grow"},
	}
	for _, test := range tests {
		m := answer(table, newQuery(test.name+".example.com.", dns.TypeA, question{}))
		var got []string
		for _, rr := range m.Answer {
			words := strings.Fields(strings.ReplaceAll(rr.String(), ".example.com.", ""))
			got = append(got, strings.Join([]string{words[0], words[3], words[4]}, " "))
		}
		if text := strings.Join(got, ", "); text != test.want || m.Rcode != dns.RcodeSuccess || !m.Authoritative {
			t.Errorf("%s: %s\n got %s %v\nwant %s", test.rule, test.name, text, m.Rcode, test.want)
		}
	}
}
