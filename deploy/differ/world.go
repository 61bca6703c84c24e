package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// trait is what a zone has that not every server takes.
type trait uint8

const (
	hasDNAME trait = 1 << iota // DNAME records (RFC 6672)
	hasLoop                    // aliases that lead in a circle, or further than 16 steps
	hasHuge                    // sets of more than 16 kB
	hasOdd                     // labels and data of any octets, TTL 0, sets in generic form
	isRoot                     // the root zone
)

// zone is a zone that the servers load.
type zone struct {
	apex    name
	traits  trait
	records []record // owners and names in data in the case that is written
	has     map[name]bool
}

// world is what every server serves. It is not changed once made.
type world struct {
	seed  uint64
	zones []*zone
	byAt  map[name]*zone              // by apex
	at    map[*zone]map[name][]record // records in canonical form, by owner
	empty map[*zone]map[name]bool     // empty non-terminals
	facts map[record]bool             // all records, TTL 0
	apex  []name                      // longest first
}

// newWorld indexes zones.
func newWorld(seed uint64, zones []*zone) *world {
	w := &world{seed: seed, zones: zones, byAt: map[name]*zone{}, at: map[*zone]map[name][]record{},
		empty: map[*zone]map[name]bool{}, facts: map[record]bool{}}
	for _, z := range zones {
		apex := z.apex.lower()
		w.byAt[apex] = z
		w.apex = append(w.apex, apex)
		w.at[z], w.empty[z] = map[name][]record{}, map[name]bool{}
		for _, r := range z.records {
			r = r.canonical()
			w.at[z][r.owner] = append(w.at[z][r.owner], r)
			r.ttl = 0
			w.facts[r] = true
		}
		for owner := range w.at[z] {
			for up := owner; up != apex; {
				if up = up.parent(); len(w.at[z][up]) == 0 {
					w.empty[z][up] = true
				}
			}
		}
	}
	slices.SortFunc(w.apex, func(a, b name) int { return cmp.Compare(b.labels(), a.labels()) })
	return w
}

// canonical gives a record as replies have it.
func (r record) canonical() record {
	r.owner, r.data, r.class = r.owner.lower(), lowerNames(r.rtype, r.data), classIN
	return r
}

// zoneOf gives the zone with the longest apex that a name is in, or nil.
func (w *world) zoneOf(n name) *zone {
	for n = n.lower(); ; n = n.parent() {
		if z := w.byAt[n]; z != nil || n == root {
			return z
		}
	}
}

// set gives the records of one type that a zone has at a name.
func (w *world) set(z *zone, n name, rtype uint16) (set []record) {
	for _, r := range w.at[z][n.lower()] {
		if r.rtype == rtype {
			set = append(set, r)
		}
	}
	return set
}

// exists says whether a name has records or names below it in a zone.
func (w *world) exists(z *zone, n name) bool {
	n = n.lower()
	return len(w.at[z][n]) > 0 || w.empty[z][n]
}

// encloser gives the closest encloser of a name in a zone (RFC 4592 3.3.1).
func (w *world) encloser(z *zone, n name) name {
	for n = n.lower(); n != z.apex.lower() && !w.exists(z, n); {
		n = n.parent()
	}
	return n
}

// cutAbove gives the highest delegation of a zone at or above a name, or "".
func (w *world) cutAbove(z *zone, n name) (cut name) {
	apex := z.apex.lower()
	for n = n.lower(); n != apex && n != root; n = n.parent() {
		if len(w.set(z, n, typeNS)) > 0 {
			cut = n
		}
	}
	return cut
}

// owners gives the names of a zone in the order of its file, each once.
func (z *zone) owners() (list []name) {
	seen := map[name]bool{}
	for _, r := range z.records {
		if !seen[r.owner] {
			seen[r.owner] = true
			list = append(list, r.owner)
		}
	}
	return list
}

// file writes the zone's master file. Types that a server does not know by
// name, and RDATA that it does not read, are written in generic form. A type
// may be left out.
func (z *zone) file(native func(record) bool, without uint16) string {
	var b strings.Builder
	for _, r := range z.records {
		switch {
		case r.rtype == without:
		case native(r):
			fmt.Fprintf(&b, "%s %d IN %s %s\n", r.owner, r.ttl, typeName(r.rtype), rdataText(r.rtype, r.data))
		default:
			fmt.Fprintf(&b, "%s %d IN TYPE%d %s\n", r.owner, r.ttl, r.rtype, opaque(r.data))
		}
	}
	return b.String()
}
