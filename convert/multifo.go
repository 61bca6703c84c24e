package convert

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
)

// family is the addresses of one family in a resource, with what holds for
// them.
type family struct {
	from  chain // innermost: the hash itself
	addrs []labelled
	types []typeName
}

// labelled is an address or host name of a resource.
type labelled struct {
	label  string
	node   *node
	addr   netip.Addr
	weight int
}

// families finds the addresses of a resource: addrs_v4 and addrs_v6, or those
// that stand in the resource itself. own are keys beside the labels.
func (g *gdnsd) families(d *definition, own []string, read func(from chain, n *node) *family) (all []*family) {
	inherited := d.from.under(d.node)
	if d.node.kind == hash {
		for _, key := range []string{"addrs_v4", "addrs_v6"} {
			if n := d.node.get(key); n != nil {
				all = append(all, read(inherited.under(n), n))
			}
		}
		if len(all) > 0 {
			for _, p := range d.node.pairs {
				if !slices.Contains(own, p.key) && p.key != "addrs_v4" && p.key != "addrs_v6" {
					g.lost(p.pos, d.what()+" "+p.key, "it has no place beside addrs_v4 and addrs_v6", "")
				}
			}
			return all
		}
	}
	return append(all, read(inherited, d.node))
}

// plainFamily reads labels and addresses: a hash, or a list without labels.
func (g *gdnsd) plainFamily(d *definition, own []string) func(chain, *node) *family {
	return func(from chain, n *node) *family {
		f := &family{from: from, types: g.types(from)}
		add := func(label string, v *node) {
			a, ok := g.address(v, d.what()+" "+label)
			switch {
			case !ok:
			case slices.ContainsFunc(f.addrs, func(o labelled) bool { return o.addr == a }):
				g.differs(v.pos, d.what()+" "+label, a.String()+" is there already, and counts once here", "")
			default:
				f.addrs = append(f.addrs, labelled{label: label, node: v, addr: a})
			}
		}
		if n.kind != hash {
			for i, v := range n.list() {
				add(strconv.Itoa(i+1), v)
			}
			return f
		}
		for _, p := range n.pairs {
			if !slices.Contains(own, p.key) {
				add(p.key, p.value)
			}
		}
		return f
	}
}

// byFamily makes a shape of each family's addresses, and joins them.
func (g *gdnsd) byFamily(d definition, own []string, shapeOf func(definition, *family) *shape) *shape {
	all := g.families(&d, own, g.plainFamily(&d, own))
	var parts []*shape
	for i, f := range all {
		part := d
		if len(all) > 1 {
			part.base += []string{".v4", ".v6"}[i]
		}
		if s := shapeOf(part, f); s != nil {
			parts = append(parts, s)
		}
	}
	return g.together(&d, parts, true)
}

// multifo answers all addresses that are up, or all of them when fewer than
// up_thresh of them are.
func (g *gdnsd) multifo(d definition) *shape {
	own := pluginKeys["multifo"]
	if slices.Contains([]string{"metafo", "geoip"}, d.key.plugin) || len(d.from) > 1 {
		own = metaKeys
	}
	return g.byFamily(d, own, g.multifoFamily)
}

func (g *gdnsd) multifoFamily(d definition, f *family) *shape {
	if len(f.addrs) == 0 {
		g.lost(d.pos, d.what(), "it has no addresses", "")
		return nil
	}
	if len(f.addrs) == 1 {
		return g.leafShape(&d, f.addrs[0].node, f.types)
	}
	s := g.newShape(&d)
	s.answers = len(f.addrs)
	var members lines
	for _, a := range f.addrs {
		s.v4, s.v6 = s.v4 || a.addr.Is4(), s.v6 || a.addr.Is6()
		members = append(members, line{mapping{{"address", a.addr.String()}}, a.label})
	}
	probes := g.familyProbes(&d, f, s)
	ignore := f.from.get("ignore_health").isTrue()
	if ignore && len(probes) > 0 {
		if d.key.mode == inner {
			g.differs(d.pos, d.what()+" ignore_health", "a probe that fails takes its address out of the answers here too: health serves members and place alike", "")
		} else {
			probes, s.probed, s.soon, s.ignores = nil, false, 0, true
		}
	}
	g.boundAnswers(&d, len(f.addrs))
	thresh := g.threshold(&d, f.from, len(f.addrs))
	g.addPool(s, mapping{
		{"answers", manyAnswers(s.answers)},
		g.healthShare(&d, s, thresh, len(f.addrs)),
		{"probes", words(probes)},
		{"members", members},
	})
	return s
}

// familyProbes gives the probes of all addresses of a family.
func (g *gdnsd) familyProbes(d *definition, f *family, s *shape) []string {
	if d.key.mode == open {
		return nil
	}
	var probes []string
	for _, a := range f.addrs { // a probe may be of one address only
		found, soon := g.probesFor(f.types, a.node.text)
		probes = found
		s.hurry(soon)
	}
	s.probed = len(probes) > 0
	return probes
}

// threshold gives how many of n have to be up.
func (g *gdnsd) threshold(d *definition, from chain, n int) int {
	return int(math.Ceil(g.share(d, from) * float64(n)))
}

func (g *gdnsd) share(d *definition, from chain) float64 {
	v := from.get("up_thresh")
	if v == nil {
		return 0.5
	}
	f, err := strconv.ParseFloat(v.text, 64)
	if v.kind != scalar || err != nil || f <= 0 || f > 1 {
		g.lost(v.pos, d.what()+" up_thresh = "+v.String(), "it is no share above 0 up to 1; 0.5 is taken", "")
		return 0.5
	}
	return f
}

// healthShare gives the key that says what happens when fewer than need of n
// are up: panic, by which health is then ignored, or inside metafo and geoip
// quorum, by which they go on to the next.
func (g *gdnsd) healthShare(d *definition, s *shape, need, n int) entry {
	if !s.probed || d.key.mode == inner && need == 1 { // any pool is down when none is up
		return entry{}
	}
	share := min(need*100/n, 100)
	if share*n <= (need-1)*100 || share == 0 {
		g.differs(d.pos, d.what()+" up_thresh", fmt.Sprintf("%d of %d is no whole percentage", need, n), "")
		share = max(share, 1)
	}
	if d.key.mode == inner {
		return entry{"quorum", strconv.Itoa(share) + "%"}
	}
	return entry{"panic", strconv.Itoa(share) + "%"}
}

// bothFamilies says that a resource has failed when one of its families has, as
// metafo and geoip want to know.
func bothFamilies(d *definition, s *shape) any {
	if s.probed && d.key.mode == inner {
		return "100%"
	}
	return nil
}

// together joins the two families of a resource: each chooses on its own, and
// an answer carries what both chose.
func (g *gdnsd) together(d *definition, parts []*shape, all bool) *shape {
	switch len(parts) {
	case 0:
		return nil
	case 1:
		return parts[0]
	}
	s := g.newShape(d)
	answers := 0
	for _, p := range parts {
		answers += p.answers
		s.join(p)
	}
	s.answers = answers
	if all {
		g.boundAnswers(d, answers)
	}
	m := memberList{g: g, answers: answers}
	for _, p := range parts {
		m.add(p, nil, "")
	}
	g.addPool(s, mapping{{"answers", manyAnswers(answers)}, {"quorum", bothFamilies(d, s)}, {"members", m.lines}})
	return s
}

// simplefo answers its primary while it is up, else its secondary while that
// is, else its primary.
func (g *gdnsd) simplefo(d definition) *shape {
	own := pluginKeys["simplefo"]
	if len(d.from) > 1 {
		own = metaKeys
	}
	return g.byFamily(d, own, g.simplefoFamily)
}

func (g *gdnsd) simplefoFamily(d definition, f *family) *shape {
	find := func(label string) *labelled {
		i := slices.IndexFunc(f.addrs, func(a labelled) bool { return a.label == label })
		if i < 0 {
			return nil
		}
		return &f.addrs[i]
	}
	primary, secondary := find("primary"), find("secondary")
	if primary == nil || secondary == nil {
		g.lost(d.pos, d.what(), "a primary and a secondary address, which differ, belong here", "")
		return nil
	}
	if d.key.mode == open {
		return g.leafShape(&d, primary.node, nil)
	}
	s := g.newShape(&d)
	s.v4, s.v6 = primary.addr.Is4(), primary.addr.Is6()
	probes := g.familyProbes(&d, f, s)
	rest := mapping{{"preferred", "first"}}
	if s.probed && d.key.mode == alone {
		rest = append(rest, entry{"panic", "1%"}) // none is up: the primary
	}
	g.addPool(s, append(rest, entry{"probes", words(probes)}, entry{"members", lines{
		{mapping{{"address", primary.addr.String()}, {"priority", 2}}, "primary"},
		{mapping{{"address", secondary.addr.String()}, {"priority", 1}}, "secondary"},
	}}))
	return s
}
