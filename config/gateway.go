package config

import "net/netip"

// declareGateway enters the names of the gateway's nouns.
func (c *checker) declareGateway() {
	each(c, c.m.LinkGroups, func(g *LinkGroup, c *checker) { c.declare("link group", &g.Name) })
	each(c, c.m.Persistence, func(p *Persistence, c *checker) { c.declare("persistence", &p.Name) })
	each(c, c.m.DNSServerPools, func(p *DNSServerPool, c *checker) { c.declare("DNS server pool", &p.Name) })
	each(c, c.m.DNSServers, func(s *DNSServer, c *checker) { c.declare("DNS server", &s.Name); s.settle(c) })
	if o := c.m.Outbound; o != nil {
		each(c, o.VirtualServers, func(v *OutboundVirtualServer, c *checker) { c.declare("outbound virtual server", &v.Name) })
		each(c, o.Policies, func(p *Policy, c *checker) { c.declare("policy", &p.Name) })
		each(c, o.Classes, func(k *Class, c *checker) { c.declare("class", &k.Name) })
		each(c, o.LimitPolicies, func(p *LimitPolicy, c *checker) { c.declare("limit policy", &p.Name) })
	}
}

// settle moves the short form of the address into the list.
func (s *DNSServer) settle(c *checker) {
	if s.Address.IsValid() && !c.given(&s.Addresses) {
		s.Addresses = []netip.Addr{s.Address}
	}
	if s.Port == 0 {
		s.Port = map[string]uint16{DNSOverTLS: 853, DNSOverHTTPS: 443}[s.Protocol]
	}
	s.Port = or(s.Port, 53)
	if s.Protocol == DNSOverHTTPS {
		s.Path = or(s.Path, "/dns-query")
	}
}
