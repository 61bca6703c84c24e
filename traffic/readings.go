package traffic

import (
	"maps"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/kernel"
)

// Counters is where rules count; a [kernel.Kernel] has them.
type Counters interface {
	Counts(table string) (map[string]kernel.Counted, error)
	Elements(table, set string) ([]kernel.Element, error)
}

// Readings is what counters said when they were looked at. The zero Readings has
// seen none. Its methods may be called from any goroutine.
type Readings struct {
	mu   sync.Mutex
	seen map[Counted]reading
}

type reading struct {
	kernel.Counted
	moved time.Time
	grew  uint64 // packets since [Readings.Grew] was asked last
}

// Read looks at the counters of hits, and fills them in. One that was not there
// before has not moved yet: it may be hours old.
func (r *Readings) Read(from Counters, table string, hits []Hit, now time.Time) error {
	is, err := readAll(from, table, hits)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = make(map[Counted]reading, len(hits))
	}
	for i := range hits {
		h := &hits[i]
		c, there := is[h.From]
		if !there {
			delete(r.seen, h.From)
			continue
		}
		n := r.next(h.From, c, now)
		h.Connections, h.Octets, h.Last = n.Packets, n.Octets, n.moved
	}
	return nil
}

// next takes what a counter says now into account.
func (r *Readings) next(of Counted, is kernel.Counted, now time.Time) reading {
	was, known := r.seen[of]
	n := reading{Counted: is, moved: was.moved, grew: was.grew}
	if known && was.Counted != is {
		n.moved = now
		if n.grew += is.Packets - was.Packets; is.Packets < was.Packets { // it was made anew
			n.grew = was.grew + is.Packets
		}
	}
	r.seen[of] = n
	return n
}

// oneByOne is who can look up a single element, too.
type oneByOne interface {
	Element(table, set string, key []byte) (kernel.Element, bool, error)
}

// fewElements is up to how many elements of a set are looked up one by one: a set
// may have a hundred thousand.
const fewElements = 64

// readAll reads the named counters, and the sets that hits are in, each once.
func readAll(from Counters, table string, hits []Hit) (map[Counted]kernel.Counted, error) {
	all := make(map[Counted]kernel.Counted, len(hits))
	named, sets := false, map[string]int{}
	for i := range hits {
		if hits[i].From.Set == "" {
			named = true
		} else {
			sets[hits[i].From.Set]++
		}
	}
	if single, can := from.(oneByOne); can {
		for i := range hits {
			of := hits[i].From
			if of.Set == "" || sets[of.Set] > fewElements {
				continue
			}
			el, found, err := single.Element(table, of.Set, []byte(of.Key))
			if err != nil {
				return nil, err
			}
			if found {
				all[of] = kernel.Counted{Packets: el.Packets, Octets: el.Octets}
			}
		}
		maps.DeleteFunc(sets, func(_ string, n int) bool { return n <= fewElements })
	}
	if named {
		counts, err := from.Counts(table)
		if err != nil {
			return nil, err
		}
		for name, c := range counts {
			all[Counted{Counter: name}] = c
		}
	}
	for set := range sets {
		list, err := from.Elements(table, set)
		if err != nil {
			return nil, err
		}
		for i := range list {
			all[Counted{Set: set, Key: string(list[i].Key)}] = kernel.Counted{Packets: list[i].Packets, Octets: list[i].Octets}
		}
	}
	return all, nil
}

// Grew gives by how many packets counters grew since it was asked last; those
// that did not are missing.
func (r *Readings) Grew() map[Counted]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[Counted]uint64{}
	for of, s := range r.seen {
		if s.grew > 0 {
			all[of] = s.grew
			s.grew = 0
			r.seen[of] = s
		}
	}
	return all
}

// Forget drops what was seen of counters that no hit is counted by any more.
func (r *Readings) Forget(hits []Hit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := make(map[Counted]reading, len(hits))
	for i := range hits {
		if s, ok := r.seen[hits[i].From]; ok {
			kept[hits[i].From] = s
		}
	}
	r.seen = kept
}
