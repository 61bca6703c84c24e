package topology

import (
	"bytes"
	"net"
	"net/netip"
	"testing/fstest"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/portolan-lb/portolan/config"
)

// fataler is what test set-up needs of *testing.T, *testing.B and *rapid.T.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// network is a network of a test database.
type network struct {
	prefix netip.Prefix
	fields mmdbtype.Map
}

func in(prefix string, fields mmdbtype.Map) network {
	return network{netip.MustParsePrefix(prefix), fields}
}

// writeDatabase makes a small database. Later networks replace earlier ones.
func writeDatabase(tb fataler, kind string, version int, networks ...network) []byte {
	tb.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: kind, IPVersion: version, RecordSize: 24, IncludeReservedNetworks: true, BuildEpoch: 1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, n := range networks {
		a := n.prefix.Addr()
		ipnet := &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(n.prefix.Bits(), a.BitLen())}
		if err := tree.Insert(ipnet, n.fields); err != nil {
			tb.Fatalf("inserting %s: %v", n.prefix, err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// cityRecord is a record in the layout of MaxMind's city databases.
func cityRecord(continent, country, subdivision, city string) mmdbtype.Map {
	m := mmdbtype.Map{}
	if continent != "" {
		m["continent"] = mmdbtype.Map{"code": mmdbtype.String(continent), "geoname_id": mmdbtype.Uint32(1)}
	}
	if country != "" {
		m["country"] = mmdbtype.Map{"iso_code": mmdbtype.String(country)}
	}
	if subdivision != "" {
		m["subdivisions"] = mmdbtype.Slice{
			mmdbtype.Map{"iso_code": mmdbtype.String(subdivision)},
			mmdbtype.Map{"iso_code": mmdbtype.String("second")},
		}
	}
	if city != "" {
		m["city"] = mmdbtype.Map{"names": mmdbtype.Map{"en": mmdbtype.String(city), "de": mmdbtype.String("Stadt")}}
	}
	return m
}

// asnRecord is a record in the layout of MaxMind's ASN databases.
func asnRecord(asn uint32) mmdbtype.Map {
	return mmdbtype.Map{
		"autonomous_system_number":       mmdbtype.Uint32(asn),
		"autonomous_system_organization": mmdbtype.String("an ISP"),
	}
}

// flatRecord is a record with everything at the top. Empty values are left
// out.
func flatRecord(pairs ...string) mmdbtype.Map {
	m := mmdbtype.Map{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[mmdbtype.String(pairs[i])] = mmdbtype.String(pairs[i+1])
		}
	}
	return m
}

// source is a folder in memory; messages show its files as etc/NAME.
func source(files map[string][]byte) config.Source {
	fs := fstest.MapFS{}
	for name, data := range files {
		fs[name] = &fstest.MapFile{Data: data}
	}
	return config.Source{FS: fs, Dir: ".", Shown: "etc"}
}

// compiled is Compile for models without errors.
func compiled(tb fataler, m *config.Model, files map[string][]byte) *Table {
	tb.Helper()
	t, errs := Compile(m, source(files))
	if errs.Failed() {
		tb.Fatalf("Compile: %v", errs)
	}
	return t
}

// prefixes parses a list of prefixes.
func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

func inPrefix(p string) *config.Match { return &config.Match{Prefix: netip.MustParsePrefix(p)} }

// regionAny is a region of any of the matchers.
func regionAny(name string, some ...*config.Match) *config.Region {
	return &config.Region{Name: name, Any: some}
}

// toLink is a rule that sends a region to a link.
func toLink(region, link string, priority int) *config.TopologyRule {
	return &config.TopologyRule{Region: region, Prefer: config.Place{Link: link}, Priority: priority}
}

// ruleOrder gives the indexes of the rules that match a client, the best
// first, as the table has them.
func ruleOrder(t *Table, client string) []int {
	c, _ := t.Lookup(netip.MustParseAddr(client))
	out := []int{}
	for _, r := range t.classes[c] {
		out = append(out, int(r))
	}
	return out
}
