package topology

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

// universe is a part of the address space in which only the 8 bits after base
// matter, and outside of which only the distance from it does.
type universe struct{ base netip.Prefix }

// at gives address n of the universe, 0 <= n < 256, with noise in the bits
// that do not matter.
func (u universe) at(n int, noise uint64) netip.Addr {
	k, b := keyOf(u.base.Addr()), u.base.Bits()
	mask := hostMask(b + 8)
	k.hi |= noise & mask.hi
	k.lo |= noise & mask.lo
	for i := range 8 {
		if n>>(7-i)&1 == 1 {
			k = k.set(b + i)
		}
	}
	return k.addr(u.base.Addr().Is4())
}

// set sets one bit.
func (k key) set(bit int) key {
	if bit < 64 {
		return key{k.hi | 1<<(63-bit), k.lo}
	}
	return key{k.hi, k.lo | 1<<(127-bit)}
}

// all gives an address for each kind of place in and around the universe.
func (u universe) all(noise uint64) []netip.Addr {
	var out []netip.Addr
	for n := range 256 {
		out = append(out, u.at(n, noise))
	}
	for bit := range u.base.Bits() {
		k := keyOf(u.base.Addr())
		one := key{}.set(bit)
		out = append(out, key{k.hi ^ one.hi, k.lo ^ one.lo}.addr(u.base.Addr().Is4()))
	}
	return out
}

// prefix draws a network around or in the universe.
func (u universe) prefix(t *rapid.T) netip.Prefix {
	b := u.base.Bits()
	n := b + rapid.IntRange(0, 8).Draw(t, "length")
	if rapid.IntRange(0, 9).Draw(t, "short") == 0 {
		n = rapid.IntRange(0, b).Draw(t, "shortLength")
	}
	return netip.PrefixFrom(u.at(rapid.IntRange(0, 255).Draw(t, "net"), 0), n).Masked()
}

var bases6 = prefixes("2001:db8::/56", "2001:db8::/60", "2001:db8::/64", "2001:db8::/120", "2001:db8:8000::/33",
	"2002:c633:6400::/40", // 6to4 of the IPv4 universe: databases repeat it there, and we do not
	"::c633:6400/120",     // where databases keep the IPv4 universe
	"fe00::/8", "::/0")

// sketch draws a model with its files and twin.
type sketch struct {
	*rapid.T
	universes []universe
	fields    []string
	twin      *twin
	files     map[string][]byte
}

func drawSketch(t *rapid.T) *sketch {
	s := &sketch{
		T:         t,
		universes: []universe{{netip.MustParsePrefix("198.51.100.0/24")}, {rapid.SampledFrom(bases6).Draw(t, "base")}},
		twin:      &twin{model: &config.Model{}, lines: map[string][]prefixLine{}, found: map[netip.Addr][]twinMatch{}}, files: map[string][]byte{},
	}
	for i, kind := range rapid.SampledFrom([][]string{
		{}, {"flat"}, {"city"}, {"city", "asn"}, {"asn", "flat"}, {"city", "flat"}, {"flat", "flat"},
	}).Draw(t, "databases") {
		s.database(fmt.Sprintf("%d.mmdb", i), kind)
	}
	s.drawISPs()
	s.drawRegions()
	s.drawRules()
	return s
}

func (s *sketch) prefix() netip.Prefix {
	return rapid.SampledFrom(s.universes).Draw(s.T, "universe").prefix(s.T)
}

func (s *sketch) pick(name string, from ...string) string {
	return rapid.SampledFrom(from).Draw(s.T, name)
}

// values are what databases say and matchers ask for. The first of each is in
// a network of its own, so that every database has every field.
var values = map[string][]string{
	"continent": {"OC", "AS", "EU"}, "country": {"AU", "CN", "FR"}, "subdivision": {"NSW", "GD", "ZJ"},
	"city": {"Sydney", "Paris"}, "asn": {"9", "1", "2"},
}

func (s *sketch) database(name, kind string) {
	fields := map[string][]string{
		"flat": {"continent", "country", "subdivision", "city", "asn"},
		"city": {"continent", "country", "subdivision", "city"}, "asn": {"asn"},
	}[kind]
	s.fields = append(s.fields, fields...)
	list := []twinNetwork{{prefix: netip.MustParsePrefix("224.0.0.0/3"), fields: map[string]string{}}}
	for _, f := range fields {
		list[0].fields[f] = values[f][0]
	}
	for range rapid.IntRange(0, 5).Draw(s.T, "networks") {
		n := twinNetwork{prefix: s.prefix(), fields: map[string]string{}}
		if p := n.prefix; p.Bits() < 8 || p.Addr().Is6() && (p.Bits() < 20 || inAlias(p)) {
			continue // the writer refuses networks around or inside aliases
		}
		for _, f := range fields {
			n.fields[f] = s.pick(f, append(values[f], "")...)
		}
		list = append(list, n)
	}
	var networks []network
	for _, n := range list {
		networks = append(networks, network{n.prefix, encode(kind, n.fields)})
	}
	s.twin.databases = append(s.twin.databases, list)
	s.twin.model.Geo.Databases = append(s.twin.model.Geo.Databases, name)
	s.files[name] = writeDatabase(s.T, kind, 6, networks...)
}

// inAlias says whether databases keep or repeat IPv4 in an IPv6 network.
func inAlias(p netip.Prefix) bool {
	return p.Overlaps(ipv4Part) || slices.ContainsFunc(aliasNetworks, p.Overlaps)
}

func encode(kind string, f map[string]string) mmdbtype.Map {
	switch kind {
	case "city":
		return cityRecord(f["continent"], f["country"], f["subdivision"], f["city"])
	case "asn":
		var asn uint32
		fmt.Sscan(f["asn"], &asn)
		return asnRecord(asn)
	}
	return flatRecord("continent_code", f["continent"], "country_code", f["country"],
		"region_code", f["subdivision"], "city", f["city"], "asn", f["asn"])
}

func (s *sketch) drawISPs() {
	for i := range 3 {
		isp := &config.ISP{Name: fmt.Sprintf("isp-%d", i)}
		for range rapid.IntRange(0, 3).Draw(s.T, "prefixes") {
			isp.Prefixes = append(isp.Prefixes, s.prefix())
		}
		if slices.Contains(s.fields, "asn") && rapid.Bool().Draw(s.T, "asns") {
			isp.ASNs = []uint32{1, 9}
		}
		if rapid.Bool().Draw(s.T, "file") {
			isp.PrefixFile = s.pick("name", "a.txt", "b.txt")
		}
		s.twin.model.ISPs = append(s.twin.model.ISPs, isp)
	}
	for _, name := range []string{"a.txt", "b.txt"} {
		text := ""
		for range rapid.IntRange(1, 4).Draw(s.T, "lines") {
			line := prefixLine{prefix: s.prefix(), asn: rapid.Uint32Range(0, 2).Draw(s.T, "asn")}
			s.twin.lines[name] = append(s.twin.lines[name], line)
			if line.asn == 0 {
				text += line.prefix.String() + " # plain\n"
			} else {
				text += fmt.Sprintf("%d\tname\t%s\n", line.asn, line.prefix)
			}
		}
		s.files[name] = []byte(text)
	}
}

func (s *sketch) drawRegions() {
	for i := range 4 {
		r := &config.Region{Name: fmt.Sprintf("region-%d", i)}
		r.Any = s.matches("any", i, 2, 3)
		r.All = s.matches("all", i, 2, 2)
		r.Not = s.matches("not", i, 2, 1)
		if len(r.Any)+len(r.All)+len(r.Not) == 0 {
			r.Any = []*config.Match{s.match(i, 0)}
		}
		s.twin.model.Regions = append(s.twin.model.Regions, r)
	}
	slices.Reverse(s.twin.model.Regions) // references go forward in the file
}

func (s *sketch) matches(label string, region, depth, most int) []*config.Match {
	var out []*config.Match
	for range rapid.IntRange(0, most).Draw(s.T, label) {
		out = append(out, s.match(region, depth-1))
	}
	return out
}

// match draws a matcher that may refer to regions below the given one.
func (s *sketch) match(region, depth int) *config.Match {
	m := &config.Match{}
	kinds := []string{"prefix", "isp"}
	if region > 0 {
		kinds = append(kinds, "region")
	}
	if depth > 0 {
		kinds = append(kinds, "nested")
	}
	for range rapid.IntRange(1, 2).Draw(s.T, "fields") {
		switch kind := s.pick("kind", append(kinds, s.fields...)...); kind {
		case "prefix":
			m.Prefix = s.prefix()
		case "isp":
			m.ISP = s.pick("isp", "isp-0", "isp-1", "isp-2")
		case "region":
			m.Region = fmt.Sprintf("region-%d", rapid.IntRange(0, region-1).Draw(s.T, "region"))
		case "nested":
			m.Any, m.Not = []*config.Match{s.match(region, depth-1)}, s.matches("not", region, depth, 1)
		case "asn":
			fmt.Sscan(s.pick("asn", values["asn"]...), &m.ASN)
		default:
			s.setField(m, kind)
		}
	}
	return m
}

func (s *sketch) setField(m *config.Match, kind string) {
	value := s.pick(kind, values[kind]...)
	switch kind {
	case "continent":
		m.Continent = value
	case "country":
		m.Country = value
	case "subdivision":
		m.Subdivision = value
	case "city":
		m.City = strings.ToUpper(value)
	}
}

func (s *sketch) drawRules() {
	places := []config.Place{
		{VirtualServer: "vs"}, {Site: "site"}, {Link: "link"}, {Link: "other"}, {Prefix: netip.MustParsePrefix("192.0.2.0/24")},
	}
	for range rapid.IntRange(1, 8).Draw(s.T, "rules") {
		r := &config.TopologyRule{
			Priority: rapid.IntRange(0, 2).Draw(s.T, "priority"),
			Prefer:   rapid.SampledFrom(places).Draw(s.T, "prefer"),
		}
		switch s.pick("client", "region", "region", "client", "everyone") {
		case "region":
			r.Region = fmt.Sprintf("region-%d", rapid.IntRange(0, 3).Draw(s.T, "region"))
		case "client":
			r.Client = s.prefix()
		}
		s.twin.model.Topology = append(s.twin.model.Topology, r)
	}
}
