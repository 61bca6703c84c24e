package kernel

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"sort"
	"time"
)

// World is what a packet meets when [World.Walk] sends it through tables, and
// what the interpreter cannot know by itself. All of it may be left out.
// Sets are looked into as they were when they were first needed: one world
// gives answers that agree with each other. It is for one goroutine.
type World struct {
	Tables []Table
	Rules  []PolicyRule
	Routes []Route

	// Read gives the elements of a dynamic set as they are, as
	// [Kernel.Elements] does. Nil: as wished, without what packets wrote.
	Read func(table, set string) ([]Element, error)
	// Find gives one element of a dynamic set as it is, as [Kernel.Element] does,
	// and goes before Read. Such a set is taken as not full.
	Find func(table, set string, key []byte) (Element, bool, error)
	// AddressType gives the type of an address, as Field DestType. Nil: by its
	// looks. See [AddressTypes].
	AddressType func(netip.Addr) uint32
	// Over says whether a limit (RateOver, CountOver, Change with Over, or that
	// of an element) is exceeded. Nil: none is. See [Limit].
	Over func(Limit) bool
	// Shut says whether a key that is not in a dynamic set is to be taken as if it
	// were ([In]), as packets put it there that come to a limit. Nil: it is not.
	Shut func(Limit) bool
	// Draw gives the number, 0 to of-1, that a Turn or Lot yields. Nil: 0.
	// [World.Outcomes] puts its own in its place.
	Draw func(at Place, of uint32) uint32
	// Listens says whether a transparent socket takes the packet. Nil: yes.
	Listens func(*Packet, TProxy) bool
	// Present says whether an interface is there and up, so that it may have
	// routes. Nil: it is.
	Present func(name string) bool
	// Elsewhere looks a packet up that none of our tables has a route for. Nil:
	// it is not known where it goes.
	Elsewhere func(Packet) (Route, bool)
	// Now is the clock by which elements expire. Nil: the real one.
	Now func() time.Time
	// Remember keeps what packets write to dynamic sets for the next walk: this
	// is a simulation. Nothing is written to what was given in any case.
	Remember bool

	outcomes *outcomes
	sets     map[setName]*liveSet
	written  map[setName]map[string]*liveElement // nil element: removed
	removed  map[setName][]time.Time             // when packets removed something
}

// Place is where a rule is: the table, the chain, and its number there from 0.
type Place struct {
	Table, Chain string
	Rule         int
}

// Limit is a limit that a packet came to; for [World.Shut] the key that it is about.
type Limit struct {
	Place
	Step Step   // CountOver, RateOver or Change; nil: the limit is an element's
	Key  []byte // of Change and an element: whose connections or packets are counted

	Set     string   // of an element, or a key
	Element *Element // the one that has the limit, Over or Rate
}

type setName struct{ table, set string }

// liveElement is an element and the moment when it goes; zero: never.
type liveElement struct {
	Element
	until time.Time
}

// liveSet is a set as a world first saw it.
type liveSet struct {
	*Set
	found  map[string]*liveElement // by key; of a set that is not whole, those asked for
	ranges []Element               // of an interval set, by key
	whole  bool
}

func (w *World) now() time.Time {
	if w.Now != nil {
		return w.Now()
	}
	return time.Now()
}

func (w *World) addrType() func(netip.Addr) uint32 {
	if w.AddressType != nil {
		return w.AddressType
	}
	return typeByLooks
}

// set gives a set of a table.
func (w *World) set(t *Table, name string) (*liveSet, error) {
	at := setName{t.ID(), name}
	if s, ok := w.sets[at]; ok {
		return s, nil
	}
	i := slices.IndexFunc(t.Sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("table %s has no set %q", t.ID(), name)
	}
	s := &liveSet{Set: &t.Sets[i], found: map[string]*liveElement{}}
	if err := w.load(t, s); err != nil {
		return nil, err
	}
	if w.sets == nil {
		w.sets = map[setName]*liveSet{}
	}
	w.sets[at] = s
	return s, nil
}

func (w *World) load(t *Table, s *liveSet) error {
	switch {
	case s.Dynamic && w.Find != nil:
	case s.Dynamic:
		list, err := w.read(t.ID(), s.Set)
		if err != nil {
			return fmt.Errorf("reading set %s of table %s: %w", s.Name, t.ID(), err)
		}
		s.whole = true
		for _, el := range list {
			s.found[string(el.Key)] = w.born(s.Set, el)
		}
	case s.Elements == nil:
		s.whole = true
	case s.Interval:
		s.ranges = s.Elements.list()
		slices.SortFunc(s.ranges, func(a, b Element) int { return bytes.Compare(a.Key, b.Key) })
	}
	return nil
}

func (w *World) read(table string, s *Set) ([]Element, error) {
	if w.Read != nil {
		return w.Read(table, s.Name)
	}
	if s.Elements == nil {
		return nil, nil
	}
	return s.Elements.list(), nil
}

// born gives an element its end.
func (w *World) born(s *Set, el Element) *liveElement {
	l := &liveElement{Element: el}
	left := el.Expires
	if left == 0 {
		left = el.Timeout
	}
	if left == 0 && s.Dynamic {
		left = s.Timeout
	}
	if left > 0 {
		l.until = w.now().Add(left)
	}
	return l
}

// get looks a key up; nil: there is none.
func (w *World) get(t *Table, s *liveSet, key []byte) (*liveElement, error) {
	l, ok := w.written[setName{t.ID(), s.Name}][string(key)]
	if !ok {
		var err error
		if l, err = w.found(t, s, key); err != nil {
			return nil, fmt.Errorf("reading set %s of table %s: %w", s.Name, t.ID(), err)
		}
	}
	if !l.lives(w.now()) {
		return nil, nil
	}
	return l, nil
}

func (l *liveElement) lives(now time.Time) bool {
	return l != nil && (l.until.IsZero() || now.Before(l.until))
}

func (w *World) found(t *Table, s *liveSet, key []byte) (l *liveElement, err error) {
	if l, ok := s.found[string(key)]; ok || s.whole {
		return l, nil
	}
	if s.Dynamic {
		el, ok, err := w.Find(t.ID(), s.Name, key)
		if err != nil {
			return nil, err
		}
		if ok {
			l = w.born(s.Set, el)
		}
	} else if s.boxes() {
		if i := slices.IndexFunc(s.ranges, func(el Element) bool { return s.inBox(&el, key) }); i >= 0 {
			l = &liveElement{Element: s.ranges[i]}
		}
	} else if s.Interval {
		i := sort.Search(len(s.ranges), func(i int) bool { return bytes.Compare(s.ranges[i].Key, key) > 0 }) - 1
		if i >= 0 && s.ranges[i].covers(key) {
			l = &liveElement{Element: s.ranges[i]}
		}
	} else if el, ok := s.Elements.Get(key); ok {
		l = w.born(s.Set, el)
	}
	s.found[string(key)] = l
	return l, nil
}

func (el *Element) covers(key []byte) bool {
	if len(el.End) == 0 {
		return bytes.Equal(el.Key, key)
	}
	return bytes.Compare(key, el.End) <= 0
}

// unboundedSize is the kernel's bound of a set that packets write, if none is told.
const unboundedSize = 65535

// sweep is how long what a packet removed still takes its place: Linux frees it
// when it collects its garbage, once a second.
const sweep = time.Second

// full says whether a dynamic set takes no further element.
func (w *World) full(t *Table, s *liveSet) bool {
	size := s.Size
	if size == 0 {
		size = unboundedSize
	}
	written, removed := w.written[setName{t.ID(), s.Name}], w.removed[setName{t.ID(), s.Name}]
	if !s.whole || len(s.found)+len(written)+len(removed) < size {
		return false
	}
	n, now := 0, w.now()
	for _, at := range removed {
		if now.Sub(at) < sweep {
			n++
		}
	}
	for key, l := range s.found {
		if _, over := written[key]; !over && l.lives(now) {
			n++
		}
	}
	for _, l := range written {
		if l.lives(now) {
			n++
		}
	}
	return n >= size
}

// write puts an element, or with nil its absence, over the set.
func (w *World) write(t *Table, s *liveSet, key []byte, l *liveElement) {
	at := setName{t.ID(), s.Name}
	if w.written == nil {
		w.written = map[setName]map[string]*liveElement{}
	}
	if w.written[at] == nil {
		w.written[at] = map[string]*liveElement{}
	}
	w.written[at][string(key)] = l
}

// remove takes an element away.
func (w *World) remove(t *Table, s *liveSet, key []byte) {
	w.write(t, s, key, nil)
	if w.removed == nil {
		w.removed = map[setName][]time.Time{}
	}
	at := setName{t.ID(), s.Name}
	w.removed[at] = append(w.removed[at], w.now())
}
