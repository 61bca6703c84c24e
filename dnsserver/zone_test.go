package dnsserver

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/topology"
)

const zoneHead = "$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n" // lines 1 to 4

// TestParseZone_Errors holds each message to its place. Lines given are put
// after zoneHead, so they start at line 5.
func TestParseZone_Errors(t *testing.T) {
	tests := []struct{ name, lines, want string }{
		{"address", "www A 192.0.2.256", `zone:5:7: bad address in A record: "192.0.2.256"`},
		{"address on a later line", "www (\n A\n 1.2.3 )", `zone:7:2: bad address in A record: "1.2.3"`},
		{"after comments and blank lines", "\n; a comment ( \" \n  \nwww MX ten mail", `zone:8:8: bad pref in MX record: "ten"`},
		{"type", "www FOO bar", `zone:5:5: neither a TTL nor a class nor a known type: "FOO"`},
		{"all of a file", "a A x\nb A 192.0.2.1\nc A y", "zone:5:5: bad address in A record: \"x\"\nzone:7:5: bad address in A record: \"y\""},
		{"the owner before an error goes on", "a A x\n  TXT ok\n  A 192.0.2.7", `zone:5:5: bad address in A record: "x"`},
		{"quote", "a TXT \"open\nb A 192.0.2.1", "zone:5:1: a quoted string is not closed on its line"},
		{"parenthesis", "a TXT ( open\nb A 192.0.2.1", "zone:5:1: a parenthesis is not closed before the end of the file"},
		{"closing parenthesis", "a TXT x )\nb A 192.0.2.1", "zone:5:9: syntax: a closing parenthesis without its opening one"},
		{"no data", "a A", "zone:5:1: a.example.com. A has no data"},
		{"class", "a CH A 192.0.2.1", "zone:5:1: class CH; only IN is served"},
		{"meta type", "a TYPE250 \\# 0", "zone:5:1: type TSIG cannot be in a zone"},
		{"TTL too large", "a 2147483648 A 192.0.2.1", "warning zone:5:1: TTL 2147483648 is larger than 2147483647 and means 0 (RFC 2181 section 8)"},
		{"out of the zone", "example.net. A 192.0.2.1", "zone:5:1: example.net. is not in zone example.com."},
		{"label too long", strings.Repeat("a", 64) + " A 192.0.2.1", "zone:5:1: bad owner name: \"" + strings.Repeat("a", 64) + "\""},
		{"directive", "$FOO x", "zone:5:1: $FOO: unknown directive; $TTL, $ORIGIN, $INCLUDE and $GENERATE are known"},
		{"$TTL", "$TTL soon", "zone:5:1: $TTL soon: not a TTL; write seconds or 1h30m, at most 2147483647"},
		{"$ORIGIN", "$ORIGIN a..b", "zone:5:1: $ORIGIN a..b: not a domain name"},
		{"$GENERATE", "$GENERATE 9-1 h$ A 192.0.2.$", "zone:5:1: bad range in $GENERATE range: \"9-1\""},
		{"$GENERATE too many", "$GENERATE 1-100000 h$ A 192.0.2.1", "zone:5:1: bad range in $GENERATE range: \"1-100000\""},

		{"two SOA", "@ SOA ns root 2 2 3 4 5", "zone:2:1: zone example.com. has 2 SOA records; one is allowed"},
		{"SOA below the apex", "a SOA ns root 2 2 3 4 5", "zone:5:1: SOA record at a.example.com., which is not the apex example.com."},
		{"CNAME and other data", "a CNAME b\na A 192.0.2.1", "zone:5:1: a.example.com. has a CNAME and other data (A, line 6); a CNAME stands alone (RFC 2181 10.1)"},
		{"CNAME at the apex", "@ CNAME b", "zone:5:1: example.com. has a CNAME and other data (SOA, line 2); a CNAME stands alone (RFC 2181 10.1)"},
		{"two CNAME", "a CNAME b\na CNAME c", "zone:5:1: a.example.com. has 2 CNAME records; one is allowed (RFC 2181 10.1)"},
		{"two DNAME", "a DNAME b\na DNAME c", "zone:5:1: a.example.com. has 2 DNAME records; one is allowed (RFC 6672)"},
		{"below a DNAME", "a DNAME b\nx.a A 192.0.2.1", "warning zone:6:1: x.a.example.com. is below the DNAME of a.example.com. and is never answered (RFC 6672 2.4)"},
		{"set too large", manyTXT(), "zone:234:1: big.example.com. has more TXT records than 60000 octets of a message hold (dns.limits.zone.setSize)"},

		{"twice", "a A 192.0.2.1\nA A 192.0.2.1", "warning zone:6:1: A.example.com. A is there twice"},
		{"TTLs differ", "a 60 A 192.0.2.1\na 30 A 192.0.2.2", "warning zone:6:1: a.example.com. A records have different TTLs; all get the lowest, 30 (RFC 2181 5.2)"},
		{"no glue", "a NS ns.a", "warning zone:5:1: delegation of a.example.com.: name server ns.a.example.com. has no A or AAAA record (glue)"},
		{"hidden", "a NS ns\nx.a TXT y", "warning zone:6:1: x.a.example.com. is below the delegation of a.example.com. and is never answered"},
		{"MX to an alias", "a CNAME b\nm MX 1 a", "warning zone:6:1: MX record points to a.example.com., which is a CNAME (RFC 2181 10.3)"},
	}
	for _, test := range tests {
		z, errs := parseText("example.com.", zoneHead+test.lines+"\n")
		if got := listed(errs); got != test.want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		if (z == nil) != errs.Failed() {
			t.Errorf("%s: zone %v with %v", test.name, z != nil, errs)
		}
	}
}

// manyTXT is a set of 250 records of 255 octets each.
func manyTXT() string {
	var b strings.Builder
	for i := range 250 {
		fmt.Fprintf(&b, "big TXT \"%03d%s\"\n", i, strings.Repeat("x", 230))
	}
	return b.String()
}

func listed(errs config.Errors) string {
	var lines []string
	for _, e := range errs {
		line := e.Error()
		if e.Warning {
			line = "warning " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestParseZone_WholeZone(t *testing.T) {
	tests := []struct{ text, want string }{
		{"", "zone:1:1: zone example.com. has no NS record at its apex\nzone:1:1: zone example.com. has no SOA record"},
		{"$TTL 1\n@ SOA ns root 1 2 3 4 5", "zone:1:1: zone example.com. has no NS record at its apex"},
		{"@ SOA ns root 1 2 3 4 5", "warning zone:1:1: no TTL: the SOA record's minimum, 5, stands for it; put $TTL before it (RFC 2308 section 4)\n" +
			"zone:1:1: zone example.com. has no NS record at its apex"},
		{"@ NS ns", "zone:1:3: no TTL: give the record one or put $TTL before it\n" +
			"zone:1:1: zone example.com. has no NS record at its apex\nzone:1:1: zone example.com. has no SOA record"},
	}
	for _, test := range tests {
		if z, errs := parseText("example.com.", test.text); listed(errs) != test.want || z != nil {
			t.Errorf("%q:\n got %s\nwant %s", test.text, listed(errs), test.want)
		}
	}
}

// TestParseZone_Syntax reads the same zone written in two ways.
func TestParseZone_Syntax(t *testing.T) {
	short := `$TTL 1h30m
$ORIGIN com.
example SOA ns.example root.example (
	1 ; serial
	2 3 4 5 )
	NS ns.example
$ORIGIN example.com.
ns	60 IN A 192.0.2.1
	IN 60 AAAA 2001:db8::1
*	TXT "a;b" "c(d" ( "e\"f"
	"g" )
\097\.b A 192.0.2.2
$TTL 30
$GENERATE 1-5/2 h$ A 192.0.2.$
$GENERATE 7-8 g${0,3} 99 IN CNAME h$
unk TYPE1 \# 4 c0000203`
	long := `example.com. 5400 IN SOA ns.example.com. root.example.com. 1 2 3 4 5
example.com. 5400 IN NS ns.example.com.
ns.example.com. 60 IN A 192.0.2.1
ns.example.com. 60 IN AAAA 2001:db8::1
*.example.com. 5400 IN TXT "a;b" "c(d" "e\"f" "g"
a\.b.example.com. 5400 IN A 192.0.2.2
h1.example.com. 30 IN A 192.0.2.1
h3.example.com. 30 IN A 192.0.2.3
h5.example.com. 30 IN A 192.0.2.5
g007.example.com. 99 IN CNAME h7.example.com.
g008.example.com. 99 IN CNAME h8.example.com.
unk.example.com. 30 IN A 192.0.2.3
`
	var dumps []string
	for _, text := range []string{short, long, strings.ReplaceAll(short, "\n", "\r\n")} {
		z, errs := parseText("example.com.", text)
		if z == nil {
			t.Fatal(errs)
		}
		dumps = append(dumps, dump(z))
	}
	if dumps[0] != dumps[1] || dumps[2] != dumps[1] {
		t.Errorf("got\n%s\nwant\n%s\nwith CRLF\n%s", dumps[0], dumps[1], dumps[2])
	}
}

func dump(z *Zone) string {
	var lines []string
	for name, n := range z.nodes {
		for _, set := range n.sets {
			for _, rr := range plainRecords(set.rrs) {
				lines = append(lines, name+" = "+strings.ToLower(rr))
			}
		}
	}
	slices.Sort(lines)
	out := strings.Join(lines, "\n")
	return strings.ReplaceAll(out, `\097\.b.example.com. 5400`, `a\.b.example.com. 5400`)
}

// Without $TTL the TTL stated last goes on (RFC 1035 5.1), $GENERATE or not.
func TestParseZone_LastTTL(t *testing.T) {
	z, errs := parseText("example.com.", "@ 60 SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n$GENERATE 1-2 h$ 5 A 192.0.2.$\nb A 192.0.2.9\n")
	if z == nil {
		t.Fatal(errs)
	}
	if got, want := namesWithTTL(z), "b.example.com. 60, h1.example.com. 5, h2.example.com. 5"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestParseZone_Include(t *testing.T) {
	files := func(more map[string]string) config.Source {
		m := fstest.MapFS{"conf/zones/main": {Data: []byte(zoneHead + more["main"])}, "conf/secret": {Data: []byte("a A 192.0.2.1\n")}}
		for name, text := range more {
			if name != "main" {
				m["conf/zones/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		return config.Source{FS: m, Dir: "conf", Shown: "etc"}
	}
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"inside", map[string]string{"main": "$INCLUDE sub/a sub\nb A 192.0.2.1", "sub/a": "$TTL 7\nx A 192.0.2.1\n$INCLUDE b\n", "sub/b": "y A 192.0.2.1"},
			"b.example.com. 300, x.sub.example.com. 7, y.sub.example.com. 7"},
		{"up", map[string]string{"main": "$INCLUDE ../secret"}, "etc/zones/main:5:1: $INCLUDE ../secret: leaves the zone's folder etc/zones"},
		{"up by a detour", map[string]string{"main": "$INCLUDE sub/../../secret"}, "etc/zones/main:5:1: $INCLUDE sub/../../secret: leaves the zone's folder etc/zones"},
		{"absolute", map[string]string{"main": "$INCLUDE /etc/passwd"}, "etc/zones/main:5:1: $INCLUDE /etc/passwd: an absolute path; write it relative to this file"},
		{"itself", map[string]string{"main": "$INCLUDE main"}, "etc/zones/main:5:1: $INCLUDE main: the file includes itself (zones/main -> zones/main)"},
		{"in a ring", map[string]string{"main": "$INCLUDE a", "a": "\n $x\n$INCLUDE main"}, "etc/zones/a:2:2: expecting"},
		{"missing", map[string]string{"main": "$INCLUDE nothing"}, "etc/zones/main:5:1: zone example.com.: cannot read etc/zones/nothing: file does not exist"},
		{"error inside", map[string]string{"main": "$INCLUDE a", "a": "\nx A y"}, `etc/zones/a:2:5: bad address in A record: "y"`},
	}
	for _, test := range tests {
		z, errs := ParseZone(files(test.files), &config.Zone{Name: "example.com.", File: "zones/main"})
		got := listed(errs)
		if z != nil {
			got = namesWithTTL(z)
		}
		if got != test.want && test.name != "in a ring" {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
		}
		if test.name == "in a ring" && !strings.Contains(got, "$INCLUDE main: the file includes itself (zones/main -> zones/a -> zones/main)") {
			t.Errorf("%s: %s", test.name, got)
		}
	}
}

func namesWithTTL(z *Zone) string {
	var list []string
	for name, n := range z.nodes {
		if set := n.get(dns.TypeA); set != nil && !strings.HasPrefix(name, "ns.") {
			list = append(list, fmt.Sprintf("%s %d", name, set.rrs[0].Header().Ttl))
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func TestZone_Fresh(t *testing.T) {
	disk := fstest.MapFS{"zone": {Data: []byte(zoneHead + "$INCLUDE more\n")}, "more": {Data: []byte("a A 192.0.2.1\n")}}
	src, c := config.Source{FS: disk, Dir: "."}, &config.Zone{Name: "example.com.", File: "zone"}
	z, errs := ParseZone(src, c)
	if z == nil || !z.Fresh(src, c) || !slices.Equal(z.Files(), []string{"zone", "more"}) {
		t.Fatal(errs, z.Files())
	}
	if z.Fresh(src, &config.Zone{Name: "example.net.", File: "zone"}) || z.Fresh(src, &config.Zone{Name: "example.com.", File: "more"}) {
		t.Error("fresh under another name or file")
	}
	disk["more"] = &fstest.MapFile{Data: []byte("a A 192.0.2.2\n")}
	if z.Fresh(src, c) {
		t.Error("fresh after an included file has changed")
	}
	delete(disk, "more")
	if z.Fresh(src, c) {
		t.Error("fresh after an included file has gone")
	}
}

func TestZone_Bind(t *testing.T) {
	text := zoneHead + "a A 192.0.2.1\nb AAAA 2001:db8::1\nc CNAME a\nd TXT x\ncut NS ns\nold DNAME d\nold A 192.0.2.3\n"
	z, errs := parseText("example.com.", text)
	if z == nil {
		t.Fatal(errs)
	}
	tests := []struct{ name, want string }{
		{"@", ""}, {"*", ""}, {"d", ""}, {"new", ""}, {"x.y.new", ""}, {"*.d", ""},
		{"a", "a has a static A record too (zone:5); a dynamic name owns A, AAAA and CNAME"},
		{"b", "b has a static AAAA record too (zone:6); a dynamic name owns A, AAAA and CNAME"},
		{"c", "c has a static CNAME record too (zone:7); a dynamic name owns A, AAAA and CNAME"},
		{"old", "old has a static A record too (zone:11); a dynamic name owns A, AAAA and CNAME"},
		{"cut", "cut is at or below the delegation of cut.example.com. (zone:9)"},
		{"x.cut", "x.cut is at or below the delegation of cut.example.com. (zone:9)"},
		{"x.old", "x.old is below the DNAME of old.example.com. (zone:10)"},
	}
	for i, test := range tests {
		fqdn := test.name + ".example.com."
		if test.name == "@" {
			fqdn = "example.com."
		}
		c := &config.Zone{Names: []*config.Name{{Name: test.name, FQDN: fqdn, Pos: config.Pos{File: "conf", Line: i}}}}
		_, errs := z.bind(c, noCNAME, func(*config.Name) decider { return &fixed{} })
		want := ""
		if words := strings.SplitN(test.want, " ", 2); len(words) == 2 {
			want = fmt.Sprintf("conf:%d: name %q: %s", i, words[0], words[1])
		}
		if i == 0 {
			want = strings.TrimPrefix(want, ":0")
		}
		if got := listed(errs); got != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, want)
		}
	}
}

// Binding again starts from the records, not from the names bound before.
func TestZone_BindAgain(t *testing.T) {
	first := mustZone(t, "example.com.", zoneHead, map[string]decider{"a.b": &fixed{}})
	second, errs := first.bind(&config.Zone{}, noCNAME, nil)
	if len(errs) > 0 || first.find("b.example.com.") == nil || second.find("b.example.com.") != nil || second.find("a.b.example.com.") != nil {
		t.Error("names of the zone before are still there", errs)
	}
}

func TestZone_NameServerWithoutAddress(t *testing.T) {
	text := "$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\n@ NS ns.example.net.\n"
	z, errs := parseText("example.com.", text)
	if z == nil {
		t.Fatal(errs)
	}
	_, errs = z.bind(&config.Zone{}, noCNAME, nil)
	if got, want := listed(errs), "warning zone:3:1: name server ns.example.com. of zone example.com. has no A or AAAA record"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	c := &config.Zone{Names: []*config.Name{{Name: "ns", FQDN: "ns.example.com."}}}
	if _, errs = z.bind(c, noCNAME, func(*config.Name) decider { return &fixed{} }); len(errs) > 0 {
		t.Errorf("a dynamic name server has addresses: %v", errs)
	}
}

func TestCanonical(t *testing.T) {
	for in, want := range map[string]string{"WWW.Example.com": "www.example.com.", `\065.com.`: "a.com.", `a\.b.C.`: `a\.b.c.`, ".": ".", `\200.`: `\200.`,
		"user@host.": `user\@host.`, "it's.": `it\'s.`, "Caf\xc3\xa9.": `caf\195\169.`, "\xff.": `\255.`, "\xfe.": `\254.`, "A_b-1.*": "a_b-1.*.",
		"\u212a.": `\226\132\170.`} {
		if got := canonical(in); got != want {
			t.Errorf("canonical(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLabelsBelow(t *testing.T) {
	tests := []struct{ name, apex, want string }{
		{"a.b.c.", "c.", "[a.b.c. b.c.]"}, {"c.", "c.", "[]"}, {"a.b.", ".", "[a.b. b.]"}, {".", ".", "[]"}, {`a\.b.c.`, "c.", `[a\.b.c.]`},
	}
	for _, test := range tests {
		var starts [maxLabels]int
		names := []string{}
		for _, s := range starts[:labelsBelow(test.name, test.apex, &starts)] {
			names = append(names, test.name[s:])
		}
		if got := fmt.Sprint(names); got != test.want {
			t.Errorf("labelsBelow(%q, %q): %s, want %s", test.name, test.apex, got, test.want)
		}
	}
}

// Owners with octets that have more than one spelling are found by the name on
// the wire, static and dynamic, and told apart octet by octet.
func TestZone_Spellings(t *testing.T) {
	text := zoneHead + "user@host A 192.0.2.2\nit's A 192.0.2.3\ncaf\xc3\xa9 A 192.0.2.4\n\xff A 192.0.2.5\n\xfe A 192.0.2.6\n" +
		"to CNAME User@Host\nweb\xc3\xa9 CNAME caf\xc3\xa9\nm MX 1 it's\n"
	dyn := &fixed{decision: decision{v4: addrs("192.0.2.10"), ttl: 30}}
	b := newBench(t, newTable(&config.DNS{}, mustZone(t, "example.com.", text, map[string]decider{"d@y": dyn})), true)
	tests := []struct {
		name  string
		qtype uint16
		want  string
	}{
		{`user\@host`, dns.TypeA, "192.0.2.2"}, {`USER\064host`, dns.TypeA, "192.0.2.2"}, {`it\'s`, dns.TypeA, "192.0.2.3"},
		{`caf\195\169`, dns.TypeA, "192.0.2.4"}, {`\255`, dns.TypeA, "192.0.2.5"}, {`\254`, dns.TypeA, "192.0.2.6"},
		{`d\@y`, dns.TypeA, "192.0.2.10"}, {"to", dns.TypeA, `User\@Host.example.com. 192.0.2.2`},
		{`web\195\169`, dns.TypeA, `caf\195\169.example.com. 192.0.2.4`}, {"m", dns.TypeMX, `1 it\'s.example.com.`},
	}
	for _, test := range tests {
		r := b.ask(asking(test.name+".example.com.", test.qtype))
		if got := short(r); got != "NOERROR "+test.want {
			t.Errorf("%s: got %s, want %s", test.name, got, test.want)
		}
		if test.qtype == dns.TypeMX && len(r.Extra) != 1 {
			t.Errorf("the address of an odd MX host: %v", r)
		}
	}
	_, errs := parseText("example.com.", zoneHead+"a@b A 192.0.2.2\na\\@b A 192.0.2.2\n")
	if got, want := listed(errs), `warning zone:6:1: a\@b.example.com. A is there twice`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A pool that may answer a CNAME, wherever it has it from, is not bound where
// other records are (RFC 1034 3.6.2, RFC 2181 10.1).
func TestCompile_CNAMEBesideData(t *testing.T) {
	alias := &config.Pool{Name: "alias", Members: []*config.Member{{CNAME: "edge.example.org.", Weight: 1}}}
	tests := []struct {
		name  string
		pools []*config.Pool
		want  string
	}{
		{"member", []*config.Pool{{Name: "www", Members: []*config.Member{{CNAME: "edge.example.org.", Weight: 1}}}}, "www"},
		{"nested", []*config.Pool{{Name: "www", Members: []*config.Member{{Pool: "alias", Weight: 1}}}, alias}, "www"},
		{"onDown", []*config.Pool{{Name: "www", Members: servers("a"), OnDown: []config.Rung{{CNAME: "edge.example.org."}}}}, "www"},
		{"onDown pool", []*config.Pool{{Name: "www", Members: servers("a"), OnDown: []config.Rung{{Pool: "alias"}}}, alias}, "www"},
		{"addresses only", []*config.Pool{{Name: "www", Members: servers("a")}, alias}, ""},
		{"no other data", []*config.Pool{{Name: "other", Members: []*config.Member{{CNAME: "edge.example.org.", Weight: 1}}}}, ""},
	}
	for _, test := range tests {
		m := pooled(test.pools...)
		src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte(worldZone)}}, Dir: "."}
		topo, errs := topology.Compile(m, src)
		if topo == nil {
			t.Fatal(errs)
		}
		for _, n := range m.Zones[0].Names {
			n.Pos = config.Pos{File: "conf", Line: 7, Col: 3}
		}
		_, errs = Compile(Inputs{Model: m, Source: src, Topology: topo})
		errs = slices.DeleteFunc(errs, func(e *config.Error) bool { return e.Warning }) // www without an address
		want := ""
		if test.want != "" {
			want = `conf:7:3: name "www": has a static TXT record (zone:7), and pool "www" may answer the CNAME edge.example.org.; a CNAME stands alone (RFC 2181 10.1)`
		}
		if got := listed(errs); got != want {
			t.Errorf("%s:\n got %s\nwant %s", test.name, got, want)
		}
	}
}

// endless is a file that says it is short, never ends, and counts what was read.
type endless struct {
	fstest.MapFS
	fs.File
	read int64
}

func (e *endless) Open(name string) (f fs.File, err error) {
	e.File, err = e.MapFS.Open(name)
	return e, err
}

func (e *endless) Stat() (fs.FileInfo, error) { return e.File.Stat() }

func (e *endless) Read(p []byte) (int, error) {
	e.read += int64(len(p))
	return len(p), nil
}

// A file that is too large is not read to its end to find that out.
func TestReadFile_Bound(t *testing.T) {
	e := &endless{MapFS: fstest.MapFS{"zone": {}}}
	_, err := readFile(config.Source{FS: e}, "zone", 10_000)
	if err == nil || !errors.Is(err, errFileSize) || e.read > 10_001 {
		t.Errorf("%d octets read, %v", e.read, err)
	}
	src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte("0123456789")}}, Dir: "."}
	for most, fits := range map[config.Size]bool{9: false, 10: true, 11: true} {
		if got, err := readFile(src, "zone", most); (err == nil) != fits || fits && string(got) != "0123456789" {
			t.Errorf("bound %d: %q, %v", most, got, err)
		}
	}
}

// Every message prints a file as the user wrote its folder.
func TestZone_PlacesAsShown(t *testing.T) {
	text := "$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\na A 192.0.2.1\n"
	src := config.Source{FS: fstest.MapFS{"etc/zone": {Data: []byte(text)}}, Dir: "etc", Shown: "here"}
	z, errs := ParseZone(src, &config.Zone{Name: "example.com.", File: "zone"})
	if z == nil {
		t.Fatal(errs)
	}
	_, errs = z.bind(&config.Zone{Names: []*config.Name{{Name: "a", FQDN: "a.example.com."}}}, noCNAME, nil)
	want := `name "a": has a static A record too (here/zone:4); a dynamic name owns A, AAAA and CNAME` + "\n" +
		"warning here/zone:3:1: name server ns.example.com. of zone example.com. has no A or AAAA record"
	if got := listed(errs); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A file that cannot be read is one error: what it would hold is not missing.
func TestParseZone_Unreadable(t *testing.T) {
	_, errs := ParseZone(config.Source{FS: fstest.MapFS{}, Dir: "."}, &config.Zone{Name: "example.com.", File: "away"})
	if len(errs) != 1 || !strings.Contains(errs[0].Text, "cannot read away") {
		t.Errorf("%v", errs)
	}
}
