package dnsserver

import (
	"cmp"
	"net/netip"
	"slices"
)

// prefixMap finds the longest of some prefixes that an address is in. The
// prefixes are flattened into spans that do not overlap, so that a look-up is
// one binary search however they nest. It is immutable.
type prefixMap struct{ v4, v6 []span }

// span is the addresses from one on, up to the next span. All of them have the
// same longest prefix.
type span struct {
	from  netip.Addr
	index int // of the prefix; none: in no prefix
}

const none = -1

// newPrefixMap takes masked prefixes of both families. Of two that are equal,
// the later one is found.
func newPrefixMap(list []netip.Prefix) *prefixMap {
	m := &prefixMap{}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { // wider ones before those inside them
		return cmp.Or(list[a].Addr().Compare(list[b].Addr()), cmp.Compare(list[a].Bits(), list[b].Bits()))
	})
	six := len(order)
	if i := slices.IndexFunc(order, func(i int) bool { return list[i].Addr().Is6() }); i >= 0 {
		six = i
	}
	m.v4, m.v6 = flatten(list, order[:six]), flatten(list, order[six:])
	return m
}

// flatten walks the prefixes of a family from the lowest address up, with those
// that are open on a stack.
func flatten(list []netip.Prefix, order []int) (spans []span) {
	var open []int
	begin := func(from netip.Addr, index int) {
		if n := len(spans); n > 0 && spans[n-1].from == from {
			spans[n-1].index = index
			return
		}
		spans = append(spans, span{from, index})
	}
	leave := func() {
		inner := open[len(open)-1]
		open = open[:len(open)-1]
		outer := none
		if len(open) > 0 {
			outer = open[len(open)-1]
		}
		if next := lastOf(list[inner]).Next(); next.IsValid() {
			begin(next, outer)
		}
	}
	for _, i := range order {
		for len(open) > 0 && !list[open[len(open)-1]].Contains(list[i].Addr()) {
			leave()
		}
		open = append(open, i)
		begin(list[i].Addr(), i)
	}
	for len(open) > 0 {
		leave()
	}
	return spans
}

// lastOf gives the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	octets := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(octets)*8; bit++ {
		octets[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(octets)
	return last
}

// find gives the index of the longest prefix that an unmapped address is in, or
// none.
func (m *prefixMap) find(a netip.Addr) int {
	spans := m.v4
	if a.Is6() {
		spans = m.v6
	}
	low, high := 0, len(spans)
	for low < high { // the first span after a
		if mid := int(uint(low+high) >> 1); spans[mid].from.Compare(a) <= 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return none
	}
	return spans[low-1].index
}

// has says whether an unmapped address is in one of the prefixes.
func (m *prefixMap) has(a netip.Addr) bool { return m.find(a) != none }
