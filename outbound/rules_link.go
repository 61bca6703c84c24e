package outbound

import (
	"fmt"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// The chains of a link, by constants as marks cannot be combined otherwise:
//
//	link_N   may it take a connection? Then both marks have its number; if not,
//	         the packet mark alone, by which the next link is found
//	mark_N   the same without asking
//	place_X  the connection is its: counted, marked, accepted
//	again_X  the packet of a session is its
//	in_X     the connection came in by it
func linkChain(l *planLink) string { return fmt.Sprintf("link_%d", l.id) }

func markChain(id uint16) string { return fmt.Sprintf("mark_%d", id) }

func memberChain(g *config.LinkGroup, l *planLink) string {
	return fmt.Sprintf("link_%d_in_%s", l.id, traffic.Word(g.Name))
}

// try writes the chain that asks a link's limits.
func (b *builder) try(l *planLink) string {
	return b.ChainFor(flow.Link, l.Name, linkChain(l), func() []kernel.Rule {
		rules := []kernel.Rule{traffic.Rule("link "+l.Name+" is tried", kernel.SetMark{Mask: kernel.LinkMask, Bits: uint32(l.id)})}
		for _, f := range traffic.Families() {
			if !b.serves(l, f) {
				rules = append(rules, traffic.Rule(fmt.Sprintf("link %s has no way for IPv%s", l.Name, f.Digit), f.Only(), kernel.Return{}))
			}
		}
		full := b.Count("link/" + l.word + "/full")
		if traffic.InKernel(l.MaxConnections) {
			rules = append(rules, traffic.Rule(fmt.Sprintf("link %s is full at %d connections", l.Name, l.MaxConnections),
				rooms().Shut(b.Builder, number(uint32(l.id))), full, kernel.Return{}))
		}
		if l.NewConnections > 0 {
			rules = append(rules, traffic.Rule(fmt.Sprintf("link %s takes %d new connections a second", l.Name, l.NewConnections), traffic.RateOver(l.NewConnections), full, kernel.Return{}))
		}
		if traffic.InKernel(l.MaxConnections) {
			rules = append(rules, rooms().Enter(b.Builder, linkChain(l), fmt.Sprintf("link %s has more than %d connections", l.Name, l.MaxConnections), number(uint32(l.id)))...)
		}
		return append(rules, traffic.Rule("link "+l.Name+" takes it", kernel.SetCtMark{Mask: kernel.LinkMask, Bits: uint32(l.id)}))
	})
}

// mark writes the chain that takes a link whatever its limits.
func (b *builder) mark(l *planLink) string {
	return b.ChainFor(flow.Link, l.Name, markChain(l.id), func() []kernel.Rule {
		id := uint32(l.id)
		rules := []kernel.Rule{traffic.Rule("link "+l.Name+", whatever its limits", kernel.SetMark{Mask: kernel.LinkMask, Bits: id}, kernel.SetCtMark{Mask: kernel.LinkMask, Bits: id})}
		if traffic.InKernel(l.MaxConnections) {
			rules = append(rules, rooms().Force(b.Builder, number(id))...)
		}
		return rules
	})
}

// member writes the chain that asks the limit of a membership before the link's,
// and counts what the link then took.
func (b *builder) member(g *config.LinkGroup, m *config.LinkMember, l *planLink) {
	b.ChainFor(flow.Link, l.Name, memberChain(g, l), func() []kernel.Rule {
		which := number(b.plan.memberNumber(g, l))
		rules := []kernel.Rule{
			traffic.Rule("link "+l.Name+" is tried", kernel.SetMark{Mask: kernel.LinkMask, Bits: uint32(l.id)}),
			traffic.Rule(fmt.Sprintf("link %s is full at %d connections of group %s", l.Name, m.MaxConnections, g.Name),
				rooms().Shut(b.Builder, which), b.Count("link/"+l.word+"/full"), kernel.Return{}),
			traffic.Rule("", kernel.Jump{Chain: b.try(l)}),
			traffic.Rule("the link itself did not take it", traffic.NoBit(kernel.CtMark, kernel.LinkMask), kernel.Return{}),
		}
		return append(rules, rooms().Enter(b.Builder, memberChain(g, l), fmt.Sprintf("link %s has more than %d connections of group %s", l.Name, m.MaxConnections, g.Name), which)...)
	})
}

// place writes the end of the way of a new connection.
func (b *builder) place(l *planLink) string {
	return b.ChainFor(flow.Link, l.Name, "place_"+l.word, func() []kernel.Rule {
		id := uint32(l.id)
		return append(b.serve(), traffic.Rule("it leaves by link "+l.Name, b.Count("link/"+l.word),
			kernel.SetMark{Mask: kernel.LinkMask | b.wishes(), Bits: id}, kernel.SetCtMark{Mask: kernel.LinkMask, Bits: id}, kernel.Accept{}))
	})
}

func (b *builder) again(l *planLink) string {
	return b.ChainFor(flow.Link, l.Name, "again_"+l.word, func() []kernel.Rule {
		return []kernel.Rule{traffic.Rule("it leaves by link "+l.Name, kernel.SetMark{Mask: kernel.LinkMask, Bits: uint32(l.id)}, kernel.Accept{})}
	})
}

func (b *builder) cameBy(l *planLink) string {
	return b.ChainFor(flow.Link, l.Name, "in_"+l.word, func() []kernel.Rule {
		var rules []kernel.Rule
		if traffic.InKernel(l.MaxConnections) {
			rules = rooms().Force(b.Builder, number(uint32(l.id)))
		}
		return append(rules, traffic.Rule("it came in by link "+l.Name, b.Count("link/"+l.word+"/in"),
			kernel.SetCtMark{Mask: kernel.LinkMask | kernel.Inbound | kernel.Placed, Bits: kernel.Inbound | uint32(l.id)}, kernel.Accept{}))
	})
}
