package traffic

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// Region is addresses that are in the same innermost prefix.
type Region struct {
	config.AddressRange
	Inside netip.Prefix
}

// Innermost divides the addresses that prefixes of one family hold by the
// longest prefix that each is in. The regions are in order and do not overlap,
// as the kernel wants the elements of an interval map; a prefix with others
// inside it has several, or none if they hold all of it.
func Innermost(prefixes []netip.Prefix) []Region {
	list := make([]netip.Prefix, len(prefixes))
	for i, p := range prefixes {
		list[i] = p.Masked()
	}
	slices.SortFunc(list, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var n nest
	for _, p := range slices.Compact(list) {
		n.open(p)
	}
	n.closeBefore(netip.Addr{})
	return n.regions
}

// nest walks prefixes in order and gives the ranges of the innermost ones.
type nest struct {
	inside  []netip.Prefix
	at      netip.Addr // where the next range begins
	regions []Region
}

func (n *nest) open(p netip.Prefix) {
	n.closeBefore(p.Addr())
	if len(n.inside) > 0 && n.at.Less(p.Addr()) {
		n.put(n.at, p.Addr().Prev())
	}
	n.inside, n.at = append(n.inside, p), p.Addr()
}

// closeBefore leaves the prefixes that end before an address; the zero Addr: all.
func (n *nest) closeBefore(a netip.Addr) {
	for len(n.inside) > 0 {
		last := LastOf(n.inside[len(n.inside)-1])
		if a.IsValid() && !last.Less(a) {
			return
		}
		if n.at.IsValid() && !last.Less(n.at) {
			n.put(n.at, last)
		}
		n.inside, n.at = n.inside[:len(n.inside)-1], last.Next()
	}
}

// put adds a range of the innermost prefix.
func (n *nest) put(from, to netip.Addr) {
	n.regions = append(n.regions, Region{config.AddressRange{From: from, To: to}, n.inside[len(n.inside)-1]})
}
