package config

import (
	"maps"
	"net/netip"
	"slices"
)

// family names a family of addresses.
func family(v6 bool) string {
	if v6 {
		return "IPv6"
	}
	return "IPv4"
}

// placed is a server in its farm.
type placed struct {
	f *ServerFarm
	s *RealServer
}

// treatment is what the kernel does with packets to and from a server, which it
// tells from others by address and port alone.
type treatment struct {
	mode  SNATMode
	pool  string
	limit Bandwidths
}

func treatmentOf(n placed) treatment {
	mode, pool := n.f.Snat()
	return treatment{mode, pool, n.s.RateLimit}
}

func (t treatment) String() string {
	how := "snat " + string(t.mode)
	if t.pool != "" {
		how = "snatPool " + t.pool
	}
	for _, l := range []struct {
		key string
		of  Bandwidth
	}{{"rateLimit ", t.limit.Total}, {"rateLimit.in ", t.limit.In}, {"rateLimit.out ", t.limit.Out}} {
		if l.of > 0 {
			how += ", " + l.key + l.of.String()
		}
	}
	return how
}

// placements checks where servers are: none is where a virtual server is served,
// and none is treated in two ways.
func (c *checker) placements() {
	vips := map[netip.Addr][]*VirtualServer{}
	for _, v := range c.m.VirtualServers {
		if v.Served() {
			for _, p := range v.ServedPrefixes() {
				if p.IsSingleIP() {
					vips[p.Addr()] = append(vips[p.Addr()], v)
				}
			}
		}
	}
	at := &treated{first: map[endpoint]placed{}, nat: map[endpoint]placed{}, by: map[netip.Addr]map[treatment]placed{}}
	for _, f := range c.m.ServerFarms {
		for _, s := range f.Servers {
			c.of(s)
			for _, a := range s.Addresses {
				if !a.IsValid() {
					continue
				}
				c.loops(placed{f, s}, a, vips[a])
				at.add(c, placed{f, s}, a)
			}
		}
	}
}

// loops refuses a server that is where a virtual server is served: what is sent
// there is not balanced again.
func (c *checker) loops(n placed, a netip.Addr, vips []*VirtualServer) {
	if len(vips) == 0 {
		return
	}
	e := endpoint{a, n.s.Port}
	back := func(v *VirtualServer) bool {
		return n.f.Mode != FarmNAT || n.s.Port == 0 || takesPort(v.ServedPorts(), n.s.Port)
	}
	if i := slices.IndexFunc(vips, back); i >= 0 {
		c.bad(n.s, "%s is where virtual server %q is served: what is sent there comes back here, and is not balanced again", e, vips[i].Name)
		return
	}
	c.warn(n.s, "%s has the address of virtual server %q, so it is this machine itself", e, vips[0].Name)
}

// treated is the servers so far, by where they are.
type treated struct {
	first map[endpoint]placed                 // the first at the very place
	nat   map[endpoint]placed                 // the first there of a farm of mode nat
	by    map[netip.Addr]map[treatment]placed // the first of each treatment, of any port
}

// add checks a server against those before it.
func (t *treated) add(c *checker, n placed, a netip.Addr) {
	how, e := treatmentOf(n), endpoint{a, n.s.Port}
	if o, ok := t.first[e]; !ok {
		t.first[e] = n
	} else if c.m.SLB != nil && c.m.SLB.OneFarm && o.f != n.f {
		c.bad(n.s, "%s stands in farm %q already, at %s, and slb.oneFarm is set (FAQ 1.1.1)", e, o.f.Name, o.s.Pos)
		return
	}
	if n.f.Mode != FarmNAT {
		return // packets to it stay as they are
	}
	all := t.by[a]
	if all == nil {
		all = map[treatment]placed{}
		t.by[a] = all
	}
	if o, ok := t.other(e, how); ok {
		c.bad(n.s, "%s is sent to with %s, and from farm %q, at %s, with %s: these must agree, for the kernel tells their packets by address and port alone",
			e, how, o.f.Name, o.s.Pos, treatmentOf(o))
	}
	if _, ok := all[how]; !ok {
		all[how] = n
	}
	if _, ok := t.nat[e]; !ok {
		t.nat[e] = n
	}
}

// other finds a server at the same place that is treated otherwise. One without
// a port is at every port of its address.
func (t *treated) other(e endpoint, how treatment) (placed, bool) {
	for _, port := range []uint16{e.port, 0} {
		if o, ok := t.nat[endpoint{e.addr, port}]; ok && treatmentOf(o) != how {
			return o, true
		}
	}
	if e.port == 0 {
		return anyOther(t.by[e.addr], how)
	}
	return placed{}, false
}

// anyOther gives the first in the file of those that are treated otherwise.
func anyOther(all map[treatment]placed, how treatment) (first placed, ok bool) {
	for t, o := range all {
		if t != how && (!ok || before(o.s.Pos, first.s.Pos)) {
			first, ok = o, true
		}
	}
	return first, ok
}

func before(a, b Pos) bool { return a.Line < b.Line || a.Line == b.Line && a.Col < b.Col }

// families checks that a virtual server and the farms that it sends to have
// addresses of a family in common: the kernel does not translate between
// families (C.4).
func (v *VirtualServer) families(c *checker) {
	s, mode := v.Serve, FarmMode("")
	refs := []struct {
		field *string
		names []string
	}{{&s.Farm, []string{s.Farm}}, {&s.Backup, []string{s.Backup}}, {&s.Policy, nil}}
	if p := c.farms.policies[s.Policy]; p != nil && p.Kind != PolicyHTTP {
		refs[2].names = p.farms()
	}
	c.of(s)
	for _, ref := range refs {
		for _, name := range ref.names {
			f := c.farms.farms[name]
			if f == nil || len(f.Servers) == 0 {
				continue
			}
			v.reaches(c, ref.field, f)
			switch {
			case mode == "":
				mode = f.Mode
			case mode != f.Mode:
				c.bad(ref.field, "farm %q is of mode %s, and others of this virtual server of mode %s: all are of one", f.Name, f.Mode, mode)
			}
		}
	}
	if mode == FarmRouted || mode == FarmDirect {
		for _, field := range []any{&s.Policy, &s.Persistence, &s.MaxConnections, &s.NewConnections, &s.RateLimit, &s.LimitPolicy, &s.TOS, &s.Helper} {
			if c.given(field) {
				c.bad(field, "has no place with a farm of mode %s: its connections are not tracked", mode)
			}
		}
	}
}

// reaches checks families and ports of a farm that a virtual server sends to.
func (v *VirtualServer) reaches(c *checker, field *string, f *ServerFarm) {
	k, common, lacks := c.farms.facts[f.Name], false, ""
	for _, a := range v.Addresses {
		if a.IsValid() && k.has(a.Is6()) {
			common = true
		} else if a.IsValid() {
			lacks = family(a.Is6())
		}
	}
	switch {
	case lacks != "" && !common:
		c.bad(field, "farm %q has no server of %s, and the virtual server no other address: connections are not translated between IPv4 and IPv6", f.Name, lacks)
	case lacks != "":
		c.warn(field, "farm %q has no server of %s: connections to the virtual server's %s address are dropped", f.Name, lacks, lacks)
	}
	for _, port := range slices.Sorted(maps.Keys(k.ports)) {
		s, ports := k.ports[port], v.ServedPorts()
		switch {
		case port == 0:
		case f.Mode == FarmNAT && v.Serve.Type == ServeIP:
			c.bad(field, "server %q of farm %q has port %d, and type ip leaves ports as they are", s.Name, f.Name, port)
		case f.Mode == FarmNAT || len(ports) == 1 && ports[0] == (PortRange{port, port}):
		default:
			c.bad(field, "server %q of farm %q has port %d, and mode %s leaves packets as they are; leave the port away", s.Name, f.Name, port, f.Mode)
		}
	}
}

// checkPoolFamily refuses a pool without an address of the family of servers
// that connections are sent to (FAQ 1.1.8).
func (f *ServerFarm) checkPoolFamily(c *checker) {
	p, k := c.farms.pools[f.SNATPool], c.farms.facts[f.Name]
	if p == nil {
		return
	}
	for _, v6 := range []bool{false, true} {
		users := c.farms.users[f.Name]
		used := slices.ContainsFunc(users, func(v *VirtualServer) bool {
			return slices.ContainsFunc(v.Addresses, func(a netip.Addr) bool { return a.IsValid() && a.Is6() == v6 })
		})
		sure := v6 && k.v6 || !v6 && k.v4
		if (used && k.has(v6) || len(users) == 0 && sure) && len(p.For(v6)) == 0 {
			c.bad(&f.SNATPool, "SNAT pool %q has no %s address, and connections of %s go to servers of the farm", p.Name, family(v6), family(v6))
			return
		}
	}
}
