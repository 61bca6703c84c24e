package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/topology"
)

// binding is a dynamic name tied to its pool, compiled.
type binding struct {
	fqdn     string
	group    string // names of one group share their draws
	ttl      config.TTL
	pool     *pool
	memo     *memo
	topology *topology.Table
}

// bind ties a name to its pool, which compilePools has seen to be there.
func (ps *pools) bind(n *config.Name, topo *topology.Table) *binding {
	b := &binding{fqdn: n.FQDN, group: "name " + n.FQDN, ttl: n.TTL, pool: ps.byName[n.Pool], memo: ps.memo, topology: topo}
	if n.Group != "" {
		b.group = "group " + n.Group
	}
	return b
}

// choosing is the work of one decision.
type choosing struct {
	b        *binding
	q        *question
	in       pick.Input
	d        *decision
	degraded bool // not what the pool would answer if all were well
	trace    *DecisionTrace
}

// decide gives the decision of a name for a client:
//
//	a first result still to come ── SERVFAIL, not a guess
//	members chosen ──────────────── their addresses, or their CNAME
//	declined, full ──────────────── onDecline
//	down ────────────────────────── onDown, rung by rung
//	all held ────────────────────── NODATA: the operator wants it so
//
// It never says that the name does not exist (T5).
func (b *binding) decide(q *question, qtype uint16) *decision {
	class, leaf := b.topology.Lookup(q.client.addr)
	c := &choosing{b: b, q: q, d: &decision{}}
	c.in = pick.Input{
		Table:   q.rows,
		Client:  pick.Client{Addr: q.client.addr, Class: uint32(class)},
		Draw:    b.memo.draw(&q.client, b.group, b.fqdn, qtype, &b.pool.state.draws, q.peek),
		Answers: b.pool.Answers,
	}
	c.trace = q.trace.decision(c)
	c.choose(b.pool)
	c.setTTL()
	if q.client.ecs {
		c.d.scope = c.scope(leaf)
	}
	c.trace.done(c)
	return c.d
}

func (c *choosing) choose(p *pool) {
	if _, waiting := p.group.State(c.in.Table); waiting {
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "first probe results of pool "+p.Name+" are still to come")
		return
	}
	choice, reason := p.group.Pick(c.in, nil, c.trace.pick())
	switch reason {
	case pick.Chosen:
		c.degraded = choice.Lapsed
		c.take(p, choice.Members)
	case pick.Declined, pick.Full:
		c.declined(p, reason)
	case pick.Down:
		c.down(p)
	case pick.Held:
		c.degraded = true
		c.d.ede, c.d.text = dns.ExtendedErrorCodeOther, "every member of pool "+p.Name+" is held by the operator"
	}
}

// fromPool answers from another pool, if that one has a choice.
func (c *choosing) fromPool(p *pool) bool {
	in := c.in
	in.Answers = p.Answers
	if _, waiting := p.group.State(in.Table); waiting {
		return false
	}
	choice, reason := p.group.Pick(in, nil, c.trace.pick())
	if reason == pick.Chosen {
		c.take(p, choice.Members)
		return true
	}
	return false
}

// among answers with round robin over members, with the reason as extended
// error. It reports whether there was any.
func (c *choosing) among(members []*pick.Member, ede uint16, text string) bool {
	chosen := pick.Among(c.in, members, nil)
	if len(chosen) == 0 {
		return false
	}
	c.d.ede, c.d.text = ede, text
	c.take(c.b.pool, chosen)
	return true
}

// take turns members into addresses of both families, or a CNAME. A family
// that the chosen ones lack is served by a member of the same site that has
// it, else by any that has it.
func (c *choosing) take(p *pool, members []*pick.Member) {
	site := p.targets[members[0].Index].site
	for _, m := range members {
		t := &p.targets[m.Index]
		c.trace.chose(t.name)
		if t.cname != "" {
			c.d.cname = t.cname
			return
		}
		c.addAddrs(t.v4, t.v6)
	}
	if len(c.d.v4) == 0 && p.has4 {
		c.substitute(p, 4, site)
	}
	if len(c.d.v6) == 0 && p.has6 {
		c.substitute(p, 6, site)
	}
}

func (c *choosing) substitute(p *pool, family int, site string) {
	var same, other []*pick.Member
	for _, m := range p.group.Leaves(c.in.Table) {
		switch t := &p.targets[m.Index]; {
		case t.has(family) && site != "" && t.site == site:
			same = append(same, m)
		case t.has(family):
			other = append(other, m)
		}
	}
	if len(same) == 0 {
		same = other
	}
	for _, m := range pick.Among(c.in, same, nil) {
		t := &p.targets[m.Index]
		c.addAddrs(t.addr(family))
		c.note(fmt.Sprintf("IPv%d: what was chosen has no such address; %s serves it", family, t.name))
	}
}

// addAddrs adds addresses that are set and not there yet.
func (c *choosing) addAddrs(addrs ...netip.Addr) {
	for _, a := range addrs {
		family := &c.d.v6
		if a.Is4() {
			family = &c.d.v4
		}
		if a.IsValid() && !slices.Contains(*family, a) {
			*family = append(*family, a)
		}
	}
}

// setTTL applies the TTL law: the name's upper bound, but no longer than the
// time to the next change that is known beforehand, and the lower bound on
// degraded answers (T6); never outside the bounds.
func (c *choosing) setTTL() {
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
			ttl, why = left, fmt.Sprintf("the hold on %s ends at %s", s.why, s.next.UTC().Format(time.RFC3339))
		}
	}
	c.d.ttl = uint32(ttl / time.Second)
	c.trace.ttl(c.d.ttl, why)
}
