package dnsserver

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// ferretFile opens the whole data set where the shared test data is, or else
// the cases that are kept here: every eleventh or so, so that the test never
// skips. It gives the number of cases that there are at least.
func ferretFile(t *testing.T) (f *os.File, least int) {
	t.Helper()
	root := cmp.Or(os.Getenv("PORTOLAN_DATA"), "../../shared/data")
	f, err := os.Open(filepath.Join(root, "ferret/cases.jsonl.gz"))
	least = 3000
	if err != nil {
		f, err = os.Open("testdata/ferret/cases.jsonl.gz")
		least = 300
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, least
}

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

// TestFerret asks the questions of the Ferret data set (cases on which servers
// differ or had bugs; testdata/ferret has its license) and holds every answer to that of at least one server.
func TestFerret(t *testing.T) {
	file, least := ferretFile(t)
	unzip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(unzip)
	lines.Buffer(nil, 1<<22)
	by := map[string]int{}
	cases := 0
	for ; lines.Scan(); cases++ {
		var c ferretCase
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		by[c.check(t)]++
	}
	if err := lines.Err(); err != nil || cases < least {
		t.Fatalf("%d cases read, %v", cases, err)
	}
	for _, how := range slices.Sorted(maps.Keys(by)) {
		t.Logf("%5d of %d: %s", by[how], cases, how)
	}
}

// check says how the case was matched.
func (c *ferretCase) check(t *testing.T) string {
	got := c.ask(t)
	for i := range c.Expected {
		if got.equal(&c.Expected[i]) {
			return "strict"
		}
	}
	for _, tolerance := range tolerances {
		for i := range c.Expected {
			want := c.Expected[i]
			if tolerance.allows(&got, &want) {
				return tolerance.name
			}
		}
	}
	t.Errorf("case %d: %s %s\n%s\n got %v\nwant one of:", c.ID, c.Query.Name, c.Query.Type, c.Zone, got)
	for _, want := range c.Expected {
		t.Logf("%v", want)
	}
	return "no server"
}

func (c *ferretCase) ask(t *testing.T) ferretAnswer {
	t.Helper()
	apex := strings.Fields(c.Zone)[0]
	src := config.Source{FS: fstest.MapFS{"z": {Data: []byte(c.Zone)}}, Dir: "."}
	// Zones of the set break rules that ParseZone holds them to (names below
	// a DNAME); what can be had of them is what servers answered from.
	zone, errs := loadZone(src, &config.Zone{Name: apex, File: "z"})
	if zone.soa == nil {
		t.Fatal(errs)
	}
	q := newQuery(c.Query.Name, dns.StringToType[c.Query.Type], question{})
	return ferretForm(answer(newTable(&config.DNS{}, zone), q))
}

func ferretForm(m *dns.Msg) ferretAnswer {
	a := ferretAnswer{Rcode: dns.RcodeToString[m.Rcode], Flags: []string{"QR"}}
	if m.Authoritative {
		a.Flags = append(a.Flags, "AA")
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

// tolerance is a difference that is as right as the server's answer.
type tolerance struct {
	name   string
	allows func(got, want *ferretAnswer) bool
}

var tolerances = []tolerance{
	// A positive answer needs no NS of its own zone, nor their addresses: a
	// minimal response, which three of the four servers give by a setting.
	{"minimal response", func(got, want *ferretAnswer) bool {
		return got.Rcode == want.Rcode && slices.Equal(got.Flags, want.Flags) && sameRecords(got.Answer, want.Answer) &&
			len(got.Answer) > 0 && len(got.Authority) == 0 && onlyType(want.Authority, " IN NS ") && len(got.Additional) == 0
	}},
}

func onlyType(list []string, word string) bool {
	return len(list) > 0 && !slices.ContainsFunc(list, func(s string) bool { return !strings.Contains(s, word) })
}

func (a ferretAnswer) String() string {
	return fmt.Sprintf("%v %s %v\n  answer %q\n  authority %q\n  additional %q", a.Servers, a.Rcode, a.Flags, a.Answer, a.Authority, a.Additional)
}
