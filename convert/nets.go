package convert

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// netEntry is an entry of a map's nets.
type netEntry struct {
	prefix netip.Prefix
	pos    config.Pos
	dcs    []string
	key    string // dcs in one string
	inside []netip.Prefix
}

// compatible is where gdnsd keeps IPv4 among IPv6.
var compatible = netip.MustParsePrefix("::/96")

// readNets reads networks and their datacentres, which stand in the map or in
// a file of their own. Of networks inside each other the longer counts.
func (g *gdnsd) readNets(m *geoMap) error {
	n := m.node.get("nets")
	if n == nil {
		return nil
	}
	if n.kind == scalar {
		file := g.absolute("geoip", n.text)
		read, err := newVscf(g.src).read(file)
		if err != nil {
			return err
		}
		n = read
	}
	if n.kind != hash {
		g.lost(n.pos, m.what()+".nets", "is "+kindNames[n.kind]+"; gdnsd wants a hash", "")
		return nil
	}
	seen := map[netip.Prefix]bool{}
	for _, p := range n.pairs {
		prefix, ok := g.netPrefix(m, p)
		switch {
		case !ok:
			continue
		case seen[prefix]:
			g.lost(p.pos, m.what()+".nets "+p.key, "it is there already, written otherwise; the first counts", "")
			continue
		}
		seen[prefix] = true
		dcs := g.dcList(m, p.value, m.what()+".nets "+p.key)
		m.nets = append(m.nets, &netEntry{prefix: prefix, pos: p.pos, dcs: dcs, key: listKey(dcs)})
	}
	return nil
}

// netPrefix reads a network. IPv4 may be written as IPv6.
func (g *gdnsd) netPrefix(m *geoMap, p *pair) (netip.Prefix, bool) {
	prefix, err := netip.ParsePrefix(p.key)
	if err != nil {
		g.lost(p.pos, m.what()+".nets "+p.key, "it is no network such as 192.0.2.0/24", "")
		return prefix, false
	}
	if a := prefix.Addr(); a.Is6() && prefix.Bits() >= 96 && compatible.Contains(a) {
		b := a.As16()
		prefix = netip.PrefixFrom(netip.AddrFrom4([4]byte(b[12:])), prefix.Bits()-96)
	}
	if prefix.Addr().Is4In6() {
		g.lost(p.pos, m.what()+".nets "+p.key, "gdnsd does not allow IPv4 written in this way", "write the IPv4 network")
		return prefix, false
	}
	if prefix != prefix.Masked() {
		g.note(p.pos, m.what()+".nets "+p.key, "bits are set beyond its length: "+prefix.Masked().String()+" is taken", "")
	}
	return prefix.Masked(), true
}

// nestNets finds for each net the longest nets inside it that lead elsewhere,
// so that each client is in one list only. Nets that lead where those around
// them do are left out; outer gives those that no other is around.
func nestNets(nets []*netEntry) (kept []*netEntry, outer []netip.Prefix) {
	slices.SortFunc(nets, func(a, b *netEntry) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()), cmp.Compare(a.prefix.Bits(), b.prefix.Bits()))
	})
	var open []*netEntry // nets around the one looked at, outermost first
	for _, n := range nets {
		for len(open) > 0 && !open[len(open)-1].prefix.Overlaps(n.prefix) {
			open = open[:len(open)-1]
		}
		switch {
		case len(open) == 0:
			outer = append(outer, n.prefix)
		case open[len(open)-1].key == n.key:
			continue
		default:
			around := open[len(open)-1]
			around.inside = append(around.inside, n.prefix)
		}
		open, kept = append(open, n), append(kept, n)
	}
	return kept, outer
}

// maxInline is how many nets of one list stand in the configuration itself;
// more go into a file.
const maxInline = 64

// netMatches gives matchers for the nets of one list, each without what leads
// elsewhere inside it.
func (g *gdnsd) netMatches(m *geoMap, region string, nets []*netEntry) lines {
	if len(nets) > maxInline {
		return lines{{mapping{{"isp", g.netFile(m, region, nets)}}, ""}}
	}
	var all lines
	for _, n := range nets {
		match := mapping{{"prefix", n.prefix.String()}}
		if len(n.inside) > 0 {
			not := make(list, len(n.inside))
			for i, p := range n.inside {
				not[i] = mapping{{"prefix", p.String()}}
			}
			match = append(match, entry{"not", not})
		}
		all = append(all, line{match, ""})
	}
	return all
}

// netFile writes nets into a file of prefixes, without what is inside them and
// leads elsewhere.
func (g *gdnsd) netFile(m *geoMap, region string, nets []*netEntry) string {
	var prefixes []netip.Prefix
	for _, n := range nets {
		prefixes = append(prefixes, without(n.prefix, n.inside)...)
	}
	return g.prefixFile(region, "nets of the map "+m.name, prefixes)
}

// prefixFile writes prefixes and gives the ISP that has them.
func (g *gdnsd) prefixFile(want, comment string, prefixes []netip.Prefix) string {
	isp := g.name("isp", want)
	file := "prefixes/" + strings.ToLower(isp) + ".txt"
	var text bytes.Buffer
	fmt.Fprintf(&text, "# %s\n", comment)
	for _, p := range prefixes {
		fmt.Fprintln(&text, p)
	}
	g.files[file] = text.Bytes()
	g.isps = append(g.isps, block{"", mapping{{"name", isp}, {"prefixFile", file}}})
	return isp
}

// without gives the prefixes that are p but for those of holes, which are
// inside it and do not overlap.
func without(p netip.Prefix, holes []netip.Prefix) []netip.Prefix {
	switch {
	case len(holes) == 0:
		return []netip.Prefix{p}
	case slices.Contains(holes, p):
		return nil
	}
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	a, _ := netip.AddrFromSlice(b)
	high := netip.PrefixFrom(a, p.Bits()+1)
	part := func(half netip.Prefix) []netip.Prefix {
		return without(half, slices.DeleteFunc(slices.Clone(holes), func(h netip.Prefix) bool { return !half.Overlaps(h) }))
	}
	return append(part(low), part(high)...)
}

func listKey(dcs []string) string { return strings.Join(dcs, "\x00") }
