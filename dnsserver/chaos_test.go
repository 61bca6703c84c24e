package dnsserver

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// RFC 4892: what the server says of itself is said in class CH, with TTL 0, and
// only what the operator has set. All else there is refused.
func TestChaos_RFC4892(t *testing.T) {
	const version, identity = `Portolan "7" \3`, "gw1"
	zone := mustZone(t, "example.com.", answerZone, nil)
	for _, test := range []struct {
		name  string
		qtype uint16
		conf  config.Chaos
		want  string
	}{
		{"version.bind.", dns.TypeTXT, config.Chaos{Version: version}, version},
		{"VERSION.Server.", dns.TypeTXT, config.Chaos{Version: version}, version},
		{"version.bind.", dns.TypeANY, config.Chaos{Version: version}, version},
		{"id.server.", dns.TypeTXT, config.Chaos{Identity: identity}, identity},
		{"hostname.bind.", dns.TypeTXT, config.Chaos{Identity: identity}, identity},
		{"id.server.", dns.TypeTXT, config.Chaos{Identity: strings.Repeat("x", 255)}, strings.Repeat("x", 255)},
		{"id.server.", dns.TypeA, config.Chaos{Identity: identity}, "NOERROR"},
		{"id.server.", dns.TypeTXT, config.Chaos{Version: version}, "REFUSED"},
		{"version.bind.", dns.TypeTXT, config.Chaos{Identity: identity}, "REFUSED"},
		{"version.bind.", dns.TypeTXT, config.Chaos{}, "REFUSED"},
		{"authors.bind.", dns.TypeTXT, config.Chaos{Version: version, Identity: identity}, "REFUSED"},
		{"server.", dns.TypeTXT, config.Chaos{Version: version, Identity: identity}, "REFUSED"},
		{"mail.example.com.", dns.TypeA, config.Chaos{Version: version, Identity: identity}, "REFUSED"},
		{".", dns.TypeANY, config.Chaos{Version: version, Identity: identity}, "REFUSED"},
	} {
		for _, tcp := range []bool{false, true} {
			b := newBench(t, newTable(&config.DNS{Chaos: test.conf}, zone), tcp)
			m := asking(test.name, test.qtype)
			m.Question[0].Qclass = dns.ClassCHAOS
			r := b.ask(m)
			if len(r.Answer) == 0 {
				if got := dns.RcodeToString[r.Rcode]; got != test.want || len(r.Ns) > 0 {
					t.Errorf("%s %d: %v, want %s", test.name, test.qtype, r, test.want)
				}
				continue
			}
			txt, ok := r.Answer[0].(*dns.TXT)
			if !ok || len(r.Answer) != 1 || !r.Authoritative || txt.Hdr != (dns.RR_Header{Name: test.name, Rrtype: dns.TypeTXT, Class: dns.ClassCHAOS, Rdlength: uint16(len(test.want) + 1)}) ||
				strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(txt.Txt[0]) != test.want {
				t.Errorf("%s %d: %v, want %s", test.name, test.qtype, r, test.want)
			}
			// The same names in class IN are names like any others.
			if r = b.ask(asking(test.name, dns.TypeTXT)); r.Rcode != dns.RcodeRefused {
				t.Errorf("%s in class IN: %v", test.name, r)
			}
		}
	}
}
