package outbound

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// builder writes the table of one [Plan.Wishes].
type builder struct {
	plan  *Plan
	facts Facts
	nics  map[string]*kernel.Interface
	out   kernel.Table
	roles map[string]flow.Role
	role  flow.Role       // of the chain that is being written
	have  map[string]bool // chains and sets that are written, or being written
}

// fixed is elements that no tick writes, and what they are, so that wishes with
// the same ones share them (T60).
type fixed struct {
	sum      uint64
	elements *kernel.Elements
	leads    []string // chains that verdicts lead to
}

// family is what differs between IPv4 and IPv6.
type family struct {
	index        int // 0, 1
	digit        string
	number       byte // of meta nfproto
	source, dest kernel.Field
	addr         kernel.Type
	bits         int
}

// families gives both, IPv4 first.
func families() [2]family {
	return [2]family{
		{0, "4", 2, kernel.Source4, kernel.Dest4, kernel.TypeAddr4, 32},
		{1, "6", 10, kernel.Source6, kernel.Dest6, kernel.TypeAddr6, 128},
	}
}

func familyOf(a netip.Addr) int {
	if a.Is6() {
		return 1
	}
	return 0
}

// has says whether an address is of the family.
func (f family) has(a netip.Addr) bool { return a.IsValid() && familyOf(a) == f.index }

// only goes on for packets of the family.
func (f family) only() kernel.Step { return kernel.Is{Of: kernel.Family, To: []byte{f.number}} }

// masked is the leading bits of an address.
func (f family) masked(of kernel.Value, bits int) kernel.Value {
	if bits >= f.bits {
		return of
	}
	mask := make([]byte, f.bits/8)
	for i := range bits {
		mask[i/8] |= 1 << (7 - i%8)
	}
	return kernel.Masked{Of: of, Mask: mask}
}

// maskOf gives the length of a mask for the family.
func (f family) maskOf(m config.Mask) int {
	if f.index == 1 {
		return m.V6
	}
	return m.V4
}

// rule is a rule with a sentence for the operator.
func rule(tell string, do ...kernel.Step) kernel.Rule {
	const most = 120 // what nftables takes as a comment, with something to spare
	for len(tell) > most {
		_, size := utf8.DecodeLastRuneInString(tell)
		tell = tell[:len(tell)-size]
	}
	return kernel.Rule{Tell: tell, Do: do}
}

// chain writes a chain once and gives its name. Chains that are jumped to come
// before the rules that are made meanwhile. It is for what the chain is for in
// which it is made first.
func (b *builder) chain(name string, rules func() []kernel.Rule) string {
	return b.chainFor(b.role.Kind, b.role.Name, name, rules)
}

// chainFor is chain for one with a role of its own.
func (b *builder) chainFor(kind, of, name string, rules func() []kernel.Rule) string {
	if b.have["chain "+name] {
		return name
	}
	around := b.role
	b.role = flow.Role{Kind: kind, Name: of}
	b.have["chain "+name], b.roles["chain "+name] = true, b.role
	at := len(b.out.Chains)
	b.out.Chains = append(b.out.Chains, kernel.Chain{Name: name})
	made := rules()
	b.out.Chains[at].Rules = made
	b.role = around
	return name
}

// set writes a set once and gives its name.
func (b *builder) set(s kernel.Set) string {
	if !b.have["set "+s.Name] {
		b.have["set "+s.Name] = true
		b.out.Sets = append(b.out.Sets, s)
	}
	return s.Name
}

// fix gives a set elements that no tick writes: those that it had before, if
// they are the same.
func (b *builder) fix(s kernel.Set, list []kernel.Element) string {
	h := fnv.New64a()
	fmt.Fprintf(h, "%v %v %v %v %v|", s.Key, s.Data, s.Verdicts, s.Interval, len(list))
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(x, y kernel.Element) int { return slices.Compare(x.Key, y.Key) })
	for _, el := range sorted {
		fmt.Fprintf(h, "%x-%x=%x %v|", el.Key, el.End, el.Data, el.Verdict)
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
func (b *builder) keep(s kernel.Set, sum uint64, made func() fixed) string {
	f, ok := b.plan.fixed[s.Name]
	if !ok || f.sum != sum {
		f = made()
		f.sum = sum
		b.plan.fixed[s.Name] = f
	}
	s.Elements = f.elements
	return b.set(s)
}

// ranges writes a set of addresses of a family.
func (b *builder) ranges(name string, f family, list []config.AddressRange) string {
	h := fnv.New64a()
	for _, r := range list {
		h.Write(r.From.AsSlice()) // never fails
		h.Write(r.To.AsSlice())
	}
	return b.keep(kernel.Set{Name: name, Key: []kernel.Type{f.addr}, Interval: true}, h.Sum64(), func() fixed {
		elements := make([]kernel.Element, len(list))
		for i, r := range list {
			elements[i] = kernel.Element{Key: kernel.Addr(r.From), End: kernel.Addr(r.To)}
		}
		return fixed{elements: kernel.NewElements(elements...)}
	})
}

// count counts by a named counter, which lives as long as it has a name.
func (b *builder) count(name string) kernel.Step {
	b.out.Counters = append(b.out.Counters, name)
	return kernel.Count{Name: name}
}

// anyBit goes on if a value has one of these bits, or with not if it has none.
func anyBit(of kernel.Value, mask uint32, not bool) kernel.Step {
	op := kernel.NotEqual
	if not {
		op = kernel.Equal
	}
	return kernel.Is{Of: kernel.Masked{Of: of, Mask: kernel.Number(mask)}, Op: op, To: kernel.Number(0)}
}

// linkOf is the number of the link in a mark.
func linkOf(of kernel.Value) kernel.Value {
	return kernel.Masked{Of: of, Mask: kernel.Number(kernel.LinkMask)}
}

// isNew goes on for the first packet of a connection.
func isNew() kernel.Step { return anyBit(kernel.CtState, kernel.CtNew, false) }

// maxDepth is how deep chains may lead into each other. The kernel takes 16.
const maxDepth = 15

// depthOf is how many chains a packet can be in at once, jumps and gotos alike,
// which is what the kernel bounds.
func (p *Plan) depthOf(t kernel.Table) int {
	chains := map[string]*kernel.Chain{}
	for i := range t.Chains {
		chains[t.Chains[i].Name] = &t.Chains[i]
	}
	known := map[string]int{}
	var depth func(name string) int
	depth = func(name string) int {
		if n, ok := known[name]; ok || chains[name] == nil {
			return n
		}
		most := 0
		for _, r := range chains[name].Rules {
			for _, s := range r.Do {
				to, below := p.leadsTo(s)
				for _, c := range to {
					below = max(below, depth(c))
				}
				most = max(most, below)
			}
		}
		known[name] = 1 + most
		return known[name]
	}
	most := 0
	for name := range chains {
		most = max(most, depth(name))
	}
	return most
}

// leadsTo gives the chains that a step may lead to. What stands in maps that
// ticks write leads to the chain of a link, or to one before it, which is two
// more.
func (p *Plan) leadsTo(s kernel.Step) (chains []string, below int) {
	switch s := s.(type) {
	case kernel.Jump:
		return []string{s.Chain}, 0
	case kernel.Goto:
		return []string{s.Chain}, 0
	case kernel.Choose:
		if f, ok := p.fixed[s.Map]; ok {
			return f.leads, 0
		}
		return nil, 2
	}
	return nil, 0
}
