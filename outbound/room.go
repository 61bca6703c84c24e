package outbound

import (
	"maps"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// roomTag is for the questions whether a link has room again.
const roomTag = 0x51

// rooms are the bounds of connections of links, and of their memberships in groups,
// in [Table]: a link that has no room passes on to the next one (ADR 24).
func rooms() *traffic.Room { return &traffic.Room{Name: "link", Tag: roomTag} }

// A link's number is its own; a membership's has the group's above it.
const (
	linkBits   = 10
	groupsMost = 1<<(24-linkBits) - 1
)

// findRooms finds who has a bound that the kernel counts.
func (p *Plan) findRooms() {
	numbers := traffic.NewNamer(groupsMost)
	p.rooms = map[string]uint32{}
	add := func(number uint32, most int) {
		full, last := traffic.RoomFor(number, most)
		p.full, p.last = append(p.full, full), append(p.last, last)
	}
	for _, l := range p.links {
		if traffic.InKernel(l.MaxConnections) {
			add(uint32(l.id), l.MaxConnections)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.groups)) {
		bounded := false
		for _, m := range p.groups[name].Members {
			l := p.byLink[m.Link]
			if l == nil || !traffic.InKernel(m.MaxConnections) {
				continue
			}
			if !bounded {
				bounded, p.rooms[name] = true, numbers.Of(name)
			}
			add(p.memberNumber(p.groups[name], l), m.MaxConnections)
		}
	}
}

// memberNumber is for a membership that has a bound.
func (p *Plan) memberNumber(g *config.LinkGroup, l *planLink) uint32 {
	return p.rooms[g.Name]<<linkBits | uint32(l.id)
}

// roomed says whether the kernel counts for anybody.
func (p *Plan) roomed() bool { return len(p.full) > 0 }

// room writes what the rules of bounds look into.
func (b *builder) room() {
	if !b.plan.roomed() {
		return
	}
	number := []kernel.Type{kernel.TypeNumber}
	b.Fix(kernel.Set{Name: "link_full", Key: number}, b.plan.full)
	b.Fix(kernel.Set{Name: "link_last", Key: number}, b.plan.last)
	rooms().Ask(b.Builder)
}

func number(n uint32) kernel.Value { return kernel.Const(kernel.Number(n)) }

// limit tells a limit of a link; empty words: it is none.
func (p *Plan) limit(l kernel.Limit, chain flow.Role) (of, words string) {
	if chain.Kind != flow.Link {
		return "", ""
	}
	return "link " + chain.Name, rooms().Told(l).String()
}

// shut tells whose limit one is at who is known to be full.
func (p *Plan) shut(l kernel.Limit, chain flow.Role) string {
	if chain.Kind != flow.Link || !rooms().IsShut(l) {
		return ""
	}
	return "link " + chain.Name
}
