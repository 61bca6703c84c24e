package traffic

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Fixed is the elements of sets that no tick writes, kept from one table to the
// next, so that those with the same ones share them and the kernel is not given
// them again (T60).
type Fixed struct{ sets map[string]fixed }

// fixed is the elements of one set, and what they are.
type fixed struct {
	sum      uint64
	elements *kernel.Elements
	leads    []string // chains that verdicts lead to
}

// NewFixed gives one that holds nothing.
func NewFixed() *Fixed { return &Fixed{sets: map[string]fixed{}} }

// Clone gives the same elements to the tables of another plan: what that writes
// changes nothing here.
func (f *Fixed) Clone() *Fixed { return &Fixed{sets: maps.Clone(f.sets)} }

// Leads gives the chains to which verdicts of a set lead; ok is false if the set
// is not one of fixed elements.
func (f *Fixed) Leads(set string) (chains []string, ok bool) {
	of, ok := f.sets[set]
	return of.leads, ok
}

// Fix gives a set elements that no tick writes: those that it had before, if
// they are the same.
func (b *Builder) Fix(s kernel.Set, list []kernel.Element) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%v %v|", s, len(list))
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(x, y kernel.Element) int {
		return cmp.Or(slices.Compare(x.Key, y.Key), slices.Compare(x.End, y.End))
	})
	for _, el := range sorted {
		var rate kernel.Rate
		if el.Rate != nil {
			rate, el.Rate = *el.Rate, nil
		}
		fmt.Fprintf(h, "%v %v|", el, rate)
	}
	return b.keep(s, h.Sum64(), func() fixed {
		f := fixed{elements: kernel.NewElements(list...)}
		for _, el := range list {
			switch to := el.Verdict.(type) {
			case kernel.Goto:
				f.leads = append(f.leads, to.Chain)
			case kernel.Jump:
				f.leads = append(f.leads, to.Chain)
			}
		}
		return f
	})
}

// keep gives a set the elements that it had before, if they are the same.
func (b *Builder) keep(s kernel.Set, sum uint64, made func() fixed) string {
	f, ok := b.fixed.sets[s.Name]
	if !ok || f.sum != sum {
		f = made()
		f.sum = sum
		b.fixed.sets[s.Name] = f
	}
	s.Elements = f.elements
	return b.Set(s)
}

// Ranges writes a set of addresses of a family. The ranges neither overlap nor
// touch: see [RangesOf].
func (b *Builder) Ranges(name string, f Family, list []config.AddressRange) string {
	h := fnv.New64a()
	for _, r := range list {
		h.Write(r.From.AsSlice()) // never fails
		h.Write(r.To.AsSlice())
	}
	return b.keep(kernel.Set{Name: name, Key: []kernel.Type{f.Addr}, Interval: true}, h.Sum64(), func() fixed {
		elements := make([]kernel.Element, len(list))
		for i, r := range list {
			elements[i] = kernel.Element{Key: kernel.Addr(r.From), End: kernel.Addr(r.To)}
		}
		return fixed{elements: kernel.NewElements(elements...)}
	})
}

// MaxDepth is how deep chains may lead into each other. The kernel takes 16.
const MaxDepth = 15

// Depth is how many chains of a table a packet can be in at once, jumps and
// gotos alike, which is what the kernel bounds. Where verdicts of a map lead
// that a tick writes is not known here: to ticked more chains at most.
func (f *Fixed) Depth(t kernel.Table, ticked int) int {
	d := depths{fixed: f, ticked: ticked, chains: map[string]*kernel.Chain{}, known: map[string]int{}}
	for i := range t.Chains {
		d.chains[t.Chains[i].Name] = &t.Chains[i]
	}
	most := 0
	for name := range d.chains {
		most = max(most, d.of(name))
	}
	return most
}

type depths struct {
	fixed  *Fixed
	ticked int
	chains map[string]*kernel.Chain
	known  map[string]int
}

func (d *depths) of(chain string) int {
	if n, ok := d.known[chain]; ok || d.chains[chain] == nil {
		return n
	}
	most := 0
	for _, r := range d.chains[chain].Rules {
		for _, s := range r.Do {
			most = max(most, d.below(s))
		}
	}
	d.known[chain] = 1 + most
	return d.known[chain]
}

// below gives how deep a step leads.
func (d *depths) below(s kernel.Step) (most int) {
	switch s := s.(type) {
	case kernel.Jump:
		return d.of(s.Chain)
	case kernel.Goto:
		return d.of(s.Chain)
	case kernel.Choose:
		chains, ok := d.fixed.Leads(s.Map)
		if !ok {
			return d.ticked
		}
		for _, to := range chains {
			most = max(most, d.of(to))
		}
	}
	return most
}
