package config

import (
	"net/netip"
	"slices"
	"strings"
)

// Geo names the databases that country, subdivision, city, continent and asn
// matchers read: MaxMind layouts or flat ones (country_code).
type Geo struct {
	Databases []string `yaml:"databases" json:"databases,omitempty"` // relative to the config
}

// ISP is a named set of prefixes: inline, from files (one prefix a line, or
// tab-separated asn, name, prefix), or all prefixes of autonomous systems.
type ISP struct {
	Name       string         `yaml:"name" json:"name"`
	Prefixes   []netip.Prefix `yaml:"prefixes" json:"prefixes,omitempty"`     // client networks
	PrefixFile string         `yaml:"prefixFile" json:"prefixFile,omitempty"` // one prefix a line, or tab-separated asn, name, prefix
	ASNs       []uint32       `yaml:"asns" json:"asns,omitempty"`             // looked up in the geo databases and in prefix files that carry them
	Pos        Pos            `yaml:"-" json:"-"`
}

// Region is a named set of client networks: those that match any of Any, all
// of All, and none of Not. At least one list is set.
type Region struct {
	Name string   `yaml:"name" json:"name"`
	Any  []*Match `yaml:"any" json:"any,omitempty"` // at least one of these
	All  []*Match `yaml:"all" json:"all,omitempty"` // every one of these
	Not  []*Match `yaml:"not" json:"not,omitempty"` // none of these
	Pos  Pos      `yaml:"-" json:"-"`
}

// Match is one matcher. The plain fields that are set must all match (country
// and subdivision together, for example); Any, All and Not nest.
type Match struct {
	Prefix      netip.Prefix `yaml:"prefix" json:"prefix,omitzero"`                          // clients inside it
	ISP         string       `yaml:"isp" json:"isp,omitempty"`                               // clients of its prefixes
	Region      string       `yaml:"region" json:"region,omitempty"`                         // another region; loops are refused
	ASN         uint32       `yaml:"asn" json:"asn,omitempty"`                               // autonomous system, 1 to 4294967295
	Continent   string       `yaml:"continent" json:"continent,omitempty" words:"continent"` // AF AN AS EU NA OC SA
	Country     string       `yaml:"country" json:"country,omitempty"`                       // ISO 3166-1 alpha-2
	Subdivision string       `yaml:"subdivision" json:"subdivision,omitempty"`               // ISO 3166-2 without the country
	City        string       `yaml:"city" json:"city,omitempty"`                             // English name
	Any         []*Match     `yaml:"any" json:"any,omitempty"`                               // at least one of these
	All         []*Match     `yaml:"all" json:"all,omitempty"`                               // every one of these
	Not         []*Match     `yaml:"not" json:"not,omitempty"`                               // none of these
	Pos         Pos          `yaml:"-" json:"-"`
}

// TopologyRule says that clients of a region prefer a place. Larger priority
// wins, then the longer client prefix, then the order in the file (T4).
type TopologyRule struct {
	Region   string       `yaml:"region" json:"region,omitempty"` // empty with Client unset: every client
	Client   netip.Prefix `yaml:"client" json:"client,omitzero"`  // instead of Region: one prefix
	Prefer   Place        `yaml:"prefer" json:"prefer"`
	Priority int          `yaml:"priority" json:"priority"` // 0 to 1000 (default 0)
	Pos      Pos          `yaml:"-" json:"-"`
}

// Place is a virtual server, a site, a link or an address prefix. Exactly one
// field is set.
type Place struct {
	VirtualServer string       `yaml:"virtualServer" json:"virtualServer,omitempty"` // this one
	Site          string       `yaml:"site" json:"site,omitempty"`                   // the virtual servers that stand there
	Link          string       `yaml:"link" json:"link,omitempty"`                   // the virtual servers reached by it
	Prefix        netip.Prefix `yaml:"prefix" json:"prefix,omitzero"`                // what has an address inside it
}

func (g *Geo) check(c *checker) {
	distinct(c, g.Databases)
	for i := range g.Databases {
		c.exists(&g.Databases[i])
	}
}

func (i *ISP) check(c *checker) {
	if !c.given(&i.Prefixes) && !c.given(&i.PrefixFile) && !c.given(&i.ASNs) {
		c.bad(i, "at least one of prefixes, prefixFile, asns belongs here")
	}
	c.empty(&i.Prefixes, len(i.Prefixes))
	c.empty(&i.ASNs, len(i.ASNs))
	distinct(c, i.Prefixes)
	distinct(c, i.ASNs)
	if c.given(&i.PrefixFile) {
		c.exists(&i.PrefixFile)
	}
	for k := range i.ASNs {
		between(c, &i.ASNs[k], 1, 1<<32-1)
	}
	if len(i.ASNs) > 0 && !c.asns {
		c.bad(&i.ASNs, "cannot be looked up: there is no geo database and no prefixFile")
	}
}

func (c *checker) regions() {
	byName := map[string]*Region{}
	for _, r := range c.m.Regions {
		byName[r.Name] = r
	}
	next := func(name string) (names []string) {
		if r := byName[name]; r != nil {
			r.walk(func(m *Match) {
				if m.Region != "" {
					names = append(names, m.Region)
				}
			})
		}
		return names
	}
	graph := newGraph(next)
	each(c, c.m.Regions, func(r *Region, c *checker) {
		r.check(c)
		c.of(r)
		if way := graph.loop(r.Name); way != "" {
			c.bad(&r.Name, "the region contains itself: %s", way)
		}
	})
}

// walk calls f for every matcher, outer ones first.
func (r *Region) walk(f func(*Match)) {
	for _, list := range [][]*Match{r.Any, r.All, r.Not} {
		for _, m := range list {
			m.walk(f)
		}
	}
}

func (m *Match) walk(f func(*Match)) {
	f(m)
	for _, list := range [][]*Match{m.Any, m.All, m.Not} {
		for _, inner := range list {
			inner.walk(f)
		}
	}
}

func (r *Region) check(c *checker) {
	if !c.given(&r.Any) && !c.given(&r.All) && !c.given(&r.Not) {
		c.bad(r, "at least one of any, all, not belongs here")
	}
	c.empty(&r.Any, len(r.Any))
	c.empty(&r.All, len(r.All))
	c.empty(&r.Not, len(r.Not))
	r.walk(func(m *Match) {
		c.of(m)
		m.check(c)
	})
}

func (m *Match) check(c *checker) {
	written := c.given(&m.Prefix) || c.given(&m.ISP) || c.given(&m.Region) || c.given(&m.ASN) || c.given(&m.Continent) ||
		c.given(&m.Country) || c.given(&m.Subdivision) || c.given(&m.City) || c.given(&m.Any) || c.given(&m.All) || c.given(&m.Not)
	if !written {
		c.bad(m, "matches nothing: at least one key belongs here")
	}
	c.empty(&m.Any, len(m.Any))
	c.empty(&m.All, len(m.All))
	c.empty(&m.Not, len(m.Not))
	if c.given(&m.ISP) {
		c.refer("isp", &m.ISP)
	}
	if c.given(&m.Region) {
		c.refer("region", &m.Region)
	}
	if c.given(&m.ASN) {
		between(c, &m.ASN, 1, 1<<32-1)
		if !c.asns {
			c.bad(&m.ASN, "cannot be looked up: there is no geo database and no prefixFile")
		}
	}
	m.checkGeo(c)
}

// checkGeo checks what is looked up in the geo databases.
func (m *Match) checkGeo(c *checker) {
	c.code(&m.Country, 2, 2, "a country's two capital letters (ISO 3166-1) such as CN")
	c.code(&m.Subdivision, 1, 3, "a subdivision's code without the country (ISO 3166-2) such as GD")
	c.empty(&m.City, len(m.City))
	if m.Subdivision != "" && m.Country == "" && !c.given(&m.Country) {
		c.bad(&m.Subdivision, "needs country beside it: the same code stands for many places")
	}
	for _, f := range []*string{&m.Continent, &m.Country, &m.Subdivision, &m.City} {
		if c.given(f) && len(c.m.Geo.Databases) == 0 && !c.broken {
			c.bad(f, "cannot be looked up: there is no geo database")
		}
	}
}

// code checks a code of capital letters and digits.
func (c *checker) code(field *string, low, high int, what string) {
	s := *field
	if !c.given(field) {
		return
	}
	upper := strings.ToUpper(s)
	plain := strings.Trim(upper, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == ""
	switch _, short, ok := strings.Cut(upper, "-"); {
	case plain && s == upper && low <= len(s) && len(s) <= high:
	case plain && low <= len(s) && len(s) <= high:
		c.hinted(field, didYouMean(upper), "%s is not %s", quote(s), what)
	case ok && high > 2:
		c.hinted(field, didYouMean(short), "%s is not %s", quote(s), what)
	default:
		c.bad(field, "%s is not %s", quote(s), what)
	}
}

// topology checks the rules. Two that say the same of the same clients are an
// error even with different priorities: one of them never decides (DESIGN 4).
func (c *checker) topology() {
	type key struct {
		region string
		client netip.Prefix
		prefer Place
	}
	first := make(map[key]*TopologyRule, len(c.m.Topology))
	each(c, c.m.Topology, func(t *TopologyRule, c *checker) {
		t.check(c)
		k := key{t.Region, t.Client, t.Prefer}
		if other := first[k]; other != nil && t.Prefer != (Place{}) {
			c.bad(t, "never decides: the rule at %s says the same", other.Pos)
		} else {
			first[k] = t
		}
	})
}

func (t *TopologyRule) check(c *checker) {
	if c.given(&t.Region) && c.given(&t.Client) {
		c.bad(&t.Client, "give either region or client")
	}
	if c.given(&t.Region) {
		c.refer("region", &t.Region)
	}
	between(c, &t.Priority, 0, 1000)
	if c.need(&t.Prefer, "prefer") {
		t.Prefer.check(c)
	}
}

func (p *Place) check(c *checker) {
	written := []bool{c.given(&p.VirtualServer), c.given(&p.Site), c.given(&p.Link), c.given(&p.Prefix)}
	c.oneOf(p, written, "virtualServer, site, link, prefix")
	stands := func(*VirtualServer) bool { return true }
	placed := func(*Pool) bool { return false }
	var field any
	switch {
	case p.VirtualServer != "":
		c.refer("virtual server", &p.VirtualServer)
	case p.Site != "" && c.refer("site", &p.Site):
		field, stands = &p.Site, func(v *VirtualServer) bool { return v.Site == p.Site }
		placed = func(pool *Pool) bool { return pool != nil && pool.standsAt(p.Site) }
	case p.Link != "" && c.refer("link", &p.Link):
		field, stands = &p.Link, func(v *VirtualServer) bool { return v.Link == p.Link }
	}
	if field != nil && !slices.ContainsFunc(c.m.VirtualServers, stands) && !slices.ContainsFunc(c.m.Pools, placed) {
		c.warn(field, "never decides: no virtual server is there")
	}
}

// standsAt says whether a member of the pool has this site of its own.
func (p *Pool) standsAt(site string) bool {
	return slices.ContainsFunc(p.Members, func(m *Member) bool { return m != nil && m.Site == site })
}
