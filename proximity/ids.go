package proximity

import (
	"cmp"
	"net/netip"

	"github.com/portolan-lb/portolan/config"
)

// maxLinks bounds how many links have a number at once, those included that are
// gone and still stand in entries.
const maxLinks = 4096

// ids gives links numbers for the process, so that an entry keeps two bytes
// instead of a name, and a link keeps its measurements from one configuration
// to the next. The table's mutex guards it.
type ids struct {
	of   map[string]uint16
	has  map[uint16]way
	gone map[uint16]bool // taken back: no entry may hold one when it is given out again
	last uint16
}

// way is what a link's measurements rest on. Another way is another link.
type way struct {
	name, device    string
	source, nextHop netip.Addr
	mark            uint32
}

func wayOf(l *config.Link) way {
	return way{l.Name, l.Interface, l.Source, l.NextHop, l.Mark}
}

func newIDs() ids {
	return ids{of: map[string]uint16{}, has: map[uint16]way{}, gone: map[uint16]bool{}}
}

// use gives the numbers of links, 0 for those beyond maxLinks, and takes back
// those of all others.
func (x *ids) use(links []*config.Link) (list []uint16) {
	keep := map[uint16]bool{}
	for _, l := range links {
		id := x.of[l.Name]
		if id == 0 || x.has[id] != wayOf(l) {
			if id != 0 {
				x.gone[id] = true
			}
			if id = x.back(wayOf(l)); id == 0 {
				id = x.next()
			}
		}
		if id != 0 {
			x.of[l.Name], x.has[id] = id, wayOf(l)
			delete(x.gone, id)
			keep[id] = true
		}
		list = append(list, id)
	}
	for name, id := range x.of {
		if !keep[id] {
			x.gone[id] = true
			delete(x.of, name)
		}
	}
	return list
}

// back gives the number that a way had and that still stands in entries, or 0.
func (x *ids) back(w way) uint16 {
	for id := range x.gone {
		if x.has[id] == w {
			return id
		}
	}
	return 0
}

// next gives a number that nobody has, or 0.
func (x *ids) next() uint16 {
	for range maxLinks {
		x.last = cmp.Or((x.last+1)%(maxLinks+1), 1)
		if _, taken := x.has[x.last]; !taken {
			return x.last
		}
	}
	return 0
}

// freed says that no entry holds these numbers any more.
func (x *ids) freed(list []uint16) {
	for _, id := range list {
		if x.gone[id] {
			delete(x.gone, id)
			delete(x.has, id)
		}
	}
}
