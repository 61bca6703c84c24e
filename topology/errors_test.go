package topology

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/oschwald/maxminddb-golang/v2"

	"github.com/portolan-lb/portolan/config"
)

// at is a place in the configuration.
func at(line int) config.Pos { return config.Pos{File: "p.yaml", Line: line, Col: 3} }

// shownErrors gives one line an error, warnings marked.
func shownErrors(errs config.Errors) []string {
	var out []string
	for _, e := range errs {
		if e.Warning {
			out = append(out, "warning: "+e.Error())
		} else {
			out = append(out, e.Error())
		}
	}
	return out
}

// TestErrors: everything that is wrong is reported in one run, with its place.
func TestErrors(t *testing.T) {
	country := writeDatabase(t, "Country", 6, in("1.0.0.0/24", cityRecord("", "CN", "", "")))
	zipped := func(text string) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		fmt.Fprint(z, text)
		z.Close()
		return b.Bytes()
	}
	matching := func(some ...*config.Match) *config.Model {
		for i, m := range some {
			m.Pos = at(i + 1)
		}
		return &config.Model{Regions: []*config.Region{regionAny("r", some...)}, Geo: config.Geo{Databases: []string{"c.mmdb"}}}
	}
	noDatabase := matching(&config.Match{Country: "CN"})
	noDatabase.Geo.Databases = nil
	isp := func(isps ...*config.ISP) *config.Model {
		for i, isp := range isps {
			isp.Name, isp.Pos = fmt.Sprint("isp", i), at(i+1)
		}
		return &config.Model{ISPs: isps}
	}
	ispNumbers := isp(&config.ISP{ASNs: []uint32{5}}, &config.ISP{ASNs: []uint32{1, 9}, PrefixFile: "isps.tsv"})
	ispNumbers.Geo.Databases = []string{"c.mmdb"}
	loop := &config.Model{Regions: []*config.Region{
		regionAny("a", &config.Match{Region: "b", Pos: at(1)}), regionAny("b", &config.Match{Region: "a", Pos: at(2)}, &config.Match{ISP: "none", Pos: at(3)})},
		Topology: []*config.TopologyRule{{Region: "c", Pos: at(4)}}}
	for _, test := range []struct {
		name  string
		model *config.Model
		want  []string
	}{
		{"country without a database", noDatabase,
			[]string{"p.yaml:1:3: regions[0].any[0]: country CN needs a geo database: list one in geo.databases"}},
		{"fields that no database has", matching(&config.Match{ASN: 4134}, &config.Match{Country: "CN", City: "Paris"}), []string{
			"p.yaml:1:3: regions[0].any[0]: asn 4134: no database of geo.databases has AS numbers",
			"p.yaml:2:3: regions[0].any[1]: city Paris: no database of geo.databases has cities"}},
		{"a country that does not occur", matching(&config.Match{Country: "cn"}, &config.Match{Country: "XX"}),
			[]string{"warning: p.yaml:2:3: regions[0].any[1]: country XX occurs in no database"}},
		{"AS numbers of an isp", ispNumbers, []string{
			"p.yaml:1:3: isps[0].asns: asn 5: no database of geo.databases has AS numbers",
			"warning: p.yaml:2:3: isps[1].asns: asn 9 occurs neither in the prefix file nor in a database"}},
		{"files", isp(&config.ISP{PrefixFile: "bad.txt"}, &config.ISP{PrefixFile: "bad.txt"}, &config.ISP{PrefixFile: "empty.txt"},
			&config.ISP{PrefixFile: "gone.txt"}, &config.ISP{PrefixFile: "bad.gz"}, &config.ISP{PrefixFile: "cut.gz"}), []string{
			`etc/bad.txt:2: bad prefix "10.0.0.0": it has no length, write 10.0.0.0/32`,
			`etc/bad.txt:3: prefix 10.0.0.1/8 has host bits set: did you mean 10.0.0.0/8?`,
			`etc/bad.txt:4: bad prefix "10.0.0.0/33": want an address, a slash and a length`,
			`etc/bad.txt:5: prefix ::ffff:10.0.0.0/104 is IPv4 written as IPv6: write the IPv4 prefix`,
			`etc/bad.txt:6: line has 2 tab-separated fields, want AS number, name and prefix`,
			`etc/bad.txt:7: bad AS number "x": want 1 to 4294967295`,
			`etc/empty.txt: prefix file holds no prefix`,
			`etc/gone.txt: reading prefix file: open gone.txt: file does not exist`,
			`etc/bad.gz:1: bad prefix "nonsense": want an address, a slash and a length`,
			`etc/cut.gz: reading prefix file: unexpected EOF`}},
		{"databases", &config.Model{Geo: config.Geo{Databases: []string{"gone.mmdb", "text.mmdb", "other.mmdb"}},
			Regions: []*config.Region{regionAny("r", &config.Match{Country: "CN"})}}, []string{
			"etc/gone.mmdb: reading geo database: open gone.mmdb: file does not exist",
			"etc/text.mmdb: not a geo database: error opening database: invalid MaxMind DB file",
			"etc/other.mmdb: geo database has no field known here: want MaxMind's layout, or country_code, asn and the like"}},
		{"loops and names, though Load refuses them", loop, []string{
			`p.yaml:2:3: regions[1].any[0]: region "a" contains itself`,
			`p.yaml:3:3: regions[1].any[1]: no isp is named "none"`,
			`p.yaml:4:3: topology[0].region: no region is named "c"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			table, errs := Compile(test.model, source(map[string][]byte{
				"c.mmdb": country, "text.mmdb": []byte("hello"),
				"other.mmdb": writeDatabase(t, "x", 6, in("1.0.0.0/24", flatRecord("colour", "blue"))),
				"empty.txt":  []byte("# nothing\n\n"), "bad.gz": zipped("nonsense"), "cut.gz": zipped("10.0.0.0/8")[:20],
				"isps.tsv": []byte("1\tone\t10.0.0.0/8"),
				"bad.txt":  []byte("10.0.0.0/8\n10.0.0.0\n10.0.0.1/8\n10.0.0.0/33\n::ffff:10.0.0.0/104\n1\t10.0.0.0/8\nx\ty\t10.0.0.0/8\n"),
			}))
			if got := shownErrors(errs); !slices.Equal(got, test.want) {
				t.Errorf("errors:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(test.want, "\n"))
			}
			if (table == nil) != errs.Failed() {
				t.Errorf("table %v although failed is %v", table != nil, errs.Failed())
			}
		})
	}
}

// TestManyErrors: a file of another kind does not drown the other errors.
func TestManyErrors(t *testing.T) {
	_, errs := parsePrefixFile("f", bytes.Repeat([]byte("nonsense\n"), 1000))
	if last := errs[len(errs)-1].Error(); len(errs) != 51 || last != "f: 950 more lines are wrong" {
		t.Errorf("%d errors, the last %q", len(errs), last)
	}
}

// TestShadowed_T4: rules without effect are reported; a second choice (rule 3)
// is not one.
func TestShadowed_T4(t *testing.T) {
	rule := func(i int, client, link string, priority int) *config.TopologyRule {
		return &config.TopologyRule{Client: netip.MustParsePrefix(client), Prefer: config.Place{Link: link}, Priority: priority, Pos: at(i)}
	}
	m := &config.Model{
		Regions: []*config.Region{{Name: "nobody", All: []*config.Match{inPrefix("10.0.0.0/8"), inPrefix("11.0.0.0/8")}}},
		Topology: []*config.TopologyRule{
			rule(1, "10.0.0.0/8", "a", 1),
			rule(2, "10.1.0.0/16", "a", 0),
			rule(3, "10.0.0.0/8", "b", 0),
			{Region: "nobody", Prefer: config.Place{Link: "a"}, Pos: at(4)},
			rule(5, "10.0.0.0/7", "b", 0),
		},
	}
	_, errs := Compile(m, source(nil))
	want := []string{
		"warning: p.yaml:2:3: topology[1]: rule has no effect: for every client topology[0] (p.yaml:1:3) goes before it and prefers the same place",
		"warning: p.yaml:4:3: topology[3]: rule matches no client",
	}
	if got := shownErrors(errs); !slices.Equal(got, want) {
		t.Errorf("errors:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestCorruptDatabase: a database that is cut or changed is an error or
// readable, but never a panic or an endless walk.
func TestCorruptDatabase(t *testing.T) {
	whole := writeDatabase(t, "City", 6, in("1.0.0.0/24", cityRecord("AS", "CN", "GD", "Shenzhen")),
		in("1.0.1.0/24", asnRecord(3)), in("2001:db8::/32", flatRecord("country_code", "FR", "asn", "AS1")))
	m := &config.Model{
		Geo:      config.Geo{Databases: []string{"db"}},
		Regions:  []*config.Region{regionAny("r", &config.Match{Country: "CN"})},
		Topology: []*config.TopologyRule{toLink("r", "a", 0)},
	}
	failed := 0
	try := func(data []byte) {
		table, errs := Compile(m, source(map[string][]byte{"db": data}))
		if errs.Failed() {
			failed++
			return
		}
		for _, a := range []string{"1.0.0.1", "1.0.1.1", "2001:db8::1", "2002:100::1"} {
			table.Explain(netip.MustParseAddr(a))
		}
	}
	for n := 0; n < len(whole); n += 7 {
		try(whole[:n])
	}
	if want := (len(whole) + 6) / 7; failed != want {
		t.Errorf("%d of %d cut databases failed", failed, want)
	}
	r := rand.New(rand.NewPCG(1, 1))
	failed = 0
	for range 3000 {
		data := slices.Clone(whole)
		for range 1 + r.IntN(4) {
			data[r.IntN(len(data))] = byte(r.Uint32())
		}
		try(data)
	}
	if failed == 0 {
		t.Error("no changed database failed")
	}
}

// TestTangledDatabase: a search tree whose nodes meet again would take longer
// to walk than the machine lasts.
func TestTangledDatabase(t *testing.T) {
	whole := writeDatabase(t, "Country", 6, in("2001:db8::/32", flatRecord("country_code", "FR")))
	reader, err := maxminddb.OpenBytes(slices.Clone(whole))
	if err != nil {
		t.Fatal(err)
	}
	const nodes, record = 60, 3 // record in bytes, at the record size of 24 bits
	for n := range nodes {
		to := uint(n + 1)
		if to == nodes {
			to = reader.Metadata.NodeCount // no data
		}
		for side := range 2 {
			copy(whole[(2*n+side)*record:], []byte{byte(to >> 16), byte(to >> 8), byte(to)})
		}
	}
	_, errs := Compile(&config.Model{Geo: config.Geo{Databases: []string{"db"}}}, source(map[string][]byte{"db": whole}))
	if got := shownErrors(errs); len(got) != 1 || !strings.Contains(got[0], "corrupt geo database: the search tree meets itself") {
		t.Errorf("errors %q", got)
	}
}

// FuzzPrefixFile: any bytes give prefixes without host bits, or errors.
func FuzzPrefixFile(f *testing.F) {
	f.Add([]byte("10.0.0.0/8\n# x\n1\ttwo\t2001:db8::/32\n"))
	f.Add([]byte("10.0.0.1/8\n\x1f\x8b"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, errs := parsePrefixFile("f", data)
		if !errs.Failed() && len(file.lines) == 0 {
			t.Error("neither prefixes nor errors")
		}
		for _, e := range errs {
			if strings.ContainsAny(e.Error(), "\n\r") || e.Pos.File != "f" {
				t.Errorf("bad error %q", e.Error())
			}
		}
		if errs.Failed() {
			return
		}
		for _, l := range file.lines {
			if l.prefix != l.prefix.Masked() || !l.prefix.IsValid() || l.prefix.Addr().Is4In6() {
				t.Errorf("prefix %s", l.prefix)
			}
		}
	})
}
