package main

import "slices"

// sectionClasses are of what is in the sections.
var sectionClasses = []class{
	{"ANY", sections, func(p *pair) bool {
		return p.query.rtype == typeANY && (p.isANY(p.ours.whole, p.theirs.whole) || p.isANY(p.ours.first, p.theirs.first))
	}, "RFC 8482 4: one set is enough. We give one by UDP and all by TCP (4.4), Knot and NSD one, if another, BIND all; gdnsd gives HINFO, also where there is no data."},
	{"SOA with the negative TTL", answers | authority, (*pair).soaTTL,
		"gdnsd gives its SOA the TTL of negative answers in positive ones too. RFC 2308 3 lowers it in negative ones only."},
	{"name servers of the zone added", authority | additional | cutShort, (*pair).apexAdded,
		"NSD adds the NS of the zone to positive answers, and their addresses. RFC 1034 4.3.2 does not ask for it, and small replies amplify less. Nothing else in the sections may differ."},
	{"SOA left out to fit", byUDP, func(p *pair) bool {
		ours, theirs := p.ours.first.sections, p.theirs.first.sections
		return slices.Equal(ours[answerSection], theirs[answerSection]) && len(ours[authoritySection]) == 1 && ours[authoritySection][0].rtype == typeSOA &&
			len(theirs[authoritySection]) == 0 && p.theirs.full.size > p.query.limit()
	}, "Knot leaves the SOA out of a negative answer that does not fit by UDP, and does not set TC. RFC 2308 3 wants it there, RFC 2181 9 TC if it is not; here ours fits."},
	{"cut short to fit", cutShort, (*pair).cutToFit,
		"By UDP, what only helps is left out where it does not fit (RFC 2181 9), each server in its own order, with its own compression; by TCP they are equal. We leave out no more than we must."},
	{"more addresses", additional | cutShort, func(p *pair) bool { return p.optional() && len(p.theirAdditional()) == 0 },
		"We add what we know of the addresses of NS, MX, SRV, SVCB and HTTPS targets, also from other zones (RFC 1034 4.3.2 step 6, RFC 9460 4.1). Nothing of it has to be there."},
	{"more than 13 names", additional | cutShort, func(p *pair) bool { return p.optional() && p.beyondLimit() },
		"We add the addresses of 13 names at most, 64 records, against amplification; BIND and Knot of all. Nothing of it has to be there (RFC 2181 9)."},
	{"types without addresses", additional | cutShort, func(p *pair) bool { return p.optional() && p.otherTypes() },
		"BIND and Knot add addresses for NAPTR, AFSDB, KX and the like too, and aliases of SVCB targets. They help nobody who asks today (RFC 1035 3.3.9 and RFC 2782 name MX and SRV)."},
	{"truncated", tc, (*pair).truncated,
		"A reply that does not fit is truncated (RFC 2181 9, RFC 9471 3). Servers fill up differently and compress differently; each in this class is one that does not fit whole."},
}

// isANY says whether two replies to ANY are both a part of what there is: one
// set, whichever, or all of them, or HINFO in place of everything, be there
// data or not (RFC 8482 4). By UDP ours is one set.
func (p *pair) isANY(ours, theirs *reply) bool {
	a, b := ours.sections[answerSection], theirs.sections[answerSection]
	switch {
	case len(b) > 0 && b[0].rtype == typeHINFO:
		return ours.rcode == rcodeNoError
	case len(a) == 0 || len(b) == 0 || slices.Equal(a, b) || !p.query.tcp && !oneType(p.ours.first.sections[answerSection]):
		return false
	}
	return oneType(a) && oneType(b) || isPart(ours, theirs) || isPart(theirs, ours)
}

func oneType(set []record) bool {
	return !slices.ContainsFunc(set, func(r record) bool { return r.rtype != set[0].rtype })
}

// soaTTL: the SOA has the TTL of negative answers in positive ones too.
func (p *pair) soaTTL() bool {
	for _, i := range []int{answerSection, authoritySection} {
		a, b := p.ours.whole.sections[i], p.theirs.whole.sections[i]
		for n := range a {
			if len(a) != len(b) || a[n] != b[n] && (a[n].rtype != typeSOA || a[n].owner != b[n].owner || a[n].data != b[n].data || b[n].ttl > a[n].ttl) {
				return false
			}
		}
	}
	return p.server == "gdnsd"
}

// without gives the records of a that are not in b.
func without(a, b []record) (left []record) {
	for _, r := range a {
		if !slices.Contains(b, r) {
			left = append(left, r)
		}
	}
	return left
}

// apexAdded: theirs has the NS of the zone beside a positive answer, and their
// addresses, and is ours but for that.
func (p *pair) apexAdded() bool {
	ours, theirs := p.ours.whole, p.theirs.whole
	extra := without(theirs.sections[authoritySection], ours.sections[authoritySection])
	if len(extra) == 0 || len(without(ours.sections[authoritySection], theirs.sections[authoritySection])) > 0 || !theirs.has(flagAA) {
		return false
	}
	for _, r := range extra {
		if r.rtype != typeNS || p.byAt[r.owner] == nil {
			return false
		}
	}
	return p.optional()
}

// cutToFit says whether the additional sections by UDP are those of the whole
// replies, or parts of them. Of ours a part only if the whole does not fit.
func (p *pair) cutToFit() bool {
	part := func(h *heard) bool {
		return len(without(h.first.sections[additionalSection], h.whole.sections[additionalSection])) == 0
	}
	complete := len(p.ours.first.sections[additionalSection]) == len(p.ours.whole.sections[additionalSection])
	return part(p.ours) && part(p.theirs) && (complete || p.ours.full.size > p.query.limit())
}

// beyondLimit says whether the bounds of 13 names and 64 records may have kept
// us from adding what they have.
func (p *pair) beyondLimit() bool {
	names := map[name]bool{}
	for _, section := range p.ours.whole.sections[:additionalSection] {
		for _, rr := range section {
			if targets := namesOf(rr.rtype, rr.data); slices.Contains(addedFor, rr.rtype) && len(targets) > 0 {
				names[targets[0]] = true
			}
		}
	}
	return len(names) > 13 || len(p.ours.whole.sections[additionalSection]) >= 64
}

// addedFor are the types whose targets we add addresses for.
var addedFor = []uint16{typeNS, typeMX, typeSRV, typeSVCB, typeHTTPS}

// otherTypes says whether all that they have more is of targets of other types,
// or an alias on the way to an address.
func (p *pair) otherTypes() bool {
	ours := map[name]bool{}
	for _, section := range p.ours.whole.sections[:additionalSection] {
		for _, rr := range section {
			if slices.Contains(addedFor, rr.rtype) {
				for _, n := range namesOf(rr.rtype, rr.data) {
					ours[n] = true
				}
				ours[rr.owner] = true
			}
		}
	}
	return !slices.ContainsFunc(p.theirAdditional(), func(rr record) bool {
		return ours[rr.owner] && (rr.rtype == typeA || rr.rtype == typeAAAA)
	})
}

// optional: what one additional section has more than the other is addresses,
// true ones, of names that the reply speaks of, and none that has to be there.
func (p *pair) optional() bool {
	return p.mayAdd(p.ours.whole, p.ourAdditional()) && p.mayAdd(p.theirs.whole, p.theirAdditional())
}

// ourAdditional gives the additional records that we have and they do not.
func (p *pair) ourAdditional() []record {
	return without(p.ours.whole.sections[additionalSection], p.theirs.whole.sections[additionalSection])
}

// theirAdditional gives those that they have and we do not.
func (p *pair) theirAdditional() []record {
	return without(p.theirs.whole.sections[additionalSection], p.ours.whole.sections[additionalSection])
}

func (p *pair) mayAdd(r *reply, list []record) bool {
	targets := r.mentioned()
	glue := map[name]bool{}
	if !r.has(flagAA) {
		for _, rr := range r.sections[authoritySection] {
			if rr.rtype == typeNS && name(rr.data).in(rr.owner) {
				glue[name(rr.data)] = true
			}
		}
	}
	for _, rr := range list {
		if !slices.Contains(addressTypes, rr.rtype) || !targets[rr.owner] || glue[rr.owner] || !p.isTrue(rr) {
			return false
		}
	}
	return true
}

// addressTypes are what leads to an address: of SVCB and NAPTR by a chain (RFC
// 9460 4.1, RFC 3403 4.1).
var addressTypes = []uint16{typeA, typeAAAA, typeCNAME, typeSVCB, typeHTTPS, typeSRV}

// mentioned gives the names in the data of a reply.
func (r *reply) mentioned() map[name]bool {
	names := map[name]bool{}
	for _, section := range r.sections {
		for _, rr := range section {
			for _, n := range namesOf(rr.rtype, rr.data) {
				names[n] = true
				if n == root && (rr.rtype == typeSVCB || rr.rtype == typeHTTPS) {
					names[rr.owner] = true // RFC 9460 2.5.2
				}
			}
		}
	}
	return names
}

// truncated: each reply is truncated only if the whole of it does not fit.
func (p *pair) truncated() bool {
	right := func(h *heard) bool {
		return !h.first.has(flagTC) || h.full.size > p.query.limit()
	}
	return right(p.ours) && right(p.theirs)
}
