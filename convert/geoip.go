package convert

import (
	"slices"
)

// geoip answers the first datacentre that has not failed, in the order that
// the map has for the client. A list that is empty is answered with nothing;
// when all of a list have failed, its first answers as if all of it were up.
//
// Each datacentre of a map becomes a site, and a resource a pool whose members
// stand there; topology rules say who prefers which. What answers when all have
// failed stands at a site of its own, preferred last.
func (g *gdnsd) geoip(d definition) *shape {
	if !g.checkMeta(&d, "map") {
		return nil
	}
	name := d.from.under(d.node).get("map")
	if name == nil || name.kind != scalar {
		g.lost(d.pos, d.what(), "map is missing", "")
		return nil
	}
	m := g.geoMap(name.text)
	if m == nil {
		g.lost(name.pos, d.what(), "there is no map "+quoted(name.text), "")
		return nil
	}
	skip := d.from.under(d.node).get("skip_first").isTrue()
	v := m.variant(skip)
	dcmap := d.node.get("dcmap")
	var dcs []string
	for _, dc := range m.dcs {
		switch {
		case dcmap.get(dc) != nil:
			dcs = append(dcs, dc)
		case !g.plugin("geoip").get("undefined_datacenters_ok").isTrue():
			g.lost(d.pos, d.what(), "datacentre "+quoted(dc)+" of map "+m.name+" is missing in dcmap", "")
		case skip:
			g.differs(d.pos, d.what()+" skip_first", "the first of the map's list is skipped, whether or not it is defined here", "")
		}
	}
	for _, p := range dcmap.pairs {
		if !slices.Contains(m.dcs, p.key) {
			g.lost(p.pos, d.what()+" "+p.key, "map "+m.name+" has no such datacentre", "")
		}
	}
	parts := g.metaMembers(&d, dcs)
	if parts == nil {
		g.lost(d.pos, d.what(), "it has no datacentres", "")
		return nil
	}
	parts.list.answers, parts.shape.decline = parts.shape.answers, true
	for i, p := range parts.parts {
		if d.key.mode == open {
			if p = g.datacenterShape(&d, parts.names[i], dcmap.get(parts.names[i]), open); p == nil {
				continue
			}
		}
		parts.list.add(p, mapping{{"site", g.site(m, v, parts.names[i], false)}}, "")
	}
	if d.key.mode == open {
		parts.shape.probed, parts.shape.soon = false, 0
	}
	if d.key.mode == alone && parts.shape.probed {
		g.lastResorts(&d, m, v, parts)
	}
	g.addPool(parts.shape, mapping{{"preferred", "topology"},
		{"answers", manyAnswers(parts.shape.answers)}, {"onDecline", "nodata"}, {"members", parts.list.lines}})
	return parts.shape
}

// lastResorts adds what answers for the lists of which every datacentre may
// fail.
func (g *gdnsd) lastResorts(d *definition, m *geoMap, v *variant, parts *meta) {
	done := map[string]bool{}
	for _, l := range m.lists {
		first, all := "", true
		for _, dc := range v.order(l.dcs) {
			i := slices.Index(parts.names, dc)
			if i < 0 {
				continue
			}
			if first == "" {
				first = dc
			}
			all = all && parts.parts[i].probed
		}
		if first == "" || !all || done[first] {
			continue
		}
		done[first] = true
		if s := g.datacenterShape(d, first, d.node.get("dcmap").get(first), open); s != nil {
			g.poolOf(s)
			parts.list.add(s, mapping{{"site", g.site(m, v, first, true)}}, "when all have failed")
		}
	}
}

// site gives the site of a datacentre; last is the one of its last resort.
func (g *gdnsd) site(m *geoMap, v *variant, dc string, last bool) string {
	sites, want := v.sites, m.name+"."+dc
	if v.skip {
		want = m.name + ".second." + dc
	}
	if last {
		sites, want = v.last, want+"-open"
	}
	if sites[dc] == "" {
		sites[dc] = g.name("site", want)
		g.sites = append(g.sites, line{mapping{{"name", sites[dc]}}, ""})
	}
	return sites[dc]
}
