package convert

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// mode says what a resource does when its addresses fail.
type mode uint8

// A resource of gdnsd always answers: when too few of its addresses are up, it
// answers all of them. Asked by metafo or geoip it also says that it failed, so
// that these go on to the next. That makes three pools of one resource, which
// are one where nothing is monitored.
const (
	alone mode = iota // answers whatever happens, for a name
	inner             // counts as down when it failed, inside metafo and geoip
	open              // health is ignored: what metafo and geoip answer when all failed
)

var modeSuffix = [...]string{"", "-strict", "-open"}

// resourceKey names a resource in one of its modes.
type resourceKey struct {
	plugin, name string
	mode         mode
}

// shape is a converted resource.
type shape struct {
	base    string // what its pool is called, or would be
	comment string
	pool    string   // its pool; empty until one is needed
	leaf    mapping  // what can stand for the pool in another one, if it is one member alone
	targets []string // what leaf is called among members
	v4, v6  bool     // families that it may answer
	cname   bool     // it may answer a CNAME
	probed  bool     // something may say that it is down
	ignores bool     // it is probed for metafo and geoip alone
	decline bool     // it has nothing for some clients
	mode    mode
	answers int           // how many members an answer carries
	one     bool          // with more answers it would carry more than gdnsd does
	soon    time.Duration // the soonest that a healthy answer can change; 0: never
}

func (g *gdnsd) newShape(d *definition) *shape {
	return &shape{base: d.base, mode: d.key.mode, comment: g.origin(d.pos), answers: 1}
}

// join takes another shape's qualities into one that may answer the same.
func (s *shape) join(o *shape) {
	s.v4, s.v6, s.cname = s.v4 || o.v4, s.v6 || o.v6, s.cname || o.cname
	s.probed, s.ignores = s.probed || o.probed, s.ignores || o.ignores
	s.answers = max(s.answers, o.answers)
	s.one, s.decline = s.one || o.one, s.decline || o.decline
	s.hurry(o.soon)
}

// sameInAllModes says whether health makes no difference to the resource.
func (s *shape) sameInAllModes() bool { return s != nil && !s.probed && !s.ignores && s.mode != open }

func (s *shape) hurry(soon time.Duration) {
	if soon > 0 && (s.soon == 0 || soon < s.soon) {
		s.soon = soon
	}
}

// resource converts a resource; from is where it is referred to. It is nil,
// with an item in the report, if there is no such resource or nothing can stand
// for it.
func (g *gdnsd) resource(k resourceKey, from config.Pos) *shape {
	if s, ok := g.built[k]; ok {
		return s
	}
	if k.mode == open { // which differs from the others only if something is probed
		if s := g.resource(resourceKey{k.plugin, k.name, inner}, from); s == nil || !s.probed {
			return s
		}
	}
	what := k.plugin + "!" + k.name
	if slices.Contains(g.open, k) {
		g.lost(from, what, "the resource refers to itself; gdnsd crashes when it is asked", "")
		return nil
	}
	g.open = append(g.open, k)
	s := g.convert(k, from)
	g.open = g.open[:len(g.open)-1]
	g.built[k] = s
	if s.sameInAllModes() {
		for m := alone; m <= open; m++ {
			g.built[resourceKey{k.plugin, k.name, m}] = s
		}
	}
	return s
}

func (g *gdnsd) convert(k resourceKey, from config.Pos) *shape {
	what := strings.TrimSuffix(k.plugin+"!"+k.name, "!")
	plugin := g.plugin(k.plugin)
	switch k.plugin {
	case "null":
		g.lost(from, what, "0.0.0.0 and :: are no addresses that a pool may answer", "")
		return nil
	case "reflect":
		g.lost(from, what, "no pool answers the client's own address", "portolan explain NAME --client ADDRESS tells what a client is answered and why")
		return nil
	case "static", "multifo", "weighted", "simplefo", "metafo", "geoip":
	default:
		g.lost(from, what, "there is no plugin "+quoted(k.plugin)+" that answers names", "")
		return nil
	}
	if plugin == nil {
		g.lost(from, what, "the plugin is not configured", "")
		return nil
	}
	if s, ok := g.datacenter(k, from); ok {
		return s
	}
	def := g.definition(k.plugin, k.name)
	if def == nil {
		g.lost(from, what, "there is no such resource", "")
		return nil
	}
	return g.convertAt(k, def, from)
}

// convertAt converts a resource whose definition is known.
func (g *gdnsd) convertAt(k resourceKey, def *pair, from config.Pos) *shape {
	d := definition{key: k, pos: def.pos, node: def.value, from: chain{g.plugin(k.plugin)}, base: k.plugin + "." + k.name}
	return g.define(d)
}

// definition is a resource as it is written, in the configuration of its
// plugin or inside a metafo or geoip resource.
type definition struct {
	key  resourceKey
	pos  config.Pos
	node *node
	from chain  // hashes that it inherits from
	base string // name of its pool
}

func (d *definition) what() string { return d.key.plugin + "!" + d.key.name }

func (g *gdnsd) define(d definition) *shape {
	switch d.key.plugin {
	case "static":
		return g.static(d)
	case "multifo":
		return g.multifo(d)
	case "weighted":
		return g.weighted(d)
	case "simplefo":
		return g.simplefo(d)
	case "metafo":
		return g.metafo(d)
	case "geoip":
		return g.geoip(d)
	}
	g.lost(d.pos, d.what(), "a resource of plugin "+quoted(d.key.plugin)+" cannot be written here", "")
	return nil
}

func (g *gdnsd) plugin(name string) *node {
	if n := g.root.get("plugins").get(name); n != nil && n.kind == hash {
		return n
	}
	return nil
}

// definition finds the resource in the configuration of its plugin.
func (g *gdnsd) definition(plugin, name string) *pair {
	n := g.plugin(plugin)
	if plugin == "metafo" || plugin == "geoip" {
		n = n.get("resources")
	} else if slices.Contains(pluginKeys[plugin], name) {
		return nil
	}
	if n == nil || n.kind != hash {
		return nil
	}
	return n.index[name]
}

// pluginKeys are keys beside the names of resources.
var pluginKeys = map[string][]string{
	"multifo":  {"service_types", "up_thresh", "ignore_health"},
	"weighted": {"service_types", "up_thresh", "multi"},
	"simplefo": {"service_types"},
}

// readPlugins looks for what is no plugin, and for settings of those that
// only monitor.
func (g *gdnsd) readPlugins() {
	n := g.root.get("plugins")
	if n == nil || n.kind != hash {
		return
	}
	for _, p := range n.pairs {
		switch p.key {
		case "static", "multifo", "weighted", "simplefo", "metafo", "geoip", "null", "reflect", "http_status", "tcp_connect", "extfile":
		case "extmon":
			for _, o := range p.value.pairs {
				g.note(o.pos, "plugins.extmon."+o.key, "programs are run without a helper here", "")
			}
		default:
			g.lost(p.pos, "plugins."+p.key, "this plugin is not known", "")
		}
	}
}

// allResources converts what no name refers to: it may be meant for later.
func (g *gdnsd) allResources() {
	for _, plugin := range []string{"multifo", "weighted", "simplefo", "metafo", "geoip"} {
		n := g.plugin(plugin)
		if plugin == "metafo" || plugin == "geoip" {
			n = n.get("resources")
		}
		if n == nil || n.kind != hash {
			continue
		}
		for _, p := range n.pairs {
			if slices.Contains(pluginKeys[plugin], p.key) || g.isBuilt(plugin, p.key) {
				continue
			}
			if s := g.resource(resourceKey{plugin, p.key, alone}, p.pos); s != nil {
				g.poolOf(s)
			}
		}
	}
	g.unusedStatic()
}

// unusedStatic tells of static resources that neither a name nor a resource
// refers to.
func (g *gdnsd) unusedStatic() {
	n := g.plugin("static")
	if n == nil {
		return
	}
	for _, p := range n.pairs {
		if !g.recorded[p.key] && !g.isBuilt("static", p.key) {
			g.note(p.pos, "static!"+p.key, "no name and no resource refers to it", "")
		}
	}
}

func (g *gdnsd) isBuilt(plugin, name string) bool {
	for k := range g.built {
		if k.plugin == plugin && (k.name == name || strings.HasPrefix(k.name, name+"/")) {
			return true
		}
	}
	return false
}

// maxAnswers is how many members one answer may carry.
const maxAnswers = 32

// addPool writes a pool under the name that a shape has for it.
func (g *gdnsd) addPool(s *shape, rest mapping) {
	want := s.base
	if s.mode == open || s.probed {
		want += modeSuffix[s.mode]
	}
	s.pool = g.name("pool", want)
	g.pools = append(g.pools, block{s.comment, append(mapping{{"name", s.pool}}, rest...)})
}

// poolOf gives the name of a shape's pool. What is one member alone gets one
// now.
func (g *gdnsd) poolOf(s *shape) string {
	if s.pool == "" {
		rest := mapping{}
		if s.probed && s.mode != inner {
			rest = append(rest, entry{"panic", "1%"})
		}
		g.addPool(s, append(rest, entry{"members", lines{{s.leaf, ""}}}))
	}
	return s.pool
}

// memberList collects the members of a pool, whose targets are all different.
type memberList struct {
	g       *gdnsd
	answers int
	lines   lines
	taken   map[string]bool
}

// add adds a shape with further keys (weight, priority, site). It stands for
// itself if it is one member, else as a pool.
func (m *memberList) add(s *shape, more mapping, comment string) {
	falls := s.probed && s.mode == alone // and answers all the same, which a pool of its own sees to
	leafOK := s.pool == "" && s.leaf != nil && !falls && !slices.ContainsFunc(s.targets, func(t string) bool { return m.taken[t] }) &&
		!(s.cname && m.answers > 1)
	if leafOK {
		for _, t := range s.targets {
			m.take(t)
		}
		m.lines = append(m.lines, line{append(slices.Clone(s.leaf), more...), comment})
		return
	}
	pool := m.g.poolOf(s)
	if m.taken["pool:"+pool] { // the same resource in two places
		again := &shape{base: pool + "-again", comment: "the same pool, for a second place in one"}
		m.g.addPool(again, mapping{{"answers", manyAnswers(s.answers)}, {"members", lines{{mapping{{"pool", pool}}, ""}}}})
		pool = again.pool
	}
	m.take("pool:" + pool)
	m.lines = append(m.lines, line{append(mapping{{"pool", pool}}, more...), comment})
}

func (m *memberList) take(target string) {
	if m.taken == nil {
		m.taken = map[string]bool{}
	}
	m.taken[target] = true
}

// manyAnswers gives the key answers, left out for one.
func manyAnswers(n int) any {
	if n <= 1 {
		return nil
	}
	return min(n, maxAnswers)
}

// bound reports an answer that is too large.
func (g *gdnsd) boundAnswers(d *definition, n int) {
	if n > maxAnswers {
		g.differs(d.pos, d.what(), fmt.Sprintf("an answer carries at most %d members here, not %d", maxAnswers, n), "")
	}
}

// types gives the service types of the innermost hash that has some.
func (g *gdnsd) types(from chain) (types []typeName) {
	for _, v := range from.get("service_types").list() {
		if v.kind == scalar {
			types = append(types, typeName{v.text, v.pos})
		}
	}
	return types
}

// address reads an address, which has to be one that a pool may answer.
func (g *gdnsd) address(n *node, what string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(n.text)
	switch {
	case n.kind != scalar || err != nil:
		g.lost(n.pos, what, n.String()+" is no address", "")
	case a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" || a.Is4In6() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		g.lost(n.pos, what, n.String()+" is no host's address", "")
	default:
		return a, true
	}
	return a, false
}

// host reads a host name that a CNAME may point to.
func (g *gdnsd) host(n *node, what string) (string, bool) {
	name := strings.ToLower(n.text)
	ok := n.kind == scalar && name != "" && len(name) < 255
	for _, label := range strings.Split(strings.TrimSuffix(name, "."), ".") {
		ok = ok && label != "" && len(label) <= 63 && strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
	}
	if !ok {
		g.lost(n.pos, what, n.String()+" is neither an address nor a host name", "")
		return "", false
	}
	return strings.TrimSuffix(name, ".") + ".", true
}

func isAddr(n *node) bool {
	_, err := netip.ParseAddr(n.text)
	return n.kind == scalar && err == nil
}

// leafShape is a shape of one address or host name.
func (g *gdnsd) leafShape(d *definition, n *node, types []typeName) *shape {
	s := g.newShape(d)
	if isAddr(n) {
		a, ok := g.address(n, d.what())
		if !ok {
			return nil
		}
		s.v4, s.v6 = a.Is4(), a.Is6()
		s.leaf, s.targets = mapping{{"address", a.String()}}, []string{a.String()}
	} else {
		host, ok := g.host(n, d.what())
		if !ok {
			return nil
		}
		s.cname = true
		s.leaf, s.targets = mapping{{"cname", strings.TrimSuffix(host, ".")}}, []string{host}
	}
	if d.key.mode != open {
		probes, soon := g.probesFor(types, strings.ToLower(n.text))
		s.probed, s.soon = len(probes) > 0, soon
		s.leaf = append(s.leaf, mapping{{"probes", words(probes)}}...)
	}
	return s
}

func (g *gdnsd) static(d definition) *shape { return g.leafShape(&d, d.node, nil) }
