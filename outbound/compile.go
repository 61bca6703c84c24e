package outbound

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/topology"
	"github.com/portolan-lb/portolan/traffic"
)

// Owner is who wishes what a [Plan] says, and Table the table of nftables that
// is wholly its own.
const (
	Owner = "outbound"
	Table = "portolan_outbound"
)

// Inputs is what a [Plan] is made of.
type Inputs struct {
	Model    *config.Model
	Topology *topology.Table   // of the model: knows the addresses of ISPs, autonomous systems and countries; nil: it knows none
	IDs      map[string]uint16 // numbers of the links, as [Number] gives them
	Before   *Plan             // whose elements are taken over where they are the same (T60); nil: there is none
}

// Facts is what changes while the configuration stays: a [Plan] and facts
// together say what Linux is to be like.
type Facts struct {
	Interfaces []kernel.Interface // that there are: the addresses of inside and links, and next hops that were learnt
	Neighbours []Neighbour        // next hops of links on this network's segments
	Now        time.Time          // for the times of classes, see [Plan.Next]

	// Unavailable holds link groups that are below their thresholds (T30): their
	// backup goes before them.
	Unavailable map[string]bool
	// Lapsed holds the variants, by name, all of whose links are busy: actions
	// that go on then (onBusy) use none of them.
	Lapsed map[string]bool
}

// Neighbour is a router on a segment, as neighbour discovery knows it.
type Neighbour struct {
	Interface string
	Addr      netip.Addr
	Ether     [6]byte
}

// Plan is what the kernel is to do for a configuration. Its methods are for one
// goroutine, but for those of its elements' owners: [Variant], SetDead, SetRanks.
type Plan struct {
	model *config.Model
	conf  *config.Outbound
	topo  *topology.Table
	links []*planLink // that have an interface, in the order of the configuration

	byLink   map[string]*planLink
	groups   map[string]*config.LinkGroup
	policies map[string]*config.Policy
	classes  map[string]*config.Class
	keeps    map[string]*config.Persistence
	limits   map[string]*config.LimitPolicy

	full, last []kernel.Element  // bounds of connections, see rooms
	rooms      map[string]uint32 // numbers of groups that have some

	variants []*Variant
	byName   map[string]*Variant
	ranks    [2]*kernel.Elements // by family: networks to the links that are nearest
	dead     *kernel.Elements    // links whose sessions are reset
	fixed    *traffic.Fixed      // elements of sets that no tick writes
	stated   atomic.Pointer[stated]
}

// planLink is a link that packets can be sent over.
type planLink struct {
	*config.Link
	id   uint16
	word string // its name, as the kernel may have it
}

// Compile makes the plan of a validated model that balances. It has no effect
// on the plan before.
func Compile(in Inputs) (*Plan, config.Errors) {
	o := in.Model.Outbound
	p := &Plan{model: in.Model, conf: o, topo: in.Topology, byLink: map[string]*planLink{},
		groups: byName(in.Model.LinkGroups, func(g *config.LinkGroup) string { return g.Name }),
		keeps:  byName(in.Model.Persistence, func(s *config.Persistence) string { return s.Name }),
		byName: map[string]*Variant{}, fixed: traffic.NewFixed(),
	}
	p.policies = byName(o.Policies, func(q *config.Policy) string { return q.Name })
	p.classes = byName(o.Classes, func(k *config.Class) string { return k.Name })
	p.limits = byName(o.LimitPolicies, func(l *config.LimitPolicy) string { return l.Name })
	errs := p.number(in)
	if errs.Failed() {
		return nil, errs
	}
	p.findRooms()
	p.findVariants(in.Before)
	p.inherit(in.Before)
	if depth := p.fixed.Depth(p.Wishes(Facts{}).Tables[0], tickedDepth); depth > traffic.MaxDepth {
		errs = append(errs, &config.Error{Pos: o.Pos, Path: "outbound.classes",
			Text: fmt.Sprintf("classes of match any stand so deep within others that the kernel would have to go through %d chains, more than %d: flatten them", depth, traffic.MaxDepth)})
		return nil, errs
	}
	return p, errs
}

// tickedDepth is how deep what stands in maps that ticks write leads: to the
// chain of a link, or to one before it, and from there to one more.
const tickedDepth = 3

func byName[T any](list []*T, name func(*T) string) map[string]*T {
	m := make(map[string]*T, len(list))
	for _, n := range list {
		m[name(n)] = n
	}
	return m
}

// number finds the links that packets can be sent over.
func (p *Plan) number(in Inputs) (errs config.Errors) {
	used := map[uint16]string{}
	for i, l := range in.Model.Links {
		if l.Interface == "" {
			continue
		}
		id := in.IDs[l.Name]
		why := ""
		switch other, taken := used[id]; {
		case id == 0 || id > MaxLink:
			why = fmt.Sprintf("the link has no number: at most %d links can be balanced", MaxLink)
		case taken:
			why = fmt.Sprintf("the link has the number %d of link %s", id, other)
		}
		if why != "" {
			errs = append(errs, &config.Error{Pos: l.Pos, Path: fmt.Sprintf("links[%d]", i), Text: why})
			continue
		}
		used[id] = l.Name
		k := &planLink{Link: l, id: id, word: traffic.Word(l.Name)}
		p.links, p.byLink[l.Name] = append(p.links, k), k
	}
	return errs
}

// inherit takes over what ticks write into no variant.
func (p *Plan) inherit(before *Plan) {
	p.ranks = [2]*kernel.Elements{kernel.NewElements(), kernel.NewElements()}
	p.dead = kernel.NewElements()
	if before == nil {
		return
	}
	p.dead = before.dead
	p.fixed = before.fixed.Clone()
	if p.model.Proximity.Mask == before.model.Proximity.Mask {
		p.ranks = before.ranks
	}
}

// Wishes says what Linux is to be like. Elements that ticks write are in it as
// they stand, and stay the plan's: they are changed by [Variant] and its kin.
func (p *Plan) Wishes(f Facts) *kernel.Wishes {
	b := &builder{plan: p, facts: f, Matcher: traffic.Matcher{Builder: traffic.NewBuilder(Table, p.fixed),
		Classes: p.classes, Topology: p.topo, Far: traffic.Destination, Now: f.Now}}
	b.nics = byName(pointers(f.Interfaces), func(n *kernel.Interface) string { return n.Name })
	b.table()
	table, roles := b.Done()
	p.stated.Store(&stated{roles, b.nics})
	w := &kernel.Wishes{Tables: []kernel.Table{table}}
	b.routes(w)
	b.shapers(w)
	b.sysctls(w)
	return w
}

func pointers[T any](list []T) []*T {
	out := make([]*T, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}

// Next gives the moment after now when a class begins or ceases to match by its
// times, so that wishes are to be made anew; the zero Time: never. Times are of
// whole minutes.
func (p *Plan) Next(now time.Time) time.Time {
	return traffic.NextChange(p.conf.Classes, now)
}

// SetDead says whose sessions are reset (onFailure: reset): those of groups that
// end them.
func (p *Plan) SetDead(ids slots.IDs) (changed []*kernel.Elements) {
	list := make([]kernel.Element, len(ids))
	for i, id := range ids {
		list[i].Key = kernel.Number(uint32(id) | kernel.EndsWith)
	}
	return replaced(p.dead, list)
}

// SetRanks says which links are nearest to a network of proximity's mask; no
// ranks: it is not known any more.
func (p *Plan) SetRanks(network netip.Prefix, ranks Ranks) (changed *kernel.Elements) {
	f := traffic.FamilyOf(network.Addr())
	el := kernel.Element{Key: kernel.Addr(network.Masked().Addr()), Data: kernel.Number(uint32(ranks))}
	if ranks == 0 {
		p.ranks[f].Delete(el)
	} else {
		p.ranks[f].Put(el)
	}
	return p.ranks[f]
}

// Wanted gives the networks in what packets wrote into a set of wanted ones
// ([WantedSets]), with the mask of proximity.
func (p *Plan) Wanted(list []kernel.Element) (networks []netip.Prefix) {
	for _, el := range list {
		a, ok := netip.AddrFromSlice(el.Key)
		if !ok {
			continue
		}
		bits := p.model.Proximity.Mask.V4
		if a.Is6() {
			bits = p.model.Proximity.Mask.V6
		}
		networks = append(networks, netip.PrefixFrom(a, bits))
	}
	return networks
}

// WantedSets are the maps into which packets write the networks whose distance
// should be known, each with a host in it that was asked for.
func WantedSets() []string { return []string{"prox_want4", "prox_want6"} }
