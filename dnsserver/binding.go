package dnsserver

import (
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/topology"
)

// binding is a dynamic name tied to its pool, compiled.
type binding struct {
	fqdn     string
	group    string // names of one group share their draws
	member   int    // which name of the group this is
	count    *atomic.Uint64
	ttl      config.TTL
	pool     *pool
	memo     *memo
	topology *topology.Table
}

// groupOf is what a name of a zone shares its decisions with: its group, or
// itself. The versions of a name that different views have share nothing.
func groupOf(z *config.Zone, n *config.Name) string {
	group := "name " + n.FQDN
	if n.Group != "" {
		group = "group " + n.Group
	}
	if z.View != "" {
		group = "view " + z.View + " " + group
	}
	return group
}

// bind ties a name to its pool. compilePools has made the pool, and the counter
// of the group.
func (ps *pools) bind(z *config.Zone, n *config.Name, topo *topology.Table) *binding {
	group := groupOf(z, n)
	b := &binding{fqdn: n.FQDN, group: group, member: ps.bound[group], count: ps.counts[group],
		ttl: n.TTL, pool: ps.byName[n.Pool], memo: ps.memo, topology: topo}
	ps.bound[group]++
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

// decide gives the decision of a name for a client. It never says that the
// name does not exist (T5).
func (b *binding) decide(q *question, qtype uint16) *decision {
	class, leaf := b.topology.Lookup(q.client.addr)
	c := &choosing{b: b, q: q, d: &decision{}}
	c.in = pick.Input{
		Table:   q.rows,
		Gauges:  q.gauges,
		Now:     q.now,
		Client:  pick.Client{Addr: q.client.addr, Class: uint32(class)},
		Draw:    b.memo.draw(&q.client, b, qtype, q.peek),
		Answers: b.pool.Answers,
	}
	c.trace = q.trace.decision(c)
	if !q.peek {
		c.in.Notes = &q.notes
	}
	o := b.pool.outcome(c.in, c.trace)
	c.in.Notes = nil // what follows only compares
	c.d.wants = o.shares.Wants
	c.say(o)
	c.setTTL(o)
	if q.client.ecs {
		c.d.scope = c.scope(o, leaf)
	}
	c.trace.done(c)
	return c.d
}

// say turns an outcome into what is answered.
func (c *choosing) say(o outcome) {
	c.degraded = o.degraded()
	switch o.end {
	case ended:
		c.take(o)
	case waits:
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeNotReady, "") // a first probe result is still to come
	case declines:
		c.decline(o)
	case held:
		c.tell(dns.ExtendedErrorCodeOther, outOfService)
	case fallsTo:
		c.fall(o)
	case lost:
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, noServerUp)
	}
}

// decline does what a pool does when members stand ready and no slot chose
// (FAQ 1.4.5), or all are full (FAQ 1.2.13).
func (c *choosing) decline(o outcome) {
	text := noServerHere
	if o.reason == pick.Full {
		text = serversFull
	}
	switch c.b.pool.OnDecline {
	case config.DeclineAny:
		if len(o.among) > 0 {
			c.take(o)
			return
		}
		c.fail(dns.RcodeRefused, dns.ExtendedErrorCodeOther, text)
	case config.DeclineServfail:
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, text)
	case config.DeclineNodata:
		c.tell(dns.ExtendedErrorCodeOther, text)
	case config.DeclineDrop:
		c.d.drop = true
	default:
		c.fail(dns.RcodeRefused, dns.ExtendedErrorCodeOther, text)
	}
}

// fall answers from a rung of the onDown ladder. An operator's hold is
// respected on every rung, a probe's verdict on none (R3, T5).
func (c *choosing) fall(o outcome) {
	switch r := o.rung; {
	case r.pool != nil:
		c.take(o)
	case r.cname != "":
		c.d.cname = r.cname
	case len(r.addresses) > 0:
		c.d.addAddrs(r.addresses...)
	case r.action == config.RungLastGood:
		c.tell(dns.ExtendedErrorCodeStaleAnswer, "")
		c.take(o)
	case r.action == config.RungAll:
		c.tell(dns.ExtendedErrorCodeOther, noServerUp)
		c.take(o)
	case r.action == config.RungNodata:
		c.tell(dns.ExtendedErrorCodeOther, noServerUp)
	case r.action == config.RungServfail:
		c.fail(dns.RcodeServerFailure, dns.ExtendedErrorCodeOther, noServerUp)
	case r.action == config.RungRefused:
		c.fail(dns.RcodeRefused, dns.ExtendedErrorCodeOther, noServerUp)
	case r.action == config.RungDrop:
		c.d.drop = true
	}
}

func (c *choosing) tell(ede uint16, text string) { c.d.ede, c.d.text = ede, text }

func (c *choosing) fail(rcode int, ede uint16, text string) {
	c.d.rcode = rcode
	c.tell(ede, text)
}
