package outbound

import (
	"fmt"
	"math/bits"
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// postrouting gives connections that leave by a link their source address. The
// kernel asks only for the first packet of a connection, and not if somebody has
// decided before. What goes to the inside leaves by no link, whatever its mark.
func (b *builder) postrouting() []kernel.Rule {
	rules := []kernel.Rule{traffic.Rule("what does not leave by a link stays as it is", kernel.In{Key: kernel.OutName, Set: "links", Not: true}, kernel.Accept{})}
	var byMark, byName []kernel.Element
	seen := map[string]bool{}
	for _, l := range b.plan.links {
		to := b.snat(l)
		byMark = append(byMark, kernel.Element{Key: kernel.Key(kernel.Name(l.Interface), kernel.Number(uint32(l.id))), Verdict: to})
		if !seen[l.Interface] {
			seen[l.Interface] = true
			byName = append(byName, kernel.Element{Key: kernel.Name(l.Interface), Verdict: to})
		}
	}
	for _, f := range traffic.Families() {
		own := b.Fix(kernel.Set{Name: "own" + f.Digit, Key: []kernel.Type{kernel.TypeName, f.Addr}}, b.addresses(f))
		rules = append(rules, traffic.Rule("the link's own address stays as it is", kernel.In{Key: kernel.Join{kernel.OutName, f.Source}, Set: own}, kernel.Accept{}))
	}
	marks := b.Fix(kernel.Set{Name: "snat", Key: []kernel.Type{kernel.TypeName, kernel.TypeNumber}, Verdicts: true}, byMark)
	names := b.Fix(kernel.Set{Name: "snat_by_interface", Key: []kernel.Type{kernel.TypeName}, Verdicts: true}, byName)
	rules = append(rules, traffic.Rule("a balanced connection gets an address of its link", kernel.Choose{Key: kernel.Join{kernel.OutName, linkOf(kernel.Mark)}, Map: marks}))
	for _, f := range traffic.Families() {
		rules = append(rules, traffic.Rule("exempt networks see the address of the client", kernel.In{Key: f.Dest, Set: "exempt" + f.Digit}, kernel.Accept{}))
	}
	return append(rules, traffic.Rule("what leaves by the interface of a link gets an address of it", kernel.Choose{Key: kernel.OutName, Map: names}))
}

// addresses gives the addresses of links' interfaces, each with its interface.
func (b *builder) addresses(f traffic.Family) (list []kernel.Element) {
	seen := map[string]bool{}
	for _, l := range b.plan.links {
		n := b.nics[l.Interface]
		if n == nil || seen[n.Name] {
			continue
		}
		seen[n.Name] = true
		for _, p := range n.Addresses {
			if f.Has(p.Addr()) {
				list = append(list, kernel.Element{Key: kernel.Key(kernel.Name(n.Name), kernel.Addr(p.Addr().WithZone("")))})
			}
		}
	}
	return traffic.Distinct(list)
}

// snat gives where the source address of a link is decided.
func (b *builder) snat(l *planLink) kernel.Step {
	if l.SNAT.Mode == config.SNATNone {
		return kernel.Accept{}
	}
	return kernel.Goto{Chain: b.Chain("snat_"+l.word, func() (rules []kernel.Rule) {
		for _, f := range traffic.Families() {
			rules = append(rules, b.pool(l, f)...)
		}
		return append(rules, traffic.Rule("link "+l.Name+": the address of its interface", kernel.Masquerade{}))
	})}
}

// poolParts is into how many parts clients are divided among the ranges of a
// pool.
const poolParts = 256

// pool writes the rules of a link's addresses of a family. Of several ranges a
// client has always the same, each as many clients as it has addresses.
func (b *builder) pool(l *planLink, f traffic.Family) []kernel.Rule {
	var ranges []config.AddressRange
	for _, r := range l.SNAT.Addresses {
		if f.Has(r.From) {
			ranges = append(ranges, r)
		}
	}
	tell := func(r config.AddressRange) string { return fmt.Sprintf("link %s: source address %s", l.Name, r) }
	switch len(ranges) {
	case 0:
		return nil
	case 1:
		return []kernel.Rule{traffic.Rule(tell(ranges[0]), f.Only(), kernel.SNAT{From: ranges[0].From, To: ranges[0].To})}
	}
	var elements []kernel.Element
	for part, i := range shared(ranges) {
		r := ranges[i]
		chain := b.Chain(fmt.Sprintf("snat%s_%s_%d", f.Digit, l.word, i+1), func() []kernel.Rule {
			return []kernel.Rule{traffic.Rule(tell(r), kernel.SNAT{From: r.From, To: r.To})}
		})
		elements = append(elements, kernel.Element{Key: kernel.Number(uint32(part)), Verdict: kernel.Goto{Chain: chain}})
	}
	set := b.Fix(kernel.Set{Name: "pool" + f.Digit + "_" + l.word, Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, elements)
	return []kernel.Rule{traffic.Rule("link "+l.Name+": a client keeps its range", kernel.Choose{Key: kernel.Hash{Of: f.Source, Mod: poolParts}, Map: set})}
}

// shared gives each part the range that it belongs to.
func shared(ranges []config.AddressRange) (of [poolParts]int) {
	var total uint64
	for _, r := range ranges {
		total += r.Size()
	}
	at, end := 0, ranges[0].Size()
	for part := range of {
		hi, lo := bits.Mul64(uint64(part), total)
		middle, _ := bits.Div64(hi, lo, poolParts)
		for middle >= end && at < len(ranges)-1 {
			at++
			end += ranges[at].Size()
		}
		of[part] = at
	}
	return of
}

// addressOf gives an address of an interface that others answer to, of a family.
func addressOf(n *kernel.Interface, f traffic.Family) netip.Addr {
	for _, p := range n.Addresses {
		if f.Has(p.Addr()) && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}
