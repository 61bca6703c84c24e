package dnsserver

import (
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

const answerZone = `$TTL 300
@        SOA ns.example.com. root.example.com. 1 3600 600 86400 60
@        NS  ns
@        MX  10 mail
ns       A   192.0.2.53
mail     A   192.0.2.25
mail     AAAA 2001:db8::25
a.b.c    TXT "deep"
*.wild   TXT "star"
*.wild   A   192.0.2.9
x.y.wild A   192.0.2.10
alias    CNAME mail
chain    CNAME alias
ring1    CNAME ring2
ring2    CNAME ring1
dangling CNAME nothing
away     CNAME www.example.org.
tochild  CNAME www.child
sub      DNAME example.net.
deepsub  DNAME sub
child    NS  ns.child
child    NS  ns.sibling
child    DS  1 13 2 00
ns.child A   192.0.2.61
sibling  NS  ns.sibling
ns.sibling A 192.0.2.62
_sip._tcp SRV 1 2 3 mail
many     A   192.0.2.1
many     A   192.0.2.2
odd      TYPE65280 \# 2 abcd
`

const otherZone = `$TTL 300
@   SOA ns.example.net. root.example.net. 1 3600 600 86400 60
@   NS  ns.example.com.
www A   198.51.100.1
`

const soaLine = "example.com. 60 SOA ns.example.com. root.example.com. 1 3600 600 86400 60"

func answerTable(t testing.TB) *Table {
	return newTable(&config.DNS{}, mustZone(t, "example.com.", answerZone, nil), mustZone(t, "example.net.", otherZone, nil))
}

func TestAnswer(t *testing.T) {
	table := answerTable(t)
	tests := []struct{ rule, name, qtype, want string }{
		{"hit", "mail.example.com.", "A", "NOERROR AA ANSWER mail.example.com. 300 A 192.0.2.25"},
		{"T8 the case of the question is kept", "MaiL.eXample.com.", "A", "NOERROR AA ANSWER MaiL.eXample.com. 300 A 192.0.2.25"},
		{"RFC 3597 unknown type", "odd.example.com.", "TYPE65280", `NOERROR AA ANSWER odd.example.com. 300 CLASS1 TYPE65280 \# 2 abcd`},
		{"nodata", "mail.example.com.", "TXT", "NOERROR AA AUTHORITY " + soaLine},
		{"miss", "nothing.example.com.", "A", "NXDOMAIN AA AUTHORITY " + soaLine},
		{"RFC 4592 empty non-terminal", "b.c.example.com.", "A", "NOERROR AA AUTHORITY " + soaLine},
		{"below an empty non-terminal", "z.c.example.com.", "A", "NXDOMAIN AA AUTHORITY " + soaLine},
		{"apex", "example.com.", "SOA", "NOERROR AA ANSWER example.com. 300 SOA ns.example.com. root.example.com. 1 3600 600 86400 60"},
		{"T8 MX brings addresses", "example.com.", "MX", "NOERROR AA ANSWER example.com. 300 MX 10 mail.example.com." +
			" ADDITIONAL mail.example.com. 300 A 192.0.2.25, mail.example.com. 300 AAAA 2001:db8::25"},
		{"SRV brings addresses", "_sip._tcp.example.com.", "SRV", "NOERROR AA ANSWER _sip._tcp.example.com. 300 SRV 1 2 3 mail.example.com." +
			" ADDITIONAL mail.example.com. 300 A 192.0.2.25, mail.example.com. 300 AAAA 2001:db8::25"},
		{"NS across zones of ours", "example.net.", "NS", "NOERROR AA ANSWER example.net. 300 NS ns.example.com. ADDITIONAL ns.example.com. 300 A 192.0.2.53"},

		{"wildcard", "foo.wild.example.com.", "TXT", `NOERROR AA ANSWER foo.wild.example.com. 300 TXT "star"`},
		{"wildcard over labels", "a.b.wild.example.com.", "TXT", `NOERROR AA ANSWER a.b.wild.example.com. 300 TXT "star"`},
		{"wildcard without the type", "foo.wild.example.com.", "MX", "NOERROR AA AUTHORITY " + soaLine},
		{"the wildcard itself", "*.wild.example.com.", "TXT", `NOERROR AA ANSWER *.wild.example.com. 300 TXT "star"`},
		{"RFC 4592 2.2.1 an existing name stops the wildcard", "y.wild.example.com.", "TXT", "NOERROR AA AUTHORITY " + soaLine},
		{"RFC 4592 3.3.1 no wildcard at the closest encloser", "z.y.wild.example.com.", "TXT", "NXDOMAIN AA AUTHORITY " + soaLine},

		{"follow", "alias.example.com.", "A", "NOERROR AA ANSWER alias.example.com. 300 CNAME mail.example.com., mail.example.com. 300 A 192.0.2.25"},
		{"follow twice", "chain.example.com.", "A", "NOERROR AA ANSWER chain.example.com. 300 CNAME alias.example.com., " +
			"alias.example.com. 300 CNAME mail.example.com., mail.example.com. 300 A 192.0.2.25"},
		{"follow to nodata", "alias.example.com.", "MX", "NOERROR AA ANSWER alias.example.com. 300 CNAME mail.example.com. AUTHORITY " + soaLine},
		{"RFC 6604 follow to a miss", "dangling.example.com.", "A", "NXDOMAIN AA ANSWER dangling.example.com. 300 CNAME nothing.example.com. AUTHORITY " + soaLine},
		{"follow out", "away.example.com.", "A", "NOERROR AA ANSWER away.example.com. 300 CNAME www.example.org."},
		{"follow into a delegation", "tochild.example.com.", "A", "NOERROR AA ANSWER tochild.example.com. 300 CNAME www.child.example.com." +
			" AUTHORITY child.example.com. 300 NS ns.child.example.com., child.example.com. 300 NS ns.sibling.example.com." +
			" ADDITIONAL ns.child.example.com. 300 A 192.0.2.61, ns.sibling.example.com. 300 A 192.0.2.62"},
		{"the CNAME itself", "chain.example.com.", "CNAME", "NOERROR AA ANSWER chain.example.com. 300 CNAME alias.example.com."},
		{"a loop is answered as far as it goes", "ring1.example.com.", "A",
			"NOERROR AA ANSWER ring1.example.com. 300 CNAME ring2.example.com., ring2.example.com. 300 CNAME ring1.example.com."},

		{"RFC 6672 DNAME into a zone of ours", "www.sub.example.com.", "A", "NOERROR AA ANSWER sub.example.com. 300 DNAME example.net., " +
			"www.sub.example.com. 300 CNAME www.example.net., www.example.net. 300 A 198.51.100.1"},
		{"DNAME over DNAME", "www.deepsub.example.com.", "A", "NOERROR AA ANSWER deepsub.example.com. 300 DNAME sub.example.com., " +
			"www.deepsub.example.com. 300 CNAME www.sub.example.com., sub.example.com. 300 DNAME example.net., " +
			"www.sub.example.com. 300 CNAME www.example.net., www.example.net. 300 A 198.51.100.1"},
		{"DNAME does not touch its owner", "sub.example.com.", "A", "NOERROR AA AUTHORITY " + soaLine},
		{"the DNAME itself", "sub.example.com.", "DNAME", "NOERROR AA ANSWER sub.example.com. 300 DNAME example.net."},

		{"delegation with glue and sibling glue", "www.child.example.com.", "A", "NOERROR" +
			" AUTHORITY child.example.com. 300 NS ns.child.example.com., child.example.com. 300 NS ns.sibling.example.com." +
			" ADDITIONAL ns.child.example.com. 300 A 192.0.2.61, ns.sibling.example.com. 300 A 192.0.2.62"},
		{"delegation: glue is not an answer", "ns.child.example.com.", "A", "NOERROR" +
			" AUTHORITY child.example.com. 300 NS ns.child.example.com., child.example.com. 300 NS ns.sibling.example.com." +
			" ADDITIONAL ns.child.example.com. 300 A 192.0.2.61, ns.sibling.example.com. 300 A 192.0.2.62"},
		{"delegation: ANY is referred too", "sibling.example.com.", "ANY", "NOERROR AUTHORITY sibling.example.com. 300 NS ns.sibling.example.com." +
			" ADDITIONAL ns.sibling.example.com. 300 A 192.0.2.62"},
		{"DS at the cut is ours", "child.example.com.", "DS", "NOERROR AA ANSWER child.example.com. 300 DS 1 13 2 00"},
		{"no DS at the cut", "sibling.example.com.", "DS", "NOERROR AA AUTHORITY " + soaLine},
		{"DS below the cut is not", "www.sibling.example.com.", "DS", "NOERROR AUTHORITY sibling.example.com. 300 NS ns.sibling.example.com." +
			" ADDITIONAL ns.sibling.example.com. 300 A 192.0.2.62"},

		{"RFC 8482 ANY gets one set", "mail.example.com.", "ANY", "NOERROR AA ANSWER mail.example.com. 300 A 192.0.2.25"},
		{"ANY for an empty non-terminal", "c.example.com.", "ANY", "NOERROR AA AUTHORITY " + soaLine},
		{"not ours", "www.example.org.", "A", "REFUSED"},
		{"not ours: the root", ".", "NS", "REFUSED"},
		{"a zone's name without the dot before it is not in the zone", "notexample.com.", "A", "REFUSED"},
		{"transfers are refused", "example.com.", "AXFR", "REFUSED"},
		{"transfers are refused", "example.com.", "IXFR", "REFUSED"},
		{"transfers of what is no zone here", "mail.example.com.", "AXFR", "NOTAUTH"},
		{"RFC 8906 3.1.2 no zone holds this type", "example.com.", "TSIG", "NOERROR AA AUTHORITY " + soaLine},
		{"RFC 8906 3.1.2 no zone holds this type", "none.example.com.", "OPT", "NXDOMAIN AA AUTHORITY " + soaLine},
	}
	for _, test := range tests {
		q := newQuery(test.name, typeNamed(t, test.qtype), question{})
		q.tcp = test.qtype != "ANY"
		if got := shown(answer(table, q)); got != test.want {
			t.Errorf("%s: %s %s\n got %s\nwant %s", test.rule, test.name, test.qtype, got, test.want)
		}
	}
}

func typeNamed(t testing.TB, name string) uint16 {
	if n, ok := dns.StringToType[name]; ok {
		return n
	}
	if name == "TYPE65280" {
		return 65280
	}
	t.Fatalf("no type %s", name)
	return 0
}

func TestAnswer_ChainLimit(t *testing.T) {
	zone := "$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nc9 A 192.0.2.9\n"
	for _, n := range strings.Split("0 1 2 3 4 5 6 7 8", " ") {
		zone += "c" + n + " CNAME c" + string(n[0]+1) + "\n"
	}
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", zone, nil))
	// The address is found only by those who need fewer aliases than the limit.
	maxChain := config.DefaultLimits().CNAMEChain
	for name, want := range map[string]int{"c0": maxChain, "c1": maxChain, "c2": 7, "c3": 6} {
		m := answer(table, newQuery(name+".example.com.", dns.TypeA, question{}))
		aliases := 0
		for _, rr := range m.Answer {
			if rr.Header().Rrtype == dns.TypeCNAME {
				aliases++
			}
		}
		if found := aliases < len(m.Answer); found != (want < maxChain) {
			t.Errorf("%s: address found: %v", name, found)
		}
		if aliases != want || m.Rcode != dns.RcodeSuccess {
			t.Errorf("%s: %d aliases, want %d: %s", name, aliases, want, shown(m))
		}
	}
}

func TestAnswer_DNAMEOverflow(t *testing.T) {
	long := strings.Repeat("a", 60)
	zone := mustZone(t, "example.com.", "$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nsub DNAME "+
		strings.Repeat(long+".", 3)+"example.org.\n", nil)
	table := newTable(&config.DNS{}, zone)
	m := answer(table, newQuery(long+".sub.example.com.", dns.TypeA, question{}))
	if m.Rcode != dns.RcodeYXDomain || len(m.Answer) != 1 || !m.Authoritative {
		t.Errorf("RFC 6672 2.2: want YXDOMAIN with the DNAME: %s", shown(m))
	}
}

// The part of a name below a DNAME is cut at labels, however it is spelled.
func TestAnswer_DNAMESpelling(t *testing.T) {
	text := zoneHead + "d DNAME t.example.net.\nal CNAME x.\\100.example.com.\ne\\@ DNAME t.example.net.\nat CNAME x.E@.example.com.\n"
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", text, nil))
	for _, name := range []string{`x.\100.example.com.`, "al.example.com.", "at.example.com.", `x.\068.EXAMPLE.com.`} {
		m := answer(table, newQuery(name, dns.TypeA, question{}))
		last := m.Answer[len(m.Answer)-1]
		if cname, ok := last.(*dns.CNAME); !ok || cname.Target != "x.t.example.net." {
			t.Errorf("%s: %s", name, shown(m))
		}
	}
}

// Zones of ours that lie in each other: the longest match answers, but for DS
// at the cut.
func TestAnswer_ZonesInZones(t *testing.T) {
	parentText := "$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nchild NS ns\nchild DS 1 13 2 00\n"
	childText := "$TTL 300\n@ SOA ns root 2 2 3 4 5\n@ NS ns.example.com.\nwww A 192.0.2.2\n"
	up, down := mustZone(t, "example.com.", parentText, nil), mustZone(t, "child.example.com.", childText, nil)
	both := newTable(&config.DNS{}, up, down)
	alone := newTable(&config.DNS{}, down)
	undelegated := newTable(&config.DNS{}, mustZone(t, "example.com.", zoneHead, nil), down)
	between := newTable(&config.DNS{}, mustZone(t, "com.", zoneHead+"example NS ns\n", nil), down)
	broken := newTable(&config.DNS{}, up)
	broken.serve(broken.zones.with(&served{state: ZoneState{Name: "child.example.com."}, count: &zoneTally{}}))
	tests := []struct {
		table             *Table
		name, qtype, want string
	}{
		{both, "www.child.example.com.", "A", "NOERROR AA ANSWER www.child.example.com. 300 A 192.0.2.2"},
		{both, "child.example.com.", "DS", "NOERROR AA ANSWER child.example.com. 300 DS 1 13 2 00"},
		{alone, "child.example.com.", "DS", "NOERROR AA AUTHORITY child.example.com. 5 SOA ns.child.example.com. root.child.example.com. 2 2 3 4 5"},
		{undelegated, "child.example.com.", "DS", "NOERROR AA AUTHORITY child.example.com. 5 SOA ns.child.example.com. root.child.example.com. 2 2 3 4 5"},
		{undelegated, "child.example.com.", "A", "NOERROR AA AUTHORITY child.example.com. 5 SOA ns.child.example.com. root.child.example.com. 2 2 3 4 5"},
		{between, "child.example.com.", "DS", "NOERROR AA AUTHORITY child.example.com. 5 SOA ns.child.example.com. root.child.example.com. 2 2 3 4 5"},
		{broken, "www.child.example.com.", "A", "SERVFAIL"},
		{broken, "ns.example.com.", "A", "NOERROR AA ANSWER ns.example.com. 300 A 192.0.2.1"},
	}
	for _, test := range tests {
		if got := shown(answer(test.table, newQuery(test.name, typeNamed(t, test.qtype), question{}))); got != test.want {
			t.Errorf("%s %s\n got %s\nwant %s", test.name, test.qtype, got, test.want)
		}
	}
}

const dynamicZone = `$TTL 300
@       SOA ns.example.com. root.example.com. 1 3600 600 86400 60
@       NS  ns
@       TXT "apex"
ns      A   192.0.2.53
www     TXT "beside"
www     HTTPS 1 . alpn=h2 ipv4hint=203.0.113.99
svc     HTTPS 1 www alpn=h2 ipv6hint=2001:db8::bad mandatory=alpn,ipv6hint
svcv6   HTTPS 1 www mandatory=ipv6hint ipv6hint=2001:db8::bad
still   HTTPS 1 ns ipv4hint=192.0.2.53
front   HTTPS 0 www
to      CNAME www
mx      MX 10 www
mx      MX 20 down
_s._tcp SRV 0 0 443 www
sub     NS www
`

func TestAnswer_Dynamic(t *testing.T) {
	www := &fixed{decision: decision{v4: addrs("192.0.2.10", "192.0.2.11"), ttl: 30, scope: 24}}
	names := map[string]decider{
		"www": www, "@": &fixed{decision: decision{v6: addrs("2001:db8::1"), ttl: 20}},
		"down": &fixed{decision: decision{rcode: dns.RcodeServerFailure, ede: 14, text: "not ready", ttl: 5}},
		"gone": &fixed{decision: decision{rcode: dns.RcodeNameError, ttl: 5}}, "drop": &fixed{decision: decision{drop: true}},
		"cdn": &fixed{decision: decision{cname: "edge.example.org.", ttl: 15}}, "in": &fixed{decision: decision{cname: "www.example.com.", ttl: 15}},
		"a.b": www, "*.dyn": www,
	}
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", dynamicZone, names))
	soa := func(ttl string) string { return strings.Replace(soaLine, " 60 ", " "+ttl+" ", 1) }
	addresses := "ADDITIONAL www.example.com. 30 A 192.0.2.10, www.example.com. 30 A 192.0.2.11"
	hints := `alpn="h2" ipv4hint="192.0.2.10,192.0.2.11"`
	tests := []struct{ rule, name, qtype, want string }{
		{"A", "www", "A", "NOERROR AA ANSWER www.example.com. 30 A 192.0.2.10, www.example.com. 30 A 192.0.2.11"},
		{"T5 no address of the family", "www", "AAAA", "NOERROR AA AUTHORITY " + soa("30")},
		{"apex", "@", "AAAA", "NOERROR AA ANSWER example.com. 20 AAAA 2001:db8::1"},
		{"static beside dynamic at the apex", "@", "TXT", `NOERROR AA ANSWER example.com. 300 TXT "apex"`},
		{"static beside dynamic", "www", "TXT", `NOERROR AA ANSWER www.example.com. 300 TXT "beside"`},
		{"no such type", "www", "MX", "NOERROR AA AUTHORITY " + soa("30")},
		{"wildcard", "x.dyn", "A", "NOERROR AA ANSWER x.dyn.example.com. 30 A 192.0.2.10, x.dyn.example.com. 30 A 192.0.2.11"},
		{"empty non-terminal above a dynamic name", "b", "A", "NOERROR AA AUTHORITY " + soa("60")},
		{"below a dynamic name", "x.www", "A", "NXDOMAIN AA AUTHORITY " + soa("60")},
		{"ANY", "www", "ANY", "NOERROR AA ANSWER www.example.com. 30 A 192.0.2.10, www.example.com. 30 A 192.0.2.11"},
		{"ANY of the other family", "@", "ANY", "NOERROR AA ANSWER example.com. 20 AAAA 2001:db8::1"},
		{"a decision's rcode", "down", "A", "SERVFAIL"},
		{"other types exist all the same", "down", "MX", "NOERROR AA AUTHORITY " + soa("5")},
		{"T5 never NXDOMAIN", "gone", "A", "NOERROR AA AUTHORITY " + soa("5")},
		{"drop", "drop", "A", "no reply"},
		{"a CNAME member away", "cdn", "A", "NOERROR AA ANSWER cdn.example.com. 15 CNAME edge.example.org."},
		{"a CNAME member for any type", "cdn", "MX", "NOERROR AA ANSWER cdn.example.com. 15 CNAME edge.example.org."},
		{"a CNAME member in our zone", "in", "A", "NOERROR AA ANSWER in.example.com. 15 CNAME www.example.com., " +
			"www.example.com. 30 A 192.0.2.10, www.example.com. 30 A 192.0.2.11"},
		{"an alias to a dynamic name", "to", "A", "NOERROR AA ANSWER to.example.com. 300 CNAME www.example.com., " +
			"www.example.com. 30 A 192.0.2.10, www.example.com. 30 A 192.0.2.11"},
		{"hints of the owner are replaced", "www", "HTTPS", "NOERROR AA ANSWER www.example.com. 30 HTTPS 1 . " + hints + " " + addresses},
		{"hints of a target, mandatory mended", "svc", "HTTPS", "NOERROR AA ANSWER svc.example.com. 30 HTTPS 1 www.example.com. " +
			`alpn="h2" mandatory="alpn" ipv4hint="192.0.2.10,192.0.2.11" ` + addresses},
		{"a mandatory list that gets empty", "svcv6", "HTTPS", `NOERROR AA ANSWER svcv6.example.com. 30 HTTPS 1 www.example.com. ipv4hint="192.0.2.10,192.0.2.11" ` + addresses},
		{"static hints stay", "still", "HTTPS", `NOERROR AA ANSWER still.example.com. 300 HTTPS 1 ns.example.com. ipv4hint="192.0.2.53" ADDITIONAL ns.example.com. 300 A 192.0.2.53`},
		{"alias mode", "front", "HTTPS", "NOERROR AA ANSWER front.example.com. 300 HTTPS 0 www.example.com. " + addresses},
		{"T8 MX: the selected A", "mx", "MX", "NOERROR AA ANSWER mx.example.com. 300 MX 10 www.example.com., mx.example.com. 300 MX 20 down.example.com. " + addresses},
		{"SRV", "_s._tcp", "SRV", "NOERROR AA ANSWER _s._tcp.example.com. 300 SRV 0 0 443 www.example.com. " + addresses},
		{"a delegation to a dynamic name", "x.sub", "A", "NOERROR AUTHORITY sub.example.com. 300 NS www.example.com. " + addresses},
	}
	for _, test := range tests {
		www.asked = nil
		name := test.name + ".example.com."
		if test.name == "@" {
			name = "example.com."
		}
		q := newQuery(name, typeNamed(t, test.qtype), question{})
		q.tcp = test.qtype != "ANY"
		if got := shown(answer(table, q)); got != test.want {
			t.Errorf("%s: %s %s\n got %s\nwant %s", test.rule, test.name, test.qtype, got, test.want)
		}
		if len(www.asked) > 1 {
			t.Errorf("%s: decided %d times in one query", test.rule, len(www.asked))
		}
		if strings.Contains(test.want, "192.0.2.10") && q.scope != 24 {
			t.Errorf("%s: scope %d, want 24", test.rule, q.scope)
		}
	}
}

// An answer that was copied for one client must not change what the zone
// holds for the next.
func TestAnswer_ZoneUnchanged(t *testing.T) {
	www := &fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30}}
	table := newTable(&config.DNS{}, mustZone(t, "example.com.", dynamicZone, map[string]decider{"www": www}))
	ask := func() string {
		return shown(answer(table, newQuery("svc.example.com.", dns.TypeHTTPS, question{})))
	}
	first := ask()
	www.v4, www.ttl = addrs("192.0.2.77"), 300
	second := ask()
	www.v4, www.ttl = addrs("192.0.2.10"), 30
	if third := ask(); third != first || second == first {
		t.Errorf("answers leave traces:\n%s\n%s\n%s", first, second, third)
	}
}
