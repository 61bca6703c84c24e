package convert

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// geoMap is a map of the geoip plugin: which clients go to which datacentres.
type geoMap struct {
	name string
	pos  config.Pos
	node *node
	dcs  []string // all that it knows, in the order of its datacenters

	nets  []*netEntry
	outer []netip.Prefix
	lists []*geoList
	byKey map[string]*geoList
	auto  *autoMap // set if distances decide somewhere
	used  bool
	has   levels // of its database

	ignoresECS config.Pos // where it says so; zero if it does not

	variants [2]*variant
}

func (m *geoMap) what() string { return "plugins.geoip.maps." + m.name }

// geoList is one ordered list of datacentres, and the clients that have it.
type geoList struct {
	dcs    []string
	places lines       // by location; the union of them
	nets   []*netEntry // by network
}

// variant is how resources use a map: whole, or without the first of each list.
type variant struct {
	skip  bool
	sites map[string]string // by datacentre
	last  map[string]string // last resorts
}

// order gives the datacentres of a list as the variant has them.
func (v *variant) order(dcs []string) []string {
	if v.skip && len(dcs) > 1 {
		return dcs[1:]
	}
	return dcs
}

func (m *geoMap) variant(skip bool) *variant {
	i := 0
	if skip {
		i = 1
	}
	if m.variants[i] == nil {
		m.variants[i] = &variant{skip: skip, sites: map[string]string{}, last: map[string]string{}}
	}
	m.used = true
	return m.variants[i]
}

// geoMap reads a map when it is first asked for; nil if there is none.
func (g *gdnsd) geoMap(name string) *geoMap {
	if m, ok := g.maps[name]; ok {
		return m
	}
	g.maps[name] = nil
	maps := g.plugin("geoip").get("maps")
	if maps == nil || maps.kind != hash || maps.index[name] == nil {
		return nil
	}
	p := maps.index[name]
	m := &geoMap{name: name, pos: p.pos, node: p.value, byKey: map[string]*geoList{}}
	if m.dcs = p.value.get("datacenters").texts(); len(m.dcs) == 0 {
		g.lost(p.pos, m.what(), "datacenters is missing", "")
		return nil
	}
	for _, k := range p.value.pairs {
		switch k.key {
		case "geoip2_db", "datacenters", "nets", "map", "auto_dc_coords", "auto_dc_limit":
		case "ignore_ecs":
			if k.value.isTrue() {
				m.ignoresECS = k.pos
			}
		default:
			g.lost(k.pos, m.what()+"."+k.key, "a map has no such key", "")
		}
	}
	if err := g.readNets(m); err != nil {
		g.lost(p.value.get("nets").pos, m.what()+".nets", err.Error(), "")
	}
	m.nets, m.outer = nestNets(m.nets)
	for _, n := range m.nets {
		l := m.list(n.dcs)
		l.nets = append(l.nets, n)
	}
	g.readTree(m)
	g.maps[name] = m
	return m
}

// list gives the list of these datacentres in this order.
func (m *geoMap) list(dcs []string) *geoList {
	key := listKey(dcs)
	if m.byKey[key] == nil {
		m.byKey[key] = &geoList{dcs: dcs}
		m.lists = append(m.lists, m.byKey[key])
	}
	return m.byKey[key]
}

// dcList reads a list of datacentres.
func (g *gdnsd) dcList(m *geoMap, n *node, what string) (dcs []string) {
	for _, v := range n.list() {
		switch {
		case v.kind != scalar || !slices.Contains(m.dcs, v.text):
			g.lost(v.pos, what, v.String()+" is no datacentre of this map", "")
		case slices.Contains(dcs, v.text):
		default:
			dcs = append(dcs, v.text)
		}
	}
	return dcs
}

// autoList stands in a tree for an order by distance.
var autoList = []string{"\x01auto"}

func isAuto(dcs []string) bool { return len(dcs) == 1 && dcs[0] == autoList[0] }

// readTree reads the tree of places. What it gives are matchers that exclude
// each other: each client matches one, or its nets.
func (g *gdnsd) readTree(m *geoMap) {
	tree, db := m.node.get("map"), m.node.get("geoip2_db")
	otherwise := m.dcs
	coords := m.node.get("auto_dc_coords")
	file := ""
	if db != nil && db.kind == scalar {
		file = g.absolute("geoip", db.text)
		data, err := g.src.ReadFile(file)
		if err == nil {
			m.has, err = levelsOf(data)
		}
		if err != nil {
			g.lost(db.pos, m.what()+".geoip2_db = "+db.text, "cannot read it: "+reason(err).Error()+"; of the map only nets and the order of datacenters are taken over", "put the database there and convert again")
			tree, coords, file = nil, nil, ""
		}
	} else if tree != nil || coords != nil {
		g.lost(m.pos, m.what(), "map and auto_dc_coords need geoip2_db", "")
		tree, coords = nil, nil
	}
	if coords != nil {
		otherwise = autoList
		m.auto = g.readAuto(m, coords, file)
	}
	if tree == nil || tree.kind != hash {
		tree = &node{kind: hash}
	}
	g.tree(m, tree, place{}, otherwise)
	if file != "" && m.asksPlaces() {
		g.useDatabase(m, "/"+g.src.Path(file), db)
	}
}

// asksPlaces says whether the tree asks where a client is.
func (m *geoMap) asksPlaces() bool {
	return slices.ContainsFunc(m.lists, func(l *geoList) bool {
		return slices.ContainsFunc(l.places, func(p line) bool { return len(p.value.(mapping)) > 0 })
	})
}

// useDatabase lists a database, which stays where it is: whoever renews it
// goes on doing so.
func (g *gdnsd) useDatabase(m *geoMap, file string, db *node) {
	if slices.Contains(g.geo, file) {
		return
	}
	if len(g.geo) > 0 {
		g.differs(db.pos, m.what()+".geoip2_db", "databases serve all regions here: what the first one listed says of a client goes before this one", "list one database, the best")
	}
	g.geo = append(g.geo, file)
}

// place is a node of the tree: what a client has to match to come to it.
type place struct {
	match   mapping
	country string
	level   int // 0 all, 1 a continent, 2 a country, 3 and more inside it
	path    string
}

// tree adds what a node of the tree says. otherwise is what holds where it says
// nothing.
func (g *gdnsd) tree(m *geoMap, n *node, at place, otherwise []string) {
	if v := n.get("default"); v != nil {
		otherwise = g.treeList(m, v, at.path+" default")
	}
	var codes, cities []*pair
	for _, p := range n.pairs {
		switch {
		case p.key == "default" || !g.treeKey(m, at, p):
		case at.level >= 2 && !isCode(p.key):
			cities = append(cities, p)
		default:
			codes = append(codes, p)
		}
	}
	var not list
	for _, p := range codes {
		inner, alone := at.inside(p.key)
		not = append(not, alone)
		g.treeValue(m, p, inner, otherwise)
	}
	// A subdivision goes before a city: it comes first on the way down.
	subdivisions := slices.Clone(not)
	for _, p := range cities {
		inner, alone := at.inside(p.key)
		if len(subdivisions) > 0 {
			inner.match = append(exclude(inner.match), entry{"not", append(excluded(inner.match), subdivisions...)})
		}
		not = append(not, alone)
		g.treeValue(m, p, inner, otherwise)
	}
	match := slices.Clone(at.match)
	if len(not) > 0 {
		match = append(exclude(match), entry{"not", append(excluded(at.match), not...)})
	}
	l := m.list(otherwise)
	l.places = append(l.places, line{match, strings.TrimSpace(at.path)})
}

// exclude and excluded take a matcher's own exclusions out, to be joined with
// others.
func exclude(match mapping) mapping {
	return slices.DeleteFunc(slices.Clone(match), func(e entry) bool { return e.key == "not" })
}

func excluded(match mapping) list {
	for _, e := range match {
		if e.key == "not" {
			return slices.Clone(e.value.(list))
		}
	}
	return nil
}

func (g *gdnsd) treeValue(m *geoMap, p *pair, at place, otherwise []string) {
	if p.value.kind == hash {
		g.tree(m, p.value, at, otherwise)
		return
	}
	l := m.list(g.treeList(m, p.value, at.path))
	l.places = append(l.places, line{at.match, strings.TrimSpace(at.path)})
}

func (g *gdnsd) treeList(m *geoMap, v *node, at string) []string {
	if v.kind == scalar && v.text == "auto" && m.auto != nil {
		return autoList
	}
	return g.dcList(m, v, m.what()+".map"+at)
}

// isCode tells codes of subdivisions (ISO 3166-2 without the country) from
// names of cities.
func isCode(key string) bool {
	return len(key) <= 3 && strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
}

// treeKey says whether a key can be looked up.
func (g *gdnsd) treeKey(m *geoMap, at place, p *pair) bool {
	text := ""
	switch at.level {
	case 0:
		if !slices.Contains(strings.Fields("AF AN AS EU NA OC SA"), p.key) {
			text = "it is no continent: AF, AN, AS, EU, NA, OC or SA"
		}
	case 1:
		if len(p.key) != 2 || !isCode(p.key) {
			text = "it is no country's two capital letters"
		}
	default:
		if p.key == "" {
			text = "it is empty"
		}
	}
	do := ""
	if lacks := m.has.lacks(at.level, p.key); text == "" && lacks != "" {
		text, do = "its database has no "+lacks+" in MaxMind's layout, so gdnsd never finds it", "use a database that has them, and convert again"
	}
	if text != "" {
		g.lost(p.pos, m.what()+".map"+at.path+" "+p.key, text, do)
	}
	return text == ""
}

// inside gives the place of a key, and the matcher that tells it from its
// siblings.
func (at place) inside(key string) (inner place, alone mapping) {
	inner = place{country: at.country, level: at.level + 1, path: at.path + " " + key}
	base := slices.Clone(at.match)
	switch has := slices.ContainsFunc(base, func(e entry) bool { return e.key == "subdivision" }); {
	case at.level == 0:
		alone = mapping{{"continent", key}}
	case at.level == 1:
		inner.country = key
		alone = mapping{{"country", key}}
	case !isCode(key):
		alone = mapping{{"country", at.country}, {"city", key}}
		base = append(base, entry{"city", key})
		inner.match = base
		return inner, alone
	case has: // a matcher holds one subdivision
		alone = mapping{{"country", at.country}, {"subdivision", key}}
		inner.match = append(base, entry{"all", list{alone}})
		return inner, alone
	default:
		alone = mapping{{"country", at.country}, {"subdivision", key}}
		inner.match = append(base, entry{"subdivision", key})
		return inner, alone
	}
	inner.match = append(base, alone...)
	return inner, alone
}

// finishMaps writes regions and rules of all maps that resources use.
func (g *gdnsd) finishMaps() {
	maps := g.plugin("geoip").get("maps")
	if maps == nil || maps.kind != hash {
		return
	}
	g.clientSubnet()
	for _, p := range maps.pairs {
		switch m := g.maps[p.key]; {
		case m != nil && m.used:
			g.finishMap(m)
		case m == nil && g.geoMap(p.key) == nil: // reported
		default:
			g.note(p.pos, "plugins.geoip.maps."+p.key, "no resource uses this map", "")
		}
	}
}

// clientSubnet turns Client Subnet off if every map ignores it; some cannot do
// so alone.
func (g *gdnsd) clientSubnet() {
	all := true
	for _, m := range g.maps {
		all = all && (m == nil || !m.used || m.ignoresECS.Line > 0)
	}
	for _, m := range g.maps {
		switch {
		case m == nil || !m.used || m.ignoresECS.Line == 0:
		case all:
			g.note(m.ignoresECS, m.what()+".ignore_ecs", "every map ignores Client Subnet, so dns.ecs is false", "")
			for i := range g.dns {
				if g.dns[i].key == "ecs" {
					g.dns[i].value = false
				}
			}
		default:
			g.lost(m.ignoresECS, m.what()+".ignore_ecs", "Client Subnet is used for all names or for none here, and other maps use it", "set dns.ecs to false if no map should")
		}
	}
}

// finishMap writes a map: the regions of its lists, then for each the rules
// that say in which order its clients prefer the sites. A rule of a longer
// prefix goes before one by location, and every client is in one region alone.
func (g *gdnsd) finishMap(m *geoMap) {
	where := "map " + m.name + ", " + g.origin(m.pos)
	nets := ""
	if len(m.outer) > 0 {
		var all []*netEntry
		for _, p := range m.outer {
			all = append(all, &netEntry{prefix: p})
		}
		nets = g.name("region", m.name+".nets")
		g.regions = append(g.regions, block{where + ": all of its nets", mapping{{"name", nets}, {"any", g.netMatches(m, nets, all)}}})
	}
	for _, l := range m.lists {
		if len(l.nets) > 0 && len(l.dcs) > 0 {
			name := g.name("region", m.name+".nets."+strings.Join(l.dcs, "."))
			g.regions = append(g.regions, block{where, mapping{{"name", name}, {"any", g.netMatches(m, name, l.nets)}}})
			g.rulesFor(m, name, l.dcs)
		}
		if len(l.places) > 0 && len(l.dcs) > 0 {
			g.places(m, l, nets, where)
		}
	}
}

// places writes the region of a list by location.
func (g *gdnsd) places(m *geoMap, l *geoList, nets, where string) {
	everybody := slices.ContainsFunc(l.places, func(p line) bool { return len(p.value.(mapping)) == 0 })
	if isAuto(l.dcs) {
		g.autoPlaces(m, l, nets, where, everybody)
		return
	}
	if everybody && nets == "" {
		g.rulesFor(m, "", l.dcs)
		return
	}
	name := g.name("region", m.name+"."+strings.Join(l.dcs, "."))
	g.regions = append(g.regions, block{where, append(mapping{{"name", name}}, region(l.places, everybody, nets)...)})
	g.rulesFor(m, name, l.dcs)
}

// region gives the lists of a region: any of the places, none of the nets.
func region(places lines, everybody bool, nets string) mapping {
	var r mapping
	if !everybody {
		r = append(r, entry{"any", places})
	}
	if nets != "" {
		r = append(r, entry{"not", list{mapping{{"region", nets}}}})
	}
	return r
}

// rulesFor writes the rules of a list, for all variants of the map.
func (g *gdnsd) rulesFor(m *geoMap, region string, dcs []string) {
	for _, v := range m.variants {
		if v == nil {
			continue
		}
		order := v.order(dcs)
		var sites []string
		for _, dc := range order {
			sites = append(sites, v.sites[dc])
		}
		if !g.plugin("geoip").get("undefined_datacenters_ok").isTrue() {
			order = order[:1] // it has a last resort for every resource
		}
		for _, dc := range order {
			sites = append(sites, v.last[dc])
		}
		sites = slices.DeleteFunc(sites, func(s string) bool { return s == "" })
		for i, s := range sites {
			rule := mapping{{"region", orNil(region)}, {"prefer", mapping{{"site", s}}}, {"priority", min(len(sites)-i, 1000)}}
			g.rules = append(g.rules, line{rule, ""})
		}
	}
}
