package config

// farms is the nouns of server load balancing by name.
type farms struct {
	farms    map[string]*ServerFarm
	pools    map[string]*SNATPool
	policies map[string]*FarmPolicy
	classes  map[string]*Class
}

func newFarms() farms {
	return farms{farms: map[string]*ServerFarm{}, pools: map[string]*SNATPool{}, policies: map[string]*FarmPolicy{},
		classes: map[string]*Class{}}
}

// declareFarms enters the names of farms and of what stands in slb.
func (c *checker) declareFarms() {
	f := &c.farms
	each(c, c.m.ServerFarms, func(n *ServerFarm, c *checker) {
		c.declare("server farm", &n.Name)
		n.settle(c)
		f.farms[n.Name] = n
	})
	each(c, c.m.SNATPools, func(p *SNATPool, c *checker) {
		c.declare("SNAT pool", &p.Name)
		f.pools[p.Name] = p
	})
	if c.m.SLB == nil {
		for _, v := range c.m.VirtualServers {
			if v.Serve != nil {
				c.m.SLB = new(SLB)
				c.m.SLB.defaults()
				break
			}
		}
	}
	if c.m.SLB != nil {
		c.declareSLB(c.m.SLB)
	}
}

func (c *checker) declareSLB(s *SLB) {
	f := &c.farms
	each(c, s.Policies, func(p *FarmPolicy, c *checker) {
		c.declare("policy of slb", &p.Name)
		f.policies[p.Name] = p
	})
	each(c, s.Classes, func(k *Class, c *checker) {
		c.declare("class of slb", &k.Name)
		f.classes[k.Name] = k
	})
	each(c, s.LimitPolicies, func(p *LimitPolicy, c *checker) { c.declare("limit policy of slb", &p.Name) })
	each(c, s.Profiles, func(p *Profile, c *checker) { c.declare("profile", &p.Name) })
}
