package outbound

import (
	"slices"
	"time"

	flows "github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Part gives what explains connections: the wishes that the kernel was given, and
// what the groups were told last; nil if nothing is balanced. It keeps no tick waiting.
func (o *Outbound) Part() *flows.Part {
	x := o.snapshot()
	if x == nil {
		return nil
	}
	return x.part()
}

// snapshot copies what an explanation is made from; nil: nothing is balanced.
func (o *Outbound) snapshot() *explaining {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.plan == nil {
		return nil
	}
	x := &explaining{plan: o.plan, wishes: o.plan.frozen(o.wished), own: o.plan.Names(), groups: map[string]*flows.Group{}}
	in := slots.Input{Table: o.opts.Board.Table(), Gauges: o.opts.Board.Gauges(), Now: time.Now(), Every: o.every()}
	for _, r := range o.groups {
		_, trace := r.group.Explain(in, r.load, r.state)
		x.groups[r.Name] = traffic.GroupOf(r.Name, r.group, &r.last, trace)
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

// Offline gives what explains connections with a plan that has not been in use: the
// groups have their first tick with the rows given. Interfaces may be empty:
// addresses and learnt next hops are not known then. The plan must not be used
// afterwards.
func Offline(p *Plan, rows *status.Table, interfaces []kernel.Interface, now time.Time) (*flows.Part, error) {
	x := explaining{plan: p, groups: map[string]*flows.Group{}}
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
		x.groups[v.Name] = traffic.GroupOf(v.Name, g, &result, trace)
	}
	x.wishes, x.own = p.Wishes(facts), p.Names()
	return x.part(), nil
}

// explaining is what explanations are made from.
type explaining struct {
	plan   *Plan
	wishes *kernel.Wishes
	own    flows.Names             // of the chains and sets of the wishes
	groups map[string]*flows.Group // by the name of the variant
}

func (x *explaining) part() *flows.Part {
	own := x.own
	own.Group = func(name string) *flows.Group { return x.groups[name] }
	return &flows.Part{Wishes: x.wishes, Names: own, Inside: x.plan.conf.Interfaces}
}
