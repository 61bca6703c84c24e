package topology

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

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
