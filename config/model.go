package config

import "fmt"

// Model is a whole configuration after defaults and validation. It is
// immutable: readers share it without locks.
//
// Lists keep the order of the file, because order breaks ties (T26).
type Model struct {
	Version int     `yaml:"version" json:"version"` // always given, and 1: the one that this program reads
	Node    Node    `yaml:"node" json:"node,omitzero"`
	DNS     DNS     `yaml:"dns" json:"dns,omitzero"`
	Metrics Metrics `yaml:"metrics" json:"metrics,omitzero"`

	Views          []*View          `yaml:"views" json:"views,omitempty"`
	Zones          []*Zone          `yaml:"zones" json:"zones,omitempty"`
	Pools          []*Pool          `yaml:"pools" json:"pools,omitempty"`
	VirtualServers []*VirtualServer `yaml:"virtualServers" json:"virtualServers,omitempty"`
	ServerFarms    []*ServerFarm    `yaml:"serverFarms" json:"serverFarms,omitempty"`
	SNATPools      []*SNATPool      `yaml:"snatPools" json:"snatPools,omitempty"`
	SLB            *SLB             `yaml:"slb" json:"slb,omitempty"` // default, where a virtual server is served: with the defaults of its keys
	Links          []*Link          `yaml:"links" json:"links,omitempty"`
	LinkGroups     []*LinkGroup     `yaml:"linkGroups" json:"linkGroups,omitempty"`
	Persistence    []*Persistence   `yaml:"persistence" json:"persistence,omitempty"`
	Outbound       *Outbound        `yaml:"outbound" json:"outbound,omitempty"` // without it no outbound traffic is balanced
	DNSProxy       *DNSProxy        `yaml:"dnsProxy" json:"dnsProxy,omitempty"` // without it there is no DNS proxy
	DNSServerPools []*DNSServerPool `yaml:"dnsServerPools" json:"dnsServerPools,omitempty"`
	DNSServers     []*DNSServer     `yaml:"dnsServers" json:"dnsServers,omitempty"`
	Proximity      Proximity        `yaml:"proximity" json:"proximity,omitzero"`
	Sites          []*Site          `yaml:"sites" json:"sites,omitempty"`
	Probes         []*Probe         `yaml:"probes" json:"probes,omitempty"`
	Geo            Geo              `yaml:"geo" json:"geo,omitzero"`
	ISPs           []*ISP           `yaml:"isps" json:"isps,omitempty"`
	Regions        []*Region        `yaml:"regions" json:"regions,omitempty"`
	Topology       []*TopologyRule  `yaml:"topology" json:"topology,omitempty"`

	source Source
	files  []string
}

// Source is what the model was loaded from; references in it are resolved
// there.
func (m *Model) Source() Source { return m.source }

// Files lists the files the model depends on, as references to be resolved by
// Source: configuration, zone, prefix and CA files, in this order. Not listed
// are geo databases, which are large and live on their own, and what zone
// files include, which only their reader knows.
func (m *Model) Files() []string { return m.files }

func (m *Model) defaults() {
	m.DNS.defaults()
	m.Proximity.defaults()
}

// Node says which node this is.
type Node struct {
	Name string `yaml:"name" json:"name,omitempty"` // empty: the host's name
	Site string `yaml:"site" json:"site,omitempty"` // where the node stands
}

// Pos is a place in a configuration file. Line and Col count from 1; the zero
// Pos means unknown.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"col"`
}

// version is the one major version that this program reads.
const version = 1

// model checks everything: first the names, then each noun.
func (c *checker) model() {
	m := c.m
	if c.given(&m.Version) && m.Version != version && !c.places[&m.Version].bad {
		c.log.errs, c.log.order = nil, nil // nothing else is known to be wrong
		c.bad(&m.Version, "version %d is not known to this program; it reads version %d", m.Version, version)
		return
	}
	if !c.broken || c.top["version"] == nil {
		c.need(&m.Version, fmt.Sprintf("version: %d", version))
	}
	c.declareAll()
	c.of(&m.Node)
	m.Node.check(c)
	c.of(&m.DNS)
	m.DNS.check(c)
	c.of(&m.Metrics)
	m.Metrics.check(c)
	each(c, m.Views, (*View).check)
	each(c, m.Probes, (*Probe).check)
	each(c, m.Sites, (*Site).check)
	each(c, m.Links, (*Link).check)
	c.checkGateway()
	c.of(&m.Proximity)
	m.Proximity.check(c)
	c.checkFarms()
	each(c, m.VirtualServers, (*VirtualServer).check)
	c.checkServed()
	c.of(&m.Geo)
	m.Geo.check(c)
	each(c, m.ISPs, (*ISP).check)
	c.regions()
	c.topology()
	c.poolGraph()
	each(c, m.Pools, (*Pool).check)
	c.zones()
	c.dependencies()
}

func each[T any](c *checker, list []*T, check func(*T, *checker)) {
	for _, noun := range list {
		if noun != nil {
			c.of(noun)
			check(noun, c)
		}
	}
}

func (c *checker) declareAll() {
	each(c, c.m.Probes, func(p *Probe, c *checker) { c.declare("probe", &p.Name); c.probe[p.Name] = p })
	each(c, c.m.Views, func(v *View, c *checker) { c.declare("view", &v.Name) })
	each(c, c.m.Sites, func(s *Site, c *checker) { c.declare("site", &s.Name) })
	each(c, c.m.Links, func(l *Link, c *checker) { c.declare("link", &l.Name) })
	c.declareGateway()
	each(c, c.m.VirtualServers, func(v *VirtualServer, c *checker) {
		c.declare("virtual server", &v.Name)
		v.settle(c)
		c.hosts[v.Name] = v
	})
	c.declareFarms()
	each(c, c.m.ISPs, func(i *ISP, c *checker) { c.declare("isp", &i.Name) })
	each(c, c.m.Regions, func(r *Region, c *checker) { c.declare("region", &r.Name) })
	each(c, c.m.Pools, func(p *Pool, c *checker) { c.declare("pool", &p.Name); c.pools[p.Name] = p })
}

// dependencies lists the files that Files gives.
func (c *checker) dependencies() {
	each(c, c.m.Zones, func(z *Zone, c *checker) { c.depends(z.File) })
	each(c, c.m.ISPs, func(i *ISP, c *checker) { c.depends(i.PrefixFile) })
	each(c, c.m.Probes, func(p *Probe, c *checker) { c.depends(p.CAFile) })
	c.depends(c.m.DNS.Cookies.SecretFile)
	c.gatewayFiles()
}

func (n *Node) check(c *checker) {
	if n.Name != "" && !isName(n.Name) {
		c.bad(&n.Name, "%s is not a name: letters, digits and . _ - inside, at most 63, no address", quote(n.Name))
	}
	if c.given(&n.Site) {
		c.refer("site", &n.Site)
	}
}
