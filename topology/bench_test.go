package topology

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// internet gives 200 rules over the whole Internet: the prefixes of 20
// providers and the countries of a database with a million networks.
func internet(tb testing.TB) (*config.Model, config.Source) {
	tb.Helper()
	dir := os.Getenv("PORTOLAN_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	dir = filepath.Join(dir, "geo")
	if _, err := os.Stat(filepath.Join(dir, "isps.tsv.gz")); err != nil {
		tb.Skip("no data of the whole Internet: set PORTOLAN_DATA to the folder that holds geo/")
	}
	src := config.Source{FS: os.DirFS(dir), Dir: "."}
	m := &config.Model{Geo: config.Geo{Databases: []string{"geo-whois-asn-country.mmdb"}}}
	rule := func(region string, priority int) {
		link := fmt.Sprintf("link-%d", len(m.Topology)%10)
		m.Topology = append(m.Topology, &config.TopologyRule{
			Region: region, Prefer: config.Place{Link: link}, Priority: priority,
		})
	}
	file, errs := readPrefixFile(src, "isps.tsv.gz")
	if errs.Failed() {
		tb.Fatal(errs)
	}
	var asns []uint32
	for asn := range file.asns {
		asns = append(asns, asn)
	}
	slices.Sort(asns)
	for i := range 20 {
		name := fmt.Sprintf("isp-%d", i)
		isp := &config.ISP{Name: name, PrefixFile: "isps.tsv.gz"}
		for j := i; j < len(asns); j += 20 {
			isp.ASNs = append(isp.ASNs, asns[j])
		}
		m.ISPs = append(m.ISPs, isp)
		m.Regions = append(m.Regions, &config.Region{Name: name, Any: []*config.Match{{ISP: name}}})
		rule(name, 10)
	}
	countries := internetCountries(tb, src)
	for i := 0; len(m.Topology) < 200; i++ {
		a := countries[i%len(countries)]
		name := fmt.Sprintf("country-%d", i)
		some := []*config.Match{{Country: a}, {Region: fmt.Sprintf("isp-%d", i%20)}}
		m.Regions = append(m.Regions, &config.Region{Name: name, Any: some, Not: []*config.Match{{Prefix: netip.MustParsePrefix("10.0.0.0/8")}}})
		rule(name, i%7)
	}
	return m, src
}

func internetCountries(tb testing.TB, src config.Source) []string {
	d, err := openDatabase(src, "geo-whois-asn-country.mmdb")
	if err != nil {
		tb.Fatal(err)
	}
	seen := map[string]bool{}
	decoded := map[uintptr]bool{}
	for result, err := range d.networks() {
		if err != nil {
			tb.Fatal(err)
		}
		if !result.Found() || decoded[result.Offset()] {
			continue
		}
		decoded[result.Offset()] = true
		r, err := d.read(result)
		if err != nil {
			tb.Fatal(err)
		}
		seen[r[fieldCountry][0]] = true
	}
	var list []string
	for country := range seen {
		list = append(list, country)
	}
	slices.Sort(list)
	return list
}

// BenchmarkCompileInternet: the goal is under 5 s and 500 MB (issue 2, item 6).
func BenchmarkCompileInternet(b *testing.B) {
	m, src := internet(b)
	b.ReportAllocs()
	var t *Table
	for b.Loop() {
		var errs config.Errors
		if t, errs = Compile(m, src); errs.Failed() {
			b.Fatal(errs)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ReportMetric(float64(len(t.v4.hi)), "v4-runs")
	b.ReportMetric(float64(len(t.v6.hi)), "v6-runs")
	b.ReportMetric(float64(t.Classes()), "classes")
	b.ReportMetric(float64(len(t.sets.ends)), "sets")
	t = nil
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(before.HeapAlloc-after.HeapAlloc)/1e6, "MB-kept")
	runtime.KeepAlive(m)
}

func internetTable(b *testing.B) *Table {
	m, src := internet(b)
	t, errs := Compile(m, src)
	if errs.Failed() {
		b.Fatal(errs)
	}
	return t
}

// clients gives random addresses of runs that some rule matches, and, for
// IPv4, of anywhere.
func clients(s *space, v4 bool) []netip.Addr {
	r := rand.New(rand.NewPCG(1, 2))
	list := make([]netip.Addr, 1<<16)
	for i := range list {
		if v4 {
			list[i] = key{hi: r.Uint64()}.addr(true)
			continue
		}
		k := s.start(r.IntN(len(s.hi)))
		list[i] = key{k.hi | uint64(r.Uint32()), r.Uint64()}.addr(false)
	}
	return list
}

// BenchmarkLookupV4: the goal is under 100 ns.
func BenchmarkLookupV4(b *testing.B) { benchmarkLookup(b, true) }

// BenchmarkLookupV6: the goal is under 250 ns.
func BenchmarkLookupV6(b *testing.B) { benchmarkLookup(b, false) }

func benchmarkLookup(b *testing.B, v4 bool) {
	t := internetTable(b)
	s := t.v6
	if v4 {
		s = t.v4
	}
	list := clients(s, v4)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		t.Lookup(list[i&(1<<16-1)])
		i++
	}
}

// BenchmarkWithin asks for the classes of networks of many sizes.
func BenchmarkWithin(b *testing.B) {
	t := internetTable(b)
	list := clients(t.v4, true)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		p := netip.PrefixFrom(list[i&(1<<16-1)], 8+i%17)
		t.Within(p)
		i++
	}
}
