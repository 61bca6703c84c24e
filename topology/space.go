package topology

// space is the finished table of one family: a layer of classes in flat
// arrays without pointers, with an index on the first 16 bits.
//
// A network that holds more than one class has a boundary (the start of a run)
// inside it. The smallest network with the same boundaries inside is its hull:
// a hull's middle is either a boundary itself or lies strictly inside a run,
// and no run has two such middles inside. So each run needs room for at most
// two sets of classes, and a set is found without a tree.
type space struct {
	hi    []uint64 // starts of the runs
	lo    []uint64 // nil when all are zero: IPv4, and IPv6 cut at /64 or shorter
	class []Class
	index []uint32 // by first 16 bits: the run that holds the bucket's first address; one more for the end

	atStart []uint32 // by run: the set of the hull whose middle is its start
	inside  []uint32 // by run: the set of the hull whose middle lies strictly inside
}

const indexBits = 16

// newSpace makes the table of a layer whose ids are classes.
func newSpace(l layer, sets *classSets) *space {
	n := len(l.starts)
	s := &space{
		hi: make([]uint64, n), class: make([]Class, n),
		atStart: make([]uint32, n), inside: make([]uint32, n),
	}
	for i, k := range l.starts {
		s.hi[i], s.class[i] = k.hi, Class(l.ids[i])
		if k.lo != 0 && s.lo == nil {
			s.lo = make([]uint64, n)
		}
		if s.lo != nil {
			s.lo[i] = k.lo
		}
	}
	s.buildIndex()
	s.collect(0, n-1, sets)
	return s
}

func (s *space) buildIndex() {
	s.index = make([]uint32, 1<<indexBits+1)
	run := 0
	for b := range s.index {
		// The last bucket's end is found by the same rule: nothing starts
		// beyond it.
		first := uint64(b) << (64 - indexBits)
		for run+1 < len(s.hi) && (b == 1<<indexBits || !(key{hi: first}).less(s.start(run+1))) {
			run++
		}
		s.index[b] = uint32(run)
	}
}

func (s *space) start(i int) key {
	if s.lo == nil {
		return key{hi: s.hi[i]}
	}
	return key{s.hi[i], s.lo[i]}
}

// find gives the run that holds k.
func (s *space) find(k key) int {
	b := k.hi >> (64 - indexBits)
	return s.findIn(int(s.index[b]), int(s.index[b+1]), k)
}

// findIn is find when the run is known to be one of i to j.
func (s *space) findIn(i, j int, k key) int {
	for i < j {
		m := int(uint(i+j+1) / 2)
		if h := s.hi[m]; h > k.hi || h == k.hi && s.lo != nil && s.lo[m] > k.lo {
			j = m - 1
		} else {
			i = m
		}
	}
	return i
}

// leaf gives the class at k and the length of the largest network around k
// that has no other.
func (s *space) leaf(k key) (Class, int) {
	i := s.find(k)
	length := 0
	if i > 0 {
		length = common(k, s.start(i).prev()) + 1
	}
	if i+1 < len(s.hi) {
		length = max(length, common(k, s.start(i+1))+1)
	}
	return s.class[i], length
}

// within gives the set of the classes in the network of first's first n bits.
func (s *space) within(first key, n int) uint32 {
	i := s.find(first)
	j := s.find(first.last(n))
	if i == j {
		return uint32(s.class[i])
	}
	middle := s.hull(i, j)
	m := s.findIn(i, j, middle)
	if s.start(m) == middle {
		return s.atStart[m]
	}
	return s.inside[m]
}

// hull gives the middle of the smallest network that has all boundaries
// between the runs i to j inside, i < j.
func (s *space) hull(i, j int) key {
	last := s.start(j)
	return last.middle(common(s.start(i+1).prev(), last))
}

// collect fills in the sets of all hulls within the runs i to j, and gives the
// set of all of them. It is at most 128 calls deep: a hull's halves are longer
// prefixes than the hull.
func (s *space) collect(i, j int, sets *classSets) uint32 {
	if i == j {
		return uint32(s.class[i])
	}
	middle := s.hull(i, j)
	m := s.findIn(i, j, middle)
	if s.start(m) == middle {
		s.atStart[m] = sets.union(s.collect(i, m-1, sets), s.collect(m, j, sets))
		return s.atStart[m]
	}
	s.inside[m] = sets.union(s.collect(i, m, sets), s.collect(m, j, sets))
	return s.inside[m]
}

// classSets holds sorted sets of classes once each. The set of one class has
// the class's own number.
type classSets struct {
	flat   []Class
	ends   []uint32 // set i is flat[ends[i-1]:ends[i]]
	byText map[string]uint32
	unions map[[2]uint32]uint32
}

// newClassSets starts with the n sets of one class.
func newClassSets(n int) *classSets {
	s := &classSets{byText: map[string]uint32{}, unions: map[[2]uint32]uint32{}}
	for c := range n {
		s.intern([]Class{Class(c)})
	}
	return s
}

// get gives a set; it is shared and has no spare capacity.
func (s *classSets) get(id uint32) []Class {
	first := uint32(0)
	if id > 0 {
		first = s.ends[id-1]
	}
	return s.flat[first:s.ends[id]:s.ends[id]]
}

func (s *classSets) intern(set []Class) uint32 {
	text := make([]byte, 0, 4*len(set))
	for _, c := range set {
		text = append(text, byte(c>>24), byte(c>>16), byte(c>>8), byte(c))
	}
	if id, ok := s.byText[string(text)]; ok {
		return id
	}
	id := uint32(len(s.ends))
	s.byText[string(text)] = id
	s.flat = append(s.flat, set...)
	s.ends = append(s.ends, uint32(len(s.flat)))
	return id
}

func (s *classSets) union(a, b uint32) uint32 {
	if a == b {
		return a
	}
	pair := [2]uint32{min(a, b), max(a, b)}
	if id, ok := s.unions[pair]; ok {
		return id
	}
	id := s.intern(merge(s.get(a), s.get(b)))
	s.unions[pair] = id
	return id
}

// seal forgets what only building needs.
func (s *classSets) seal() { s.byText, s.unions = nil, nil }

// merge gives the sorted union of two sorted sets.
func merge(a, b []Class) []Class {
	out := make([]Class, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}
