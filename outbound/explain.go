package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	flows "github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// finder looks sessions up; a [kernel.Conntrack] does.
type finder interface {
	Sessions(ctx context.Context, f kernel.SessionFilter, yield func(kernel.Session) bool) error
}

// Explain tells what becomes of a connection, from the wishes that the kernel
// was given, the entries that packets wrote as they are there now, and what the
// groups were told last. It has no effect. It gives nil if nothing is balanced.
func (o *Outbound) Explain(ctx context.Context, q flows.Question) (*flows.Explanation, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.plan == nil {
		return nil, nil
	}
	// The facts, their time included, are those that the kernel was given.
	x := explaining{plan: o.plan, facts: o.facts, groups: map[string]*flows.Group{}}
	in := Input{Table: o.opts.Board.Table(), Gauges: o.opts.Board.Gauges(), Now: time.Now(), Every: o.every(), Connections: connectionsOf(o.count.read())}
	for _, r := range o.groups {
		_, trace := r.group.Explain(in, r.load, r.state)
		x.groups[r.Name] = groupOf(r.Name, r.group, &r.last)
		x.groups[r.Name].Members = trace
	}
	q.In = x.inbound(q)
	session, others, err := x.find(ctx, o.opts.Sessions, q)
	if err != nil {
		return nil, err
	}
	return x.explain(q, session, others, o.opts.Kernel.Elements)
}

// Offline tells what would become of a connection with a plan that has not been
// in use: the groups have their first tick with the rows given, and no packet
// has written anything. Interfaces may be empty: addresses and learnt next hops
// are not known then. The plan must not be used afterwards.
func Offline(p *Plan, rows *status.Table, interfaces []kernel.Interface, now time.Time, q flows.Question) (*flows.Explanation, error) {
	x := explaining{plan: p, groups: map[string]*flows.Group{}, facts: Facts{Interfaces: interfaces, Now: now, Unavailable: map[string]bool{}, Lapsed: map[string]bool{}}}
	in := Input{Table: rows, Now: now, Every: tickEvery}
	for _, v := range p.Variants() {
		g, err := NewGroup(v.Group, p.model.Links, p.Number)
		if err != nil {
			return nil, err
		}
		result, trace := g.Explain(in, Load{}, State{})
		v.Set(&result)
		set(x.facts.Unavailable, v.Group.Name, !result.Up)
		set(x.facts.Lapsed, v.Name, v.Strict && len(result.Lapsed) > 0)
		x.groups[v.Name] = groupOf(v.Name, g, &result)
		x.groups[v.Name].Members = trace
	}
	q.In = x.inbound(q)
	e, err := x.explain(q, nil, "", nil)
	if err == nil {
		e.Notes = append(e.Notes, "offline: nothing is probed, measured or learnt")
	}
	return e, err
}

// explaining is what one explanation is made from.
type explaining struct {
	plan   *Plan
	facts  Facts
	groups map[string]*flows.Group // by the name of the variant
}

func groupOf(name string, g *Group, r *Result) *flows.Group {
	made := &flows.Group{Name: name, Algorithm: string(g.algorithm), Available: r.Up, Why: r.Why}
	for i := range r.Members {
		if s := &r.Members[i]; s.Phase == Ramping || s.Phase == StandingBy {
			made.Notes = append(made.Notes, fmt.Sprintf("%s comes back slowly (%s): %d of %d slots, until %s", s.Link, s.Phase, s.Slots, SlotCount, s.Until.Format(time.TimeOnly)))
		}
	}
	if len(r.Lapsed) > 0 {
		made.Notes = append(made.Notes, "all who take part are busy: busy protection has lapsed")
	}
	return made
}

// inbound finds the interface that a client comes in by, if it is not told:
// none for an address of this machine, else the inside interface in whose
// network it is, else the first.
func (x *explaining) inbound(q flows.Question) string {
	inside := x.plan.conf.Interfaces
	if q.In != "" || len(inside) == 0 {
		return q.In
	}
	found := inside[0]
	for _, n := range x.facts.Interfaces {
		for _, p := range n.Addresses {
			switch {
			case p.Addr().WithZone("") == q.From.Addr():
				return ""
			case slices.Contains(inside, n.Name) && p.Masked().Contains(q.From.Addr()):
				found = n.Name
			}
		}
	}
	return found
}

// find gives the session of a question. Without the client's port there may be
// several: they are told in a sentence, and a new one is explained.
func (x *explaining) find(ctx context.Context, in any, q flows.Question) (session *kernel.Session, others string, err error) {
	f, ok := in.(finder)
	if !ok {
		return nil, "", nil
	}
	filter := kernel.SessionFilter{Family: unix.AF_INET, Protocol: q.Protocol}
	if q.To.Addr().Is6() {
		filter.Family = unix.AF_INET6
	}
	links := map[string]int{}
	err = f.Sessions(ctx, filter, func(s kernel.Session) bool {
		if !q.Of(&s) {
			return true
		}
		if q.Assumed || !kernel.HasPorts(q.Protocol) {
			links[x.plan.LinkOf(s.Mark)]++
			return true
		}
		session = &s
		return false
	})
	if err != nil {
		return nil, "", fmt.Errorf("sessions: %w", err)
	}
	var words []string
	for name, n := range links {
		if name == "" {
			name = "no link"
		}
		words = append(words, fmt.Sprintf("%d on %s", n, name))
	}
	slices.Sort(words)
	if len(words) > 0 {
		others = "sessions between the two that are open already stay where they are: " + strings.Join(words, ", ")
	}
	return session, others, nil
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

func (x *explaining) explain(q flows.Question, session *kernel.Session, others string, read func(table, set string) ([]kernel.Element, error)) (*flows.Explanation, error) {
	w := kernel.NewWorld(x.plan.Wishes(x.facts))
	w.Read = read
	var own []netip.Prefix
	up := map[string]bool{}
	for _, n := range x.facts.Interfaces {
		own = append(own, n.Addresses...)
		up[n.Name] = n.Up
	}
	w.AddressType = kernel.AddressTypes(own...)
	w.Present = func(name string) bool { return len(up) == 0 || up[name] }
	e, err := flows.Explain(w, q, session, x.names())
	if err == nil && others != "" {
		e.Notes = append(e.Notes, others)
	}
	return e, err
}

// names tells what chains and sets of a plan are for.
func (x *explaining) names() flows.Names {
	p := x.plan
	sticks := map[string]string{}
	for _, s := range p.Sticks() {
		sticks[s.Set] = s.Persistence
	}
	groups, entries := map[string]string{}, map[string]string{} // chain to variant, chain to persistence
	for _, v := range p.Variants() {
		groups["group_"+v.word] = v.Name
		for _, s := range v.sticks {
			groups["group_"+v.word+"_"+word(s)], groups["stay_"+v.word+"_"+word(s)] = v.Name, v.Name
			entries["entry4_"+v.word+"_"+word(s)], entries["entry6_"+v.word+"_"+word(s)] = s, s
		}
	}
	return flows.Names{
		Link: p.LinkOf,
		Chain: func(table, chain string) flows.Role {
			if table != Table {
				return flows.Role{}
			}
			if name := groups[chain]; name != "" {
				return flows.Role{Kind: flows.LinkGroup, Name: name}
			}
			if name := entries[chain]; name != "" {
				return flows.Role{Kind: flows.Persistence, Name: name}
			}
			return roleOf(chain)
		},
		Set: func(table, set string) flows.Role {
			switch name := sticks[set]; {
			case table != Table:
			case name != "":
				return flows.Role{Kind: flows.Persistence, Name: name}
			case set == "prox4" || set == "prox6":
				return flows.Role{Kind: flows.Proximity}
			}
			return flows.Role{}
		},
		Group:  func(name string) *flows.Group { return x.groups[name] },
		Source: x.source,
	}
}

// roleOf tells what a chain is for by how its name begins.
func roleOf(chain string) flows.Role {
	before, name, _ := strings.Cut(chain, "_")
	switch before {
	case "new", "servers4", "servers6", "server", "which", "limits", "limit":
		return flows.Role{Kind: flows.VirtualServer, Name: name}
	case "policy", "class":
		return flows.Role{Kind: flows.Policy, Name: name}
	case "link", "mark", "place", "found", "kept4", "kept6":
		return flows.Role{Kind: flows.Link, Name: name}
	}
	return flows.Role{}
}

// source is the address that masquerading gives: the first of the interface
// that is not local to its network.
func (x *explaining) source(iface string, ipv6 bool) netip.Addr {
	for _, n := range x.facts.Interfaces {
		for _, p := range n.Addresses {
			if n.Name == iface && p.Addr().Is6() == ipv6 && !p.Addr().IsLinkLocalUnicast() {
				return p.Addr()
			}
		}
	}
	return netip.Addr{}
}
