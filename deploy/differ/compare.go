package main

import (
	"fmt"
	"slices"
	"strings"
)

// facet is one respect in which two replies may differ.
type facet uint32

const (
	silence facet = 1 << iota // one replies, the other does not
	opcode
	rcode
	aa
	tc
	rd
	ra
	z
	ad
	cd
	question // the octets of the question section, case kept (0x20)
	answers  // sections as sets
	authority
	additional
	cutShort  // additional records by UDP, where TCP has the same: what fitted
	byUDP     // answer or authority by UDP, not truncated, where TCP has the same
	followed  // one left aliases for the client to follow
	ednsThere // an OPT record or none
	ednsSize
	ednsVersion
	ednsDO
	ednsFlags
	ednsOptions
)

var facetNames = []string{"silence", "opcode", "rcode", "aa", "tc", "rd", "ra", "z", "ad", "cd", "question", "answer", "authority",
	"additional", "cut short", "by UDP", "followed", "edns", "edns size", "edns version", "do", "edns flags", "options"}

func (f facet) String() string {
	var words []string
	for i, word := range facetNames {
		if f&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ", ")
}

// differ gives the facets in which two servers' replies differ. Sections and
// rcode are those of the whole replies.
func differ(a, b *heard) (f facet) {
	set := func(facet facet, differs bool) {
		if differs {
			f |= facet
		}
	}
	set(silence, a.first.silent != b.first.silent || a.full.silent != b.full.silent)
	if f != 0 || a.first.silent {
		return f
	}
	set(opcode, a.first.opcode != b.first.opcode)
	set(rcode, a.whole.rcode != b.whole.rcode)
	set(followed, a.steps != b.steps)
	for flag, facet := range flagFacets {
		set(facet, a.first.has(flag) != b.first.has(flag))
	}
	set(aa, a.full.has(flagAA) != b.full.has(flagAA))
	set(question, a.first.question != b.first.question)
	for i, facet := range []facet{answers, authority, additional} {
		set(facet, !slices.Equal(a.whole.sections[i], b.whole.sections[i]))
	}
	set(cutShort, f&(additional|followed) == 0 && !slices.Equal(a.first.sections[additionalSection], b.first.sections[additionalSection]))
	set(byUDP, f&(answers|authority|followed) == 0 && !a.first.has(flagTC) && !b.first.has(flagTC) &&
		(!slices.Equal(a.first.sections[answerSection], b.first.sections[answerSection]) ||
			!slices.Equal(a.first.sections[authoritySection], b.first.sections[authoritySection])))
	x, y := a.first.opt, b.first.opt
	set(ednsThere, (x == nil) != (y == nil))
	if x == nil || y == nil {
		return f
	}
	set(ednsSize, x.size != y.size)
	set(ednsVersion, x.version != y.version)
	set(ednsDO, x.do != y.do)
	set(ednsFlags, x.z != y.z)
	set(ednsOptions, !slices.Equal(x.options, y.options))
	return f
}

var flagFacets = map[uint16]facet{flagAA: aa, flagTC: tc, flagRD: rd, flagRA: ra, flagZ: z, flagAD: ad, flagCD: cd}

// differInSections says whether first replies differ in what they hold. Then
// both are asked again by TCP, where size does not matter, and their chains of
// aliases are finished.
func differInSections(a, b *heard) bool {
	if a.first.silent || b.first.silent {
		return false
	}
	for i := range a.first.sections {
		if !slices.Equal(a.first.sections[i], b.first.sections[i]) {
			return true
		}
	}
	return a.first.has(flagTC) || b.first.has(flagTC)
}

// pair is one query with our replies and those of another server.
type pair struct {
	*world
	query  *query
	server string
	holds  map[*zone]bool // zones that the other server has
	ours   *heard
	theirs *heard
}

// String tells everything of a difference.
func (p *pair) String() string {
	return fmt.Sprintf("query %d: %s\n  portolan %s\n  %s %s", p.query.number, p.query, p.ours.first.text(p.query), p.server, p.theirs.first.text(p.query)) +
		p.textByTCP()
}

func (p *pair) textByTCP() string {
	if p.ours.whole == p.ours.first && p.theirs.whole == p.theirs.first {
		return ""
	}
	return fmt.Sprintf("\n  at last: portolan %s\n  at last: %s %s", p.ours.whole.text(p.query), p.server, p.theirs.whole.text(p.query))
}

// text tells a reply; a long section is cut.
func (r *reply) text(q *query) string {
	if r.silent {
		return "silent"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s, %d octets", rcodeName(r.rcode), flagWords(r.flags), r.size)
	if r.opcode != q.opcode {
		fmt.Fprintf(&b, " opcode %d", r.opcode)
	}
	if r.question != q.question() {
		fmt.Fprintf(&b, " question %q", r.question)
	}
	if o := r.opt; o != nil {
		fmt.Fprintf(&b, " edns%d=%d do=%t z=%#x options %v", o.version, o.size, o.do, o.z, o.options)
	}
	for i, name := range []string{"answer", "authority", "additional"} {
		for n, rr := range r.sections[i] {
			if n == 12 {
				fmt.Fprintf(&b, "\n      %s: %d more", name, len(r.sections[i])-n)
				break
			}
			fmt.Fprintf(&b, "\n      %s: %.200s", name, rr)
		}
	}
	return b.String()
}
