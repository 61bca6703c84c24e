package l4

import (
	"net/netip"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// The kinds of roles that chains and sets of slb have beside those of package
// flow.
const (
	RoleFarm   = flow.ServerFarm
	RoleServer = flow.RealServer
)

// setRoles tells what sets are for.
var setRoles = map[string]string{
	"exact4": flow.VirtualServer, "exact6": flow.VirtualServer, "nets4": flow.VirtualServer, "nets6": flow.VirtualServer,
	"ports": flow.VirtualServer, "protos": flow.VirtualServer, "any": flow.VirtualServer, "target": flow.VirtualServer, ServedSet: flow.VirtualServer,
	"limits": flow.VirtualServer, "vs_full": flow.VirtualServer, "vs_fast": flow.VirtualServer, "vs_shut": flow.VirtualServer,
	"policy": flow.Policy, "keep": flow.Persistence, "alive": flow.Persistence, "loose": flow.Persistence, "avail": flow.Persistence,
	"farm": RoleFarm, "mode": RoleFarm, slotsSet: RoleFarm, turnedSet: RoleFarm, "forced": RoleFarm, "empty": RoleFarm,
	"server4": RoleServer, "server6": RoleServer, "host4": RoleServer, "host6": RoleServer, "next4": RoleServer, "next6": RoleServer,
	"head": RoleFarm, "copy_slots": RoleFarm, "copy_to4": RoleServer, "copy_to6": RoleServer,
	"srv_fast": RoleServer, "dead4": RoleServer, "dead6": RoleServer,
}

// stated is what the last wishes were made of, for whoever explains them.
type stated struct {
	roles map[string]*traffic.Roles // by table
	nics  []kernel.Interface
}

// Names tells explain what chains and sets of [Table] are for, and what becomes of
// connections there. What it gives may be called from any goroutine, and tells of
// the wishes that were made last when Names was called. Read gives what a counter
// says; nil: that is not told.
func (p *Plan) Names(read func(traffic.Counted) (uint64, bool)) flow.Names {
	s := p.stated.Load()
	if s == nil {
		return flow.Names{}
	}
	ours := func(role func(*traffic.Roles, string) flow.Role) func(table, name string) flow.Role {
		return func(table, name string) flow.Role {
			if roles := s.roles[table]; roles != nil {
				return role(roles, name)
			}
			return flow.Role{}
		}
	}
	return flow.Names{
		Chain:  ours((*traffic.Roles).Chain),
		Set:    ours((*traffic.Roles).Set),
		Visit:  func(q flow.Question, v *kernel.Visit) ([]flow.Finding, bool) { return p.visit(s.roles[v.Table], q, v) },
		Served: p.served, Session: p.session, Limit: p.limit, Shut: p.shut,
		Counters: func(w *kernel.Way) []flow.Counter { return p.counters(w, read) },
		Source: func(name string, ipv6 bool) netip.Addr {
			for i := range s.nics {
				if s.nics[i].Name != name {
					continue
				}
				for _, p := range connected(&s.nics[i]) {
					if p.Addr().Is6() == ipv6 {
						return addressIn(&s.nics[i], p)
					}
				}
			}
			return netip.Addr{}
		},
	}
}

// addressIn gives the interface's own address in one of its networks.
func addressIn(n *kernel.Interface, network netip.Prefix) netip.Addr {
	for _, p := range n.Addresses {
		if p.Masked() == network {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// VirtualServerOf gives the name of the virtual server in a conntrack mark, or "".
func (p *Plan) VirtualServerOf(mark uint32) string {
	if s := p.byMark[mark&kernel.ServerMask]; s != nil {
		return s.Name
	}
	return ""
}

// MarkOf gives the bits of the conntrack mark that a virtual server's connections
// have; 0: it is not served.
func (p *Plan) MarkOf(virtualServer string) uint32 {
	if s := p.byServer[virtualServer]; s != nil {
		return s.mark
	}
	return 0
}

// FarmOf gives the name of a farm by its number, or by what stands for it in
// keys of maps; "": it has none.
func (p *Plan) FarmOf(number uint32) string {
	if f := p.byNumber[farmNumber(number)]; f != nil {
		return f.Name
	}
	return ""
}

// ServerOf gives the farm and the name of a real server by its number, or "".
func (p *Plan) ServerOf(id ID) (farm, name string) {
	if m := p.members[id&^ID(isMoved)]; m != nil {
		return m.farm.Name, m.Name
	}
	return "", ""
}

// IDOf gives the number of a real server; 0: it has none, or nothing leads to its
// farm.
func (p *Plan) IDOf(farm, name string) ID {
	if m := p.memberOf(farm, name); m != nil {
		return m.id
	}
	return 0
}
