package topology

import (
	"net/netip"
	"sync"

	"github.com/portolan-lb/portolan/config"
)

// Class is a kind of client: clients of one class match the same rules in the
// same order. 0 is "no rule matches". Classes are numbered from 0 to
// Table.Classes()-1 and mean nothing outside their table.
type Class uint32

// Table holds all topology rules, compiled. It is immutable: any number of
// goroutines may read it.
type Table struct {
	v4, v6  *space
	sets    *classSets
	classes [][]uint32 // by class: the rules that match, in order

	// What places are scored by.
	byName   map[config.Place][]uint32 // rules that prefer a virtual server, site or link
	byPrefix map[netip.Prefix][]uint32 // rules that prefer an address prefix
	mu       sync.Mutex
	places   map[string]*Place

	extents *extents // what ISP, ASN and Country tell

	// What Explain reads again.
	plan                 *plan
	geo                  *geo
	databases            []*database
	profiles             *profiles
	prefixes4, prefixes6 layer
}

// Lookup gives the class of a client and the length, in the address's own
// family, of the largest network around it whose clients are all of that
// class: 0 to 32 or 0 to 128. An IPv4 address must not be in IPv6 form; the
// zero Addr has class 0. Lookup does not allocate, and its cost does not
// depend on the number of rules (T4).
func (t *Table) Lookup(addr netip.Addr) (c Class, bits int) {
	switch {
	case addr.Is4():
		return t.v4.leaf(keyOf(addr))
	case addr.IsValid():
		return t.v6.leaf(keyOf(addr))
	default:
		return 0, 0
	}
}

// Classes is how many classes there are; at least 1.
func (t *Table) Classes() int { return len(t.classes) }

// Within gives the classes that occur inside p, in ascending order. The slice
// is shared and must not be changed. An invalid p holds class 0. Within does
// not allocate.
func (t *Table) Within(p netip.Prefix) []Class {
	if !p.IsValid() {
		return t.sets.get(0)
	}
	p = p.Masked()
	s := t.v6
	if p.Addr().Is4() {
		s = t.v4
	}
	return t.sets.get(s.within(keyOf(p.Addr()), p.Bits()))
}
