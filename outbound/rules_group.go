package outbound

import (
	"math/bits"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// group writes the chain of a variant for actions with a persistence, or
// without one (nil), and gives its name. It comes back if no link was found.
// Persistence goes before proximity, and this before the algorithm (FAQ 1.2.18).
func (b *builder) group(v *Variant, s *config.Persistence) string {
	name := "group_" + v.word
	if s != nil {
		name += "_" + traffic.Word(s.Name)
	}
	return b.ChainFor(flow.LinkGroup, v.Name, name, func() []kernel.Rule {
		b.variant(v)
		found := traffic.Rule("a link took it", traffic.AnyBit(kernel.CtMark, kernel.LinkMask), kernel.Goto{Chain: b.found(v, s)})
		rules := b.stay(v, s)
		rules = append(rules, b.nearest(v, found)...)
		rules = append(rules, b.draw(v)...)
		rules = append(rules, found)
		if v.bounded(b) {
			for range len(v.Group.Members) - 1 {
				rules = append(rules, traffic.Rule("it could not: the next one", kernel.Choose{Key: kernel.Lookup{Key: linkOf(kernel.Mark), Map: "next_" + v.word}, Map: "avail_" + v.word}), found)
			}
		}
		return append(rules, traffic.Rule("group "+v.Name+" has no link for it", b.Count("group/"+v.word+"/none"),
			kernel.SetMark{Mask: kernel.LinkMask}, kernel.SetCtMark{Mask: kernel.LinkMask}))
	})
}

// variant writes the sets of a variant and the chains that they lead to.
func (b *builder) variant(v *Variant) {
	for _, m := range v.Group.Members {
		if l := b.plan.byLink[m.Link]; l != nil {
			b.try(l)
			b.mark(l)
			if traffic.InKernel(m.MaxConnections) {
				b.member(v.Group, m, l)
			}
		}
	}
	number := []kernel.Type{kernel.TypeNumber}
	b.Set(kernel.Set{Name: "slots_" + v.word, Key: number, Data: number, Size: SlotCount, Elements: v.slots})
	b.Set(kernel.Set{Name: "avail_" + v.word, Key: number, Verdicts: true, Elements: v.avail})
	if v.bounded(b) {
		b.Set(kernel.Set{Name: "next_" + v.word, Key: number, Data: number, Elements: v.next})
	}
}

// bounded says whether a link may refuse a connection that the tick gave it, so
// that another one has to be tried.
func (v *Variant) bounded(b *builder) bool {
	return slices.ContainsFunc(v.Group.Members, func(m *config.LinkMember) bool {
		l := b.plan.byLink[m.Link]
		if l == nil {
			return false
		}
		f := traffic.Families()
		return traffic.InKernel(l.MaxConnections) || l.NewConnections > 0 || traffic.InKernel(m.MaxConnections) || !b.serves(l, f[0]) || !b.serves(l, f[1])
	})
}

// nearest writes the rules of proximity: the network is noted as asked for,
// whether its distance is known or not (T12), and of the links that are nearest
// the first that is available takes it (FAQ 1.2.16, 1.2.19).
func (b *builder) nearest(v *Variant, found kernel.Rule) (rules []kernel.Rule) {
	if !v.Group.Proximity || !b.plan.model.Proximity.Enabled {
		return nil
	}
	number := []kernel.Type{kernel.TypeNumber}
	const wantedFor, wantedMost = 60e9, 65536
	network := func(f traffic.Family) kernel.Value { return f.Masked(f.Dest, f.MaskOf(b.plan.model.Proximity.Mask)) }
	for _, f := range traffic.Families() {
		b.Set(kernel.Set{Name: "prox_want" + f.Digit, Key: []kernel.Type{f.Addr}, Data: []kernel.Type{f.Addr}, Dynamic: true, Timeout: wantedFor, Size: wantedMost})
		b.SetFor(flow.Proximity, "", kernel.Set{Name: "prox" + f.Digit, Key: []kernel.Type{f.Addr}, Data: number, Size: b.plan.ranksMost(f), Elements: b.plan.ranks[f.Index]})
		rules = append(rules, traffic.Rule("the distance of the network is asked for", kernel.Change{How: kernel.Put, Set: "prox_want" + f.Digit, Key: network(f), Data: f.Dest}))
	}
	for place, tell := range []string{"proximity: the nearest link", "proximity: the second nearest", "proximity: the third nearest"} {
		for _, f := range traffic.Families() {
			ranks := kernel.Value(kernel.Lookup{Key: network(f), Map: "prox" + f.Digit})
			if place > 0 {
				ranks = kernel.Shifted{Of: ranks, Bits: uint32(place * rankBits)}
			}
			rules = append(rules, traffic.Rule(tell, kernel.Choose{Key: kernel.Masked{Of: ranks, Mask: kernel.Number(rankMask)}, Map: "avail_" + v.word}))
		}
		rules = append(rules, found)
	}
	return rules
}

// ranksMost is the size of the map of one family's ranks. To a map whose size is
// known Linux gives room at once: 50,000 elements go in twice as fast as into one
// that grows. It changes seldom, as it cannot be changed without a new map.
func (p *Plan) ranksMost(f traffic.Family) int {
	return 1 << bits.Len(uint(max(p.model.Proximity.MaxEntries, p.ranks[f.Index].Len())))
}

// draw writes the rules of the algorithm: a slot is drawn, and the link that
// stands in it tried.
func (b *builder) draw(v *Variant) (rules []kernel.Rule) {
	tell := "algorithm " + string(v.Group.Algorithm) + ": the link of a slot"
	from := func(slot kernel.Value) kernel.Rule {
		return traffic.Rule(tell, kernel.Choose{Key: kernel.Lookup{Key: slot, Map: "slots_" + v.word}, Map: "avail_" + v.word})
	}
	switch v.Group.Algorithm {
	case config.LinkRandom:
		return []kernel.Rule{from(kernel.Lot{Of: SlotCount})}
	case config.LinkSourceHash, config.LinkDestinationHash, config.LinkSourceDestinationHash, config.LinkSourcePortHash:
	default:
		return []kernel.Rule{from(kernel.Turn{Of: SlotCount})}
	}
	for _, f := range traffic.Families() {
		source, dest := f.Masked(f.Source, f.MaskOf(v.Group.Mask)), f.Masked(f.Dest, f.MaskOf(v.Group.Mask))
		switch v.Group.Algorithm {
		case config.LinkSourceHash:
			rules = append(rules, from(kernel.Hash{Of: source, Mod: SlotCount}))
		case config.LinkDestinationHash:
			rules = append(rules, from(kernel.Hash{Of: dest, Mod: SlotCount}))
		case config.LinkSourceDestinationHash:
			rules = append(rules, from(kernel.Hash{Of: kernel.Join{source, dest}, Mod: SlotCount}))
		case config.LinkSourcePortHash: // what has no ports goes by the address
			withPorts := from(kernel.Hash{Of: kernel.Join{source, kernel.SourcePort}, Mod: SlotCount})
			without := from(kernel.Hash{Of: source, Mod: SlotCount})
			without.Do = append([]kernel.Step{traffic.NoBit(kernel.Mark, kernel.LinkMask)}, without.Do...)
			rules = append(rules, withPorts, without)
		}
	}
	return rules
}

// entered is what every connection gets that a link of a group takes: it is
// counted, and marked if the group ends it should the link fail (T38).
func (b *builder) entered(v *Variant) []kernel.Step {
	steps := []kernel.Step{b.Count("group/" + v.word)}
	if severs(v.Group) {
		steps = append(steps, kernel.SetCtMark{Mask: kernel.EndsWith, Bits: kernel.EndsWith})
	}
	return steps
}

// found writes the chain of connections that a link took: with persistence it
// is learnt, and if another connection of the same client was quicker its link
// is taken.
func (b *builder) found(v *Variant, s *config.Persistence) string {
	name := "found_" + v.word
	if s != nil {
		name += "_" + traffic.Word(s.Name)
	}
	return b.ChainFor(flow.Link, "", name, func() (rules []kernel.Rule) {
		counted := b.entered(v)
		if s == nil {
			return []kernel.Rule{traffic.Rule("", append(counted, kernel.Choose{Key: linkOf(kernel.Mark), Map: "place"})...)}
		}
		for _, f := range traffic.Families() { // alone in its rule: a full map ends it
			rules = append(rules, traffic.Rule("persistence "+s.Name+" learns the link", b.learn(s, v.Group, f)))
		}
		rules = append(rules, traffic.Rule("", counted...))
		for _, f := range traffic.Families() {
			rules = append(rules, traffic.Rule("the link that persistence has: of the first of several at once", kernel.Choose{Key: kernel.Lookup{Key: stickKey(s, f), Map: stick(s, v.Group, f)}, Map: "place"}))
		}
		return append(rules, traffic.Rule("", kernel.Choose{Key: linkOf(kernel.Mark), Map: "place"}))
	})
}
