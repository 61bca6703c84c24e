package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	flows "github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Explain tells what becomes of a connection, from the wishes that the kernel
// was given, the entries that packets wrote as they are there now, and what the
// groups were told last; others are what other owners have in the kernel. It has
// no effect, and reads no more than the question needs, without keeping a tick
// waiting. It gives nil if nothing is balanced.
func (o *Outbound) Explain(ctx context.Context, q flows.Question, others ...flows.Part) (*flows.Explanation, error) {
	x := o.snapshot()
	if x == nil {
		return nil, nil
	}
	q.In = x.inbound(q)
	session, open, err := x.find(ctx, o.opts.Sessions, q)
	if err != nil {
		return nil, err
	}
	w := x.world(others)
	w.Find = o.opts.Kernel.Element
	var failed error
	if o.opts.Lookup != nil {
		w.Elsewhere = func(p kernel.Packet) (r kernel.Route, ok bool) {
			if r, err = o.opts.Lookup(p); err != nil {
				failed = err
			}
			return r, err == nil
		}
	}
	e, err := flows.Explain(w, q, session, x.names(others)...)
	if err != nil {
		return nil, err
	}
	if open != "" {
		e.Notes = append(e.Notes, open)
	}
	if failed != nil {
		e.Notes = append(e.Notes, "Linux tells no route: "+failed.Error())
	}
	return e, nil
}

// snapshot copies what an explanation is made from; nil: nothing is balanced.
func (o *Outbound) snapshot() *explaining {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.plan == nil {
		return nil
	}
	x := &explaining{plan: o.plan, wishes: o.plan.frozen(o.wished), interfaces: o.facts.Interfaces, own: o.plan.Names(), groups: map[string]*flows.Group{}}
	in := slots.Input{Table: o.opts.Board.Table(), Gauges: o.opts.Board.Gauges(), Now: time.Now(), Every: o.every()}
	for _, r := range o.groups {
		_, trace := r.group.Explain(in, r.load, r.state)
		x.groups[r.Name] = groupOf(r.Name, r.group, &r.last)
		x.groups[r.Name].Members = trace
	}
	return x
}

// frozen copies wishes with the elements that a tick writes together, so that
// the next one does not come in between.
func (p *Plan) frozen(w *kernel.Wishes) *kernel.Wishes {
	ticked := map[*kernel.Elements]bool{}
	for _, v := range p.variants {
		for _, e := range []*kernel.Elements{v.slots, v.next, v.avail, v.loose, v.alive} {
			ticked[e] = true
		}
	}
	out := *w
	out.Tables = slices.Clone(w.Tables)
	for i := range out.Tables {
		t := &out.Tables[i]
		t.Sets = slices.Clone(t.Sets)
		for k := range t.Sets {
			if s := &t.Sets[k]; ticked[s.Elements] {
				s.Elements = s.Elements.Clone()
			}
		}
	}
	return &out
}

// Offline tells what would become of a connection with a plan that has not been
// in use: the groups have their first tick with the rows given, and no packet
// has written anything. Interfaces may be empty: addresses and learnt next hops
// are not known then. The plan must not be used afterwards.
func Offline(p *Plan, rows *status.Table, interfaces []kernel.Interface, now time.Time, q flows.Question, others ...flows.Part) (*flows.Explanation, error) {
	x := explaining{plan: p, interfaces: interfaces, groups: map[string]*flows.Group{}}
	facts := Facts{Interfaces: interfaces, Now: now, Unavailable: map[string]bool{}, Lapsed: map[string]bool{}}
	in := slots.Input{Table: rows, Now: now, Every: tickEvery}
	for _, v := range p.Variants() {
		g, err := newGroup(v.Group, p.model.Links, p.Number)
		if err != nil {
			return nil, err
		}
		result, trace := g.Explain(in, slots.Load{}, slots.State{})
		v.Set(&result)
		set(facts.Unavailable, v.Group.Name, !result.Up)
		set(facts.Lapsed, v.Name, v.Strict && len(result.Lapsed) > 0)
		x.groups[v.Name] = groupOf(v.Name, g, &result)
		x.groups[v.Name].Members = trace
	}
	x.wishes, x.own = p.Wishes(facts), p.Names()
	q.In = x.inbound(q)
	e, err := flows.Explain(x.world(others), q, nil, x.names(others)...)
	if err == nil {
		e.Notes = append(e.Notes, "offline: nothing is probed, measured or learnt")
	}
	return e, err
}

// explaining is what one explanation is made from.
type explaining struct {
	plan       *Plan
	wishes     *kernel.Wishes
	own        flows.Names // of the chains and sets of the wishes
	interfaces []kernel.Interface
	groups     map[string]*flows.Group // by the name of the variant
}

func groupOf(name string, g *slots.Group, r *slots.Result) *flows.Group {
	made := &flows.Group{Name: name, Algorithm: string(g.Spec().Algorithm), Available: r.Up, Why: r.Why}
	for i := range r.Members {
		if s := &r.Members[i]; s.Phase == slots.Ramping || s.Phase == slots.StandingBy {
			made.Notes = append(made.Notes, fmt.Sprintf("%s comes back slowly (%s): %d of %d slots, until %s", s.Name, s.Phase, s.Slots, SlotCount, s.Until.Format(time.TimeOnly)))
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
	for _, n := range x.interfaces {
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
func (x *explaining) find(ctx context.Context, in Sessions, q flows.Question) (session *kernel.Session, open string, err error) {
	if kernel.HasPorts(q.Protocol) && !q.Assumed {
		s, found, err := in.Find(kernel.Tuple{Protocol: q.Protocol, Source: q.From, Destination: q.To})
		if err != nil || !found {
			return nil, "", err
		}
		return &s, "", nil
	}
	links := map[string]int{}
	err = in.Sessions(ctx, q.Sessions(), func(s kernel.Session) bool {
		links[x.plan.LinkOf(s.Mark)]++
		return true
	})
	if err != nil {
		return nil, "", err
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
		open = "sessions between the two that are open already stay where they are: " + strings.Join(words, ", ")
	}
	return nil, open, nil
}

// world gives what a packet meets.
func (x *explaining) world(others []flows.Part) *kernel.World {
	var all []*kernel.Wishes
	for _, o := range others {
		if o.Wishes != nil {
			all = append(all, o.Wishes)
		}
	}
	w := kernel.NewWorld(append(all, x.wishes)...)
	var own []netip.Prefix
	up := map[string]bool{}
	for _, n := range x.interfaces {
		own = append(own, n.Addresses...)
		up[n.Name] = n.Up
	}
	w.AddressType = kernel.AddressTypes(own...)
	w.Present = func(name string) bool { return len(up) == 0 || up[name] || name == "lo" }
	return w
}

// names gives what owners know of their tables, this one first.
func (x *explaining) names(others []flows.Part) []flows.Names {
	own := x.own
	own.Group = func(name string) *flows.Group { return x.groups[name] }
	all := []flows.Names{own}
	for _, o := range others {
		all = append(all, o.Names)
	}
	return all
}
