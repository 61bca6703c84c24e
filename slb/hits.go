package slb

import (
	"slices"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/traffic"
)

// Hits gives what is counted and want wants (nil: all), in the order of the
// configuration, with what is at 0: that nothing came is news too. nil: nothing is
// served. Of many servers it is not cheap, 100,000 take some 100 ms; a few are looked
// up one by one.
func (s *SLB) Hits(want func(*traffic.Hit) bool) ([]traffic.Hit, error) {
	p := s.Plan()
	if p == nil {
		return nil, nil
	}
	list := p.Hits()
	if want != nil {
		list = slices.DeleteFunc(list, func(h traffic.Hit) bool { return !want(&h) })
	}
	if err := s.hits.Read(counters{s.opts.Kernel, p}, l4.Table, list, time.Now()); err != nil {
		return nil, err
	}
	return list, nil
}

// counters reads what several sets count as one.
type counters struct {
	Kernel
	plan *l4.Plan
}

// Element gives what one element of it has counted.
func (c counters) Element(_, set string, key []byte) (sum kernel.Element, found bool, err error) {
	for _, place := range c.plan.Places(set) {
		el, is, err := c.Kernel.Element(place.Table, place.Set, key)
		if err != nil {
			return sum, false, err
		}
		if is {
			sum.Packets, sum.Octets, found = sum.Packets+el.Packets, sum.Octets+el.Octets, true
		}
	}
	return sum, found, nil
}

// Elements gives the elements of what hits call a set.
func (c counters) Elements(_, set string) (all []kernel.Element, err error) {
	at := map[string]int{}
	for _, place := range c.plan.Places(set) {
		list, err := c.Kernel.Elements(place.Table, place.Set)
		if err != nil {
			return nil, err
		}
		for _, el := range list {
			if i, there := at[string(el.Key)]; there {
				all[i].Packets, all[i].Octets = all[i].Packets+el.Packets, all[i].Octets+el.Octets
				continue
			}
			at[string(el.Key)] = len(all)
			all = append(all, el)
		}
	}
	return all, nil
}
