package config

import (
	"net/netip"
	"slices"
)

func (p *SNATPool) check(c *checker) {
	if c.need(&p.Addresses, "addresses") {
		c.empty(&p.Addresses, len(p.Addresses))
	}
	if len(p.Addresses) > maxRanges {
		c.bad(&p.Addresses, "%d ranges are more than %d", len(p.Addresses), maxRanges)
		return
	}
	for i := range p.Addresses {
		c.sourceRange(p.Addresses, i)
	}
	if p.Ports.From > 0 && p.Ports.From < 1024 {
		c.warn(&p.Ports, "has ports below 1024, which some servers take for privileged ones, and which others here may listen on")
	}
	if c.given(&p.Interface) {
		if !isInterface(p.Interface) {
			c.bad(&p.Interface, "%s is no name of a network interface: 1 to 15 characters, no space, slash or colon", quote(p.Interface))
		}
		for i := range p.Addresses {
			if n := p.Addresses[i].Size(); n > maxPut {
				c.bad(&p.Addresses[i], "has %d addresses, more than the %d that are put on an interface; leave interface away and route them to this node", n, maxPut)
				continue
			}
			c.putOn(&p.Interface, p.Interface, p.Addresses[i])
		}
	}
	if !c.farms.usedBy["snat pool "+p.Name] {
		c.warn(&p.Name, "no server farm uses it")
	}
}

// maxPut bounds the addresses of a range that are put on an interface.
const maxPut = 1024

// sourceRange checks a range of source addresses among those before it, and says
// whether it is sound.
func (c *checker) sourceRange(list []AddressRange, i int) bool {
	r := &list[i]
	if !r.From.IsValid() {
		return false // told by the decoder
	}
	for _, a := range []netip.Addr{r.From, r.To} {
		switch {
		case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			c.bad(r, "%s is no address that others could answer to", a)
			return false
		case a.IsLinkLocalUnicast():
			c.bad(r, "%s is a link-local address: nobody beyond the next hop could answer to it", a)
			return false
		}
	}
	if r.Size() > maxPool {
		c.bad(r, "has more than %d addresses", maxPool)
	}
	for _, other := range list[:i] {
		if other.From.IsValid() && (other.Has(r.From) || r.Has(other.From)) {
			c.bad(r, "has addresses in common with %s", other)
			return false
		}
	}
	return true
}

// pooled is a range of a pool, or the address of another machine: the next hop of
// a link, or a server.
type pooled struct {
	p *SNATPool
	l *Link
	s placed
	r *AddressRange
}

// overlappingPools refuses pools with addresses and ports in common, for
// neither would know how full it is, and those with addresses of routers and
// servers.
func (c *checker) overlappingPools() {
	var all, open []pooled
	for _, p := range c.m.SNATPools {
		for i := range p.Addresses {
			if p.Addresses[i].From.IsValid() {
				all = append(all, pooled{p: p, r: &p.Addresses[i]})
			}
		}
	}
	if len(all) == 0 {
		return
	}
	for _, l := range c.m.Links {
		for _, hop := range []netip.Addr{l.NextHop, l.NextHop6} {
			if hop.IsValid() {
				all = append(all, pooled{l: l, r: &AddressRange{hop, hop}})
			}
		}
	}
	seen := map[netip.Addr]bool{}
	for _, f := range c.m.ServerFarms {
		for _, s := range f.Servers {
			for _, a := range s.Addresses {
				if a.IsValid() && !seen[a] {
					seen[a] = true
					all = append(all, pooled{s: placed{f, s}, r: &AddressRange{a, a}})
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b pooled) int { return a.r.From.Compare(b.r.From) })
	for _, n := range all { // open are those before n that may reach into it
		open = slices.DeleteFunc(open, func(o pooled) bool { return o.r.To.Less(n.r.From) || o.r.To.Is4() != n.r.From.Is4() })
		for _, o := range open {
			if n.inCommon(c, o) {
				break
			}
		}
		open = append(open, n)
	}
}

// inCommon complains about what two ranges that overlap have in common.
func (n pooled) inCommon(c *checker, o pooled) bool {
	if n.p == nil {
		n, o = o, n
	}
	switch {
	case n.p == nil || n.p == o.p: // two machines; or told of the pool by itself
		return false
	case o.l != nil:
		c.of(n.p)
		c.bad(n.r, "holds %s, the next hop of link %q: it is another machine's", o.r, o.l.Name)
		return true
	case o.p == nil:
		c.of(n.p)
		c.bad(n.r, "holds %s, where server %q of farm %q is: it is another machine's", o.r, o.s.s.Name, o.s.f.Name)
		return true
	case o.p.Ports.Has(n.p.Ports.From) || n.p.Ports.Has(o.p.Ports.From):
		c.of(n.p)
		c.bad(n.r, "has addresses and ports in common with %s of SNAT pool %q, at %s", o.r, o.p.Name, c.where(o.r).pos())
		return true
	}
	return false
}
