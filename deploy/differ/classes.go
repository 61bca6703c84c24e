package main

import "slices"

// class is a kind of difference that is explained. A pair of replies belongs to
// every class that explains a facet that those before it in the list do not, so
// that what is narrow stands before what is wide. A class holds for a pair only
// if the whole difference in the facets that it covers is of its kind.
type class struct {
	name   string
	covers facet
	holds  func(p *pair) bool
	why    string // it is there, and by which RFC ours is right, or as right
}

var classes = slices.Concat(unusualClasses, chainClasses, sectionClasses, headerClasses)

// classify gives the classes of a pair's differences, and the facets that none
// explains.
func (p *pair) classify() (found []*class, left facet) {
	left = differ(p.ours, p.theirs)
	for i := range classes {
		if c := &classes[i]; left&c.covers != 0 && c.holds(p) {
			found = append(found, c)
			left &^= c.covers
		}
	}
	return found, left
}

const sections = answers | authority | additional | cutShort | byUDP | followed

// unusualClasses are of queries that resolvers do not send; servers differ in
// how they decline them.
var unusualClasses = []class{
	{"opcode not QUERY", silence | rcode | aa | rd | question | ednsThere | ednsSize | ednsOptions | sections, func(p *pair) bool {
		return p.query.opcode != 0 && declines(p.ours.first)
	}, "RFC 1035 4.1.1 and RFC 8906 3.1.4: what is not implemented is NOTIMP. The others decline NOTIFY and UPDATE as if they were, " +
		"with REFUSED, NOTAUTH or NXDOMAIN, or decline without a question or OPT."},
	{"class not IN", silence | rcode | aa | question | ednsOptions | sections, func(p *pair) bool {
		return p.query.class != classIN && declines(p.ours.first)
	}, "Every zone is of class IN: any other class is REFUSED, CHAOS too, so that nothing is told of the program (RFC 4892 leaves that to " +
		"the operator). BIND and gdnsd have CHAOS zones, or are silent; some take class ANY for IN, though RFC 1035 says that such an answer cannot be authoritative."},
	{"meta type", silence | rcode | aa | tc | ednsThere | sections, func(p *pair) bool {
		return isMeta(p.query.rtype) && (declines(p.ours.first) || declines(p.theirs.first))
	}, "RFC 6895 3.1 keeps types 128 to 255 for questions that are not of data. Transfers, OPT and mail types are declined by all with " +
		"different words. Unassigned ones BIND calls FORMERR and gdnsd NOTIMP; we, NSD and Knot say that there is no such data, as RFC 8906 3.1.2 expects of unknown types."},
	{"EDNS version not 0", ednsDO, func(p *pair) bool {
		return p.query.edns != nil && p.query.edns.version != 0 && p.ours.first.rcode == rcodeBadVers
	}, "All say BADVERS (RFC 6891 6.1.3). NSD clears the DO bit in it; we copy it (RFC 3225 3)."},
}

// declines says whether a reply is an error and nothing else.
func declines(r *reply) bool {
	return !r.silent && !r.has(flagAA) && slices.Contains([]int{rcodeNotImp, rcodeRefused, rcodeFormErr, rcodeNotAuth}, r.rcode) &&
		len(r.sections[answerSection])+len(r.sections[authoritySection])+len(r.sections[additionalSection]) == 0
}

// isMeta tells the types that are no data (RFC 6895 3.1), ANY apart.
func isMeta(rtype uint16) bool {
	return rtype == 0 || rtype == typeOPT || rtype >= firstMeta && rtype < typeANY
}

// headerClasses are of flags and EDNS in replies to any query.
var headerClasses = []class{
	{"CD copied", cd, func(p *pair) bool {
		return p.query.flags&flagCD != 0 && p.theirs.first.has(flagCD) && !p.ours.first.has(flagCD)
	}, "RFC 4035 3.1.6: an authoritative server should clear CD in its replies. BIND copies it, NSD does in errors."},
	{"AD on a truncated reply", ad, func(p *pair) bool {
		return p.query.flags&flagAD != 0 && p.theirs.first.has(flagAD) && p.theirs.first.has(flagTC) && !p.ours.first.has(flagAD)
	}, "RFC 4035 3.1.6: AD must not be set unless all is authentic by policy. BIND sets it on some truncated replies without any signature."},
	{"EDNS size 1024", ednsSize, func(p *pair) bool {
		return p.server == "gdnsd" && p.ours.first.opt.size == udpSize && p.theirs.first.opt.size == 1024
	}, "The size says what a server takes, not what it sends (RFC 6891 6.2.4). gdnsd takes 1024 octets whatever its setting for replies."},
	{"options", ednsOptions, func(p *pair) bool {
		return p.mayHaveOptions(p.ours) && p.mayHaveOptions(p.theirs)
	}, "Options are each server's own: Extended Errors (RFC 8914) of us, NSD and Knot, not always the same, Client Subnet where the query has it and the server uses it " +
		"(RFC 7871 7.2.1), cookies (RFC 7873), TCP keepalive from gdnsd unasked (RFC 7828). Only those that the query allows are in this class."},
}

// mayHaveOptions says whether every option of a reply may be in it, asked for
// or not.
func (p *pair) mayHaveOptions(h *heard) bool {
	for _, option := range h.first.opt.options {
		switch option {
		case optionNSID, optionECS, optionCookie:
			if p.query.edns.option != option {
				return false
			}
		case optionKeepalive:
			if !p.query.tcp {
				return false
			}
		case optionEDE:
		default:
			return false
		}
	}
	return true
}
