package dnsserver

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/pick"
)

// take turns the members of an outcome into addresses of both families, or a
// CNAME.
func (c *choosing) take(o outcome) {
	chosen := o.members(c.in)
	for _, m := range chosen {
		t := &o.pool.targets[m.Index]
		c.trace.chose(t.name)
		if t.cname != "" {
			c.d.cname = t.cname
			return
		}
		c.d.addAddrs(t.v4, t.v6)
	}
	if len(c.d.v4) == 0 && o.pool.has4 {
		c.substitute(o, 4, chosen[0])
	}
	if len(c.d.v6) == 0 && o.pool.has6 {
		c.substitute(o, 6, chosen[0])
	}
}

// substitute serves a family that what was chosen lacks, so that it is NODATA
// only if no usable member has it: a member of the same site first, then any;
// of those that were to choose from first, then any that is usable.
func (c *choosing) substitute(o outcome, family int, chosen *pick.Member) {
	site := o.pool.targets[chosen.Index].site
	from := o.among
	if o.leaves != nil {
		from = o.leaves
	} else if from == nil {
		from = o.pool.group.Leaves(c.in.Table)
	}
	for _, set := range [][]*pick.Member{from, o.pool.group.Usable(c.in.Table)} {
		var same, other []*pick.Member
		for _, m := range set {
			switch t := &o.pool.targets[m.Index]; {
			case t.has(family) && site != "" && t.site == site:
				same = append(same, m)
			case t.has(family):
				other = append(other, m)
			}
		}
		if len(same) == 0 {
			same = other
		}
		in := c.in
		in.Answers = o.pool.Answers
		for _, m := range pick.Among(in, same, nil) {
			t := &o.pool.targets[m.Index]
			c.d.addAddrs(t.addr(family))
			c.trace.note("IPv%d: what was chosen has no such address; %s serves it", family, t.name)
		}
		if len(same) > 0 {
			return
		}
	}
}

// addAddrs adds addresses that are set and not there yet.
func (d *decision) addAddrs(addrs ...netip.Addr) {
	for _, a := range addrs {
		family := &d.v6
		if a.Is4() {
			family = &d.v4
		}
		if a.IsValid() && !slices.Contains(*family, a) {
			*family = append(*family, a)
		}
	}
}

// setTTL applies the TTL law: the name's upper bound, but no longer than the
// time to the next change that is known beforehand, and the lower bound on
// degraded answers; never outside the bounds, but for what rests on a warm-up:
// that ends when it ends (T6).
func (c *choosing) setTTL(o outcome) {
	low, high := time.Duration(c.b.ttl.Min), time.Duration(c.b.ttl.Max)
	ttl, why := high, "upper bound"
	if low == high {
		why = "fixed"
	}
	if c.degraded {
		ttl, why = low, "lower bound: degraded answer"
	}
	if s := c.b.pool.scheduled(c.in.Table); !s.next.IsZero() {
		if left := max(s.next.Sub(c.q.now), low); left < ttl {
			ttl, why = left, s.why
		}
	}
	if left := c.untilNext(o.shares.Next); left > 0 && left < ttl {
		ttl, why = left, "the measuring of the client's network counts then"
	}
	c.d.ttl = uint32(ttl / time.Second)
	c.trace.ttl(c.d.ttl, why)
}
