package l4

import (
	"fmt"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// ours says whether a table is one of ours, and whether it is one that sends packets
// on as they are. Names of tables are as [kernel.Table.ID] has them.
func (p *Plan) ours(table string) (ours, copies bool) {
	copies = slices.Contains(p.CopyTables(), table)
	return copies || table == Table, copies
}

// What explain looks for among the sentences of the tables that copy.
const (
	tellKnown   = "the flow has a server, which keeps it"
	tellAnswer  = "answers of a routed server are not tracked"
	tellNothing = "its servers take nothing new"
	tellNoneUp  = "none of its servers lives"
	tellHeld    = "an operator holds it down"
	tellFull    = "the map of flows is full: the server of a slot, by hash"
	tellMidst   = "TCP in the midst of a connection: by hash"

	tellUnaddressed = "the server has no address of this family"
)

// tellCopy tells what a visit to a rule of such a table is worth telling of.
func (p *Plan) tellCopy(q flow.Question, v *kernel.Visit) []flow.Finding {
	switch name := strings.TrimSuffix(v.Chain, "_bare"); {
	case v.Tell == tellAnswer && v.Why == "":
		return []flow.Finding{{Role: flow.Role{Kind: RoleServer}, Hit: true, Text: v.Tell}}
	case name == "copy" || strings.HasPrefix(name, "which"):
		return p.tellWhich(q, v)
	case v.Tell == tellKnown:
		return p.tellFlow(q, v)
	case name == "new":
		return p.tellHead(v)
	}
	return nil
}

// tellFlow tells what the map of flows has.
func (p *Plan) tellFlow(q flow.Question, v *kernel.Visit) []flow.Finding {
	f := flow.Finding{Role: flow.Role{Kind: RoleServer}, Text: "flow of " + q.From.Addr().String(), Why: "none yet"}
	if kernel.HasPorts(q.Protocol) {
		f.Text = "flow of " + q.From.String()
	}
	for i := range v.Looks {
		switch l := &v.Looks[i]; {
		case strings.HasPrefix(l.Set, "flows") && l.Found != nil:
			f.Hit, f.Why = true, p.tellServer(ID(number32(l.Found.Data)))+flow.Age(l.Found)
		case l.Set == "holds" && l.Found == nil && f.Hit:
			f.Hit = false
			f.Why += ": it takes its flows no more, so this one is forgotten"
		}
	}
	return []flow.Finding{f}
}

// tellHead tells which farm a virtual server leads to now, and that it has nobody.
func (p *Plan) tellHead(v *kernel.Visit) []flow.Finding {
	s, f := p.headOf(v)
	switch {
	case v.Tell == tellHeld && v.Why == "":
		return tellEnd(v)
	case f == nil:
		return nil
	case (v.Tell == tellNothing || v.Tell == tellNoneUp) && v.Why == "":
		return []flow.Finding{{Role: flow.Role{Kind: flow.ServerFarm, Name: f.Name}, Hit: true, Text: "server farm " + f.Name + ": " + v.Tell}}
	}
	return tellLed(s.target.farm, f)
}

// headOf gives the virtual server that a visit looked for the farm of, and the farm;
// nil if it did not.
func (p *Plan) headOf(v *kernel.Visit) (*server, *farm) {
	for _, l := range v.Looks {
		if l.Set != "head" || l.Found == nil {
			continue
		}
		s, f := p.byMark[number32(l.Key)], p.byNumber[farmNumber(number32(l.Found.Data))]
		if s != nil && s.target != nil && f != nil {
			return s, f
		}
	}
	return nil, nil
}

// tellLed tells which farm takes what is meant for one: itself, or its backup.
func tellLed(meant, f *farm) []flow.Finding {
	found := []flow.Finding{{Role: flow.Role{Kind: flow.ServerFarm, Name: f.Name}, Hit: true, Text: "server farm " + f.Name}}
	if f == meant {
		return found
	}
	found[0].Why = "the backup of " + meant.Name
	return append([]flow.Finding{{Role: flow.Role{Kind: flow.ServerFarm, Name: meant.Name}, Text: "server farm " + meant.Name, Why: "it is not available, and its backup is"}}, found...)
}

// followCopy takes from a visit what it says of who serves.
func (p *Plan) followCopy(s *flow.Served, v *kernel.Visit) {
	if _, f := p.headOf(v); f != nil {
		s.Farm = f.Name
	}
	for _, l := range v.Looks {
		switch set := strings.TrimRight(l.Set, "46"); {
		case l.Found == nil:
		case set == "exact" || set == "ports" || set == "protos" || set == "any":
			s.VirtualServer = p.VirtualServerOf(number32(l.Found.Data))
		case set == "copy_to":
			s.Farm, s.Server = p.ServerOf(ID(number32(l.Key)))
		}
	}
	if v.Why != "" {
		return
	}
	switch v.Tell {
	case tellKnown, tellMidst, tellFull, tellHeld:
		s.By = v.Tell
	case tellNothing, tellNoneUp:
		s.By = fmt.Sprintf("server farm %s: %s", s.Farm, v.Tell)
	default:
		if strings.HasPrefix(v.Tell, tellBy) || v.Tell == tellUnaddressed {
			s.By = v.Tell
		}
	}
}
