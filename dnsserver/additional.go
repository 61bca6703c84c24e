package dnsserver

import (
	"math"
	"slices"

	"github.com/miekg/dns"
)

// solveAdditional adds the addresses of names that the reply mentions, and
// gives hints the same addresses. What a delegation cannot be followed without
// goes first and is counted in q.glue (RFC 9471).
func (q *query) solveAdditional(at state) {
	if q.over {
		return
	}
	if at == delegation {
		q.addGlue()
		return
	}
	q.solveHints()
	q.may(q.table.limits.AdditionalRecords, limitAdditionalRecords)
	seen := map[string]bool{}
	q.addTargets(q.reply.Answer, seen)
	if q.servers > 0 {
		q.spare = len(q.reply.Extra)
		q.addTargets(q.reply.Ns, seen)
	}
}

// addTargets adds the addresses of names that records mention.
func (q *query) addTargets(rrs []dns.RR, seen map[string]bool) {
	for _, rr := range rrs {
		target := targetOf(rr)
		if target == "" || q.spent {
			continue
		}
		key := canonical(target)
		switch {
		case seen[key]:
		case len(seen) >= q.table.limits.AdditionalNames:
			q.reach(limitAdditionalNames)
			return
		default:
			seen[key] = true
			q.addAddresses(target, key)
		}
	}
}

// may sets how many addresses may be added that only help.
func (q *query) may(add int, which limit) { q.budget, q.bounded, q.spent = add, which, false }

// spend says whether so many addresses may yet be added. Once some may not,
// none may: a set is added whole or not at all, and a smaller one that comes
// later is no better than the one that was left out.
func (q *query) spend(n int) bool {
	if q.spent = q.spent || n > q.budget; q.spent {
		q.reach(q.bounded)
		return false
	}
	q.budget -= n
	return true
}

// reach notes that this query met a limit.
func (q *query) reach(which limit) { q.reached |= 1 << which }

// targetOf gives the name whose addresses the reader of a record needs next,
// or nothing.
func targetOf(rr dns.RR) string {
	switch rr := rr.(type) {
	case *dns.NS:
		return rr.Ns
	case *dns.MX:
		return rr.Mx
	case *dns.SRV:
		return rr.Target
	case *dns.HTTPS:
		return serviceTarget(&rr.SVCB)
	case *dns.SVCB:
		return serviceTarget(rr)
	}
	return ""
}

// serviceTarget is the name that a service is found at: "." is the owner
// itself, and in alias mode nothing (RFC 9460 2.5).
func serviceTarget(rr *dns.SVCB) string {
	switch {
	case rr.Target != ".":
		return rr.Target
	case rr.Priority == 0:
		return ""
	}
	return rr.Hdr.Name
}

// addAddresses adds what this server knows of the addresses of a name.
func (q *query) addAddresses(target, key string) {
	z := q.zoneOf(key)
	if z == nil {
		return
	}
	p := z.walk(key, dns.TypeA)
	switch {
	case p.stopped == stopCut:
		q.addStatic(target, z.nodes[key])
	case p.stopped == stopDNAME || p.node == nil:
	case p.node.bound != nil:
		q.addDecided(target, p.node.bound)
	default:
		q.addStatic(target, p.node)
	}
}

// addStatic adds the static addresses of a name, until a set cannot fit: a
// reply keeps the first ones.
func (q *query) addStatic(target string, n *node) {
	if n == nil {
		return
	}
	for _, rtype := range []uint16{dns.TypeA, dns.TypeAAAA} {
		set := n.get(rtype)
		if set == nil {
			continue
		}
		if q.lacks = q.lacks || !q.room(set); q.lacks || !q.spend(len(set.rrs)) {
			return
		}
		for _, rr := range set.rrs {
			q.addExtra(named(rr, target))
		}
	}
}

// addDecided adds the addresses that a dynamic name has for this client.
func (q *query) addDecided(target string, by decider) {
	d := q.decide(by)
	if !d.gives() || !q.spend(len(d.v4)+len(d.v6)) {
		return
	}
	for _, rr := range addressRecords(target, d.v4, d.ttl) {
		q.addExtra(rr)
	}
	for _, rr := range addressRecords(target, d.v6, d.ttl) {
		q.addExtra(rr)
	}
}

// gives says whether a decision is addresses.
func (d *decision) gives() bool {
	return !d.drop && d.rcode == dns.RcodeSuccess && d.cname == ""
}

// addExtra adds a record unless the answer says it already.
func (q *query) addExtra(rr dns.RR) {
	same := func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }
	if !slices.ContainsFunc(q.reply.Answer, same) {
		q.reply.Extra = append(q.reply.Extra, rr)
	}
}

// addGlue adds the addresses of a delegation's name servers: first those at or
// below the cut, which must be there, then those that may help.
func (q *query) addGlue() {
	cut, limits := q.place.owner, &q.table.limits
	q.may(math.MaxInt, limitReferralGlue) // RFC 9471: all that it cannot be followed without
	var others []string
	for _, rr := range q.reply.Ns {
		target := rr.(*dns.NS).Ns
		if dns.IsSubDomain(cut, canonical(target)) {
			q.addStatic(target, q.zone.nodes[canonical(target)])
		} else if len(others) < limits.AdditionalNames {
			others = append(others, target)
		} else {
			q.reach(limitAdditionalNames)
		}
	}
	q.glue = len(q.reply.Extra)
	q.reply.Truncated = q.lacks // RFC 9471 3.1: glue that is not there
	q.may(limits.ReferralGlue, limitReferralGlue)
	for _, target := range others {
		q.addAddresses(target, canonical(target))
	}
}
