package convert

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// metaKeys are keys that a hash inside a metafo or geoip resource may have
// beside the addresses.
var metaKeys = []string{"plugin", "service_types", "up_thresh", "ignore_health", "multi"}

// datacenter converts "resource/datacentre" of metafo and geoip: what answers
// when no other is asked. ok is false if the name means a whole resource.
func (g *gdnsd) datacenter(k resourceKey, from config.Pos) (s *shape, ok bool) {
	if k.plugin != "metafo" && k.plugin != "geoip" || g.definition(k.plugin, k.name) != nil {
		return nil, false
	}
	resource, dc, found := strings.Cut(k.name, "/")
	def := g.definition(k.plugin, resource)
	if !found || def == nil {
		return nil, false
	}
	value := def.value.get("dcmap").get(dc)
	if value == nil {
		g.lost(from, k.plugin+"!"+k.name, "the resource has no datacentre "+quoted(dc), "")
		return nil, true
	}
	d := g.metaDefinition(resourceKey{k.plugin, resource, k.mode}, def)
	return g.datacenterShape(&d, dc, value, k.mode), true
}

func (g *gdnsd) metaDefinition(k resourceKey, def *pair) definition {
	return definition{key: k, pos: def.pos, node: def.value, from: chain{g.plugin(k.plugin)}, base: k.plugin + "." + k.name}
}

// datacenterShape converts one datacentre of a resource: a reference to another
// resource, a host name, addresses, or a resource of another plugin in place.
func (g *gdnsd) datacenterShape(d *definition, dc string, value *node, m mode) *shape {
	inherited := d.from.under(d.node)
	plugin := "multifo"
	if p := inherited.under(value).get("plugin"); p != nil && p.kind == scalar && value.kind == hash {
		plugin = p.text
	} else if p := inherited.get("plugin"); p != nil && p.kind == scalar {
		plugin = p.text
	}
	inside := definition{key: resourceKey{plugin, d.key.name + "/" + dc, m}, pos: value.pos, node: value,
		from: inherited, base: d.key.plugin + "." + d.key.name + "." + dc}
	if s, ok := g.built[resourceKey{"dc of " + d.key.plugin, d.key.name + "/" + dc, m}]; ok {
		return s
	}
	if m == open && !g.refers(value) {
		if s := g.datacenterShape(d, dc, value, inner); s == nil || !s.probed {
			return s
		}
	}
	var s *shape
	switch {
	case value.kind == scalar && strings.HasPrefix(value.text, "%"):
		other, name, _ := strings.Cut(value.text[1:], "!")
		return g.resource(resourceKey{other, name, m}, value.pos)
	case value.kind == scalar && strings.HasPrefix(value.text, "!"):
		return g.resource(resourceKey{plugin, value.text[1:], m}, value.pos)
	case value.kind == scalar && !isAddr(value):
		s = g.leafShape(&inside, value, nil)
	case value.kind != hash:
		inside.key.plugin = "multifo"
		s = g.define(inside)
	case plugin == "geoip":
		g.lost(value.pos, d.what()+" "+dc, "a resource of geoip cannot be written inside another", "")
	default:
		s = g.define(inside)
	}
	for other := alone; other <= open; other++ {
		if other == m || s.sameInAllModes() {
			g.built[resourceKey{"dc of " + d.key.plugin, d.key.name + "/" + dc, other}] = s
		}
	}
	return s
}

// datacenters gives the datacentres of a metafo resource in order, without the
// first if skip_first says so.
func (g *gdnsd) datacenters(d *definition) []string {
	names := d.node.get("datacenters").texts()
	dcmap := d.node.get("dcmap")
	names = slices.DeleteFunc(names, func(dc string) bool {
		missing := dcmap.get(dc) == nil
		if missing {
			g.lost(d.pos, d.what(), "datacentre "+quoted(dc)+" is missing in dcmap", "")
		}
		return missing
	})
	if len(names) > 1 && d.from.under(d.node).get("skip_first").isTrue() {
		names = names[1:]
	}
	return names
}

// checkMeta reports keys that mean nothing.
func (g *gdnsd) checkMeta(d *definition, own ...string) bool {
	if d.node.kind != hash || d.node.get("dcmap") == nil || d.node.get("dcmap").kind != hash {
		g.lost(d.pos, d.what(), "dcmap is missing", "")
		return false
	}
	own = append(own, metaKeys...)
	for _, p := range d.node.pairs {
		if !slices.Contains(own, p.key) && p.key != "dcmap" && p.key != "skip_first" {
			g.note(p.pos, d.what()+" "+p.key, "it is no key of "+d.key.plugin+", and what may inherit it has no such key here", "")
		}
	}
	return true
}

// metafo answers the first datacentre that has not failed; if all have, the
// first as if all of it were up.
func (g *gdnsd) metafo(d definition) *shape {
	if !g.checkMeta(&d, "datacenters") {
		return nil
	}
	dcs := g.datacenters(&d)
	if len(dcs) == 0 {
		g.lost(d.pos, d.what(), "it has no datacentres", "")
		return nil
	}
	if d.key.mode == open {
		return g.datacenterShape(&d, dcs[0], d.node.get("dcmap").get(dcs[0]), open)
	}
	m := g.metaMembers(&d, dcs)
	if m == nil {
		return nil
	}
	m.list.answers = m.shape.answers
	for i, p := range m.parts {
		m.list.add(p, mapping{{"priority", len(m.parts) - i + 1}}, m.names[i])
	}
	mayFail := !slices.ContainsFunc(m.parts, func(p *shape) bool { return !p.probed })
	if d.key.mode == alone && mayFail {
		if s := g.datacenterShape(&d, dcs[0], d.node.get("dcmap").get(dcs[0]), open); s != nil {
			g.poolOf(s)
			m.list.add(s, mapping{{"priority", 1}}, "when all have failed")
		}
	}
	onDecline := any(nil)
	if m.shape.decline {
		onDecline = "nodata"
	}
	g.addPool(m.shape, mapping{{"answers", manyAnswers(m.shape.answers)}, {"onDecline", onDecline}, {"members", m.list.lines}})
	return m.shape
}

// meta is the parts of a metafo or geoip resource.
type meta struct {
	shape *shape
	names []string // datacentres that could be converted
	parts []*shape
	list  memberList
}

// metaMembers converts the datacentres of a resource.
func (g *gdnsd) metaMembers(d *definition, dcs []string) *meta {
	m := &meta{shape: g.newShape(d), list: memberList{g: g}}
	single := false // a part answers one of several on purpose
	for _, dc := range dcs {
		s := g.datacenterShape(d, dc, d.node.get("dcmap").get(dc), inner)
		if s == nil {
			continue // reported
		}
		m.names, m.parts = append(m.names, dc), append(m.parts, s)
		m.shape.join(s)
		single = single || s.one && s.answers < 2
	}
	if len(m.parts) == 0 {
		return nil
	}
	if len(m.parts) > 250 {
		g.lost(d.pos, d.what(), "more than 250 datacentres are not taken over", "")
		m.names, m.parts = m.names[:250], m.parts[:250]
	}
	if single && m.shape.answers > 1 {
		g.differs(d.pos, d.what(), fmt.Sprintf("an answer carries up to %d members for every datacentre here, also where weighted would give one", m.shape.answers),
			"bind names to the datacentres' own pools if it matters")
	}
	g.mixedFamilies(d, m)
	return m
}

// mixedFamilies reports a difference that only shows where datacentres differ
// in the families they have.
func (g *gdnsd) mixedFamilies(d *definition, m *meta) {
	first := slices.IndexFunc(m.parts, func(s *shape) bool { return !s.cname })
	if first < 0 {
		return
	}
	for i, s := range m.parts {
		if !s.cname && (s.v4 != m.parts[first].v4 || s.v6 != m.parts[first].v6) {
			g.differs(d.pos, d.what(), "datacentres "+m.names[first]+" and "+m.names[i]+" have addresses of different families: gdnsd answers nothing for the family that a datacentre lacks; here another one serves it", "")
			return
		}
	}
}

// refers says whether a datacentre refers to a resource that stands elsewhere.
func (g *gdnsd) refers(value *node) bool {
	return value.kind == scalar && (strings.HasPrefix(value.text, "%") || strings.HasPrefix(value.text, "!"))
}
