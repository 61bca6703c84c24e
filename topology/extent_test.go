package topology

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

// What a class of outbound or of slb names is given as ranges: prefixes and
// databases together, each address once, and nothing else.
func TestExtents(t *testing.T) {
	m := &config.Model{
		Geo: config.Geo{Databases: []string{"country.mmdb", "asn.mmdb"}},
		ISPs: []*config.ISP{
			{Name: "telecom", Prefixes: prefixes("198.51.100.0/24", "198.51.100.128/26", "198.51.101.0/24", "2001:db8::/32"), ASNs: []uint32{4134}},
			{Name: "last", Prefixes: prefixes("255.255.255.0/24", "ffff::/16")},
			{Name: "unasked", Prefixes: prefixes("192.0.2.0/24")},
		},
		Outbound: &config.Outbound{Classes: []*config.Class{
			{Name: "one", ISPs: []string{"telecom"}, ASNs: []uint32{4134}},
		}},
		SLB: &config.SLB{Classes: []*config.Class{
			{Name: "one", ISPs: []string{"telecom", "last"}},
			{Name: "two", Countries: []string{"CN"}, ASNs: []uint32{4134}},
		}},
	}
	table := compiled(t, m, map[string][]byte{
		"country.mmdb": writeDatabase(t, "x-Country", 6, in("203.0.113.0/24", cityRecord("AS", "CN", "", "")), in("2001:db8:8000::/33", cityRecord("AS", "CN", "", ""))),
		"asn.mmdb":     writeDatabase(t, "GeoLite2-ASN", 6, in("198.51.102.0/25", asnRecord(4134)), in("203.0.113.128/25", asnRecord(4134))),
	})
	check := func(what string, v4, v6 []config.AddressRange, ok bool, want4, want6 []string) {
		t.Helper()
		text := func(list []config.AddressRange) (out []string) {
			for _, r := range list {
				out = append(out, r.String())
			}
			return out
		}
		if !ok || !slices.Equal(text(v4), want4) || !slices.Equal(text(v6), want6) {
			t.Errorf("%s: %v %v %v, want %v %v", what, text(v4), text(v6), ok, want4, want6)
		}
	}
	v4, v6, ok := table.ISP("telecom")
	check("ISP", v4, v6, ok, []string{"198.51.100.0-198.51.102.127", "203.0.113.128-203.0.113.255"}, []string{"2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"})
	v4, v6, ok = table.ISP("last")
	check("the end of both families", v4, v6, ok, []string{"255.255.255.0-255.255.255.255"}, []string{"ffff::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"})
	v4, v6, ok = table.ASN(4134)
	check("ASN", v4, v6, ok, []string{"198.51.102.0-198.51.102.127", "203.0.113.128-203.0.113.255"}, nil)
	v4, v6, ok = table.Country("cn")
	check("country", v4, v6, ok, []string{"203.0.113.0-203.0.113.255"}, []string{"2001:db8:8000::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"})
	if _, _, ok := table.ISP("unasked"); ok {
		t.Error("an ISP that no class names has ranges")
	}
}

// A class that asks for what no database knows is told where it stands.
func TestExtents_NoDatabase(t *testing.T) {
	classes := []*config.Class{{Name: "one", Countries: []string{"CN"}}}
	for module, m := range map[string]*config.Model{
		"outbound": {Outbound: &config.Outbound{Classes: classes}},
		"slb":      {SLB: &config.SLB{Classes: classes}},
	} {
		_, errs := Compile(m, source(nil))
		if !errs.Failed() || errs[0].Path != module+".classes[0].countries" {
			t.Errorf("errors: %v", errs)
		}
	}
}

// Twin: an address is in the ranges of an ISP just if one of its prefixes has
// it, however they nest and touch.
func TestExtents_Twin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := netip.AddrFrom4([4]byte{10, 0, byte(rapid.IntRange(0, 3).Draw(t, "c")), byte(rapid.IntRange(0, 255).Draw(t, "d"))})
			return netip.PrefixFrom(a, rapid.IntRange(20, 32).Draw(t, "bits")).Masked()
		})
		list := rapid.SliceOfN(draw, 1, 12).Draw(t, "prefixes")
		m := &config.Model{
			ISPs:     []*config.ISP{{Name: "a", Prefixes: list}, {Name: "b", Prefixes: prefixes("10.0.1.0/24")}},
			Outbound: &config.Outbound{Classes: []*config.Class{{Name: "k", ISPs: []string{"a", "b"}}}},
		}
		v4, _, _ := compiled(t, m, nil).ISP("a")
		for i := 1; i < len(v4); i++ {
			if v4[i-1].To.Next().Compare(v4[i].From) >= 0 {
				t.Fatalf("ranges overlap or touch: %v", v4)
			}
		}
		for i := range 2048 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
			want := slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
			if got := slices.ContainsFunc(v4, func(r config.AddressRange) bool { return r.Has(a) }); got != want {
				t.Fatalf("%s: %v, want %v", a, got, want)
			}
		}
	})
}
