package outbound

import (
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/traffic"
)

// Variant is a link group with or without busy protection: virtual servers may
// have it where the group has not. Each has elements of its own, which a tick
// writes; its methods give those that they may have changed, for
// [kernel.Kernel.Changed], which writes what did change and no more.
type Variant struct {
	Name   string            // of the group; with "+busy" if the protection is not the group's own
	Group  *config.LinkGroup // as a tick is to take it: BusyProtection is the variant's
	Strict bool              // some action goes on when all links are busy: see [Facts.Lapsed]

	word     string
	sticks   []string                 // persistences that it is used with
	verdicts map[slots.ID]kernel.Step // by link, where its number leads
	slots    *kernel.Elements         // slot to link
	next     *kernel.Elements         // link to the one that is tried after it
	avail    *kernel.Elements         // links that take new connections, with their limits
	loose    *kernel.Elements         // the same, and the busy ones
	alive    *kernel.Elements         // links that live, without their limits
}

// Variants gives all of them, in an order that only the configuration decides.
func (p *Plan) Variants() []*Variant { return p.variants }

// Variant gives one by its name; nil: there is none.
func (p *Plan) Variant(name string) *Variant { return p.byName[name] }

// findVariants makes the variants that virtual servers and policies use.
func (p *Plan) findVariants(before *Plan) {
	for _, v := range p.conf.VirtualServers {
		if !v.Enabled {
			continue
		}
		policy := p.policies[v.Policy]
		fallback := v.Default(policy)
		p.use(&fallback, v, before)
		if policy == nil {
			continue
		}
		for _, r := range policy.Rules {
			p.use(&r.Action, v, before)
		}
	}
}

func (p *Plan) use(a *config.PolicyAction, v *config.OutboundVirtualServer, before *Plan) {
	for _, group := range []string{a.LinkGroup, a.Backup} {
		if g := p.groups[group]; g != nil {
			made := p.variant(g, v.BusyProtection, before)
			made.Strict = made.Strict || a.OnBusy == config.BusyContinue
			if a.Persistence != "" && !slices.Contains(made.sticks, a.Persistence) {
				made.sticks = append(made.sticks, a.Persistence)
			}
		}
	}
}

// variant gives the variant of a group for a virtual server with or without
// busy protection.
func (p *Plan) variant(g *config.LinkGroup, protect bool, before *Plan) *Variant {
	name, short := g.Name, traffic.Word(g.Name)
	if protect && !g.BusyProtection {
		name, short = name+"+busy", short+"_busy"
	}
	if v := p.byName[name]; v != nil {
		return v
	}
	group := *g
	group.BusyProtection = g.BusyProtection || protect
	v := &Variant{Name: name, Group: &group, word: short, verdicts: map[slots.ID]kernel.Step{}}
	for _, m := range g.Members {
		l := p.byLink[m.Link]
		if l == nil {
			continue
		}
		v.verdicts[slots.ID(l.id)] = kernel.Jump{Chain: linkChain(l)}
		if traffic.InKernel(m.MaxConnections) {
			v.verdicts[slots.ID(l.id)] = kernel.Jump{Chain: memberChain(g, l)}
		}
	}
	var old *Variant
	if before != nil {
		old = before.byName[name]
	}
	v.inherit(old)
	p.variants, p.byName[name] = append(p.variants, v), v
	return v
}

// inherit takes over the elements of the variant that was, so that traffic
// finds its links before the first tick, and the kernel is told nothing if
// nothing changed. The plan before keeps its own if a link leads elsewhere now.
func (v *Variant) inherit(old *Variant) {
	v.slots, v.next = kernel.NewElements(), kernel.NewElements()
	v.avail, v.loose, v.alive = kernel.NewElements(), kernel.NewElements(), kernel.NewElements()
	if old == nil {
		return
	}
	v.slots, v.next = old.slots, old.next
	same := len(v.verdicts) == len(old.verdicts)
	for id, to := range v.verdicts {
		same = same && old.verdicts[id] == to
	}
	if same {
		v.avail, v.loose, v.alive = old.avail, old.loose, old.alive
		return
	}
	for id, to := range v.verdicts { // to a chain that is no more nothing may lead
		v.keep(old.avail, v.avail, id, to)
		v.keep(old.loose, v.loose, id, to)
		v.keep(old.alive, v.alive, id, kernel.Jump{Chain: markChain(uint16(id))})
	}
}

// keep takes a link over from one set of verdicts to another.
func (v *Variant) keep(from, to *kernel.Elements, id slots.ID, verdict kernel.Step) {
	key := kernel.Number(uint32(id))
	if _, ok := from.Get(key); ok {
		to.Put(kernel.Element{Key: key, Verdict: verdict})
	}
}

// SetSlots says who has which slot.
func (v *Variant) SetSlots(s slots.Slots) (changed []*kernel.Elements) {
	var list []kernel.Element
	for slot, id := range s {
		if id != 0 {
			list = append(list, kernel.Element{Key: kernel.Number(uint32(slot)), Data: kernel.Number(uint32(id))})
		}
	}
	return replaced(v.slots, list)
}

// SetAvailable says who takes new connections; each is tried after the one
// before it when that is at a limit which the kernel counts itself.
func (v *Variant) SetAvailable(ids slots.IDs) (changed []*kernel.Elements) {
	var ring []kernel.Element
	for i, id := range ids {
		if next := ids[(i+1)%len(ids)]; next != id {
			ring = append(ring, kernel.Element{Key: kernel.Number(uint32(id)), Data: kernel.Number(uint32(next))})
		}
	}
	return append(replaced(v.avail, v.leading(ids)), replaced(v.next, ring)...)
}

// SetAvailableOrBusy says who would take new connections if nobody were busy.
func (v *Variant) SetAvailableOrBusy(ids slots.IDs) (changed []*kernel.Elements) {
	return replaced(v.loose, v.leading(ids))
}

// SetAlive says who lives.
func (v *Variant) SetAlive(ids slots.IDs) (changed []*kernel.Elements) {
	var list []kernel.Element
	for _, id := range ids {
		list = append(list, kernel.Element{Key: kernel.Number(uint32(id)), Verdict: kernel.Jump{Chain: markChain(uint16(id))}})
	}
	return replaced(v.alive, list)
}

// Set says all that a tick found.
func (v *Variant) Set(r *slots.Result) (changed []*kernel.Elements) {
	changed = append(v.SetSlots(r.Slots), v.SetAvailable(r.Available)...)
	changed = append(changed, v.SetAvailableOrBusy(r.AvailableOrBusy)...)
	return append(changed, v.SetAlive(r.Alive)...)
}

func (v *Variant) leading(ids slots.IDs) (list []kernel.Element) {
	for _, id := range ids {
		if to := v.verdicts[id]; to != nil {
			list = append(list, kernel.Element{Key: kernel.Number(uint32(id)), Verdict: to})
		}
	}
	return list
}

// replaced makes elements these. Those that stay cost the kernel nothing.
func replaced(e *kernel.Elements, list []kernel.Element) []*kernel.Elements {
	e.Replace(list)
	return []*kernel.Elements{e}
}
