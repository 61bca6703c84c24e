package dnsserver

import (
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// fixed is a dynamic name that always decides the same, and counts.
type fixed struct {
	decision
	asked []uint16
}

func (f *fixed) decide(_ *question, qtype uint16) *decision {
	f.asked = append(f.asked, qtype)
	return &f.decision
}

func addrs(list ...string) (all []netip.Addr) {
	for _, a := range list {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// mustZone parses a zone and binds names of it, relative ones.
func mustZone(t testing.TB, apex, text string, names map[string]decider) *Zone {
	t.Helper()
	z, errs := parseText(apex, text)
	if z == nil {
		t.Fatal(errs)
	}
	c := &config.Zone{Name: apex}
	for name := range names {
		fqdn := name + "." + apex
		if name == "@" {
			fqdn = apex
		}
		c.Names = append(c.Names, &config.Name{Name: name, FQDN: fqdn})
	}
	z, errs = z.bind(c, noCNAME, func(n *config.Name) decider { return names[n.Name] })
	if errs.Failed() {
		t.Fatal(errs)
	}
	return z
}

func noCNAME(string) string { return "" }

// parseText parses a zone from a string.
func parseText(apex, text string) (*Zone, config.Errors) {
	src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte(text)}}, Dir: "."}
	return ParseZone(src, &config.Zone{Name: apex, File: "zone"})
}

// shown prints a reply in one line: rcode, flags, and the sections that hold
// something.
func shown(m *dns.Msg) string {
	if m == nil {
		return "no reply"
	}
	words := []string{dns.RcodeToString[m.Rcode]}
	if m.Authoritative {
		words = append(words, "AA")
	}
	if m.Truncated {
		words = append(words, "TC")
	}
	line := strings.Join(words, " ")
	for i, section := range [][]dns.RR{m.Answer, m.Ns, withoutOPT(m.Extra)} {
		if len(section) > 0 {
			line += [...]string{" ANSWER ", " AUTHORITY ", " ADDITIONAL "}[i] + strings.Join(plainRecords(section), ", ")
		}
	}
	return strings.ReplaceAll(line, " IN ", " ")
}

func withoutOPT(rrs []dns.RR) (list []dns.RR) {
	for _, rr := range rrs {
		if rr.Header().Rrtype != dns.TypeOPT {
			list = append(list, rr)
		}
	}
	return list
}

// newQuery makes a query that did not come from a socket: a test.
// The client is who decisions are made for.
func newQuery(name string, qtype uint16, by question) *query {
	return &query{
		name: dns.Fqdn(name), qtype: qtype, qclass: dns.ClassINET, asked: true,
		opcode: dns.OpcodeQuery, tcp: true, limit: tcpSize, question: by,
	}
}

// zoneSource is a folder with one file, zone.
func zoneSource(text string) config.Source {
	return config.Source{FS: fstest.MapFS{"zone": {Data: []byte(text)}}, Dir: "."}
}
