package slb

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// virtual is a virtual server at run time.
//
// Its row, by which answers of the DNS go, is up while anybody serves any of its
// clients: while its farm or the backup is available, or a farm or backup of an
// action of its policy. Which of its clients that would be depends on what they
// are, which no row can say; so a part that cannot be served is no reason to send
// the others away.
type virtual struct {
	*config.VirtualServer
	row   status.ID
	mark  uint32
	farms []*farm // it may send connections to them; its own first, then the backup

	live  int  // connections
	over  bool // it is at a limit that the kernel does not count
	held  bool // an operator says down: nobody new gets in
	shut  bool // as the kernel was told
	moved bool // its connections, since it was looked at last
}

func compare(a, b string) int { return cmp.Compare(a, b) }

// gatherVirtuals makes what virtual servers there are, and tells the farms.
func (s *SLB) gatherVirtuals(n l4.Numbers, before map[string]*virtual) {
	policies := map[string]*config.FarmPolicy{}
	for _, q := range s.model.SLB.Policies {
		policies[q.Name] = q
	}
	for _, c := range s.model.VirtualServers {
		mark := l4.Mark(n.VirtualServers[c.Name])
		if !c.Served() || mark == 0 {
			continue
		}
		v := &virtual{VirtualServer: c, mark: mark, row: status.MakeID(status.KindVirtualServer, c.Name)}
		use := func(name string) {
			if f := s.farms[name]; f != nil && !slices.Contains(v.farms, f) {
				v.farms, f.users = append(v.farms, f), append(f.users, v)
			}
		}
		use(c.Serve.Farm)
		use(c.Serve.Backup)
		if q := policies[c.Serve.Policy]; q != nil && q.Kind == config.PolicyGeneric { // those of HTTP are not in effect (FAQ 1.1.10)
			for _, r := range q.Rules {
				if r.Action != nil {
					use(r.Action.Farm)
					use(r.Action.Backup)
				}
			}
		}
		if old := before[c.Name]; old != nil && old.over {
			if v.over = c.Serve.MaxConnections > traffic.CountedMost; !v.over { // nobody counts it any more
				s.opts.Board.Unmark(Owner, v.row)
			}
		}
		s.virtuals[c.Name], s.byMark[mark] = v, v
	}
}

// rowNow is the row of the virtual server.
func (v *virtual) rowNow() status.Row {
	row := status.Row{ID: v.row, Health: status.Down, By: Owner}
	switch at := slices.IndexFunc(v.farms, func(f *farm) bool { return f.last.Up }); {
	case at >= 0:
		f := v.farms[at]
		row.Health, row.Why = status.Up, fmt.Sprintf("farm %s: %s", f.Name, f.last.Why)
		if at > 0 && f.Name == v.Serve.Backup {
			row.Why = fmt.Sprintf("backup %s stands in for farm %s: %s", f.Name, v.Serve.Farm, f.last.Why)
		}
	case len(v.farms) == 0:
		row.Why = "nothing serves it: it has neither a farm nor a policy that leads to one"
	default:
		row.Why = fmt.Sprintf("nothing serves it: farm %s: %s", v.farms[0].Name, v.farms[0].last.Why)
		if more := len(v.farms) - 1; more > 0 {
			row.Why += fmt.Sprintf(" (and %d more farms are not available)", more)
		}
	}
	return row
}

// IdleRows gives the rows of the virtual servers of a configuration while nothing
// of it can be served: down, for clients that come get no answer.
func IdleRows(m *config.Model, by, why string) (rows []status.Row) {
	for _, v := range m.VirtualServers {
		if v.Served() {
			rows = append(rows, status.Row{ID: status.MakeID(status.KindVirtualServer, v.Name), Health: status.Down, Why: "nothing serves it: " + why, By: by})
		}
	}
	return rows
}

// outRows gives the rows of servers that are out for a reason of ours.
func (s *SLB) outRows() (rows []status.Row) {
	for _, f := range s.list {
		for _, m := range f.members {
			if row, out := m.ownRow(); out {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

// shut has the kernel let nobody new in who has no entry of a persistence with
// overrideLimit, while the virtual server is at a limit that the kernel does not
// count itself, or an operator says down. That it is drained is not the kernel's:
// the DNS gives it to nobody new, and those who still have its address are served.
func (s *SLB) shut(v *virtual, hold *status.Hold) []*kernel.Elements {
	v.held = hold != nil && hold.State == status.HoldDown
	v.shut = v.held || v.over
	if v.held {
		s.held[v] = true
	} else {
		delete(s.held, v)
	}
	return s.plan.SetShut(v.Name, v.shut)
}

// shutting gives the virtual servers that come to the limit of their connections,
// or are below it again.
func (s *SLB) shutting() (list []*virtual) {
	marks := map[status.ID]status.Load{}
	for _, v := range s.book.moved {
		v.moved = false
		most := v.Serve.MaxConnections
		over := most > traffic.CountedMost && v.live >= most
		if most > traffic.CountedMost && v.live > most/2 && !over {
			s.book.near[v] = true
		} else {
			delete(s.book.near, v)
		}
		if over != v.over {
			v.over = over
			list = append(list, v)
			why := fmt.Sprintf("%d connections, and maxConnections is %d", v.live, most)
			if !over {
				why = fmt.Sprintf("%d connections, below maxConnections %d", v.live, most)
			}
			marks[v.row] = status.Load{Full: over, Why: why, By: Owner}
		}
	}
	s.book.moved = s.book.moved[:0]
	if len(marks) > 0 {
		s.opts.Board.Mark(marks)
	}
	return list
}

// bounded says whether a virtual server has a limit that the kernel does not count
// itself.
func (s *SLB) bounded() bool { return s.book.bounded }
