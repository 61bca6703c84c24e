package l4

import (
	"fmt"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// copied says whether the servers of a farm are sent packets as they are (modes
// direct and routed), which [CopyTable] does instead of [Table].
func (f *farm) copied() bool { return f.Mode == config.FarmDirect || f.Mode == config.FarmRouted }

// copied says whether the farm of a virtual server is such a one. All of its farms
// are then, and it has no policy: other configurations are refused.
func (s *server) copied() bool { return s.target != nil && s.target.farm.copied() }

// routed says whether answers of its servers come back through this machine.
func (s *server) routed() bool { return s.copied() && s.target.farm.Mode == config.FarmRouted }

// forces says whether a server takes connections over its limit.
func (f *farm) forces() bool { return f.OnBusy == config.FarmForce && !f.copied() }

// set is what a set that there is for either table is called for this farm.
func (f *farm) set(name string) string {
	if f.copied() {
		return "copy_" + name
	}
	return name
}

// CopyTables gives the tables that serve farms of modes direct and routed, as
// [kernel.Table.ID] has them: none, one, or one a family.
func (p *Plan) CopyTables() (list []string) {
	for i, family := range []kernel.TableFamily{kernel.IPv4, kernel.IPv6} {
		if p.has.copied[i] {
			t := kernel.Table{Name: CopyTable, Family: family}
			list = append(list, t.ID())
		}
	}
	return list
}

// Place is a set of a table.
type Place struct{ Table, Set string }

// Places says where a [traffic.Hit] is counted that names a set: what its element
// counts is the sum over them.
func (p *Plan) Places(set string) (list []Place) {
	switch set {
	case "copy_hits", "copy_waiting", "copy_none", "copy_given":
		for _, table := range p.CopyTables() {
			list = append(list, Place{table, set})
		}
		return list
	case given:
		for _, set := range []string{"server4", "host4", "server6", "host6"} {
			if p.sets[set] {
				list = append(list, Place{Table, set})
			}
		}
		return list
	}
	return []Place{{Table, set}}
}

// hold writes whose flows go on, for each virtual server that leads to the farm.
func (p *Plan) hold(f *farm) *kernel.Elements {
	e := p.elements("holds")
	if !f.copied() {
		return e
	}
	kept := map[ID]bool{}
	for _, id := range p.live.kept[f.Name] {
		kept[id] = true
	}
	for _, m := range f.members {
		for _, mark := range f.marks {
			el := kernel.Element{Key: memberKey(mark, m.id)}
			if kept[m.id] {
				e.Put(el)
			} else {
				e.Delete(el)
			}
		}
	}
	return e
}

// unreached refuses servers without an address of a family that their virtual
// servers have: there is no second choice where packets are sent on as they are.
func (p *Plan) unreached() (errs config.Errors) {
	for i, f := range p.model.ServerFarms {
		of := p.byFarm[f.Name]
		if of == nil || !of.copied() {
			continue
		}
		var needs [2]*server
		for _, mark := range of.marks {
			for _, a := range p.byMark[mark].Addresses {
				needs[traffic.FamilyOf(a)] = p.byMark[mark]
			}
		}
		for k, m := range f.Servers {
			for at, s := range needs {
				if s == nil || m.Host != "" || hasFamily(m, at) {
					continue
				}
				errs = append(errs, &config.Error{Pos: m.Pos, Path: fmt.Sprintf("serverFarms[%d].servers[%d]", i, k),
					Text: fmt.Sprintf("server %q has no address of %s, which virtual server %q has, and in mode %s each server takes packets of both: give it one", m.Name, [...]string{"IPv4", "IPv6"}[at], s.Name, f.Mode)})
			}
		}
	}
	return errs
}

func hasFamily(m *config.RealServer, at int) bool {
	for _, a := range m.Addresses {
		if traffic.FamilyOf(a) == at {
			return true
		}
	}
	return false
}
