package kernel

import (
	"iter"
	"maps"
	"strings"
	"time"
)

// store keeps elements by their ids. There may be a million of them, so one is
// no more than two strings side by side in memory: its id, and a body of an
// octet of flags and its data. Two stores that have the same element share them.
type store struct {
	all  map[string]string // body by id
	more map[string]extras // by id, of those that have more than key and data
}

// extras is what few elements have. Two are the same if they are equal.
type extras struct {
	verdict Step
	timeout time.Duration
	over    uint32
	rate    Rate // as the kernel keeps it; zero: none
}

// Flags of a body.
const (
	bodyRange = 1 << iota // the id has the key and the end of a range
	bodyMore              // it has extras
)

// rangeMark stands between the key and the end of a range.
const rangeMark = "\x00-"

// packed is an element as stores have it.
type packed struct {
	id, body string
	more     extras
}

func newStore(room int) *store {
	return &store{all: make(map[string]string, room), more: map[string]extras{}}
}

// pack packs an element; what only reading tells of it is left out.
func pack(el Element) packed {
	el = el.normal()
	more := extras{verdict: el.Verdict, timeout: el.Timeout, over: el.Over}
	if el.Rate != nil {
		more.rate = Rate{el.Rate.PerSecond, el.Rate.burst(), el.Rate.Octets}
	}
	var flags byte
	var b strings.Builder
	b.Grow(len(el.Key) + len(rangeMark) + len(el.End) + 1 + len(el.Data))
	b.Write(el.Key)
	if el.End != nil {
		flags |= bodyRange
		b.WriteString(rangeMark)
		b.Write(el.End)
	}
	id := b.Len()
	if more != (extras{}) {
		flags |= bodyMore
	}
	b.WriteByte(flags)
	b.Write(el.Data)
	return packed{b.String()[:id], b.String()[id:], more}
}

// element unpacks.
func (p packed) element() (el Element) {
	b := []byte(p.id + p.body[1:])
	key := len(p.id)
	if p.body[0]&bodyRange != 0 {
		key = (key - len(rangeMark)) / 2
		el.End = b[key+len(rangeMark) : len(p.id) : len(p.id)]
	}
	el.Key = b[:key:key]
	if len(p.body) > 1 {
		el.Data = b[len(p.id):]
	}
	el.Verdict, el.Timeout, el.Over = p.more.verdict, p.more.timeout, p.more.over
	if p.more.rate != (Rate{}) {
		rate := p.more.rate
		el.Rate = &rate
	}
	return el
}

func (s *store) len() int { return len(s.all) }

func (s *store) get(id string) (p packed, ok bool) {
	p.id = id
	if p.body, ok = s.all[id]; ok && p.body[0]&bodyMore != 0 {
		p.more = s.more[id]
	}
	return p, ok
}

// has says whether the element is there as it is.
func (s *store) has(p packed) bool {
	body, ok := s.all[p.id]
	return ok && body == p.body && (body[0]&bodyMore == 0 || s.more[p.id] == p.more)
}

// put adds an element or gives one another body.
func (s *store) put(p packed) {
	s.remove(p.id) // a map keeps the key that it has, and with it the memory of the old body
	s.add(p)
}

// add adds an element that is not there.
func (s *store) add(p packed) {
	s.all[p.id] = p.body
	if p.more != (extras{}) {
		s.more[p.id] = p.more
	}
}

func (s *store) remove(id string) {
	delete(s.all, id)
	if len(s.more) > 0 {
		delete(s.more, id)
	}
}

// each gives all elements, in no order.
func (s *store) each() iter.Seq[packed] {
	return func(yield func(packed) bool) {
		for id := range s.all {
			if p, _ := s.get(id); !yield(p) {
				return
			}
		}
	}
}

func (s *store) clone() *store { return &store{maps.Clone(s.all), maps.Clone(s.more)} }
