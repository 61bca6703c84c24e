package convert

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"
)

// located is a network of the test's database.
type located struct {
	prefix, continent, country string
	subdivisions               []string
	city                       string
	lat, lon                   float64
}

// networks are those of MaxMind's own test database where there is one, and
// some more: countries with one and with two levels of subdivisions, a city of
// one name in two places, a network without a location.
var networks = []located{
	{"2.125.160.216/29", "EU", "GB", []string{"ENG", "WBK"}, "Boxford", 51.75, -1.25},
	{"81.2.69.142/31", "EU", "GB", []string{"ENG"}, "London", 51.51, -0.09},
	{"81.3.0.0/16", "EU", "GB", []string{"SCT"}, "Boxford", 55.9, -3.2},
	{"89.160.20.112/28", "EU", "SE", []string{"E"}, "Linkoping", 58.41, 15.61},
	{"216.160.83.56/29", "NA", "US", []string{"WA"}, "Milton", 47.25, -122.31},
	{"216.160.84.0/24", "NA", "US", []string{"WA"}, "Seattle", 47.6, -122.3},
	{"64.0.0.0/10", "NA", "US", []string{"NJ"}, "Newark", 40.7, -74.2},
	{"216.161.0.0/16", "NA", "US", []string{"NY"}, "Milton", 42.0, -74.0},
	{"23.0.0.0/8", "NA", "CA", []string{"ON"}, "Toronto", 43.7, -79.4},
	{"175.16.199.0/24", "AS", "CN", []string{"22"}, "Changchun", 43.88, 125.32},
	{"202.196.224.0/20", "AS", "PH", nil, "", 13, 122},
	{"187.0.0.0/8", "SA", "BR", nil, "", -10, -55},
	{"85.0.0.0/9", "EU", "DE", []string{"BY"}, "Munich", 48.1, 11.6},
	{"90.0.0.0/9", "EU", "FR", nil, "", 46, 2},
	{"79.112.0.0/13", "EU", "RO", nil, "", 46, 25},
	{"41.0.0.0/8", "AF", "ZA", nil, "", -29, 24},
	{"1.128.0.0/11", "OC", "AU", []string{"NSW"}, "Sydney", -33.9, 151.2},
	{"2001:218::/32", "AS", "JP", nil, "", 36, 138},
	{"2a02:d300::/32", "EU", "UA", nil, "", 49, 32},
}

// flatDatabase is not in MaxMind's layout.
func flatDatabase(tb testing.TB) []byte {
	return writeDatabase(tb, "country ipvAll", func(n located) mmdbtype.Map {
		return mmdbtype.Map{"country_code": mmdbtype.String(n.country), "country": mmdbtype.String(n.country)}
	})
}

// countryDatabase is in the layout of MaxMind's country databases.
func countryDatabase(tb testing.TB) []byte {
	return writeDatabase(tb, "GeoLite2-Country", func(n located) mmdbtype.Map {
		return mmdbtype.Map{
			"continent": mmdbtype.Map{"code": mmdbtype.String(n.continent)},
			"country":   mmdbtype.Map{"iso_code": mmdbtype.String(n.country)},
		}
	})
}

// cityDatabase makes a database in the layout of MaxMind's city databases.
func cityDatabase(tb testing.TB) []byte {
	name := func(s string) mmdbtype.Map { return mmdbtype.Map{"en": mmdbtype.String(s)} }
	return writeDatabase(tb, "GeoLite2-City", func(n located) mmdbtype.Map {
		m := mmdbtype.Map{
			"continent": mmdbtype.Map{"code": mmdbtype.String(n.continent)},
			"country":   mmdbtype.Map{"iso_code": mmdbtype.String(n.country)},
			"location":  mmdbtype.Map{"latitude": mmdbtype.Float64(n.lat), "longitude": mmdbtype.Float64(n.lon)},
		}
		if n.city != "" {
			m["city"] = mmdbtype.Map{"names": name(n.city)}
		}
		var subdivisions mmdbtype.Slice
		for _, s := range n.subdivisions {
			subdivisions = append(subdivisions, mmdbtype.Map{"iso_code": mmdbtype.String(s)})
		}
		if subdivisions != nil {
			m["subdivisions"] = subdivisions
		}
		return m
	})
}

func writeDatabase(tb testing.TB, kind string, record func(located) mmdbtype.Map) []byte {
	tb.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{
		DatabaseType: kind, IPVersion: 6, RecordSize: 24, IncludeReservedNetworks: true, BuildEpoch: 1,
		Languages: []string{"en"}, Description: map[string]string{"en": "test"},
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, n := range networks {
		p := netip.MustParsePrefix(n.prefix)
		if err := tree.Insert(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, record(n)); err != nil {
			tb.Fatal(err)
		}
	}
	var b bytes.Buffer
	if _, err := tree.WriteTo(&b); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}
