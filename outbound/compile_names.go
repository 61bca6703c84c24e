package outbound

import (
	"net/netip"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// stated is what the last wishes were made of, for whoever explains them.
type stated struct {
	roles *traffic.Roles // of chains and sets
	nics  map[string]*kernel.Interface
}

// Names tells explain what chains and sets of [Table] are for. Links are told by
// the number in a mark; groups by the name of their variant, which the caller
// knows how to look up. What it gives may be called from any goroutine, and tells
// of the wishes that were made last when Names was called.
func (p *Plan) Names() flow.Names {
	s := p.stated.Load()
	role := func(of func(r *traffic.Roles, name string) flow.Role) func(table, name string) flow.Role {
		return func(table, name string) flow.Role {
			if s != nil && table == Table {
				return of(s.roles, name)
			}
			return flow.Role{}
		}
	}
	chain := role((*traffic.Roles).Chain)
	return flow.Names{
		Link:  p.LinkOf,
		Chain: chain,
		Limit: func(l kernel.Limit) (of, words string) { return p.limit(l, chain(l.Table, l.Chain)) },
		Shut:  func(l kernel.Limit) string { return p.shut(l, chain(l.Table, l.Chain)) },
		Set:   role((*traffic.Roles).Set),
		Source: func(name string, ipv6 bool) netip.Addr {
			f := traffic.Families()[0]
			if ipv6 {
				f = traffic.Families()[1]
			}
			if s == nil || s.nics[name] == nil {
				return netip.Addr{}
			}
			return addressOf(s.nics[name], f)
		},
	}
}

// LinkOf gives the name of the link in a mark, or "".
func (p *Plan) LinkOf(mark uint32) string {
	for _, l := range p.links {
		if uint32(l.id) == mark&kernel.LinkMask {
			return l.Name
		}
	}
	return ""
}

// RouteTable gives the table of routes of the link with a number.
func RouteTable(number uint16) int { return linkTable + int(number) }
