package main

import "slices"

// maxFollow bounds the questions that finish a chain of aliases: those of the
// worlds are shorter, unless they are circles.
const maxFollow = 40

// Servers follow aliases for a client as far as they like: within a zone,
// through all of theirs, or not at all; the client goes on from where they
// stop (RFC 1034 5.3.3). So a chain is finished, for each server by its own
// answers, before replies are compared: what remains is what a resolver would
// come to differently.

// finish goes on where a reply stops at an alias into a zone that its server
// has. How many questions that took is h.steps.
func (h *heard) finish(c *caller, q *query, w *world, has map[*zone]bool) error {
	if h.finished {
		return nil
	}
	h.whole, h.finished = h.full, true
	for h.steps < maxFollow {
		next, open := h.whole.openEnd(q, w)
		if !open || !has[w.zoneOf(next)] {
			return nil
		}
		more := *q
		more.name = next
		r, err := c.ask(&more, true)
		if err != nil || r.silent {
			return err
		}
		h.whole, h.steps = h.whole.joined(r), h.steps+1
	}
	return nil
}

// chain gives the names that the answer section leads the question through, the
// name asked first. A circle is gone round once.
func (r *reply) chain(q *query) []name {
	names := []name{q.name.lower()}
	if q.rtype == typeCNAME || q.rtype == typeANY {
		return names
	}
	for {
		next, ok := r.aliasOf(names[len(names)-1])
		if !ok || slices.Contains(names, next) {
			return names
		}
		names = append(names, next)
	}
}

// aliasOf gives the target of the CNAME that the answer section has for a name.
func (r *reply) aliasOf(n name) (name, bool) {
	for _, rr := range r.sections[answerSection] {
		if rr.owner == n && rr.rtype == typeCNAME {
			return name(rr.data), true
		}
	}
	return "", false
}

// openEnd gives the name that a chain of aliases ends at, and says whether the
// reply leaves it open: it has neither its data nor a word that there is none,
// nor a referral.
func (r *reply) openEnd(q *query, w *world) (name, bool) {
	names := r.chain(q)
	last := names[len(names)-1]
	if len(names) == 1 || r.rcode != rcodeNoError {
		return last, false
	}
	if _, circle := r.aliasOf(last); circle {
		return last, false
	}
	for _, rr := range r.sections[answerSection] {
		if rr.owner == last && rr.rtype == q.rtype {
			return last, false
		}
	}
	for _, rr := range r.sections[authoritySection] {
		if last.in(rr.owner) && rr.rtype == typeSOA {
			return last, false
		}
	}
	return last, !r.refers(last, w)
}

// refers says whether the authority section delegates a name to others: it has
// NS that are not those of a zone served here.
func (r *reply) refers(n name, w *world) bool {
	return slices.ContainsFunc(r.sections[authoritySection], func(rr record) bool {
		return rr.rtype == typeNS && n.in(rr.owner) && w.byAt[rr.owner] == nil
	})
}

// joined gives a reply and that to the question that it leaves open: its
// answers before those of the other one, and the rest of the other one
// (RFC 6604 section 3: the rcode is that of the last name).
func (r *reply) joined(more *reply) *reply {
	both := *r
	both.rcode = more.rcode
	both.sections = more.sections
	both.sections[answerSection] = canonicalSet(slices.Concat(r.sections[answerSection], more.sections[answerSection]))
	return &both
}
