package main

import "fmt"

// isTrue says whether a record of a reply is in a zone of the world: as it is,
// or made from a wildcard. Its TTL is not looked at.
func (w *world) isTrue(rr record) bool {
	rr.ttl = 0
	if w.facts[rr] {
		return true
	}
	for up := rr.owner; up != root; {
		up = up.parent()
		star, ok := up.child("*")
		if !ok {
			continue
		}
		made := rr
		made.owner = star
		if w.facts[made] {
			return true
		}
	}
	return false
}

// isMade says whether a record is a CNAME that a DNAME of the answer makes
// (RFC 6672 3.1).
func isMade(rr record, answer []record) bool {
	if rr.rtype != typeCNAME {
		return false
	}
	for _, d := range answer {
		if d.rtype == typeDNAME && rr.owner.below(d.owner) &&
			rr.data == string(rr.owner[:len(rr.owner)-len(d.owner)])+d.data {
			return true
		}
	}
	return false
}

// faultOf says what is wrong with our reply, whatever others say, or nothing:
// every record must be one of the zones, and a reply must fit.
func faultOf(w *world, q *query, h *heard) string {
	r := h.first
	switch {
	case r.silent:
		return "no reply"
	case r.size > q.limit():
		return fmt.Sprintf("%d octets, where %d are the limit", r.size, q.limit())
	case r.question != q.question() && (q.opcode == 0 || r.question != ""):
		return "another question"
	case r.opt != nil && q.edns == nil:
		return "EDNS to who does not speak it"
	case !h.full.has(flagTC) && r.has(flagTC) && h.full != r && h.full.size <= q.limit() && r.rcode == h.full.rcode:
		return fmt.Sprintf("truncated, where %d octets would fit", h.full.size)
	}
	for _, said := range []*reply{r, h.full} {
		for _, section := range said.sections {
			for _, rr := range section {
				if !w.isTrue(rr) && !isMade(rr, said.sections[answerSection]) {
					return "a record of no zone: " + rr.String()
				}
			}
		}
	}
	return ""
}
