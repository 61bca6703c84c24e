package kernel

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// NewWorld gives the world that the wishes of owners make together.
func NewWorld(wishes ...*Wishes) *World {
	w := &World{}
	for _, wish := range wishes {
		w.Tables = append(w.Tables, wish.Tables...)
		w.Rules = append(w.Rules, wish.Rules...)
		w.Routes = append(w.Routes, wish.Routes...)
	}
	return w
}

// Way is one way that a packet may take through this machine.
type Way struct {
	Share  float64   // of the first packets of such connections, above 0, at most 1
	Hooks  []Passage // in order
	Routed *Routed   // nil: it did not come so far
	End    End
	Packet Packet          // as it left
	Copies []netip.Addr    // where copies of it were sent to, which went on by themselves ([Dup])
	NAT    *NAT            // the source address that it leaves with; nil: its own
	To     *netip.AddrPort // the destination that its connection is given; nil: as it is
}

// Passage is a hook and what happened there.
type Passage struct {
	Point string
	*Trace
}

// Journey sends a packet that came in by an interface through prerouting, the
// routing tables, and then forward and postrouting, or input; one without In is
// this machine's own, and goes through output. It gives each way that draws
// allow, as [World.Outcomes] does, the likelier ones first.
//
// A destination that is translated is the one that routing and the hooks behind
// it see. What a rule wrote to the priority is gone behind routing if the packet
// is one of IPv4 that goes through.
func (w *World) Journey(p Packet) ([]Way, error) {
	first := "prerouting"
	if p.In == "" {
		first = "output"
		p.Out = w.Route(p).Interface() // the first look-up, by which it has an interface at all
	}
	ways, err := w.through(first, []Way{{Share: 1, Packet: p}})
	if err != nil {
		return nil, err
	}
	for i := range ways {
		w.route(&ways[i])
	}
	if first == "prerouting" {
		local := func(way *Way) bool { return way.Routed != nil && way.Routed.Local() }
		if ways, err = w.only("input", ways, local); err != nil {
			return nil, err
		}
		if ways, err = w.only("forward", ways, func(way *Way) bool { return !local(way) }); err != nil {
			return nil, err
		}
	}
	ways, err = w.only("postrouting", ways, func(way *Way) bool { return way.Routed != nil && !way.Routed.Local() })
	slices.SortStableFunc(ways, func(a, b Way) int { return cmp.Compare(b.Share, a.Share) })
	return ways, err
}

// route finds where a packet goes that has passed so far.
func (w *World) route(way *Way) {
	if way.End != Passed {
		return
	}
	r := w.Route(way.Packet)
	way.Routed = &r
	if !r.Local() {
		if way.Packet.In != "" && !way.Packet.IPv6() {
			way.Packet.Priority = forwarded(way.Packet.TOS)
		}
		way.Packet.Out = r.Interface()
	}
	if r.Found && r.Route.Kind == Unreachable {
		way.End = Refused
	}
}

// only sends those ways through a hook that pass so far and for which it is.
func (w *World) only(point string, ways []Way, is func(*Way) bool) (all []Way, err error) {
	for _, way := range ways {
		if way.End != Passed || !is(&way) {
			all = append(all, way)
			continue
		}
		further, err := w.through(point, []Way{way})
		if err != nil {
			return nil, err
		}
		all = append(all, further...)
	}
	return all, nil
}

func (w *World) through(point string, ways []Way) (all []Way, err error) {
	for _, way := range ways {
		list, err := w.Outcomes(point, way.Packet)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", point, err)
		}
		for _, o := range list {
			next := way
			next.Share *= o.Share
			next.Hooks = append(slices.Clip(way.Hooks), Passage{point, o.Trace})
			next.Packet, next.End = o.Trace.Packet, o.Trace.End
			next.Copies = append(slices.Clip(way.Copies), o.Trace.Copies...)
			if o.Trace.NAT != nil {
				next.NAT = o.Trace.NAT
			}
			if o.Trace.To != nil {
				next.To = o.Trace.To
			}
			all = append(all, next)
		}
	}
	return all, nil
}

// Routed is what the routing tables say of a packet.
type Routed struct {
	Rule  PolicyRule // which one led to the table; the zero one: that of local addresses
	Route Route
	Found bool // false: none of our tables has it: what the machine has besides decides
}

// Local says whether the packet is for this machine.
func (r Routed) Local() bool { return r.Found && r.Route.Kind == Local }

// Interface is the one that the packet leaves by; empty if that is not known.
func (r Routed) Interface() string {
	if !r.Found {
		return ""
	}
	return r.Route.Interface
}

// Route looks a packet up in the routing tables of the wishes, in the order of
// their rules, as Linux does: in each table the longest prefix, then the
// lowest metric. Addresses of this machine go before all. Routes over
// interfaces that are gone do not count ([World.Present]).
func (w *World) Route(p Packet) Routed {
	if w.addrType()(p.Dest) == AddrLocal {
		return Routed{Route: Route{Table: 255, To: netip.PrefixFrom(p.Dest, p.Dest.BitLen()), Interface: "lo", Kind: Local}, Found: true}
	}
	rules := slices.Clone(w.Rules)
	slices.SortStableFunc(rules, func(a, b PolicyRule) int { return cmp.Compare(a.Priority, b.Priority) })
	for _, r := range rules {
		if !r.takes(&p) {
			continue
		}
		if route := w.best(r.Table, p.Dest); route != nil {
			return Routed{Rule: r, Route: *route, Found: true}
		}
	}
	if w.Elsewhere != nil {
		if route, ok := w.Elsewhere(p); ok {
			return Routed{Route: route, Found: true}
		}
	}
	return Routed{}
}

// takes says whether a packet is sent to the rule's table.
func (r *PolicyRule) takes(p *Packet) bool {
	in := p.In
	if in == "" {
		in = "lo"
	}
	return r.IPv6 == p.IPv6() && p.Mark&r.Mask == r.Mark&r.Mask &&
		(!r.From.IsValid() || r.From.Contains(p.Source)) &&
		(!r.To.IsValid() || r.To.Contains(p.Dest)) &&
		(r.In == "" || r.In == in)
}

func (w *World) best(table int, to netip.Addr) (best *Route) {
	for i := range w.Routes {
		r := &w.Routes[i]
		if r.Table != table || !r.To.Contains(to) || r.Interface != "" && w.Present != nil && !w.Present(r.Interface) {
			continue
		}
		if best == nil || r.To.Bits() > best.To.Bits() || r.To.Bits() == best.To.Bits() && r.Metric < best.Metric {
			best = r
		}
	}
	return best
}
