package config

import "net/netip"

// Member is an entry of a pool. Exactly one of VirtualServer, Pool, CNAME and
// Address is set.
type Member struct {
	VirtualServer string     `yaml:"virtualServer" json:"virtualServer,omitempty"` // answers its addresses
	Pool          string     `yaml:"pool" json:"pool,omitempty"`                   // asks a nested pool
	CNAME         string     `yaml:"cname" json:"cname,omitempty"`                 // answers this name; canonical after Load
	Address       netip.Addr `yaml:"address" json:"address,omitzero"`              // answers it; for what is no virtual server

	Weight   int      `yaml:"weight" json:"weight"`              // share among equals, 0 to 65535 (default 1); 0 is a reserve
	Priority int      `yaml:"priority" json:"priority"`          // higher goes first, 0 to 255 (default 0)
	Site     string   `yaml:"site" json:"site,omitempty"`        // where it stands: topology rules may prefer it, and the site's row must be up; of a pool, instead of where its members stand; a virtual server has its own
	Probes   []string `yaml:"probes" json:"probes,omitempty"`    // instead of the pool's; none for a nested pool
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"` // over its probes, own or inherited
	Pos      Pos      `yaml:"-" json:"-"`
}

// Target is what the member names: "web-telecom", "pool web", an address or a
// host name. It is unique within its pool.
func (m *Member) Target() string {
	switch {
	case m.VirtualServer != "":
		return m.VirtualServer
	case m.Pool != "":
		return "pool:" + m.Pool
	case m.CNAME != "":
		return m.CNAME
	default:
		return m.Address.String()
	}
}

func (m *Member) defaults() { *m = Member{Weight: 1} }

func (p *Pool) checkMembers(c *checker) {
	if c.need(&p.Members, "members") {
		c.empty(&p.Members, len(p.Members))
	}
	first := make(map[string]*Member, len(p.Members))
	for _, m := range p.Members {
		c.of(m)
		m.check(c)
		if other := first[m.Target()]; other != nil && m.named() {
			c.bad(m, "%s is a member already, at %s", m.Target(), other.Pos)
		} else {
			first[m.Target()] = m
		}
		if m.CNAME != "" && p.Answers > 1 {
			c.bad(&m.CNAME, "a CNAME stands alone in an answer (RFC 2181 10.1), and this pool has answers: %d", p.Answers)
		}
		m.checkProbes(c, p)
	}
	c.of(p)
}

func (m *Member) named() bool {
	return m.VirtualServer != "" || m.Pool != "" || m.CNAME != "" || m.Address.IsValid()
}

func (m *Member) check(c *checker) {
	written := []bool{c.given(&m.VirtualServer), c.given(&m.Pool), c.given(&m.CNAME), c.given(&m.Address)}
	c.oneOf(m, written, "virtualServer, pool, cname, address")
	if c.given(&m.VirtualServer) {
		c.refer("virtual server", &m.VirtualServer)
	}
	if c.given(&m.Pool) {
		c.refer("pool", &m.Pool)
	}
	if c.given(&m.CNAME) {
		c.hostName(&m.CNAME)
	}
	c.endpoint(&m.Address)
	between(c, &m.Weight, 0, 65535)
	between(c, &m.Priority, 0, 255)
	switch {
	case !c.given(&m.Site):
	case m.VirtualServer != "":
		c.bad(&m.Site, "belongs to the virtual server: give %s its site there", quote(m.VirtualServer))
	default:
		c.refer("site", &m.Site)
	}
}

// checkProbes checks the probes that a member has in its pool.
func (m *Member) checkProbes(c *checker, p *Pool) {
	on := attachment{what: "the member"}
	if m.Address.IsValid() {
		on.addresses = []netip.Addr{m.Address}
	}
	if v := c.hosts[m.VirtualServer]; v != nil {
		on = v.attachment()
	}
	c.empty(&m.Probes, len(m.Probes))
	probes, _ := p.ProbesOf(m)
	switch {
	case m.Pool != "" && len(m.Probes) > 0:
		c.bad(&m.Probes, "have no place here: a nested pool has the health of its members")
	case len(m.Probes) > 0:
		c.attach(m.Probes, on)
	case len(on.addresses) > 0: // what has no address is not probed, and says so in its row
		c.inherit(m, probes, on)
	}
	c.criteria(&m.Criteria, probes)
}

// checkProbes checks the pool's own list; what its probes are aimed at is
// checked member by member.
func (p *Pool) checkProbes(c *checker) {
	c.referProbes(p.Probes)
	c.criteria(&p.Criteria, p.Probes)
}
