package main

import (
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func TestParseHeard(t *testing.T) {
	const report = `Statistics:

  Queries sent:         5010
  Queries completed:    5000 (99.80%)
  Queries lost:         10 (0.20%)

  Response codes:       NOERROR 5000 (100.00%)
  Average packet size:  request 32, response 48
  Run time (s):         1.000123
  Queries per second:   4999.385076

  Average Latency (s):  0.000123 (min 0.000011, max 0.004567)
  Latency StdDev (s):   0.000009
`
	h, err := parseHeard(report)
	if err != nil {
		t.Fatal(err)
	}
	want := heard{sent: 5010, completed: 5000, lost: 10, rcodes: "NOERROR 5000 (100.00%)",
		seconds: 1.000123, qps: 4999.385076, mean: 123 * time.Microsecond, worst: 4567 * time.Microsecond}
	if h != want {
		t.Errorf("got %+v, want %+v", h, want)
	}
	if !h.only("NOERROR") || h.only("NXDOMAIN") {
		t.Error("every answer was NOERROR")
	}
	if _, err := parseHeard(strings.Replace(report, "Queries lost", "Queries", 1)); err == nil {
		t.Error("a report without lost queries passed")
	}
	mixed := strings.Replace(report, "NOERROR 5000 (100.00%)", "NOERROR 4999 (99.98%), SERVFAIL 1 (0.02%)", 1)
	if h, err := parseHeard(mixed); err != nil || h.only("NOERROR") {
		t.Errorf("one SERVFAIL passed: %+v, %v", h, err)
	}
}

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{3, 1, 2}), (spread{2, 1, 3}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := spreadOf(ratios([]float64{1, 4}, []float64{2, 2})), (spread{1.25, 0.5, 2}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Every client that is put to the servers is in the map, and a whole /24 of
// clients has one region: otherwise Client Subnet could not tell it.
func TestWorldClients(t *testing.T) {
	w := newWorld(10, 5000)
	r := rand.New(rand.NewPCG(1, 1))
	seen := map[int]int{}
	nested := 0
	for range 2000 {
		c := w.client(r)
		region := w.region(c.Addr())
		last := netip.AddrFrom4(c.Addr().As4()).As4()
		last[3] = 255
		if region < 0 || region != w.region(netip.AddrFrom4(last)) {
			t.Fatalf("client %s has no region, or two", c)
		}
		seen[region]++
		around := 0
		for bits := range 25 {
			if p, _ := c.Addr().Prefix(bits); w.nets[p] != 0 || p == w.list[0] {
				around++
			}
		}
		if around > 1 {
			nested++
		}
	}
	if len(seen) != len(regions) || nested == 0 {
		t.Errorf("regions %v, %d clients in nested networks: too tame a map", seen, nested)
	}
}

func TestQuestion(t *testing.T) {
	wire, err := question("d1", netip.MustParsePrefix("198.51.100.0/22"))
	if err != nil {
		t.Fatal(err)
	}
	var m dnsmessage.Message
	if err := m.Unpack(wire); err != nil {
		t.Fatal(err)
	}
	option := m.Additionals[0].Body.(*dnsmessage.OPTResource).Options[0]
	if m.Questions[0].Name.String() != "d1.example.com." || option.Code != 8 || string(option.Data) != "\x00\x01\x16\x00\xc6\x33\x64" {
		t.Errorf("got %v", m)
	}
}

func TestMemberAndWhose(t *testing.T) {
	for r := range regions {
		for m := range weights {
			if gotR, gotM := whose(member(r, m)); gotR != r || gotM != m {
				t.Errorf("member %d %d is read as %d %d", r, m, gotR, gotM)
			}
		}
	}
}

func TestUntraced(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.go")
	err := os.WriteFile(file, []byte(`package x

import "fmt"

func (tr *Trace) note(s string) {
	if tr != nil {
		tr.lines = append(tr.lines, fmt.Sprint(s))
	}
}

func (tr *Trace) slot() *Slot {
	if tr == nil {
		return nil
	}
	return &Slot{}
}

func (q *query) solve() int {
	switch {
	case q.ok:
		why := "well"
		q.trace.note(why)
	}
	if q.trace != nil {
		q.trace.note("gone")
	}
	q.count++
	return q.count
}
`), 0o644)
	if err != nil {
		t.Fatal(err)
	}
	got, removed, err := untraced(file)
	if err != nil {
		t.Fatal(err)
	}
	const want = `package x

import _ "fmt"

func (tr *Trace) note(s string) {
}

func (tr *Trace) slot() *Slot {
	return nil
}

func (q *query) solve() int {
	switch {
	case q.ok:
		why := "well"
		_ = why
	}
	q.count++
	return q.count
}
`
	if squeeze(string(got)) != squeeze(want) || removed != 4 {
		t.Errorf("%d places removed:\n%s", removed, got)
	}
}

// squeeze takes white space out of the comparison: what is cut out leaves gaps.
func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

func TestParseDropped(t *testing.T) {
	const metrics = "# TYPE portolan_dns_dropped_total counter\nportolan_dns_dropped_total{reason=\"malformed\"} 2\nportolan_dns_dropped_total{reason=\"overload\"} 1.234567e+06\n"
	if n, err := parseDropped(strings.NewReader(metrics)); n != 1234567 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := parseDropped(strings.NewReader("portolan_dns_dropped_total{reason=\"malformed\"} 2\n")); err == nil {
		t.Error("metrics without the figure passed")
	}
}
