package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
)

// extents are the addresses of what classes of traffic, of outbound and of slb,
// ask for by name: of these the kernel needs every range, not the answer for one
// client.
type extents struct {
	isps      map[string]*extent
	asns      map[uint32]*extent
	countries map[string]*extent
}

// extent is where a fact holds.
type extent struct {
	fact   uint32
	v4, v6 []config.AddressRange
}

// readClasses notes what classes of traffic ask for, so that the databases are
// asked for it too.
func (c *compiler) readClasses() {
	c.extents = &extents{isps: map[string]*extent{}, asns: map[uint32]*extent{}, countries: map[string]*extent{}}
	if o := c.model.Outbound; o != nil {
		c.readClassesOf("outbound", o.Classes)
	}
	if s := c.model.SLB; s != nil {
		c.readClassesOf("slb", s.Classes)
	}
}

func (c *compiler) readClassesOf(module string, classes []*config.Class) {
	for i, k := range classes {
		path := fmt.Sprintf("%s.classes[%d].", module, i)
		for _, name := range k.ISPs {
			if fact, ok := c.isps[name]; ok {
				c.extents.isps[name] = &extent{fact: fact}
			}
		}
		for _, asn := range k.ASNs {
			text := strconv.FormatUint(uint64(asn), 10)
			c.extents.asns[asn] = &extent{fact: c.facts.says(ask{field: fieldASN, value: text, pos: k.Pos, path: path + "asns"})}
		}
		for _, country := range k.Countries {
			fact := c.facts.says(ask{field: fieldCountry, value: country, pos: k.Pos, path: path + "countries"})
			c.extents.countries[strings.ToUpper(country)] = &extent{fact: fact}
		}
	}
}

// all gives every extent, by fact.
func (e *extents) all() map[uint32][]*extent {
	by := map[uint32][]*extent{}
	for _, x := range e.isps {
		by[x.fact] = append(by[x.fact], x)
	}
	for _, x := range e.asns {
		by[x.fact] = append(by[x.fact], x)
	}
	for _, x := range e.countries {
		by[x.fact] = append(by[x.fact], x)
	}
	return by
}

// measure finds the ranges of every extent in one family: where the databases'
// answers or the prefixes make its fact hold.
func (e *extents) measure(answers, prefixes layer, v4 bool, g *grader) {
	by := e.all()
	if len(by) == 0 {
		return
	}
	w := wanted{by: by, grader: g, ofPair: map[[2]uint32]uint32{}, ofText: map[string]uint32{}}
	both := overlay(answers, prefixes, w.join)
	for i, set := range both.ids {
		last := key{}.last(0)
		if i+1 < len(both.starts) {
			last = both.starts[i+1].prev()
		}
		for _, fact := range w.sets[set] {
			for _, x := range by[fact] {
				x.add(both.starts[i], last, v4)
			}
		}
	}
}

// wanted numbers the sets of wanted facts that occur.
type wanted struct {
	by     map[uint32][]*extent
	grader *grader
	ofPair map[[2]uint32]uint32
	ofText map[string]uint32
	sets   [][]uint32
}

// join gives the number of the set that holds for an answer and a profile.
func (w *wanted) join(answer, profile uint32) uint32 {
	pair := [2]uint32{w.grader.answerProfile(answer), profile}
	n, ok := w.ofPair[pair]
	if !ok {
		n = w.number(pair)
		w.ofPair[pair] = n
	}
	return n
}

func (w *wanted) number(profiles [2]uint32) uint32 {
	var facts []uint32
	for _, id := range profiles {
		for _, k := range w.grader.profiles.list[id] {
			if w.by[k.fact] != nil {
				facts = append(facts, k.fact)
			}
		}
	}
	slices.Sort(facts)
	facts = slices.Compact(facts)
	text := fmt.Sprint(facts)
	n, ok := w.ofText[text]
	if !ok {
		n = uint32(len(w.sets))
		w.ofText[text], w.sets = n, append(w.sets, facts)
	}
	return n
}

// add adds a run, which follows those that were added before.
func (x *extent) add(first, last key, v4 bool) {
	list := &x.v6
	if v4 {
		list = &x.v4
	}
	r := config.AddressRange{From: first.addr(v4), To: last.addr(v4)}
	if n := len(*list); n > 0 && (*list)[n-1].To.Next() == r.From {
		(*list)[n-1].To = r.To
		return
	}
	*list = append(*list, r)
}

// ISP gives the addresses of an ISP that a class of outbound or slb names:
// ranges in ascending order, which neither overlap nor touch. They are shared
// and must not be changed. ok is false if no class names it.
func (t *Table) ISP(name string) (v4, v6 []config.AddressRange, ok bool) {
	return t.extents.isps[name].ranges()
}

// ASN is ISP for an autonomous system, by the geo databases.
func (t *Table) ASN(number uint32) (v4, v6 []config.AddressRange, ok bool) {
	return t.extents.asns[number].ranges()
}

// Country is ISP for a country, ISO 3166-1 alpha-2, by the geo databases.
func (t *Table) Country(code string) (v4, v6 []config.AddressRange, ok bool) {
	return t.extents.countries[strings.ToUpper(code)].ranges()
}

func (x *extent) ranges() (v4, v6 []config.AddressRange, ok bool) {
	if x == nil {
		return nil, nil, false
	}
	return x.v4, x.v6, true
}
