package config

func (s *SLB) check(c *checker) {
	c.checkFarmClasses(s.Classes)
	each(c, s.Policies, (*FarmPolicy).check)
	each(c, s.LimitPolicies, func(p *LimitPolicy, c *checker) {
		p.checkRules(c, c.farms.usedBy["limit policy "+p.Name])
	})
	c.of(s)
}

// checkFarmClasses checks the classes of slb, and finds those that look at
// requests.
func (c *checker) checkFarmClasses(classes []*Class) {
	inside := c.nestClasses(classes, c.farms.classes, func(k *Class, c *checker) { k.checkAs(c, true) })
	if inside == nil {
		return // they are in a circle
	}
	var looks func(name string) bool
	known := c.farms.requests
	looks = func(name string) bool {
		is, seen := known[name]
		k := c.farms.classes[name]
		if seen || k == nil {
			return is
		}
		is = k.HTTP != nil
		for _, inner := range k.Classes {
			is = looks(inner) || is
		}
		known[name] = is
		return is
	}
	for _, k := range classes {
		looks(k.Name)
	}
}

func (h *HTTPMatch) check(c *checker) {
	given := false
	for _, list := range []struct {
		field any
		size  int
	}{{&h.Hosts, len(h.Hosts)}, {&h.Paths, len(h.Paths)}, {&h.Methods, len(h.Methods)}, {&h.Headers, len(h.Headers)}, {&h.Cookies, len(h.Cookies)}} {
		c.empty(list.field, list.size)
		given = given || c.given(list.field)
	}
	if !given && c.given(h) {
		c.bad(h, "matches nothing: at least one of hosts, paths, methods, headers, cookies belongs here")
	}
	distinct(c, h.Hosts)
	distinct(c, h.Paths)
	distinct(c, h.Methods)
}

func (p *FarmPolicy) check(c *checker) {
	c.empty(&p.Rules, len(p.Rules))
	if len(p.Rules) > maxPolicyRules {
		c.bad(&p.Rules, "%d rules are more than %d", len(p.Rules), maxPolicyRules)
		return
	}
	switch {
	case !c.farms.usedBy["policy "+p.Name]:
		c.warn(&p.Name, "no virtual server uses it")
	case len(p.Rules) == 0:
		c.warn(p, "has no rules: everything goes to the farm of the virtual server (FAQ 1.1.7)")
	}
	everything, taken := 0, map[string]int{}
	for i, r := range p.Rules {
		c.of(r)
		sound := c.sound(func() { r.check(c, p) })
		at := taken[r.Class]
		switch {
		case everything > 0:
			c.bad(r, "is never reached: rule %d has no class and takes everything", everything)
		case at > 0:
			c.bad(r, "is never reached: rule %d takes class %q already", at, r.Class)
		case !sound || r.Action != nil && r.Action.OnFailure == FailureContinue:
		case !c.given(&r.Class):
			everything = i + 1
		default:
			taken[r.Class] = i + 1
		}
	}
	c.of(p)
}

func (r *FarmRule) check(c *checker, p *FarmPolicy) {
	if c.given(&r.Class) && c.refer("class of slb", &r.Class) && p.Kind == PolicyGeneric && c.farms.requests[r.Class] {
		c.bad(&r.Class, "class %q looks at requests; a policy that uses it has kind: http (FAQ 1.1.10)", r.Class)
	}
	if !c.given(&r.Class) && r.Action == nil && !c.places[r].bad {
		c.warn(r, "changes nothing: what no rule takes goes to the farm of the virtual server anyway")
	}
	if r.Action != nil {
		r.Action.check(c)
	}
}

func (a *FarmAction) check(c *checker) {
	if p := c.places[a]; p != nil && p.bad {
		return
	}
	c.farmAndBackup(&a.Farm, &a.Backup)
	if c.given(&a.Persistence) {
		c.refer("persistence", &a.Persistence)
	}
	switch {
	case a.Farm != "" || c.given(&a.Farm):
		if a.Do != "" {
			c.bad(&a.Do, "has no place beside a farm")
		}
		return
	case a.Do == "" && !c.given(&a.Do):
		c.warn(a, "has no farm: what it takes is dropped (FAQ 1.1.7)")
	}
	for _, field := range []any{&a.Backup, &a.Persistence, &a.OnFailure} {
		if c.given(field) {
			c.bad(field, "belongs to a farm, which is not given")
		}
	}
	if a.TOS != nil {
		c.bad(a.TOS, "nothing is sent that it could be set in")
	}
	a.OnFailure = ""
}
