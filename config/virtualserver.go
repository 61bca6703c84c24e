package config

import "net/netip"

// VirtualServer is what an answer may carry: the address, port and protocol
// that clients use.
type VirtualServer struct {
	Name      string       `yaml:"name" json:"name"`
	Address   netip.Addr   `yaml:"address" json:"-"`           // the short form of Addresses
	Addresses []netip.Addr `yaml:"addresses" json:"addresses"` // at most one a family
	Port      uint16       `yaml:"port" json:"port,omitempty"` // 1 to 65535; default target port of its probes
	Link      string       `yaml:"link" json:"link,omitempty"` // the link it is reached by; its row must be up
	Site      string       `yaml:"site" json:"site,omitempty"` // the site it stands in; its row must be up

	MaxConnections int `yaml:"maxConnections" json:"maxConnections,omitempty"` // of one that others serve: full for pools at so many connections, as they are reported (portolan report), 1 to 2000000000; 0: no bound. With serve it does nothing: serve.maxConnections bounds what is served

	Probes   []string `yaml:"probes" json:"probes,omitempty"`
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"`

	Serve *Serve `yaml:"serve" json:"serve,omitempty"` // this node answers at the addresses itself; without, others do

	Pos Pos `yaml:"-" json:"-"`
}

// Site is a data centre or point of presence. It owns the row site/NAME, which
// an operator can hold or drain as a whole. Its probes need a target of their
// own.
type Site struct {
	Name     string   `yaml:"name" json:"name"`
	Probes   []string `yaml:"probes" json:"probes,omitempty"`
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"`
	Pos      Pos      `yaml:"-" json:"-"`
}

// settle moves the short form of the address into the list.
func (v *VirtualServer) settle(c *checker) {
	switch {
	case c.given(&v.Address) && c.given(&v.Addresses):
		c.bad(&v.Addresses, "give either address or addresses")
	case !c.given(&v.Address) && !c.given(&v.Addresses):
		c.bad(v, "address is missing")
	case v.Address.IsValid():
		c.endpoint(&v.Address)
		v.Addresses = []netip.Addr{v.Address}
	}
}

func (v *VirtualServer) attachment() attachment {
	return attachment{what: "virtual server \"" + v.Name + "\"", addresses: v.Addresses, port: v.Port != 0}
}

func (v *VirtualServer) check(c *checker) {
	if c.given(&v.Addresses) {
		v.checkAddresses(c)
	}
	if c.given(&v.Port) {
		between(c, &v.Port, 1, 65535)
	}
	if c.given(&v.Link) {
		c.refer("link", &v.Link)
	}
	if c.given(&v.MaxConnections) {
		between(c, &v.MaxConnections, 1, 2_000_000_000)
	}
	if c.given(&v.Site) {
		c.refer("site", &v.Site)
	}
	c.attach(v.Probes, v.attachment())
	c.criteria(&v.Criteria, v.Probes)
	if v.Serve != nil {
		v.Serve.check(c, v)
	}
}

func (v *VirtualServer) checkAddresses(c *checker) {
	c.empty(&v.Addresses, len(v.Addresses))
	for i := range v.Addresses {
		a := &v.Addresses[i]
		c.endpoint(a)
		for _, other := range v.Addresses[:i] {
			if a.IsValid() && other.IsValid() && a.Is4() == other.Is4() {
				c.bad(a, "%s is of the same family as %s; a virtual server has at most one address a family", a, other)
				break
			}
		}
	}
}

func (s *Site) check(c *checker) {
	c.attach(s.Probes, attachment{what: "site \"" + s.Name + "\""})
	c.criteria(&s.Criteria, s.Probes)
}
