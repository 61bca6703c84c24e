package dnsserver

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// ferretCase is one zone and question, with what four servers answered.
type ferretCase struct {
	ID       int
	Query    struct{ Name, Type string }
	Zone     string
	Expected []ferretAnswer
}

type ferretAnswer struct {
	Servers                       []string
	Rcode                         string
	Flags                         []string
	Answer, Authority, Additional []string
}

// ferretCases reads the data set: the file that PORTOLAN_FERRET names; or the
// whole set where the shared test data is; or the cases that are kept here,
// every eleventh or so, so that the test never skips.
func ferretCases(t *testing.T) []*ferretCase {
	t.Helper()
	whole := filepath.Join(cmp.Or(os.Getenv("PORTOLAN_DATA"), "../../shared/data"), "ferret/cases.jsonl.gz")
	file, least := whole, 3000
	if _, err := os.Stat(whole); err != nil {
		file, least = "testdata/ferret/cases.jsonl.gz", 300
	}
	if own := os.Getenv("PORTOLAN_FERRET"); own != "" {
		file, least = own, 1
	}
	cases, err := readFerret(file)
	if err == nil && len(cases) < least {
		err = fmt.Errorf("%d cases, %d or more expected", len(cases), least)
	}
	if err != nil {
		t.Fatalf("Ferret cases: %s: %v (PORTOLAN_FERRET names a file of JSON lines, plain or gzip)", file, err)
	}
	return cases
}

func readFerret(file string) (cases []*ferretCase, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	in := bufio.NewReader(f)
	var text io.Reader = in
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		if text, err = gzip.NewReader(in); err != nil {
			return nil, err
		}
	}
	lines := bufio.NewScanner(text)
	lines.Buffer(nil, 1<<24)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		c := new(ferretCase)
		if err := json.Unmarshal(lines.Bytes(), c); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if _, known := dns.StringToType[c.Query.Type]; !known || len(strings.Fields(c.Zone)) == 0 || len(c.Expected) == 0 {
			return nil, fmt.Errorf("line %d: not a case with query, zone and expected", n)
		}
		cases = append(cases, c)
	}
	return cases, lines.Err()
}

// TestFerret asks the questions of the Ferret data set (cases on which servers
// differ or had bugs; testdata/ferret has its license), over the path of a UDP
// packet without EDNS.
//
// With minimalResponses off every answer equals that of at least one server:
// rcode, flags, and the three sections as sets. With the default it is that
// answer without what no RFC asks for, see minimalOf.
func TestFerret(t *testing.T) {
	no := false
	by := map[string]int{}
	cases := ferretCases(t)
	for _, c := range cases {
		zone := c.load(t)
		full := c.ask(t, newTable(&config.DNS{MinimalResponses: &no}, zone))
		how := c.match(&full)
		if by[how]++; how == "" {
			t.Errorf("case %d is answered like no server: %s %s\n%s\n got %v\nwant one of %v",
				c.ID, c.Query.Name, c.Query.Type, c.Zone, full, c.Expected)
		}
		want := minimalOf(full, c.zoneServers())
		if got := c.ask(t, newTable(&config.DNS{}, zone)); !got.equal(&want) {
			t.Errorf("case %d: %s %s\n%s\n full %v\n minimal got %v\nwant %v", c.ID, c.Query.Name, c.Query.Type, c.Zone, full, got, want)
		}
	}
	accepted := 0
	for _, how := range slices.Sorted(maps.Keys(by)) {
		t.Logf("%5d of %d: %s", by[how], len(cases), how)
	}
	for _, d := range ferretDifferences {
		accepted += by[d.name]
	}
	if accepted > 10 {
		t.Errorf("%d accepted differences, at most 10 allowed", accepted)
	}
}

// ferretDifference is an answer that no server gives and that is right.
type ferretDifference struct {
	name   string // with the RFC that says so
	allows func(c *ferretCase, got, want *ferretAnswer) bool
}

var ferretDifferences = []ferretDifference{}

// match says how an answer was matched, or nothing.
func (c *ferretCase) match(got *ferretAnswer) string {
	for i := range c.Expected {
		if got.equal(&c.Expected[i]) {
			return "equal"
		}
	}
	for _, d := range ferretDifferences {
		for i := range c.Expected {
			if d.allows(c, got, &c.Expected[i]) {
				return d.name
			}
		}
	}
	return ""
}

// load parses the zone as serve does.
func (c *ferretCase) load(t *testing.T) *Zone {
	t.Helper()
	apex := ""
	for line := range strings.Lines(c.Zone) {
		if words := strings.Fields(line); apex == "" && len(words) > 3 && words[3] == "SOA" {
			apex = words[0]
		}
	}
	zone, errs := parseText(apex, c.Zone)
	if zone == nil {
		t.Fatalf("case %d: the zone is refused, and four servers load it: %v\n%s", c.ID, errs, c.Zone)
	}
	return zone
}

func (c *ferretCase) ask(t *testing.T, table *Table) ferretAnswer {
	t.Helper()
	msg, err := asking(c.Query.Name, dns.StringToType[c.Query.Type]).Pack()
	if err != nil {
		t.Fatalf("case %d: %v", c.ID, err)
	}
	q := parseQuery(msg, netip.MustParseAddr("192.0.2.1"), table, false)
	answer(table, q)
	packed, err := q.pack(make([]byte, udpReplySize))
	if err != nil {
		t.Fatalf("case %d: %v", c.ID, err)
	}
	m := new(dns.Msg)
	if err := m.Unpack(packed); err != nil {
		t.Fatalf("case %d: %v", c.ID, err)
	}
	return ferretForm(m)
}

// zoneServers gives the targets of the NS at the apex, in lower case.
func (c *ferretCase) zoneServers() (targets []string) {
	apex := ""
	for line := range strings.Lines(c.Zone) {
		switch words := strings.Fields(strings.ToLower(line)); {
		case len(words) > 4 && words[3] == "soa":
			apex = words[0]
		case len(words) > 4 && words[3] == "ns" && words[0] == apex:
			targets = append(targets, words[4])
		}
	}
	return targets
}

// minimalOf gives what a full answer is without what no RFC asks for: where
// the answer section has its data (RFC 1034 4.3.2 step 3a), the authority
// section may be empty, and so go the addresses of the servers named there,
// unless the answer itself names these servers. Referrals (step 3b, RFC 9471)
// and negative answers (RFC 2308) stay whole.
func minimalOf(a ferretAnswer, servers []string) ferretAnswer {
	positive := a.Rcode == "NOERROR" && slices.Contains(a.Flags, "AA") && len(a.Answer) > 0
	if !positive || !onlyType(a.Authority, "NS") {
		return a
	}
	a.Authority = nil
	a.Additional = slices.DeleteFunc(slices.Clone(a.Additional), func(rr string) bool {
		owner := strings.ToLower(strings.Fields(rr)[0])
		return slices.Contains(servers, owner) && !slices.ContainsFunc(a.Answer, func(rr string) bool {
			words := strings.Fields(strings.ToLower(rr))
			return words[3] != "cname" && words[3] != "dname" && words[len(words)-1] == owner
		})
	})
	return a
}

func onlyType(list []string, rtype string) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(s string) bool { return strings.Fields(s)[3] != rtype })
}

func ferretForm(m *dns.Msg) ferretAnswer {
	a := ferretAnswer{Rcode: dns.RcodeToString[m.Rcode], Flags: []string{"QR"}}
	if m.Authoritative {
		a.Flags = append(a.Flags, "AA")
	}
	if m.Truncated {
		a.Flags = append(a.Flags, "TC")
	}
	a.Answer, a.Authority, a.Additional = plainRecords(m.Answer), plainRecords(m.Ns), plainRecords(m.Extra)
	return a
}

func plainRecords(rrs []dns.RR) []string {
	list := make([]string, len(rrs))
	for i, rr := range rrs {
		list[i] = strings.Join(strings.Fields(rr.String()), " ")
	}
	return list
}

func (a *ferretAnswer) equal(b *ferretAnswer) bool {
	return a.Rcode == b.Rcode && slices.Equal(a.Flags, b.Flags) && sameRecords(a.Answer, b.Answer) &&
		sameRecords(a.Authority, b.Authority) && sameRecords(a.Additional, b.Additional)
}

// sameRecords compares sections as sets, names without regard to case.
func sameRecords(a, b []string) bool {
	return slices.Equal(recordSet(a), recordSet(b))
}

func recordSet(list []string) []string {
	set := make([]string, 0, len(list))
	for _, s := range list {
		set = append(set, strings.ToLower(strings.Join(strings.Fields(s), " ")))
	}
	slices.Sort(set)
	return slices.Compact(set)
}

func (a ferretAnswer) String() string {
	return fmt.Sprintf("%v %s %v\n  answer %q\n  authority %q\n  additional %q", a.Servers, a.Rcode, a.Flags, a.Answer, a.Authority, a.Additional)
}
