package outbound

import "github.com/portolan-lb/portolan/slots"

// Ranks is the links that are nearest to a network, the best first, as the
// kernel's map of proximity holds them: the best in the lowest ten bits, then
// the second and the third. 0 in a place is nobody.
type Ranks uint32

const (
	rankBits = 10
	rankMask = 1<<rankBits - 1
	maxRanks = 3
)

// RanksOf packs the first links of a list, at most three.
func RanksOf(links ...slots.ID) (r Ranks) {
	for i, id := range links[:min(len(links), maxRanks)] {
		r |= Ranks(id&rankMask) << (i * rankBits)
	}
	return r
}

// Links gives the numbers of the links, the best first.
func (r Ranks) Links() (links []slots.ID) {
	for ; r != 0; r >>= rankBits {
		if id := slots.ID(r & rankMask); id != 0 {
			links = append(links, id)
		}
	}
	return links
}

// First gives the link that the kernel's rules take: the best that is available
// (FAQ 1.2.16, 1.2.19); 0 if none of them is, so that the algorithm chooses. As
// only those that take part are available, a link of lower priority is not
// chosen however near it is.
func (r Ranks) First(available slots.IDs) slots.ID {
	for _, id := range r.Links() {
		if available.Has(id) {
			return id
		}
	}
	return 0
}
