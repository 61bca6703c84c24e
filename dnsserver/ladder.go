package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// rung is one step of a pool's onDown ladder, compiled.
type rung struct {
	action    config.RungAction
	addresses []netip.Addr
	cname     string
	pool      *pool
}

func (c *poolCompiler) rungs(ladder []config.Rung) []rung {
	rungs := make([]rung, len(ladder))
	for i, r := range ladder {
		rungs[i] = rung{action: r.Action, addresses: r.Addresses, cname: r.CNAME, pool: c.pools.byName[r.Pool]}
	}
	return rungs
}

func (r rung) String() string {
	switch {
	case r.pool != nil:
		return "pool " + r.pool.Name
	case r.cname != "":
		return "cname " + r.cname
	case len(r.addresses) > 0:
		return fmt.Sprintf("addresses %v", r.addresses)
	default:
		return string(r.action)
	}
}

// appendDepends lists the pools that a choice of p may end in: itself and the
// pools of its ladder, theirs included. Configuration refuses loops; a pool is
// visited once all the same.
func (p *pool) appendDepends(seen []*pool) []*pool {
	if slices.Contains(seen, p) {
		return seen
	}
	seen = append(seen, p)
	for _, r := range p.ladder {
		if r.pool != nil {
			seen = r.pool.appendDepends(seen)
		}
	}
	return seen
}

// down climbs down the ladder of a pool that has no usable member: the first
// rung that yields an answer gives it. It fails open: an operator's hold is
// respected on every rung, a probe's verdict on none (R3, T5).
func (c *choosing) down(p *pool) {
	c.degraded = true
	for _, r := range p.ladder {
		if c.rung(p, r) {
			c.note("onDown: " + r.String())
			return
		}
		c.note("onDown: " + r.String() + " yields nothing")
	}
	c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, "no usable member in pool "+p.Name)
	c.note("onDown: no rung left")
}

// rung tries one rung and reports whether it ends the search.
func (c *choosing) rung(p *pool, r rung) bool {
	switch {
	case r.pool != nil:
		return c.fromPool(r.pool)
	case r.cname != "":
		c.d.cname = r.cname
		return true
	case len(r.addresses) > 0:
		c.addAddrs(r.addresses...)
		return true
	}
	switch r.action {
	case config.RungLastGood:
		return c.among(p.fallen(r, c.in.Table), dns.ExtendedErrorCodeStaleAnswer, "last good members of pool "+p.Name)
	case config.RungAll:
		return c.among(p.fallen(r, c.in.Table), dns.ExtendedErrorCodeOther, "no member of pool "+p.Name+" is up: health is ignored")
	case config.RungNodata:
		return true
	case config.RungServfail:
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, "no usable member in pool "+p.Name)
	case config.RungRefused:
		c.fail(dns.RcodeRefused, dns.ExtendedErrorCodeOther, "no usable member in pool "+p.Name)
	case config.RungDrop:
		c.d.drop = true
	}
	return true
}

// chooses says whether a rung chooses among members, and so can come up empty.
func (r rung) chooses() bool {
	return r.action == config.RungLastGood || r.action == config.RungAll
}

// fallen gives the members of a rung that chooses: those that nobody holds, of
// all or of the last good ones.
func (p *pool) fallen(r rung, t *status.Table) []*pick.Member {
	free := p.group.Free(t)
	if r.action == config.RungAll {
		return free
	}
	good := p.state.lastGood.Load()
	if good == nil {
		return nil
	}
	return slices.DeleteFunc(free, func(m *pick.Member) bool { return !slices.Contains(*good, m.Name) })
}

// declined does what a pool does when members stand ready and no slot chose
// (FAQ 1.4.5), or all are full (FAQ 1.2.13).
func (c *choosing) declined(p *pool, reason pick.Reason) {
	text := "no algorithm of pool " + p.Name + " chose a member for this client"
	if reason == pick.Full {
		text = "every member of pool " + p.Name + " is at its limit"
	}
	c.degraded = true
	c.note("onDecline: " + string(p.OnDecline))
	switch p.OnDecline {
	case config.DeclineAny:
		if reason == pick.Declined && c.among(p.group.Leaves(c.in.Table), 0, "") {
			return
		}
		c.fail(dns.RcodeRefused, dns.ExtendedErrorCodeOther, text)
	case config.DeclineServfail:
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, text)
	case config.DeclineNodata:
		c.d.ede, c.d.text = dns.ExtendedErrorCodeOther, text
	case config.DeclineDrop:
		c.d.drop = true
	default:
		c.fail(dns.RcodeRefused, dns.ExtendedErrorCodeOther, text)
	}
}

func (c *choosing) fail(rcode int, ede uint16, text string) {
	c.d.rcode, c.d.ede, c.d.text = rcode, ede, text
}

func (c *choosing) note(text string) {
	if c.trace != nil {
		c.trace.Notes = append(c.trace.Notes, text)
	}
}

// lastGoodOf and setLastGood carry the last good members over a restart.
func (ps *pools) lastGoodOf() map[string][]string {
	sets := map[string][]string{}
	for _, p := range ps.order {
		if good := p.state.lastGood.Load(); good != nil {
			sets[p.Name] = *good
		}
	}
	return sets
}

func (ps *pools) setLastGood(sets map[string][]string) {
	for _, p := range ps.order {
		if good, ok := sets[p.Name]; ok && p.state.lastGood.Load() == nil {
			p.state.lastGood.Store(&good)
		}
	}
}
