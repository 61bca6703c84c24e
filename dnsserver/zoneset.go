package dnsserver

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync/atomic"
)

// served is a zone as a table serves it. Tables that follow each other share
// it as long as the zone does not change.
type served struct {
	zone  *Zone // nil: no good version, so SERVFAIL
	state ZoneState
	acl   *acl
	count *zoneTally
}

// zoneTally makes the counters of a zone when its first reply is counted: of
// very many zones, most are hardly asked.
type zoneTally struct{ made atomic.Pointer[zoneCounters] }

func (z *zoneTally) add(shard, rcode int) {
	c := z.made.Load()
	if c == nil {
		z.made.CompareAndSwap(nil, &zoneCounters{})
		c = z.made.Load()
	}
	c.add(shard, rcode)
}

// sum gives the replies by rcode; nil before the first.
func (z *zoneTally) sum() map[string]uint64 {
	if c := z.made.Load(); c != nil {
		return c.sum()
	}
	return nil
}

// zoneParts is how many parts a zoneSet has. A change copies one of them.
const zoneParts = 256

// zoneSet is zones by apex, canonical. It is immutable: a change makes another
// set that shares all parts but one, so that with very many zones too a change
// costs little.
type zoneSet struct {
	parts [zoneParts]map[string]*served
	size  int
}

var noZones = &zoneSet{}

var zoneSeed = maphash.MakeSeed()

func zonePart(apex string) int { return int(maphash.String(zoneSeed, apex) % zoneParts) }

// get gives the zone of an apex, or nil.
func (s *zoneSet) get(apex string) *served { return s.parts[zonePart(apex)][apex] }

// all gives every zone, in no order.
func (s *zoneSet) all() iter.Seq[*served] {
	return func(yield func(*served) bool) {
		for _, part := range s.parts {
			for _, z := range part {
				if !yield(z) {
					return
				}
			}
		}
	}
}

// with gives the set with one zone put in, or in the place of the one with its
// apex.
func (s *zoneSet) with(z *served) *zoneSet {
	next, part := s.changed(z.state.Name)
	part[z.state.Name] = z
	return next.counted(s, part, z.state.Name)
}

// without gives the set without the zone of an apex.
func (s *zoneSet) without(apex string) *zoneSet {
	next, part := s.changed(apex)
	delete(part, apex)
	return next.counted(s, part, apex)
}

// changed gives a copy that has a part of its own for an apex.
func (s *zoneSet) changed(apex string) (*zoneSet, map[string]*served) {
	next := *s
	i := zonePart(apex)
	if next.parts[i] = maps.Clone(s.parts[i]); next.parts[i] == nil {
		next.parts[i] = map[string]*served{}
	}
	return &next, next.parts[i]
}

func (s *zoneSet) counted(before *zoneSet, part map[string]*served, apex string) *zoneSet {
	s.size = before.size + len(part) - len(before.parts[zonePart(apex)])
	return s
}

// zonesOf makes a set of many zones at once. The last of an apex counts.
func zonesOf(list []*served) *zoneSet {
	s := &zoneSet{}
	for _, z := range list {
		part := &s.parts[zonePart(z.state.Name)]
		if *part == nil {
			*part = map[string]*served{}
		}
		if (*part)[z.state.Name] == nil {
			s.size++
		}
		(*part)[z.state.Name] = z
	}
	return s
}
