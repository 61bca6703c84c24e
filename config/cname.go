package config

import "slices"

// mayCNAME gives the first of cnames, or "".
func (c *checker) mayCNAME(pool string) string {
	if found := c.cnames(pool); len(found) > 0 {
		return found[0]
	}
	return ""
}

// cnames lists the CNAMEs that a pool may answer, itself or through other
// pools.
func (c *checker) cnames(pool string) []string {
	return c.addCNAMEs(nil, pool, map[string]bool{})
}

func (c *checker) addCNAMEs(found []string, pool string, seen map[string]bool) []string {
	p := c.pools[pool]
	if p == nil || seen[pool] {
		return found
	}
	seen[pool] = true
	for _, m := range p.Members {
		if m.CNAME != "" {
			found = append(found, m.CNAME)
		}
	}
	for _, r := range p.OnDown {
		if r.CNAME != "" {
			found = append(found, r.CNAME)
		}
	}
	for _, next := range append(c.nested(pool), c.fallbacks(pool)...) {
		found = c.addCNAMEs(found, next, seen)
	}
	return found
}

// circles refuses names whose pools may send a client from one to the next and
// back, among the zones that a view sees. Only names that are bound count: what
// a zone file or a wildcard makes of others is not known here.
func (c *checker) circles(zones map[string]*Zone) {
	names := map[string]*Name{}
	for _, z := range c.m.Zones {
		if zones[z.Name] != z {
			continue
		}
		for _, n := range z.Names {
			if n.FQDN != "" && names[n.FQDN] == nil {
				names[n.FQDN] = n
			}
		}
	}
	known := map[string][]string{} // by the pool
	g := newGraph(func(name string) []string {
		pool := names[name].Pool
		next, ok := known[pool]
		if !ok {
			next = slices.DeleteFunc(c.cnames(pool), func(cname string) bool { return names[cname] == nil })
			known[pool] = next
		}
		return next
	})
	for _, z := range c.m.Zones {
		if zones[z.Name] != z {
			continue
		}
		each(c, z.Names, func(n *Name, c *checker) {
			if names[n.FQDN] != n {
				return // not bound, or twice
			}
			if way := g.loop(n.FQDN); way != "" {
				c.bad(&n.Pool, "pool %q may answer a CNAME that leads back here: %s", n.Pool, way)
			}
		})
	}
}
