package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/maxmind/mmdbwriter/mmdbtype"
	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

// twin is the slow, obvious form of a Table: it scans every rule, prefix and
// database network for each client.
type twin struct {
	model     *config.Model
	databases [][]twinNetwork
	lines     map[string][]prefixLine
	found     map[netip.Addr][]twinMatch // what rules has found
}

type twinNetwork struct {
	prefix netip.Prefix
	fields map[string]string // continent, country, subdivision, city, asn
}

// says gives a field of the first database that has it.
func (w *twin) says(a netip.Addr, field string) string {
	for _, networks := range w.databases {
		for _, n := range slices.Backward(networks) {
			if n.prefix.Contains(a) {
				if value := n.fields[field]; value != "" {
					return value
				}
				break
			}
		}
	}
	return ""
}

// judge is true by the longest of lengths, false by -1.
func judge(hold bool, lengths ...int) int {
	if !hold {
		return -1
	}
	return max(0, slices.Max(append(lengths, 0)))
}

func (w *twin) isp(name string, a netip.Addr) int {
	longest := -1
	for _, isp := range w.model.ISPs {
		if isp.Name != name {
			continue
		}
		for _, p := range isp.Prefixes {
			longest = max(longest, judge(p.Contains(a), p.Bits()))
		}
		for _, l := range w.lines[isp.PrefixFile] {
			if l.asn == 0 || len(isp.ASNs) == 0 || slices.Contains(isp.ASNs, l.asn) {
				longest = max(longest, judge(l.prefix.Contains(a), l.prefix.Bits()))
			}
		}
		for _, asn := range isp.ASNs {
			longest = max(longest, judge(w.says(a, "asn") == fmt.Sprint(asn)))
		}
	}
	return longest
}

func (w *twin) region(name string, a netip.Addr) int {
	for _, r := range w.model.Regions {
		if r.Name == name {
			return w.match(&config.Match{Any: r.Any, All: r.All, Not: r.Not}, a)
		}
	}
	panic("no region " + name)
}

func (w *twin) match(m *config.Match, a netip.Addr) int {
	var lengths []int
	if m.Prefix.IsValid() {
		lengths = append(lengths, judge(m.Prefix.Contains(a), m.Prefix.Bits()))
	}
	if m.ISP != "" {
		lengths = append(lengths, w.isp(m.ISP, a))
	}
	if m.Region != "" {
		lengths = append(lengths, w.region(m.Region, a))
	}
	for field, value := range map[string]string{
		"continent": m.Continent, "country": m.Country, "subdivision": m.Subdivision, "city": m.City,
	} {
		if value != "" {
			lengths = append(lengths, judge(strings.EqualFold(w.says(a, field), value)))
		}
	}
	if m.ASN != 0 {
		lengths = append(lengths, judge(w.says(a, "asn") == fmt.Sprint(m.ASN)))
	}
	if len(m.Any) > 0 {
		longest := -1
		for _, sub := range m.Any {
			longest = max(longest, w.match(sub, a))
		}
		lengths = append(lengths, longest)
	}
	for _, sub := range m.All {
		lengths = append(lengths, w.match(sub, a))
	}
	for _, sub := range m.Not {
		lengths = append(lengths, judge(w.match(sub, a) < 0))
	}
	return judge(!slices.Contains(lengths, -1), lengths...)
}

// twinMatch is a rule that matches, and by what length.
type twinMatch struct{ rule, length int }

// rules gives the rules that match a client in T4's order.
func (w *twin) rules(a netip.Addr) []twinMatch {
	out, ok := w.found[a]
	if ok {
		return out
	}
	out = []twinMatch{}
	for i, r := range w.model.Topology {
		m := &config.Match{Region: r.Region, Prefix: r.Client}
		if length := w.match(m, a); length >= 0 {
			out = append(out, twinMatch{i, length})
		}
	}
	slices.SortFunc(out, func(x, y twinMatch) int {
		return cmp.Or(
			cmp.Compare(w.model.Topology[y.rule].Priority, w.model.Topology[x.rule].Priority),
			cmp.Compare(y.length, x.length), cmp.Compare(x.rule, y.rule))
	})
	w.found[a] = out
	return out
}

// score is how many rules from the end the first stands that prefers a member.
func (w *twin) score(a netip.Addr, vs, site, link string, addrs []netip.Addr) int {
	rules := w.rules(a)
	for i, m := range rules {
		p := w.model.Topology[m.rule].Prefer
		if p.VirtualServer != "" && p.VirtualServer == vs || p.Site != "" && p.Site == site ||
			p.Link != "" && p.Link == link || p.Prefix.IsValid() && slices.ContainsFunc(addrs, p.Prefix.Contains) {
			return len(rules) - i
		}
	}
	return 0
}

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
	return p.Overlaps(netip.MustParsePrefix("2002::/16")) || p.Overlaps(ipv4Part)
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

// TestTwin_T4 holds the table to the slow twin on random models: the rules and
// their order, scores, leaves, the classes within networks, and Explain.
func TestTwin_T4(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSketch(t)
		table := compiled(t, s.twin.model, s.files)
		for _, u := range s.universes {
			all := u.all(rapid.Uint64().Draw(t, "noise"))
			class := map[netip.Addr]Class{}
			for _, a := range all {
				class[a] = s.checkRules(table, a)
			}
			for range 60 {
				a := rapid.SampledFrom(all).Draw(t, "explained")
				s.checkExplain(table, a, class[a])
			}
			s.checkScores(table, all)
			for range 40 {
				checkLeaf(t, table, rapid.SampledFrom(all).Draw(t, "client"), class)
			}
			for range 20 {
				checkWithin(t, table, u.prefix(t), class)
			}
			for bit := range u.base.Bits() + 1 {
				checkWithin(t, table, netip.PrefixFrom(u.base.Addr(), bit).Masked(), class)
			}
		}
	})
}

func (s *sketch) checkRules(table *Table, a netip.Addr) Class {
	c, _ := table.Lookup(a)
	var want []uint32
	for _, m := range s.twin.rules(a) {
		want = append(want, uint32(m.rule))
	}
	if !slices.Equal(table.classes[c], want) {
		s.Fatalf("%s: rules %v, want %v", a, table.classes[c], want)
	}
	if (c == 0) != (len(want) == 0) {
		s.Fatalf("%s: class %d for rules %v", a, c, want)
	}
	return c
}

func (s *sketch) checkExplain(table *Table, a netip.Addr, c Class) {
	f := table.Explain(a)
	got := []twinMatch{}
	for _, r := range f.Rules {
		got = append(got, twinMatch{r.Index, r.Length})
	}
	if want := s.twin.rules(a); !slices.Equal(got, want) || f.Class != c {
		s.Fatalf("explain %s: class %d, rules %v; want class %d, rules %v", a, f.Class, got, c, want)
	}
	for _, r := range s.twin.model.Regions {
		if slices.Contains(f.Regions, r.Name) != (s.twin.region(r.Name, a) >= 0) {
			s.Fatalf("explain %s: regions %v are wrong about %s", a, f.Regions, r.Name)
		}
	}
	for _, isp := range s.twin.model.ISPs {
		if slices.Contains(f.ISPs, isp.Name) != (s.twin.isp(isp.Name, a) >= 0) {
			s.Fatalf("explain %s: isps %v are wrong about %s", a, f.ISPs, isp.Name)
		}
	}
}

func (s *sketch) checkScores(table *Table, all []netip.Addr) {
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	members := []struct {
		vs, site, link string
		addrs          []netip.Addr
	}{{"vs", "", "", nil}, {"", "site", "link", nil}, {"x", "site", "other", addrs}, {"", "", "", addrs[1:]}}
	for _, m := range members {
		place := table.Place(m.vs, m.site, m.link, m.addrs)
		for _, a := range all {
			c, _ := table.Lookup(a)
			score, ok := place.Score(c)
			if want := s.twin.score(a, m.vs, m.site, m.link, m.addrs); score != want || ok != (want > 0) {
				s.Fatalf("score of %+v for %s: %d %v, want %d", m, a, score, ok, want)
			}
		}
	}
}

// checkLeaf: the whole leaf has one class, and the network around it has not.
func checkLeaf(t *rapid.T, table *Table, a netip.Addr, class map[netip.Addr]Class) {
	c, bits := table.Lookup(a)
	leaf := netip.PrefixFrom(a, bits).Masked()
	wider := netip.PrefixFrom(a, max(bits-1, 0)).Masked()
	alone := true
	for other, theirs := range class {
		if leaf.Contains(other) && theirs != c {
			t.Fatalf("leaf %s of %s (class %d) holds %s (class %d)", leaf, a, c, other, theirs)
		}
		if wider.Contains(other) && theirs != c {
			alone = false
		}
	}
	if alone && bits > 0 {
		t.Fatalf("leaf %s of %s could be wider: %s holds class %d only", leaf, a, wider, c)
	}
}

func checkWithin(t *rapid.T, table *Table, p netip.Prefix, class map[netip.Addr]Class) {
	var want []Class
	for a, c := range class {
		if p.Contains(a) {
			want = append(want, c)
		}
	}
	slices.Sort(want)
	want = slices.Compact(want)
	if got := table.Within(p); !slices.Equal(got, want) {
		t.Fatalf("classes within %s: %v, want %v", p, got, want)
	}
}
