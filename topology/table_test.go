package topology

import (
	"bytes"
	"encoding/json"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/portolan-lb/portolan/config"
)

// TestOrder_T4: overlapping regions are ordered by priority, then the longest
// client prefix, then the order in the file.
func TestOrder_T4(t *testing.T) {
	m := &config.Model{
		Geo:  config.Geo{Databases: []string{"country.mmdb"}},
		ISPs: []*config.ISP{{Name: "telecom", Prefixes: prefixes("198.51.100.0/24", "198.51.100.128/26", "2001:db8::/32")}},
		Regions: []*config.Region{
			regionAny("country", &config.Match{Country: "CN"}),
			regionAny("isp", &config.Match{ISP: "telecom"}),
			regionAny("both", &config.Match{ISP: "telecom", Country: "CN"}),
			regionAny("either", inPrefix("198.51.0.0/16"), &config.Match{Region: "isp"}),
			{Name: "outside", Not: []*config.Match{{ISP: "telecom"}}},
		},
		Topology: []*config.TopologyRule{
			toLink("country", "a", 0),
			toLink("either", "b", 0),
			toLink("isp", "c", 0),
			toLink("both", "d", 0),
			toLink("outside", "e", 5),
			{Client: netip.MustParsePrefix("198.51.100.0/25"), Prefer: config.Place{Link: "f"}},
			toLink("", "g", 0),
		},
	}
	table := compiled(t, m, map[string][]byte{"country.mmdb": writeDatabase(t, "x-Country", 6,
		in("198.51.100.0/23", cityRecord("AS", "cn", "", "")),
		in("203.0.113.0/24", cityRecord("AS", "CN", "", "")))})
	for _, test := range []struct {
		name, client string
		want         []int
	}{
		{"the longest prefix goes first, then the file's order, then a country", "198.51.100.7", []int{5, 1, 2, 3, 0, 6}},
		{"the longest of an isp's prefixes counts", "198.51.100.130", []int{1, 2, 3, 0, 6}},
		{"priority goes before length; not has length 0", "198.51.101.1", []int{4, 1, 0, 6}},
		{"a country and a rule for everyone by the file's order", "203.0.113.9", []int{4, 0, 6}},
		{"IPv6", "2001:db8::1", []int{1, 2, 6}},
		{"a rule for everyone", "192.0.2.1", []int{4, 6}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ruleOrder(table, test.client); !slices.Equal(got, test.want) {
				t.Errorf("rules for %s: %v, want %v", test.client, got, test.want)
			}
		})
	}
}

// TestLengths_T4: which prefix length a nested matcher brings along.
func TestLengths_T4(t *testing.T) {
	wide, narrow := inPrefix("10.0.0.0/8"), inPrefix("10.1.0.0/16")
	for _, test := range []struct {
		name  string
		match config.Match
		want  int // -1: no match
	}{
		{"prefix", *narrow, 16},
		{"any takes the longest of what matched", config.Match{Any: []*config.Match{wide, inPrefix("10.9.0.0/16")}}, 8},
		{"any of both", config.Match{Any: []*config.Match{wide, narrow}}, 16},
		{"all takes the longest", config.Match{All: []*config.Match{wide, narrow}}, 16},
		{"all needs all", config.Match{All: []*config.Match{wide, inPrefix("10.9.0.0/16")}}, -1},
		{"not has length 0", config.Match{Not: []*config.Match{inPrefix("192.0.2.0/24")}}, 0},
		{"not needs none", config.Match{Not: []*config.Match{inPrefix("192.0.2.0/24"), narrow}}, -1},
		{"not beside any", config.Match{Any: []*config.Match{wide}, Not: []*config.Match{inPrefix("10.9.0.0/16")}}, 8},
		{"fields beside lists must hold too", config.Match{Prefix: narrow.Prefix, Any: []*config.Match{inPrefix("11.0.0.0/8")}}, -1},
		{"everyone", *inPrefix("0.0.0.0/0"), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &config.Model{
				Regions:  []*config.Region{regionAny("r", &test.match)},
				Topology: []*config.TopologyRule{toLink("r", "a", 0)},
			}
			got := -1
			if f := compiled(t, m, nil).Explain(netip.MustParseAddr("10.1.2.3")); len(f.Rules) == 1 {
				got = f.Rules[0].Length
			}
			if got != test.want {
				t.Errorf("length %d, want %d", got, test.want)
			}
		})
	}
}

// TestBusyFirstChoice_1_4_4: a member scores by the best rule that matches
// client and place, and lower rules stay candidates for a busy first choice.
// What no rule matches has no score at all.
func TestBusyFirstChoice_1_4_4(t *testing.T) {
	m := &config.Model{
		Regions: []*config.Region{regionAny("south", inPrefix("203.0.113.0/24"))},
		Topology: []*config.TopologyRule{
			toLink("south", "telecom", 10),
			{Region: "south", Prefer: config.Place{Site: "shanghai"}, Priority: 5},
			{Region: "south", Prefer: config.Place{Prefix: netip.MustParsePrefix("192.0.2.0/24")}, Priority: 5},
			{Region: "south", Prefer: config.Place{VirtualServer: "web"}},
		},
	}
	table := compiled(t, m, nil)
	south, _ := table.Lookup(netip.MustParseAddr("203.0.113.7"))
	inside, outside := []netip.Addr{netip.MustParseAddr("192.0.2.9")}, []netip.Addr{netip.MustParseAddr("198.51.100.9")}
	for _, test := range []struct {
		name  string
		place *Place
		want  int
	}{
		{"first choice", table.Place("web", "shanghai", "telecom", inside), 4},
		{"by its site", table.Place("", "shanghai", "unicom", outside), 3},
		{"by its address", table.Place("other", "beijing", "", inside), 2},
		{"by its name", table.Place("web", "", "", nil), 1},
		{"no rule prefers it", table.Place("other", "beijing", "unicom", outside), 0},
	} {
		if score, ok := test.place.Score(south); score != test.want || ok != (test.want > 0) {
			t.Errorf("%s: score %d %v, want %d", test.name, score, ok, test.want)
		}
		if score, ok := test.place.Score(0); ok {
			t.Errorf("%s: clients of no rule score it %d", test.name, score)
		}
		if _, ok := test.place.Score(99); ok {
			t.Errorf("%s: a class that is not of the table has a score", test.name)
		}
	}
	if a, b := table.Place("x", "shanghai", "", nil), table.Place("y", "shanghai", "z", outside); a != b {
		t.Error("members that the same rules prefer do not share a place")
	}
}

// TestMerge: neighbours of one class are one leaf, whatever rules cut them.
func TestMerge(t *testing.T) {
	m := &config.Model{
		ISPs: []*config.ISP{{Name: "i", Prefixes: prefixes(
			"10.0.0.0/9", "10.128.0.0/10", "10.192.0.0/10", "10.1.1.0/24", "2001:db8::/33", "2001:db8:8000::/33")}},
		Regions:  []*config.Region{regionAny("i", &config.Match{ISP: "i"})},
		Topology: []*config.TopologyRule{toLink("i", "a", 0)},
	}
	table := compiled(t, m, nil)
	for client, want := range map[string]int{
		"10.1.1.1": 8, "10.200.0.1": 8, "11.0.0.1": 8, "128.0.0.1": 1, "2001:db8::1": 32, "2001:db9::1": 32, "8000::": 1,
	} {
		if _, bits := table.Lookup(netip.MustParseAddr(client)); bits != want {
			t.Errorf("leaf of %s: /%d, want /%d", client, bits, want)
		}
	}
	if got := table.Classes(); got != 2 {
		t.Errorf("%d classes, want 2", got)
	}
	for prefix, want := range map[string][]Class{
		"10.2.0.0/16": {1}, "10.0.0.0/7": {0, 1}, "0.0.0.0/0": {0, 1}, "11.0.0.0/8": {0}, "::/0": {0, 1}, "2001:db8::/31": {0, 1}, "fe80::/10": {0},
	} {
		if got := table.Within(netip.MustParsePrefix(prefix)); !slices.Equal(got, want) {
			t.Errorf("classes within %s: %v, want %v", prefix, got, want)
		}
	}
}

// TestEmpty: without rules everyone is of class 0, and zero values are safe.
func TestEmpty(t *testing.T) {
	table := compiled(t, &config.Model{}, nil)
	for _, a := range []netip.Addr{{}, netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("::")} {
		if c, bits := table.Lookup(a); c != 0 || bits != 0 {
			t.Errorf("%v: class %d /%d, want 0 /0", a, c, bits)
		}
		table.Explain(a)
	}
	if got := table.Within(netip.Prefix{}); !slices.Equal(got, []Class{0}) {
		t.Errorf("classes within the zero prefix: %v", got)
	}
}

// TestDatabases: every layout gives its fields, and the first database that
// has a field counts.
func TestDatabases(t *testing.T) {
	city := writeDatabase(t, "GeoLite2-City", 6,
		in("1.0.0.0/24", cityRecord("AS", "CN", "GD", "Shenzhen")), in("2001:db8::/32", cityRecord("EU", "FR", "", "")))
	flat := writeDatabase(t, "country ipvAll", 6, in("1.0.0.0/24", flatRecord("country_code", "CN", "region_code", "CN-GD", "city", "Shenzhen", "continent", "AS", "asn", "AS4134")),
		in("2001:db8::/32", flatRecord("country_code", "FR")))
	asn := writeDatabase(t, "GeoLite2-ASN", 4, in("1.0.0.0/24", asnRecord(4134)), in("2.0.0.0/24", asnRecord(4837)))
	both := cityRecord("AS", "CN", "GD", "Shenzhen")
	both["autonomous_system_number"] = mmdbtype.Uint32(4134)
	other := writeDatabase(t, "x", 6, in("1.0.0.0/23", flatRecord("country", "JP", "continent_code", "OC", "subdivision_code", "13", "city_name", "Tokyo", "as_number", "1")))
	located := []*config.Match{{Continent: "AS"}, {Country: "CN"}, {Country: "CN", Subdivision: "GD"}, {City: "shenzhen"}}
	numbered := &config.Match{ASN: 4134}
	for _, test := range []struct {
		name  string
		files [][]byte
		match []*config.Match
	}{
		{"MaxMind city", [][]byte{city}, located},
		{"MaxMind ASN, IPv4 only", [][]byte{asn}, []*config.Match{numbered}},
		{"MaxMind city with ASN", [][]byte{writeDatabase(t, "x", 6, in("1.0.0.0/24", both))}, append(located, numbered)},
		{"flat", [][]byte{flat}, append(located, numbered)},
		{"city and ASN", [][]byte{city, asn}, append(located, numbered)},
		{"ASN and flat", [][]byte{asn, flat}, append(located, numbered)},
		{"the first that has a field", [][]byte{city, asn, other}, append(located, numbered)},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, files := &config.Model{}, map[string][]byte{}
			for i, data := range test.files {
				name := string(rune('a'+i)) + ".mmdb"
				m.Geo.Databases, files[name] = append(m.Geo.Databases, name), data
			}
			m.Regions = []*config.Region{{Name: "all", All: test.match}}
			m.Topology = []*config.TopologyRule{toLink("all", "a", 0)}
			table := compiled(t, m, files)
			if got := ruleOrder(table, "1.0.0.9"); len(got) != 1 {
				t.Errorf("1.0.0.9 does not match: %+v", table.Explain(netip.MustParseAddr("1.0.0.9")))
			}
			if got := ruleOrder(table, "1.0.1.9"); len(got) != 0 {
				t.Errorf("1.0.1.9 matches")
			}
		})
	}
}

// TestWholeIPv4: a record above the place where databases keep IPv4 is for
// all of it.
func TestWholeIPv4(t *testing.T) {
	v4, v6 := newLayer(), newLayer()
	place(&v4, &v6, netip.MustParsePrefix("::/64"), 7)
	if got := v4.at(keyOf(netip.MustParseAddr("192.0.2.1"))); got != 7 {
		t.Errorf("IPv4 has answer %d, want 7", got)
	}
	if got := v6.at(keyOf(netip.MustParseAddr("0:0:0:1::"))); got != 0 {
		t.Errorf("behind the record: answer %d, want 0", got)
	}
}

// TestOneRecord: where one record is for all of IPv4, other networks with the
// same record are not taken for its aliases.
func TestOneRecord(t *testing.T) {
	tree, err := mmdbwriter.New(mmdbwriter.Options{DisableIPv4Aliasing: true, IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"0.0.0.0/0", "2001:db8::/32"} {
		_, ipnet, _ := net.ParseCIDR(p)
		if err := tree.Insert(ipnet, flatRecord("country_code", "CN")); err != nil {
			t.Fatal(err)
		}
	}
	var data bytes.Buffer
	if _, err := tree.WriteTo(&data); err != nil {
		t.Fatal(err)
	}
	m := &config.Model{Geo: config.Geo{Databases: []string{"db"}},
		Regions:  []*config.Region{regionAny("cn", &config.Match{Country: "CN"})},
		Topology: []*config.TopologyRule{toLink("cn", "a", 0)}}
	table := compiled(t, m, map[string][]byte{"db": data.Bytes()})
	for client, want := range map[string]int{"192.0.2.1": 1, "2001:db8::1": 1, "2001:db9::1": 0, "2002:c000:201::1": 0} {
		if got := len(ruleOrder(table, client)); got != want {
			t.Errorf("%d rules match %s, want %d", got, client, want)
		}
		if got := len(table.Explain(netip.MustParseAddr(client)).Rules); got != want {
			t.Errorf("explain: %d rules match %s, want %d", got, client, want)
		}
	}
}

// TestISP: prefixes, a file with AS numbers and databases add up.
func TestISP(t *testing.T) {
	m := &config.Model{
		Geo: config.Geo{Databases: []string{"asn.mmdb"}},
		ISPs: []*config.ISP{
			{Name: "all", PrefixFile: "isps.tsv"},
			{Name: "some", PrefixFile: "isps.tsv", ASNs: []uint32{1, 3}, Prefixes: prefixes("10.9.0.0/16")},
		},
		Topology: []*config.TopologyRule{toLink("all", "a", 0), toLink("some", "b", 1)},
		Regions:  []*config.Region{regionAny("all", &config.Match{ISP: "all"}), regionAny("some", &config.Match{ISP: "some"})},
	}
	table := compiled(t, m, map[string][]byte{
		"isps.tsv": []byte("# asn\tname\tprefix\n1\tone\t10.1.0.0/16\nAS2\ttwo\t10.2.0.0/16\r\n\n10.3.0.0/16 # anyone's\n"),
		"asn.mmdb": writeDatabase(t, "asn", 4, in("10.5.0.0/16", asnRecord(3)), in("10.6.0.0/16", asnRecord(2))),
	})
	for client, want := range map[string][]int{
		"10.1.0.1": {1, 0}, "10.2.0.1": {0}, "10.3.0.1": {1, 0}, "10.5.0.1": {1}, "10.6.0.1": {}, "10.9.0.1": {1},
	} {
		if got := ruleOrder(table, client); !slices.Equal(got, want) {
			t.Errorf("rules for %s: %v, want %v", client, got, want)
		}
	}
}

// TestExplain: the finding names everything that made the class.
func TestExplain(t *testing.T) {
	pos := config.Pos{File: "etc/portolan.yaml", Line: 9, Col: 5}
	m := &config.Model{
		Geo:     config.Geo{Databases: []string{"city.mmdb", "asn.mmdb"}},
		ISPs:    []*config.ISP{{Name: "telecom", Prefixes: prefixes("1.0.0.0/25")}},
		Regions: []*config.Region{regionAny("south", &config.Match{Subdivision: "GD"}, &config.Match{ISP: "telecom"}), regionAny("as", &config.Match{ASN: 7})},
		Topology: []*config.TopologyRule{
			{Region: "as", Prefer: config.Place{Site: "x"}},
			{Region: "south", Prefer: config.Place{Link: "telecom"}, Priority: 3, Pos: pos},
		},
	}
	table := compiled(t, m, map[string][]byte{
		"city.mmdb": writeDatabase(t, "City", 6, in("1.0.0.0/23", cityRecord("AS", "CN", "GD", "Shenzhen"))),
		"asn.mmdb":  writeDatabase(t, "ASN", 6, in("1.0.0.0/24", asnRecord(7))),
	})
	got, err := json.MarshalIndent(table.Explain(netip.MustParseAddr("1.0.0.1")), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "client": "1.0.0.1",
 "network": "1.0.0.0/24",
 "class": 1,
 "databases": [
  {
   "file": "etc/city.mmdb",
   "network": "1.0.0.0/23",
   "continent": "AS",
   "country": "CN",
   "subdivisions": [
    "GD",
    "second"
   ],
   "city": "Shenzhen"
  },
  {
   "file": "etc/asn.mmdb",
   "network": "1.0.0.0/24",
   "asn": 7
  }
 ],
 "isps": [
  "telecom"
 ],
 "regions": [
  "south",
  "as"
 ],
 "rules": [
  {
   "index": 1,
   "pos": {
    "file": "etc/portolan.yaml",
    "line": 9,
    "col": 5
   },
   "region": "south",
   "network": "1.0.0.0/25",
   "length": 25,
   "priority": 3,
   "prefer": {
    "link": "telecom"
   }
  },
  {
   "index": 0,
   "pos": {
    "file": "",
    "line": 0,
    "col": 0
   },
   "region": "as",
   "length": 0,
   "priority": 0,
   "prefer": {
    "site": "x"
   }
  }
 ]
}`
	if string(got) != want {
		t.Errorf("finding:\n%s\nwant:\n%s", got, want)
	}
}

// TestAllocs: what queries call does not allocate.
func TestAllocs(t *testing.T) {
	m := &config.Model{ISPs: []*config.ISP{{Name: "i", Prefixes: prefixes("10.0.0.0/9", "10.128.0.0/17", "2001:db8::/33")}},
		Regions:  []*config.Region{regionAny("i", &config.Match{ISP: "i"})},
		Topology: []*config.TopologyRule{toLink("i", "a", 0)}}
	table := compiled(t, m, nil)
	p := table.Place("", "", "a", nil)
	v4, v6 := netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("2001:db8::1")
	nets := prefixes("10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32")
	scored := 0
	allocs := testing.AllocsPerRun(100, func() {
		for _, a := range []netip.Addr{v4, v6} {
			c, _ := table.Lookup(a)
			if score, ok := p.Score(c); ok {
				scored += score
			}
		}
		for _, n := range nets {
			scored += len(table.Within(n))
		}
	})
	if allocs != 0 || scored == 0 {
		t.Errorf("%v allocations a query, score %d", allocs, scored)
	}
}
