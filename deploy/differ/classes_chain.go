package main

import "slices"

// chainClasses are of aliases: how far a server goes after them and what it
// calls those that lead nowhere.
var chainClasses = []class{
	{"ANY below a DNAME", rcode | sections, func(p *pair) bool {
		target, made := p.ours.whole.aliasOf(p.query.name.lower())
		cname := record{owner: p.query.name.lower(), rtype: typeCNAME, data: string(target)}
		return p.query.rtype == typeANY && made && isMade(cname, p.ours.whole.sections[answerSection]) && isPart(p.ours.whole, p.theirs.whole)
	}, "ANY matches the CNAME that the DNAME makes, so the answer ends there (RFC 1034 4.3.2 step 3a, RFC 6672 3.2), as in BIND; NSD and Knot follow it."},
	{"DNAME that leads below itself", rcode | aa | tc | sections, (*pair).grows,
		"The names grow until they are too long. RFC 6672 has no end for it: each server stops where it likes, we after one pass."},
	{"name too long by DNAME", rcode | authority, (*pair).tooLong,
		"RFC 6672 2.2 and 3.2: YXDOMAIN, as NSD and BIND say. Knot says NXDOMAIN for some."},
	{"DNSSEC type at an alias", rcode | sections, (*pair).ownedByAlias,
		"In a signed zone RRSIG, NSEC and NSEC3 stand beside a CNAME (RFC 4035 2.5), so the others take a question for one as answered at the alias, " +
			"where an unsigned zone has none. We follow the alias, which does not own the type (RFC 1034 4.3.2 step 3a)."},
	{"DS at the end of an alias", rcode | sections, (*pair).aliasToApex,
		"DS belongs to the zone above (RFC 4035 2.4 and 3.1.4.1), and that is served here: we give it, or deny it, from there, also at the end of an alias. The others deny it from the zone itself."},
	{"DS of a zone whose parent is elsewhere", rcode | aa | sections, (*pair).parentElsewhere,
		"We have the zone and one further above, but not its parent. RFC 4035 3.1.4.1: who has the child and not the parent must say that there is no DS. The others refer to the parent from the zone further above."},
	{"names of the zone above exist", rcode | sections, (*pair).sharedTree,
		"NSD keeps all zones in one tree of names: glue below a cut makes names exist in the zone that is served there, which hides its wildcards. " +
			"What is below a cut is of the other zone alone (RFC 2181 6, RFC 4592 2.2), as in BIND and Knot."},
	{"DS not served", rcode | aa | tc | sections, func(p *pair) bool { return p.server == "gdnsd" && p.query.rtype == typeDS },
		"gdnsd has no DNSSEC: it refuses zones with DS, so its files go without, and it answers a question for one with the delegation. RFC 4035 3.1.4.1."},
	{"target in a zone not given", rcode | sections, (*pair).targetNotGiven,
		"An alias leads into a zone that gdnsd cannot load, and we go on in it (RFC 1034 4.3.2 step 3a)."},
	{"circle or long chain is SERVFAIL", rcode | sections, (*pair).chainFails,
		"BIND calls a circle of aliases, or a chain of more than 11, SERVFAIL. We give what there is, up to 8 names, with NOERROR, as NSD and Knot do: the resolver finds the circle, " +
			"and goes on with the chain (RFC 1034 3.6.2 and 5.3.3, RFC 6604 3)."},
	{"aliases followed less far", followed | byUDP, func(p *pair) bool {
		return p.ours.steps != p.theirs.steps || p.ours.steps > 0 && len(p.ours.first.chain(p.query)) != len(p.theirs.first.chain(p.query))
	},
		"A server may leave the rest of a chain to the resolver (RFC 1034 5.3.3). We and NSD follow through all our zones, we 8 names; Knot and BIND within a zone; gdnsd not at all. " +
			"The program asks each server for the rest: only chains that end alike are in this class alone."},
}

// grows: a DNAME points below itself, so that the names grow until they are too
// long, and servers stop at different ones.
func (p *pair) grows() bool {
	return slices.ContainsFunc(p.ours.whole.sections[answerSection], func(rr record) bool {
		return rr.rtype == typeDNAME && name(rr.data).below(rr.owner)
	})
}

// tooLong: a DNAME makes a name of more than 255 octets; we say YXDOMAIN.
func (p *pair) tooLong() bool {
	names := p.ours.whole.chain(p.query)
	last := names[len(names)-1]
	return p.ours.whole.rcode == rcodeYXDomain && slices.ContainsFunc(p.ours.whole.sections[answerSection], func(rr record) bool {
		return rr.rtype == typeDNAME && last.below(rr.owner) && len(last)-len(rr.owner)+len(rr.data) > maxName
	})
}

// ownedByAlias: RRSIG, NSEC and NSEC3 stand beside a CNAME in a signed zone, so
// they take a question for one as answered at the alias itself, where there is
// none.
func (p *pair) ownedByAlias() bool {
	return slices.Contains([]uint16{typeRRSIG, typeNSEC, typeNSEC3}, p.query.rtype) && isPart(p.theirs.whole, p.ours.whole) &&
		slices.ContainsFunc(p.ours.whole.chain(p.query), func(n name) bool {
			_, ours := p.ours.whole.aliasOf(n)
			_, theirs := p.theirs.whole.aliasOf(n)
			return ours && !theirs
		})
}

// isPart says whether every answer of a reply is in another one.
func isPart(r, of *reply) bool {
	return len(without(r.sections[answerSection], of.sections[answerSection])) == 0
}

// aliasToApex: an alias leads to the apex of a zone, whose DS we give from the
// zone above and they deny from the zone itself.
func (p *pair) aliasToApex() bool {
	names := p.ours.whole.chain(p.query)
	last := names[len(names)-1]
	z := p.byAt[last]
	return p.query.rtype == typeDS && len(names) > 1 && z != nil && isPart(p.theirs.whole, p.ours.whole) &&
		last != root && len(p.set(p.zoneOf(last.parent()), last, typeNS)) > 0
}

// parentElsewhere: the question, or the alias that it is, ends at the apex of a
// zone that a zone served here delegates away at a name further above.
func (p *pair) parentElsewhere() bool {
	names := p.ours.whole.chain(p.query)
	last := names[len(names)-1]
	if p.query.rtype != typeDS || p.byAt[last] == nil || last == root {
		return false
	}
	above := p.zoneOf(last.parent())
	if above == nil {
		return false
	}
	cut := p.cutAbove(above, last)
	return cut != "" && cut != last && p.theirs.whole.refersTo(cut)
}

// refersTo says whether the authority section has the NS of a delegation.
func (r *reply) refersTo(cut name) bool {
	return slices.ContainsFunc(r.sections[authoritySection], func(rr record) bool { return rr.rtype == typeNS && rr.owner == cut })
}

// sharedTree: a name that they find or miss exists in a zone above as well, and
// not in its own.
func (p *pair) sharedTree() bool {
	return p.server == "nsd" && slices.ContainsFunc(p.ours.whole.chain(p.query), func(n name) bool {
		z := p.zoneOf(n)
		if z == nil || z.apex == root {
			return false
		}
		for above := p.zoneOf(z.apex.parent()); above != nil; above = p.zoneOf(above.apex.parent()) {
			if e := p.encloser(above, n); e.below(p.encloser(z, n)) {
				return true
			}
			if above.apex == root {
				break
			}
		}
		return false
	})
}

// targetNotGiven: an alias leads into a zone that they were not given.
func (p *pair) targetNotGiven() bool {
	next, open := p.theirs.whole.openEnd(p.query, p.world)
	z := p.zoneOf(next)
	return open && z != nil && !p.holds[z] && isPart(p.theirs.whole, p.ours.whole)
}

// chainFails: they call a circle of aliases, or a chain of more than they
// follow, an error, and give what they have of it.
func (p *pair) chainFails() bool {
	names := p.ours.whole.chain(p.query)
	_, circle := p.ours.whole.aliasOf(names[len(names)-1])
	return p.theirs.whole.rcode == rcodeServFail && (circle || len(names) > bindRestarts) && isPart(p.theirs.whole, p.ours.whole)
}

// bindRestarts is how many aliases BIND follows (max-query-restarts).
const bindRestarts = 11
