package topology

import (
	"cmp"
	"slices"
)

// placed is a cover with its prefix taken apart.
type placed struct {
	start key
	bits  int
	fact  uint32
}

// prefixLayer lays out the covers of one family; its ids are profiles.
func prefixLayer(covers []cover, v4 bool, profiles *profiles) layer {
	var all []placed
	for _, c := range covers {
		if c.prefix.Addr().Is4() == v4 {
			all = append(all, placed{keyOf(c.prefix.Addr()), c.prefix.Bits(), c.fact})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.start.hi, b.start.hi), cmp.Compare(a.start.lo, b.start.lo),
			cmp.Compare(a.bits, b.bits), cmp.Compare(a.fact, b.fact))
	})
	nest := nesting{layer: newLayer(), profiles: profiles}
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].start == all[0].start && all[n].bits == all[0].bits {
			n++
		}
		nest.open(all[:n])
		all = all[n:]
	}
	nest.closeBefore(nil)
	return nest.layer
}

// nesting walks sorted prefixes and remembers those that are still open, as
// nested brackets.
type nesting struct {
	layer    layer
	profiles *profiles
	stack    []bracket
}

// bracket is an open prefix: its last address and the profile inside it.
type bracket struct {
	last    key
	profile uint32
}

// open enters a prefix that one or more facts share.
func (n *nesting) open(same []placed) {
	start, bits := same[0].start, same[0].bits
	n.closeBefore(&start)
	more := make([]known, len(same))
	for i, p := range same {
		more[i] = known{p.fact, uint8(bits)}
	}
	profile := n.profiles.with(n.inner(), more)
	n.layer.put(start, profile)
	n.stack = append(n.stack, bracket{start.last(bits), profile})
}

// closeBefore leaves the prefixes that end before at; nil leaves all.
func (n *nesting) closeBefore(at *key) {
	for len(n.stack) > 0 {
		last := n.stack[len(n.stack)-1].last
		if at != nil && !last.less(*at) {
			return
		}
		n.stack = n.stack[:len(n.stack)-1]
		if after := last.next(); after != (key{}) {
			n.layer.put(after, n.inner())
		}
	}
}

// inner is the profile of the innermost open prefix.
func (n *nesting) inner() uint32 {
	if len(n.stack) == 0 {
		return 0
	}
	return n.stack[len(n.stack)-1].profile
}
