package config

import (
	"net/netip"
	"slices"
)

// gateway is the gateway's nouns by name, and what they are used for.
type gateway struct {
	links       map[string]*Link
	groups      map[string]*LinkGroup
	policies    map[string]*Policy
	classes     map[string]*Class
	persistence map[string]*Persistence
	dnsServers  map[string]*DNSServer

	byInterface map[string]*Link    // the first link on an interface
	protected   map[string]bool     // link groups some virtual server of which has busy protection
	usedBy      map[string]bool     // policies, limit policies: "policy office" is used by a virtual server
	balanced    map[string]bool     // links that stand in a group
	sends       map[string][]string // policies: the link groups that they send to
	inside      map[string]bool     // outbound.interfaces
}

func newGateway() gateway {
	return gateway{links: map[string]*Link{}, groups: map[string]*LinkGroup{}, policies: map[string]*Policy{},
		classes: map[string]*Class{}, persistence: map[string]*Persistence{}, dnsServers: map[string]*DNSServer{},
		byInterface: map[string]*Link{}, protected: map[string]bool{}, usedBy: map[string]bool{}, balanced: map[string]bool{},
		sends: map[string][]string{}, inside: map[string]bool{}}
}

// declareGateway enters the names of the gateway's nouns.
func (c *checker) declareGateway() {
	g := &c.gateway
	each(c, c.m.Links, func(l *Link, c *checker) {
		g.links[l.Name] = l
		if g.byInterface[l.Interface] == nil && l.Interface != "" {
			g.byInterface[l.Interface] = l
		}
	})
	each(c, c.m.LinkGroups, func(n *LinkGroup, c *checker) {
		c.declare("link group", &n.Name)
		g.groups[n.Name] = n
		for _, m := range n.Members {
			g.balanced[m.Link] = true
		}
	})
	each(c, c.m.Persistence, func(p *Persistence, c *checker) {
		c.declare("persistence", &p.Name)
		g.persistence[p.Name] = p
	})
	each(c, c.m.DNSServerPools, func(p *DNSServerPool, c *checker) { c.declare("DNS server pool", &p.Name) })
	each(c, c.m.DNSServers, func(s *DNSServer, c *checker) {
		c.declare("DNS server", &s.Name)
		s.settle(c)
		g.dnsServers[s.Name] = s
	})
	if c.m.Outbound != nil {
		c.declareOutbound(c.m.Outbound)
	}
}

func (c *checker) declareOutbound(o *Outbound) {
	g := &c.gateway
	for _, name := range o.Interfaces {
		g.inside[name] = true
	}
	each(c, o.Policies, func(p *Policy, c *checker) {
		c.declare("policy", &p.Name)
		g.policies[p.Name], g.sends[p.Name] = p, p.groups()
	})
	each(c, o.Classes, func(k *Class, c *checker) {
		c.declare("class", &k.Name)
		g.classes[k.Name] = k
	})
	each(c, o.LimitPolicies, func(p *LimitPolicy, c *checker) { c.declare("limit policy", &p.Name) })
	through := map[string]bool{} // policies of virtual servers with busy protection
	each(c, o.VirtualServers, func(v *OutboundVirtualServer, c *checker) {
		c.declare("outbound virtual server", &v.Name)
		g.usedBy["policy "+v.Policy], g.usedBy["limit policy "+v.LimitPolicy] = true, true
		if v.BusyProtection {
			through[v.Policy], g.protected[v.LinkGroup], g.protected[v.Backup] = true, true, true
		}
	})
	for policy := range through {
		for _, name := range g.sends[policy] {
			g.protected[name] = true
		}
	}
}

// checkGateway checks the gateway's nouns but links.
func (c *checker) checkGateway() {
	each(c, c.m.LinkGroups, (*LinkGroup).check)
	each(c, c.m.Persistence, (*Persistence).check)
	if o := c.m.Outbound; o != nil {
		c.of(o)
		o.check(c)
	} else if len(c.m.LinkGroups) > 0 && !c.broken {
		c.of(c.m.LinkGroups[0])
		c.warn(c.m.LinkGroups[0], "link groups have no effect: there is no section outbound that sends anything to them")
	}
	each(c, c.m.DNSServers, (*DNSServer).check)
	each(c, c.m.DNSServerPools, (*DNSServerPool).check)
	if p := c.m.DNSProxy; p != nil {
		c.of(p)
		p.check(c)
	} else if len(c.m.DNSServerPools) > 0 && !c.broken {
		c.of(c.m.DNSServerPools[0])
		c.warn(c.m.DNSServerPools[0], "DNS server pools have no effect: there is no section dnsProxy that asks them")
	}
}

// gatewayFiles notes the files that the gateway's nouns refer to.
func (c *checker) gatewayFiles() {
	each(c, c.m.DNSServers, func(s *DNSServer, c *checker) { c.depends(s.CAFile) })
	if p := c.m.DNSProxy; p != nil {
		each(c, p.Policies, func(p *DNSPolicy, c *checker) { c.depends(p.DomainFile) })
	}
}

// groups lists the link groups that a policy may send to.
func (p *Policy) groups() (names []string) {
	set := map[string]bool{}
	add := func(a *PolicyAction) {
		for _, name := range []string{a.LinkGroup, a.Backup} {
			if name != "" && !set[name] {
				set[name] = true
				names = append(names, name)
			}
		}
	}
	for _, r := range p.Rules {
		add(&r.Action)
	}
	if p.Default != nil {
		add(p.Default)
	}
	return names
}

// linksOf lists the links of a group.
func (g *LinkGroup) linksOf(c *checker) (links []*Link) {
	for _, m := range g.Members {
		if l := c.gateway.links[m.Link]; l != nil {
			links = append(links, l)
		}
	}
	return links
}

// canBeBusy says whether a link has anything that busy protection judges by.
func canBeBusy(l *Link) bool { return l.MaxBandwidth != Bandwidths{} }

// inside checks the interfaces of the inside.
func (c *checker) inside(interfaces []string) {
	distinct(c, interfaces)
	for i := range interfaces {
		name := &interfaces[i]
		if !isInterface(*name) {
			c.bad(name, "%s is no name of a network interface: 1 to 15 characters, no space, slash or colon", quote(*name))
			continue
		}
		if l := c.gateway.byInterface[*name]; l != nil {
			c.bad(name, "%s is the interface of link %q: it cannot be inside as well", *name, l.Name)
		}
	}
}

// sound carries out a check and says whether it found no error: what has a
// fault of its own is not blamed for what comes after it.
func (c *checker) sound(check func()) bool {
	before := len(c.log.errs)
	check()
	return !c.log.errs[before:].Failed()
}

// takesPart checks who takes part of a group: min, max and spill.
func (c *checker) takesPart(low, high *int, spill []Spill) {
	between(c, low, 0, 65535)
	between(c, high, 0, 65535)
	if *high > 0 && *low > *high {
		c.bad(low, "min %d is larger than max %d", *low, *high)
	}
	distinct(c, spill)
}

// share checks weight and priority of a member of a group whose algorithm
// counts weights, or does not (FAQ 1.1.15).
func (c *checker) share(weight, priority *int, algorithm string, weighs bool) {
	between(c, weight, 0, 65535)
	between(c, priority, 0, 255)
	if !weighs && c.given(weight) && *weight > 1 {
		c.warn(weight, "has no effect: weights do not count in %s (FAQ 1.1.15); 0 alone does, which makes a reserve", algorithm)
	}
}

// hash checks a mask, and fills it in where it counts.
func (c *checker) hash(mask *Mask, algorithm string, hashes bool) {
	switch {
	case c.given(mask) && !hashes:
		c.bad(mask, "belongs to the hashes, not to %s", algorithm)
	case hashes && !c.given(mask):
		mask.defaults()
	}
	between(c, &mask.V4, 0, 32)
	between(c, &mask.V6, 0, 128)
}

// traffic checks the direction of an algorithm that looks at what remains of
// links, and fills it in; it warns when nothing is known of them. field is
// where the algorithm stands.
func (c *checker) traffic(field any, direction *string, algorithm string, links []*Link) {
	looks := algorithm == "bandwidth" || algorithm == "max-bandwidth"
	switch {
	case c.given(direction) && !looks:
		c.bad(direction, "belongs to bandwidth and max-bandwidth, not to %s", algorithm)
		return
	case !looks:
		return
	}
	*direction = or(*direction, "total")
	if c.broken || len(links) == 0 {
		return
	}
	lacks := slices.DeleteFunc(slices.Clone(links), func(l *Link) bool { return l.RateLimit.of(*direction) > 0 })
	switch {
	case len(lacks) == len(links):
		c.warn(field, "%s has nothing to go by: no link has a rateLimit, direction %s", algorithm, *direction)
	case len(lacks) > 0 && algorithm == "max-bandwidth":
		c.warn(field, "max-bandwidth never chooses %s: it has no rateLimit, direction %s", lacks[0].Name, *direction)
	}
}

// sameFamily says whether two lists of prefixes may have an address in common, as
// far as their families tell. A list without entries is of both.
func sameFamily(a, b []netip.Prefix) bool {
	has := func(list []netip.Prefix, four bool) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(p netip.Prefix) bool { return !p.IsValid() || p.Addr().Is4() == four })
	}
	return has(a, true) && has(b, true) || has(a, false) && has(b, false)
}
