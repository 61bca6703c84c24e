package topology

import (
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
)

// noMatch is the length of what does not match.
const noMatch = -1

// known is a fact that holds for a client: its number, and the length of the
// prefix by which it holds (0 when a database says so).
type known struct {
	fact uint32
	bits uint8
}

// facts are the elementary questions that regions and rules ask, numbered from
// 0, and what answers them.
type facts struct {
	count     uint32
	ofPrefix  map[netip.Prefix]uint32
	ofValue   [fieldCount]map[string]uint32   // the matchers' own facts
	asked     [fieldCount]map[string][]uint32 // database value, folded: every fact that it makes hold
	covers    []cover
	databases []ask // what must occur in a database, to be checked when they are read
}

// cover says that a fact holds inside a prefix.
type cover struct {
	prefix netip.Prefix
	fact   uint32
}

// ask is a matcher's need for a database field.
type ask struct {
	field field
	value string
	pos   config.Pos
	path  string
	spare bool // a file answers for others of its kind: a database may be missing
}

func newFacts() *facts {
	f := &facts{ofPrefix: map[netip.Prefix]uint32{}}
	for i := range fieldCount {
		f.ofValue[i], f.asked[i] = map[string]uint32{}, map[string][]uint32{}
	}
	return f
}

// add makes a new fact.
func (f *facts) add() uint32 {
	f.count++
	return f.count - 1
}

// inside is the fact "the client lies in p".
func (f *facts) inside(p netip.Prefix) uint32 {
	fact, ok := f.ofPrefix[p]
	if !ok {
		fact = f.add()
		f.ofPrefix[p] = fact
		f.covers = append(f.covers, cover{p, fact})
	}
	return fact
}

// says is the fact "the databases give this value for the client".
func (f *facts) says(a ask) uint32 {
	value := a.field.fold(a.value)
	fact, ok := f.ofValue[a.field][value]
	if !ok {
		fact = f.add()
		f.ofValue[a.field][value] = fact
		f.imply(a.field, value, fact)
	}
	f.databases = append(f.databases, a)
	return fact
}

// imply says that fact holds wherever a database gives the value.
func (f *facts) imply(field field, value string, fact uint32) {
	f.asked[field][value] = append(f.asked[field][value], fact)
}

// profiles are sorted lists of what is known of a client, held once each.
// Number 0 is the empty one.
type profiles struct {
	byText map[string]uint32
	list   [][]known
}

func newProfiles() *profiles {
	p := &profiles{byText: map[string]uint32{}}
	p.intern(nil)
	return p
}

func (p *profiles) intern(list []known) uint32 {
	text := make([]byte, 0, 5*len(list))
	for _, k := range list {
		text = append(text, byte(k.fact>>24), byte(k.fact>>16), byte(k.fact>>8), byte(k.fact), k.bits)
	}
	id, ok := p.byText[string(text)]
	if !ok {
		id = uint32(len(p.list))
		p.byText[string(text)] = id
		p.list = append(p.list, list)
	}
	return id
}

// with is the profile parent after more is learnt. Of two lengths for one fact
// the later counts: prefixes are visited from the outermost in.
func (p *profiles) with(parent uint32, more []known) uint32 {
	list := slices.Clone(p.list[parent])
	for _, k := range more {
		i, ok := slices.BinarySearchFunc(list, k.fact, func(e known, fact uint32) int { return int(e.fact) - int(fact) })
		if ok {
			list[i] = k
		} else {
			list = slices.Insert(list, i, k)
		}
	}
	return p.intern(list)
}
