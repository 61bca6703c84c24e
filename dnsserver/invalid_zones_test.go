package dnsserver

import (
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// verdict is what check says of a zone.
type verdict string

const (
	fine     verdict = "ok"      // loads
	odd      verdict = "warning" // loads, with words
	unusable verdict = "error"   // does not load
)

// TestInvalidZones compares what we say of odd zones with what three servers
// do, each with its defaults: BIND 9.18, NSD 4.6 and Knot 3.2. What all of them
// load we load, and what all of them refuse we refuse. Where they differ, our
// verdict is a decision, and stands here.
func TestInvalidZones(t *testing.T) {
	long := strings.NewReplacer("<63a>", strings.Repeat("a", 63), "<64a>", strings.Repeat("a", 64), "<56b>", strings.Repeat("b", 56),
		"<57b>", strings.Repeat("b", 57), "<255x>", strings.Repeat("x", 255), "<256x>", strings.Repeat("x", 256), "<64 0>", strings.Repeat("0", 64))
	for _, z := range invalidZones {
		got, errs := verdictOf(long.Replace(z.text))
		if got != z.want {
			t.Errorf("%s: %s, want %s\n%s", z.name, got, z.want, listed(errs))
		}
		if z.theirs == "+++" && got == unusable || z.theirs == "---" && got != unusable {
			t.Errorf("%s: %s, and the three servers agree: %s", z.name, got, z.theirs)
		}
	}
}

// verdictOf reads a zone z000. as serve does, names bound.
func verdictOf(text string) (verdict, config.Errors) {
	zone, errs := parseText("z000.", text)
	if zone == nil {
		return unusable, errs
	}
	_, more := zone.bind(&config.Zone{Name: zone.apex}, noCNAME, nil)
	if errs = append(errs, more...); len(errs) > 0 {
		return odd, errs
	}
	return fine, nil
}

var invalidZones = []struct {
	name   string
	theirs string // + loads, - does not: BIND, NSD, Knot
	want   verdict
	text   string
}{
	{"good", "+++", fine, zoneHead + "www A 192.0.2.2\n"},
	{"empty file", "---", unusable, ""},
	{"only comments", "---", unusable, "; nothing\n\n"},
	{"no SOA", "---", unusable, "$TTL 300\n@ NS ns\nns A 192.0.2.1\n"},
	{"no NS at the apex", "-++", unusable, "$TTL 300\n@ SOA ns root 1 2 3 4 5\nwww A 192.0.2.1\n"},
	{"two SOA", "--+", unusable, zoneHead + "@ SOA ns root 2 2 3 4 5\n"},
	{"the same SOA twice", "+-+", odd, zoneHead + "@ SOA ns root 1 2 3 4 5\n"},
	{"SOA below the apex", "--+", unusable, zoneHead + "a SOA ns root 1 2 3 4 5\n"},
	{"SOA is not the first record", "+++", fine, "$TTL 300\n@ NS ns\nns A 192.0.2.1\n@ SOA ns root 1 2 3 4 5\n"},
	{"CNAME and A", "---", unusable, zoneHead + "a CNAME b\na A 192.0.2.1\nb A 192.0.2.1\n"},
	{"CNAME at the apex", "---", unusable, zoneHead + "@ CNAME b\n"},
	{"two CNAME", "---", unusable, zoneHead + "a CNAME b\na CNAME c\n"},
	{"the same CNAME twice", "+++", odd, zoneHead + "a CNAME b\na CNAME b\n"},
	{"CNAME and DNAME", "---", unusable, zoneHead + "a CNAME b\na DNAME b\n"},
	{"CNAME and NS", "---", unusable, zoneHead + "a CNAME b\na NS b\n"},
	{"CNAME loop", "+++", fine, zoneHead + "a CNAME b\nb CNAME a\n"},
	{"CNAME to itself", "+++", fine, zoneHead + "a CNAME a\n"},
	{"two DNAME", "---", unusable, zoneHead + "a DNAME b\na DNAME c\n"},
	{"the same DNAME twice", "+++", odd, zoneHead + "a DNAME b\na DNAME b\n"},
	{"below a DNAME", "+--", odd, zoneHead + "a DNAME b\nx.a A 192.0.2.1\n"},
	{"below a DNAME at the apex", "---", unusable, zoneHead + "@ DNAME example.net.\n"},
	{"DNAME and NS at one name", "++-", fine, zoneHead + "a DNAME b\na NS ns\n"},
	{"DNAME and A at one name", "+++", fine, zoneHead + "a DNAME b\na A 192.0.2.1\n"},
	{"DNAME to itself", "+++", fine, zoneHead + "a DNAME a\n"},
	{"wildcard NS", "-++", odd, zoneHead + "*.w NS ns\n"},
	{"wildcard DNAME", "+++", odd, zoneHead + "*.w DNAME b\n"},
	{"wildcard SOA", "--+", unusable, zoneHead + "*.w SOA ns root 1 2 3 4 5\n"},
	{"wildcard in the middle", "-++", fine, zoneHead + "a.*.w A 192.0.2.1\n"},
	{"wildcard twice", "-++", fine, zoneHead + "*.*.w A 192.0.2.1\n"},
	{"below a delegation, no glue", "+++", odd, zoneHead + "a NS ns\nx.a TXT y\n"},
	{"address below a delegation that no NS names", "+++", fine, zoneHead + "a NS ns\nx.a A 192.0.2.1\n"},
	{"other data at a delegation", "+++", fine, zoneHead + "a NS ns\na TXT x\na A 192.0.2.1\n"},
	{"a delegation below a delegation", "+++", odd, zoneHead + "a NS ns\nb.a NS ns\n"},
	{"CNAME below a delegation", "+++", odd, zoneHead + "a NS ns\nx.a CNAME ns\n"},
	{"missing glue", "+++", odd, zoneHead + "a NS ns.a\n"},
	{"missing glue at the apex", "-++", odd, zoneHead + "@ NS ns2\n"},
	{"NS to a CNAME", "-++", odd, zoneHead + "@ NS al\nal CNAME ns\n"},
	{"NS of a delegation to a CNAME", "+++", odd, zoneHead + "a NS al\nal CNAME ns\n"},
	{"NS to an address literal", "-++", odd, zoneHead + "@ NS 192.0.2.1\n"},
	{"MX to a CNAME", "+++", odd, zoneHead + "m MX 1 al\nal CNAME ns\n"},
	{"MX to an address literal", "+++", odd, zoneHead + "m MX 1 192.0.2.1.\n"},
	{"MX to nothing", "+++", odd, zoneHead + "m MX 1 nix\n"},
	{"null MX", "+++", fine, zoneHead + "m MX 0 .\n"},
	{"SRV to a CNAME", "+++", odd, zoneHead + "_x._tcp SRV 1 1 1 al\nal CNAME ns\n"},
	{"SRV to nothing", "+++", odd, zoneHead + "_x._tcp SRV 1 1 1 nix\n"},
	{"DS without a delegation", "+++", fine, zoneHead + "a DS 1 13 2 <64 0>\n"},
	{"bad TTL", "---", unusable, zoneHead + "a 1y A 192.0.2.1\n"},
	{"negative TTL", "---", unusable, zoneHead + "a -1 A 192.0.2.1\n"},
	{"TTL 2147483647", "+++", fine, zoneHead + "a 2147483647 A 192.0.2.1\n"},
	{"TTL 2147483648", "+++", odd, zoneHead + "a 2147483648 A 192.0.2.1\n"},
	{"TTL 4294967296", "-+-", unusable, zoneHead + "a 4294967296 A 192.0.2.1\n"},
	{"TTL with units", "+++", fine, zoneHead + "a 1h30m A 192.0.2.1\n"},
	{"$TTL 2147483648", "+++", odd, zoneHead + "$TTL 2147483648\na A 192.0.2.1\n"},
	{"no TTL at all", "+++", odd, "@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"},
	{"no TTL but the SOA's", "+++", fine, "@ 300 SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"},
	{"TTLs differ in a set", "+++", odd, zoneHead + "a 60 A 192.0.2.1\na 30 A 192.0.2.2\n"},
	{"a record twice", "+++", odd, zoneHead + "a A 192.0.2.1\na A 192.0.2.1\n"},
	{"a record twice but for case", "+++", odd, zoneHead + "a NS NS\nA NS ns\n"},
	{"label of 63", "+++", fine, zoneHead + "<63a> A 192.0.2.1\n"},
	{"label of 64", "---", unusable, zoneHead + "<64a> A 192.0.2.1\n"},
	{"name of 255", "+++", fine, zoneHead + "<63a>.<63a>.<63a>.<56b> A 192.0.2.1\n"},
	{"name of 256", "---", unusable, zoneHead + "<63a>.<63a>.<63a>.<57b> A 192.0.2.1\n"},
	{"empty label", "---", unusable, zoneHead + "a..b A 192.0.2.1\n"},
	{"out of the zone", "+-+", unusable, zoneHead + "example.net. A 192.0.2.1\n"},
	{"owner with a space escaped", "-++", fine, zoneHead + "a\\032b A 192.0.2.1\n"},
	{"owner with an underscore", "-++", fine, zoneHead + "a_b A 192.0.2.1\n"},
	{"owner that starts with a hyphen", "-++", fine, zoneHead + "-a A 192.0.2.1\n"},
	{"owner with an underscore has MX", "-++", fine, zoneHead + "a_b MX 1 ns\n"},
	{"NS target with an underscore", "-++", fine, zoneHead + "a NS n_s\nn_s A 192.0.2.1\n"},
	{"owner in UTF-8", "-+-", fine, zoneHead + "\u00e9 A 192.0.2.1\n"},
	{"escape of 3 digits", "+++", fine, zoneHead + "\\097 A 192.0.2.1\n"},
	{"escape of 2 digits", "-+-", unusable, zoneHead + "\\09a A 192.0.2.1\n"},
	{"escape of 256", "-++", unusable, zoneHead + "\\256 A 192.0.2.1\n"},
	{"escape at the end of a line", "-+-", unusable, zoneHead + "a TXT x\\\nb A 192.0.2.1\n"},
	{"open parenthesis", "-+-", unusable, zoneHead + "a TXT ( x\nb A 192.0.2.1\n"},
	{"closing parenthesis alone", "---", unusable, zoneHead + "a TXT x )\n"},
	{"nested parentheses", "+--", fine, zoneHead + "a TXT ( ( x ) )\n"},
	{"quote not closed", "---", unusable, zoneHead + "a TXT \"x\nb A 192.0.2.1\n"},
	{"TXT of 255", "+++", fine, zoneHead + "a TXT \"<255x>\"\n"},
	{"TXT of 256", "--+", odd, zoneHead + "a TXT \"<256x>\"\n"},
	{"TXT empty string", "+++", fine, zoneHead + "a TXT \"\"\n"},
	{"TXT nothing", "---", unusable, zoneHead + "a TXT\n"},
	{"A without data", "---", unusable, zoneHead + "a A\n"},
	{"A with too much data", "---", unusable, zoneHead + "a A 192.0.2.1 192.0.2.2\n"},
	{"A of three octets", "---", unusable, zoneHead + "a A 192.0.2\n"},
	{"AAAA with a zone", "---", unusable, zoneHead + "a AAAA fe80::1%eth0\n"},
	{"A with leading zeros", "---", unusable, zoneHead + "a A 192.0.2.010\n"},
	{"MX preference 65536", "-+-", unusable, zoneHead + "a MX 65536 ns\n"},
	{"SOA serial 4294967296", "-+-", unusable, "$TTL 300\n@ SOA ns root 4294967296 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"},
	{"SOA of six fields", "---", unusable, "$TTL 300\n@ SOA ns root 1 2 3 4\n@ NS ns\nns A 192.0.2.1\n"},
	{"unknown type name", "---", unusable, zoneHead + "a FOO bar\n"},
	{"RFC 3597 type", "+++", fine, zoneHead + "a TYPE65280 \\# 2 abcd\n"},
	{"RFC 3597 length too small", "-+-", unusable, zoneHead + "a TYPE65280 \\# 1 abcd\n"},
	{"RFC 3597 length too large", "-+-", unusable, zoneHead + "a TYPE65280 \\# 3 abcd\n"},
	{"RFC 3597 odd digits", "---", unusable, zoneHead + "a TYPE65280 \\# 2 abc\n"},
	{"RFC 3597 for A", "+++", fine, zoneHead + "a TYPE1 \\# 4 c0000201\n"},
	{"RFC 3597 for A of 3 octets", "--+", unusable, zoneHead + "a A \\# 3 c00002\n"},
	{"RFC 3597 without data", "+++", fine, zoneHead + "a TYPE65280 \\# 0\n"},
	{"RFC 3597 not hexadecimal", "---", unusable, zoneHead + "a TYPE65280 \\# 2 xyzw\n"},
	{"type 65536", "---", unusable, zoneHead + "a TYPE65536 \\# 0\n"},
	{"meta type ANY", "-++", unusable, zoneHead + "a TYPE255 \\# 0\n"},
	{"meta type OPT", "-++", unusable, zoneHead + "a TYPE41 \\# 0\n"},
	{"class CH", "---", unusable, zoneHead + "a CH TXT x\n"},
	{"class of RFC 3597", "++-", fine, zoneHead + "a CLASS1 A 192.0.2.1\n"},
	{"class and TTL in either order", "+++", fine, zoneHead + "a IN 60 A 192.0.2.1\nb 60 IN A 192.0.2.1\n"},
	{"$INCLUDE of nothing", "---", unusable, zoneHead + "$INCLUDE nowhere\n"},
	{"$INCLUDE of itself", "---", unusable, zoneHead + "$INCLUDE zone\n"},
	{"$ORIGIN outside", "+-+", unusable, zoneHead + "$ORIGIN example.net.\na A 192.0.2.1\n"},
	{"$ORIGIN relative", "+--", fine, zoneHead + "$ORIGIN sub\na A 192.0.2.1\n"},
	{"$ORIGIN without a name", "---", unusable, zoneHead + "$ORIGIN\n"},
	{"unknown directive", "---", unusable, zoneHead + "$FOO bar\n"},
	{"$GENERATE", "+--", fine, zoneHead + "$GENERATE 1-3 h$ A 192.0.2.$\n"},
	{"$GENERATE downwards", "---", unusable, zoneHead + "$GENERATE 3-1 h$ A 192.0.2.$\n"},
	{"$GENERATE step 0", "---", unusable, zoneHead + "$GENERATE 1-3/0 h$ A 192.0.2.$\n"},
	{"$GENERATE bad data", "---", unusable, zoneHead + "$GENERATE 254-257 h$ A 192.0.2.$\n"},
	{"$GENERATE with width", "+--", fine, zoneHead + "$GENERATE 1-3 h${0,3,d} A 192.0.2.$\n"},
	{"$GENERATE hexadecimal", "+--", fine, zoneHead + "$GENERATE 10-12 h${0,2,x} A 192.0.2.$\n"},
	{"$GENERATE negative offset", "+--", unusable, zoneHead + "$GENERATE 1-3 h${-5} A 192.0.2.$\n"},
	{"$GENERATE escaped dollar", "+--", fine, zoneHead + "$GENERATE 1-2 h$ TXT \"\\$1 $\"\n"},
	{"blank owner first", "---", unusable, "  A 192.0.2.1\n"},
	{"binary file", "---", unusable, "\x00\x01\x02\xff\xfe\n\x00"},
	{"NUL in a text", "++-", fine, zoneHead + "a TXT \"x\x00y\"\n"},
	{"CRLF", "++-", fine, "$TTL 300\r\n@ SOA ns root 1 2 3 4 5\r\n@ NS ns\r\nns A 192.0.2.1\r\na A 192.0.2.2\r\n"},
	{"no final newline", "+++", fine, zoneHead + "a A 192.0.2.2"},
	{"byte order mark", "---", unusable, "\ufeff$TTL 300\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"},
	{"tabs and blanks at line ends", "+++", fine, zoneHead + "a A 192.0.2.2 \t \n"},
	{"SOA minimum above a day", "+++", fine, "$TTL 300\n@ SOA ns root 1 2 3 4 999999\n@ NS ns\nns A 192.0.2.1\n"},
	{"SOA expire below refresh", "+++", fine, "$TTL 300\n@ SOA ns root 1 7200 3600 60 60\n@ NS ns\nns A 192.0.2.1\n"},
	{"SOA mail with an at sign", "++-", fine, "$TTL 300\n@ SOA ns root@example.net. 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n"},
	{"SOA server is a CNAME", "+++", fine, "$TTL 300\n@ SOA al root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nal CNAME ns\n"},
	{"RRSIG alone", "+++", fine, zoneHead + "a RRSIG A 13 2 300 20300101000000 20200101000000 1 @ AAAA\n"},
	{"NSEC3PARAM", "+++", fine, zoneHead + "@ NSEC3PARAM 1 0 0 -\n"},
	{"SVCB without sorted keys", "+++", fine, zoneHead + "a HTTPS 1 . port=443 alpn=h2\n"},
	{"SVCB with one key twice", "---", unusable, zoneHead + "a HTTPS 1 . port=443 port=444\n"},
	{"SVCB alias with parameters", "+++", fine, zoneHead + "a HTTPS 0 b port=443\n"},
	{"SVCB mandatory not there", "---", unusable, zoneHead + "a HTTPS 1 . mandatory=alpn\n"},
	{"CAA tag unknown", "+++", fine, zoneHead + "a CAA 0 foo \"x\"\n"},
	{"CAA flags 256", "-+-", unusable, zoneHead + "a CAA 256 issue \"x\"\n"},
	{"SSHFP short", "-++", fine, zoneHead + "a SSHFP 1 1 00\n"},
	{"TLSA odd digits", "---", unusable, zoneHead + "a TLSA 3 1 1 000\n"},
	{"LOC", "+++", fine, zoneHead + "a LOC 51 30 0 N 0 7 0 W 10m\n"},
	{"LOC out of range", "-+-", unusable, zoneHead + "a LOC 91 30 0 N 0 7 0 W 10m\n"},
	{"WKS", "++-", unusable, zoneHead + "a WKS 192.0.2.1 6 25\n"},
	{"NULL", "++-", fine, zoneHead + "a NULL \\# 1 00\n"},
	{"A6", "+--", unusable, zoneHead + "a A6 0 ::1\n"}}
