package topology

import (
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// field is a column of a geo database that matchers can ask for.
type field int

const (
	fieldContinent field = iota
	fieldCountry
	fieldSubdivision
	fieldCity
	fieldASN
	fieldCount
)

var fieldNames = [fieldCount]struct{ one, many string }{
	{"continent", "continents"},
	{"country", "countries"},
	{"subdivision", "subdivisions"},
	{"city", "cities"},
	{"asn", "AS numbers"},
}

// fold makes values that mean the same equal.
func (f field) fold(value string) string {
	if f == fieldCity {
		return strings.ToLower(value)
	}
	return strings.ToUpper(value)
}

// geoFields gives the database fields that a matcher asks for.
func geoFields(m *config.Match) iter.Seq2[field, string] {
	asn := ""
	if m.ASN != 0 {
		asn = strconv.FormatUint(uint64(m.ASN), 10)
	}
	values := [fieldCount]string{m.Continent, m.Country, m.Subdivision, m.City, asn}
	return func(yield func(field, string) bool) {
		for f, value := range values {
			if value != "" && !yield(field(f), value) {
				return
			}
		}
	}
}

// record is what one database says of a network: by field, none, one or (for
// subdivisions) more values.
type record [fieldCount][]string

// answer is a record reduced to what matchers ask for: by field 0 when the
// record is silent, else the number of a set of facts. Records that differ
// only in what nobody asks for have equal answers.
type answer [fieldCount]uint32

// geo turns records into answers, and answers of several databases into
// profiles. Where databases disagree, the first that has a field counts.
type geo struct {
	asked   [fieldCount]map[string][]uint32
	carried [fieldCount]bool            // some record has the field
	seen    [fieldCount]map[string]bool // asked values that some record has

	factSets [fieldCount][][]uint32        // by number in answer; 0 is unused
	byText   [fieldCount]map[string]uint32 // fact set to its number
	answers  []answer
	byAnswer map[answer]uint32
	joined   map[[2]uint32]uint32
}

func newGeo(asked [fieldCount]map[string][]uint32) *geo {
	g := &geo{asked: asked, byAnswer: map[answer]uint32{}, joined: map[[2]uint32]uint32{}}
	for f := range fieldCount {
		g.seen[f], g.byText[f] = map[string]bool{}, map[string]uint32{}
		g.factSets[f] = [][]uint32{nil}
	}
	g.number(answer{}) // 0 is silence
	return g
}

// number gives an answer's number.
func (g *geo) number(a answer) uint32 {
	id, ok := g.byAnswer[a]
	if !ok {
		id = uint32(len(g.answers))
		g.answers = append(g.answers, a)
		g.byAnswer[a] = id
	}
	return id
}

// reduce gives the number of a record's answer.
func (g *geo) reduce(r *record) uint32 {
	var a answer
	for f, values := range r {
		if len(values) == 0 {
			continue
		}
		g.carried[f] = true
		if len(g.asked[f]) == 0 {
			continue
		}
		for _, value := range values {
			if _, ok := g.asked[f][field(f).fold(value)]; ok {
				g.seen[f][field(f).fold(value)] = true
			}
		}
		a[f] = g.factSet(field(f), g.factsOf(field(f), values))
	}
	return g.number(a)
}

// factsOf gives the facts that hold where a database has these values.
func (g *geo) factsOf(f field, values []string) []uint32 {
	var facts []uint32
	for _, value := range values {
		facts = append(facts, g.asked[f][f.fold(value)]...)
	}
	slices.Sort(facts)
	return slices.Compact(facts)
}

// factSet numbers a set of facts from 1; the empty set has a number too,
// because a value that nobody asks for still hides those of later databases.
func (g *geo) factSet(f field, facts []uint32) uint32 {
	var text []byte
	for _, fact := range facts {
		text = append(text, byte(fact>>24), byte(fact>>16), byte(fact>>8), byte(fact))
	}
	id, ok := g.byText[f][string(text)]
	if !ok {
		id = uint32(len(g.factSets[f]))
		g.factSets[f] = append(g.factSets[f], facts)
		g.byText[f][string(text)] = id
	}
	return id
}

// join combines the answers of an earlier and a later database.
func (g *geo) join(a, b uint32) uint32 {
	if b == 0 || a == b {
		return a
	}
	pair := [2]uint32{a, b}
	id, ok := g.joined[pair]
	if !ok {
		both := g.answers[a]
		for f, set := range g.answers[b] {
			if both[f] == 0 {
				both[f] = set
			}
		}
		id = g.number(both)
		g.joined[pair] = id
	}
	return id
}

// profile gives the facts that an answer makes hold. Their length is 0, so
// that a prefix goes before a country (T4).
func (g *geo) profile(id uint32, profiles *profiles) uint32 {
	var list []known
	for f, set := range g.answers[id] {
		for _, fact := range g.factSets[f][set] {
			list = append(list, known{fact: fact})
		}
	}
	return profiles.with(0, list)
}
