package outbound

import (
	"net/netip"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// stated is what the last wishes were made of, for whoever explains them.
type stated struct {
	roles map[string]flow.Role // of chains and sets
	nics  map[string]*kernel.Interface
}

// Names tells explain what chains and sets of [Table] are for. Links are told by
// the number in a mark; groups by the name of their variant, which the caller
// knows how to look up. What it gives may be called from any goroutine, and tells
// of the wishes that were made last.
func (p *Plan) Names() flow.Names {
	role := func(kind string) func(table, name string) flow.Role {
		return func(table, name string) flow.Role {
			if s := p.stated.Load(); s != nil && table == Table {
				return s.roles[kind+name]
			}
			return flow.Role{}
		}
	}
	return flow.Names{
		Link: func(mark uint32) string {
			for _, l := range p.links {
				if uint32(l.id) == mark {
					return l.Name
				}
			}
			return ""
		},
		Chain: role("chain "),
		Set:   role("set "),
		Source: func(name string, ipv6 bool) netip.Addr {
			s := p.stated.Load()
			f := families()[0]
			if ipv6 {
				f = families()[1]
			}
			if s == nil || s.nics[name] == nil {
				return netip.Addr{}
			}
			return addressOf(s.nics[name], f)
		},
	}
}

// chainFor is chain for one with a role.
func (b *builder) chainFor(kind, of, name string, rules func() []kernel.Rule) string {
	b.roles["chain "+name] = flow.Role{Kind: kind, Name: of}
	return b.chain(name, rules)
}
