package config

import (
	"net/netip"
	"slices"
)

// farms is the nouns of server load balancing by name, and what they are used
// for.
type farms struct {
	farms    map[string]*ServerFarm
	pools    map[string]*SNATPool
	policies map[string]*FarmPolicy
	classes  map[string]*Class

	facts    map[string]*farmFacts
	keeps    map[string][]*Persistence   // policies: the persistence of theirs that looks at requests
	users    map[string][]*VirtualServer // farms: virtual servers that may send there
	usedBy   map[string]bool             // "policy p", "limit policy p", "snat pool p": something uses it
	hops     map[netip.Addr]*Link        // next hops
	puts     map[netip.Addr]*string      // addresses that are put on an interface: where that is named
	own      []ownSocket
	requests map[string]bool // classes that look at requests
}

// farmFacts is what is known of the servers of a farm.
type farmFacts struct {
	v4, v6, host bool                   // a server has an address of the family, or a name
	ports        map[uint16]*RealServer // the first server by its port; 0: it has none
}

func newFarms() farms {
	return farms{farms: map[string]*ServerFarm{}, pools: map[string]*SNATPool{}, policies: map[string]*FarmPolicy{},
		classes: map[string]*Class{}, facts: map[string]*farmFacts{}, keeps: map[string][]*Persistence{},
		users: map[string][]*VirtualServer{}, usedBy: map[string]bool{}, hops: map[netip.Addr]*Link{},
		puts: map[netip.Addr]*string{}, requests: map[string]bool{}}
}

// declareFarms enters the names of farms and of what stands in slb.
func (c *checker) declareFarms() {
	f := &c.farms
	each(c, c.m.ServerFarms, func(n *ServerFarm, c *checker) {
		c.declare("server farm", &n.Name)
		n.settle(c)
		f.farms[n.Name], f.facts[n.Name] = n, factsOf(n)
	})
	each(c, c.m.SNATPools, func(p *SNATPool, c *checker) {
		c.declare("SNAT pool", &p.Name)
		f.pools[p.Name] = p
	})
	for _, l := range c.m.Links {
		for _, hop := range []netip.Addr{l.NextHop, l.NextHop6} {
			if hop.IsValid() && f.hops[hop] == nil {
				f.hops[hop] = l
			}
		}
	}
	if c.m.SLB == nil && slices.ContainsFunc(c.m.VirtualServers, func(v *VirtualServer) bool { return v.Serve != nil }) {
		c.m.SLB = new(SLB)
		c.m.SLB.defaults()
	}
	if c.m.SLB != nil {
		c.declareSLB(c.m.SLB)
	}
	c.usesOfFarms()
	f.own = c.ownSockets()
}

func (c *checker) declareSLB(s *SLB) {
	f := &c.farms
	each(c, s.Policies, func(p *FarmPolicy, c *checker) {
		c.declare("policy of slb", &p.Name)
		f.policies[p.Name] = p
		for _, a := range p.actions() {
			if k := c.gateway.persistence[a.Persistence]; k != nil && k.Requests() && !slices.Contains(f.keeps[p.Name], k) {
				f.keeps[p.Name] = append(f.keeps[p.Name], k)
			}
		}
	})
	each(c, s.Classes, func(k *Class, c *checker) {
		c.declare("class of slb", &k.Name)
		f.classes[k.Name] = k
	})
	each(c, s.LimitPolicies, func(p *LimitPolicy, c *checker) { c.declare("limit policy of slb", &p.Name) })
	each(c, s.Profiles, func(p *Profile, c *checker) { c.declare("profile", &p.Name) })
}

// usesOfFarms notes who uses what.
func (c *checker) usesOfFarms() {
	f := &c.farms
	sends := map[string][]string{} // by policy
	for name, p := range f.policies {
		sends[name] = p.farms()
		for _, a := range p.actions() {
			f.usedBy["persistence "+a.Persistence] = true
		}
	}
	for _, v := range c.m.VirtualServers {
		if v.Serve == nil {
			continue
		}
		s := v.Serve
		f.usedBy["policy "+s.Policy], f.usedBy["limit policy "+s.LimitPolicy] = true, true
		f.usedBy["persistence "+s.Persistence] = true
		seen := map[string]bool{"": true}
		for _, name := range append([]string{s.Farm, s.Backup}, sends[s.Policy]...) {
			if !seen[name] {
				seen[name] = true
				f.users[name] = append(f.users[name], v)
			}
		}
	}
	for _, n := range c.m.ServerFarms {
		f.usedBy["snat pool "+n.SNATPool] = true
	}
}

func factsOf(n *ServerFarm) *farmFacts {
	k := &farmFacts{ports: map[uint16]*RealServer{}}
	for _, s := range n.Servers {
		k.host = k.host || s.Host != ""
		for _, a := range s.Addresses {
			k.v4, k.v6 = k.v4 || a.Is4(), k.v6 || a.Is6()
		}
		if k.ports[s.Port] == nil {
			k.ports[s.Port] = s
		}
	}
	return k
}

// has says whether a server may have an address of a family.
func (k *farmFacts) has(v6 bool) bool { return k.host || v6 && k.v6 || !v6 && k.v4 }

// actions lists the actions of a policy.
func (p *FarmPolicy) actions() (list []*FarmAction) {
	for _, r := range p.Rules {
		if r.Action != nil {
			list = append(list, r.Action)
		}
	}
	return list
}

// farms lists the farms that a policy may send to.
func (p *FarmPolicy) farms() (names []string) {
	seen := map[string]bool{"": true}
	for _, a := range p.actions() {
		for _, name := range []string{a.Farm, a.Backup} {
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// checkFarms checks the nouns of server load balancing but virtual servers.
func (c *checker) checkFarms() {
	if s := c.m.SLB; s != nil {
		c.of(s)
		s.check(c)
	}
	each(c, c.m.SNATPools, (*SNATPool).check)
	c.overlappingPools()
	each(c, c.m.ServerFarms, (*ServerFarm).check)
	c.placements()
}

// checkServed checks virtual servers against each other and against farms.
func (c *checker) checkServed() {
	served := 0
	each(c, c.m.VirtualServers, func(v *VirtualServer, c *checker) {
		if !v.Served() {
			return
		}
		if served++; served == maxServed+1 {
			c.bad(v.Serve, "more than %d virtual servers are served", maxServed)
		}
		v.clash(c)
		v.families(c)
	})
	if served <= maxServed {
		c.identities()
	}
}
