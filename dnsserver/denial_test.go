package dnsserver

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

const signature = " A 13 3 300 20300101000000 20200101000000 1 example.com. AAAA\n"

// RFC 8482 over UDP: what ANY gets wherever it may end. Signatures are chosen
// only where there is nothing else; a name without data says so as for any type.
func TestANY_RFC8482_EveryEnd(t *testing.T) {
	dynamic := func(d decision) decider { d.ttl = 30; return &fixed{decision: d} }
	names := map[string]decider{
		"www":   dynamic(decision{v4: addrs("192.0.2.10"), v6: addrs("2001:db8::1")}),
		"v6":    dynamic(decision{v6: addrs("2001:db8::2")}),
		"alias": dynamic(decision{cname: "www.example.com."}),
		"none":  dynamic(decision{}),
		"down":  dynamic(decision{rcode: dns.RcodeServerFailure}),
		"*.dyn": dynamic(decision{v4: addrs("192.0.2.11")}),
	}
	zone := mustZone(t, "example.com.", zoneHead+"signed RRSIG"+signature+"signed NSEC x A\nsigned A 192.0.2.1\n"+
		"only RRSIG"+signature+"only NSEC x RRSIG\n"+
		"to RRSIG"+signature+"to CNAME www\n"+
		"far CNAME www.example.net.\ndn DNAME example.net.\na.b TXT deep\n*.w TXT star\nchild NS ns.child\nns.child A 192.0.2.9\n", names)
	b := newBench(t, newTable(&config.DNS{}, zone), false)
	const soa = " + SOA"
	for name, want := range map[string]string{
		"signed":   "NOERROR A",
		"only":     "NOERROR RRSIG",
		"to":       "NOERROR CNAME", // RFC 1034 3.6.2: what matches the alias itself is not restarted
		"far":      "NOERROR CNAME",
		"x.dn":     "NOERROR DNAME CNAME", // likewise: the alias made of a DNAME matches
		"dn":       "NOERROR DNAME",
		"www":      "NOERROR A",
		"v6":       "NOERROR AAAA",
		"alias":    "NOERROR CNAME",
		"none":     "NOERROR" + soa,
		"down":     "SERVFAIL",
		"x.dyn":    "NOERROR A",
		"dyn":      "NOERROR" + soa, // an empty non-terminal above a dynamic name
		"b":        "NOERROR" + soa,
		"no":       "NXDOMAIN" + soa,
		"x.w":      "NOERROR TXT",
		"w":        "NOERROR" + soa,
		"child":    "NOERROR + NS",
		"ns.child": "NOERROR + NS",
	} {
		m := b.ask(asking(name+".example.com.", dns.TypeANY))
		got := []string{dns.RcodeToString[m.Rcode]}
		for _, rr := range m.Answer {
			got = append(got, dns.TypeToString[rr.Header().Rrtype])
		}
		for _, rr := range m.Ns {
			got = append(got, "+", dns.TypeToString[rr.Header().Rrtype])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", name, got, want)
		}
	}
}

// RFC 8020, RFC 4592 2.2.2: NXDOMAIN for a name is true of every name below it,
// whether the names there are static, dynamic or come from a wildcard. So no
// resolver that cuts the tree at it loses a name that lives.
func TestNXDOMAIN_RFC8020(t *testing.T) {
	bound := &fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30}}
	denied := 0
	rapid.Check(t, func(t *rapid.T) {
		text := drawZone(t, "z.", []string{"z."})
		src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte(text)}}, Dir: "."}
		zone, _ := loadZone(src, &config.Zone{Name: "z.", File: "zone"})
		var names []*config.Name
		for range rapid.IntRange(0, 4).Draw(t, "dynamic") {
			if name := drawName(t, "z.", "bound"); zone.mayBind(name) == "" && !slices.ContainsFunc(names, func(n *config.Name) bool { return n.FQDN == name }) {
				names = append(names, &config.Name{Name: name, FQDN: name})
			}
		}
		zone, errs := zone.bind(&config.Zone{Names: names}, func(string) string { return "" }, func(*config.Name) decider { return bound })
		if zone == nil {
			t.Fatal(errs)
		}
		table := newTable(&config.DNS{}, zone)
		ask := func(name string) *dns.Msg { return answer(table, newQuery(name, dns.TypeA, question{})) }

		name := drawName(t, "z.", "asked")
		if len(names) > 0 && rapid.Bool().Draw(t, "near") { // at or above a dynamic name
			name = rapid.SampledFrom(names).Draw(t, "to").FQDN
			for range rapid.IntRange(0, dns.CountLabel(name)-1).Draw(t, "up") {
				name = parent(name)
			}
		}
		m := ask(name)
		if m.Rcode != dns.RcodeNameError || len(m.Answer) > 0 { // else the rcode is of an alias's target (RFC 2308 2.1)
			return
		}
		denied++
		for _, below := range []string{"a.", "*.", "b.a.", "x.*.", "a.b.c."} {
			if m := ask(below + name); m.Rcode != dns.RcodeNameError || len(m.Answer) > 0 {
				t.Fatalf("%s is denied, but not %s:\n%s %v\n%v", name, below+name, text, names, m)
			}
		}
		for other := range zone.nodes {
			if dns.IsSubDomain(name, other) {
				t.Fatalf("%s is denied, and the static %s lives:\n%s", name, other, text)
			}
		}
		for _, n := range names {
			if dns.IsSubDomain(name, n.FQDN) {
				t.Fatalf("%s is denied, and the dynamic %s lives:\n%s", name, n.FQDN, text)
			}
		}
	})
	if denied == 0 {
		t.Error("nothing was denied: the test says nothing")
	}
}

// RFC 8020, RFC 4592 2.2.2: an empty non-terminal is NODATA, also where only a
// dynamic name makes it.
func TestNXDOMAIN_RFC8020_EmptyNonTerminals(t *testing.T) {
	bound := &fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30}}
	down := &fixed{decision: decision{rcode: dns.RcodeNameError, ttl: 30}}
	zone := mustZone(t, "example.com.", zoneHead+"a.b.c TXT deep\n*.w TXT star\n",
		map[string]decider{"x.y.z": bound, "*.p.q": bound, "k.a.b.c": bound, "gone": down})
	b := newBench(t, newTable(&config.DNS{}, zone), false)
	for name, want := range map[string]int{
		"b.c": 0, "c": 0, "y.z": 0, "z": 0, "p.q": 0, "q": 0, "any.p.q": 0, "a.b.c": 0, "w": 0, "x.y.w": 0,
		"gone":  0, // a name that lives is never denied (T5)
		"n.y.z": dns.RcodeNameError, "b.b.c": dns.RcodeNameError, "n.q": dns.RcodeNameError, "d": dns.RcodeNameError, "n.x.y.z": dns.RcodeNameError,
	} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeTXT, dns.TypeANY, 65280} {
			if m := b.ask(asking(name+".example.com.", qtype)); m.Rcode != want {
				t.Errorf("%s %s: %s, want %s", name, dns.Type(qtype), dns.RcodeToString[m.Rcode], dns.RcodeToString[want])
			}
		}
	}
}
