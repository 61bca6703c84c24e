package l4

import (
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// A packet's way through the table of a family that sends packets on as they are,
// to servers that have the virtual address themselves (ADR 23). Nothing tracks
// connections here, so every packet goes all of it:
//
//	copy     answers of routed servers pass; which virtual server, as [Table] has it
//	flow     one of translated connections passes
//	           the flow is known, and its server may have it ── known: renewed ──┐
//	         new: counted; the farm draws a server, which the flow map learns ───┤
//	           the map is full: the slot of a hash, the same for each packet ────┤
//	                                                                      send ──┘
//	send     a copy by Ethernet to the server, and the packet is dropped
//
// The packet's priority holds the virtual server, as its mark, and from send on the
// server. A flow is a virtual server, both addresses, and the port of the client.

// copyPriority is before connections are tracked, and behind where fragments are
// put together: rules of [Table] look at connections, so they always are.
const copyPriority = -300

// How long the map of flows keeps them. One begins with little, so that packets
// that nobody answers do not fill it.
const (
	flowFirst  = time.Minute
	flowTCP    = 15 * time.Minute
	flowOthers = 3 * time.Minute
	flowReset  = 10 * time.Second
	flowsMost  = 1 << 19 // of a family
)

// flows is the map of flows with ports, or of those without.
type flows struct {
	traffic.Family
	bare bool
}

func (f flows) suffix() string {
	if f.bare {
		return "_bare"
	}
	return ""
}

// port is the port of the client.
func (f flows) port() kernel.Value {
	if f.bare {
		return kernel.Const(kernel.Port(0))
	}
	return kernel.SourcePort
}

func (f flows) key() kernel.Value { return kernel.Join{now, f.Source, f.port(), f.Dest} }

// copies writes the table of a family.
func (w *writer) copies(f traffic.Family) {
	w.Base("copy", kernel.Hook{Type: "filter", Point: "prerouting", Priority: copyPriority}, func() []kernel.Rule {
		return append(w.answers(f), w.which("flow", func() []kernel.Rule { return w.flow(f) })...)
	})
}

// answers has what routed servers answer pass: conntrack has not seen the questions,
// and would call it invalid.
func (w *writer) answers(f traffic.Family) []kernel.Rule {
	var list []netip.Prefix
	for _, s := range w.servers {
		if !s.routed() {
			continue
		}
		for _, p := range s.ServedPrefixes() {
			if f.Has(p.Addr()) {
				list = append(list, p.Masked())
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	set := w.Ranges("answers", f, traffic.RangesOf(f, list...))
	return []kernel.Rule{traffic.Rule(tellAnswer, kernel.In{Key: f.Source, Set: set}, kernel.NoTrack{}, kernel.Accept{})}
}

// flow is for a packet whose virtual server is known.
func (w *writer) flow(f traffic.Family) []kernel.Rule {
	rules := []kernel.Rule{traffic.Rule("its connections are translated: not here", notIn(w.in("head", now)), become(number(0)), kernel.Accept{})}
	if w.has.portless {
		var ported []kernel.Element
		for p := range 256 {
			if kernel.HasPorts(uint8(p)) {
				ported = append(ported, kernel.Element{Key: []byte{uint8(p)}})
			}
		}
		set := w.Fix(kernel.Set{Name: "ported", Key: []kernel.Type{kernel.TypeProto}}, ported)
		rules = append(rules, traffic.Rule("a protocol without ports", kernel.In{Key: kernel.Protocol, Set: set, Not: true},
			kernel.Goto{Chain: w.Chain("flow_bare", func() []kernel.Rule { return w.find(flows{f, true}) })}))
	}
	return append(rules, w.find(flows{f, false})...)
}

// flows is the map of flows, to the server.
func (w *writer) flows(f flows) string {
	return w.SetFor(RoleServer, "", kernel.Set{Name: "flows", Key: []kernel.Type{kernel.TypeNumber, f.Addr, kernel.TypePort, f.Addr}, Data: []kernel.Type{kernel.TypeNumber},
		Dynamic: true, Timeout: flowFirst, Size: flowsMost})
}

// server is the server that a flow has.
func (w *writer) server(f flows) kernel.Value { return kernel.Lookup{Key: f.key(), Map: w.flows(f)} }

// find looks for the flow of a packet.
func (w *writer) find(f flows) []kernel.Rule {
	fresh := kernel.Goto{Chain: w.Chain("new"+f.suffix(), func() []kernel.Rule { return w.fresh(f) })}
	known := kernel.Goto{Chain: w.Chain("known"+f.suffix(), func() []kernel.Rule { return w.known(f, fresh) })}
	return []kernel.Rule{
		traffic.Rule(tellKnown, w.in("holds", now, w.server(f)), known),
		traffic.Rule("", fresh),
	}
}

// known renews a flow. The map keeps the server that it has; should the entry have
// gone this very moment the one that is made holds nobody, and the next packet is
// a new flow.
func (w *writer) known(f flows, fresh kernel.Step) (rules []kernel.Rule) {
	renew := func(tell string, life time.Duration, when ...kernel.Step) {
		rules = append(rules, traffic.Rule(tell, append(when, kernel.Change{How: kernel.Put, Set: w.flows(f), Key: f.key(), Data: number(0), Timeout: life})...))
	}
	if f.bare {
		renew("it lives on", flowOthers)
	} else {
		reset := func(op kernel.Op) kernel.Step {
			return kernel.Is{Of: kernel.Masked{Of: kernel.TCPFlags, Mask: []byte{rst}}, Op: op, To: []byte{rst}}
		}
		renew("it lives on", flowTCP, traffic.OfProtocol(tcp), reset(kernel.NotEqual))
		renew("it ends", flowReset, traffic.OfProtocol(tcp), reset(kernel.Equal))
		renew("it lives on", flowOthers, kernel.Is{Of: kernel.Protocol, Op: kernel.NotEqual, To: []byte{tcp}})
	}
	return append(rules,
		traffic.Rule("its server", become(w.server(f)), kernel.Goto{Chain: w.send(f)}),
		traffic.Rule("", fresh))
}

// fresh finds a server for a flow that has none.
func (w *writer) fresh(f flows) (rules []kernel.Rule) {
	head := w.lookup("head", now)
	if w.facts.Shut {
		rules = append(rules, traffic.Rule(tellHeld, w.in("vs_shut", now), kernel.Drop{}))
	}
	rules = append(rules, traffic.Rule("it is counted", w.in("copy_hits", now)),
		traffic.Rule("the server that it had is forgotten", kernel.Change{How: kernel.Remove, Set: w.flows(f), Key: f.key()}))
	var list []chosen
	for _, m := range w.modes {
		if m.copied {
			list = append(list, chosen{m.number, kernel.Jump{Chain: w.drawn(m, f)}})
		}
	}
	rules = append(rules, w.choice("the server of a slot", "mode", "modes"+f.suffix(), head, list)...)
	return append(rules,
		traffic.Rule(tellNothing, w.in("lives", head), w.in("copy_waiting", head)),
		traffic.Rule(tellNoneUp, notIn(w.in("lives", head)), w.in("copy_none", head)),
		traffic.Rule("nobody takes it", kernel.Drop{}))
}

// drawn writes the chain that draws a slot, and has the map learn the server. TCP
// in the midst of a connection that is not known, as after the map was lost, goes by
// the hash that the algorithm has, or of the client's address and port: a guess for
// farms that draw in turn or by lot, but the same for each packet.
func (w *writer) drawn(m *mode, f flows) string {
	kind, of := RoleFarm, ""
	if m.turn != nil {
		of = m.turn.Name
	}
	return w.ChainFor(kind, of, m.name+f.suffix(), func() (rules []kernel.Rule) {
		slot := func(at kernel.Value) kernel.Value { return w.lookup(copySlots, w.lookup("head", now), at) }
		learn := func(tell string, at kernel.Value, when ...kernel.Step) {
			rules = append(rules,
				traffic.Rule(tell, append(when, kernel.Change{How: kernel.Put, Set: w.flows(f), Key: f.key(), Data: slot(at), Timeout: flowFirst})...),
				traffic.Rule("the server that it has: of the first of several at once", become(w.server(f)), kernel.Goto{Chain: w.given(f)}))
		}
		hash := kernel.Hash{Of: w.hashed(m, f), Mod: m.slots}
		var by kernel.Value = hash
		switch m.of {
		case config.FarmRoundRobin:
			by = kernel.Turn{Of: m.slots}
		case config.FarmRandom:
			by = kernel.Lot{Of: m.slots}
		}
		if !m.of.Hashes() && !f.bare {
			learn(tellMidst, hash, traffic.OfProtocol(tcp),
				kernel.Is{Of: kernel.Masked{Of: kernel.TCPFlags, Mask: []byte{fin | syn | rst | ack}}, Op: kernel.NotEqual, To: []byte{syn}})
		}
		learn(tellBy+string(m.of), by)
		return append(rules, traffic.Rule(tellFull, become(slot(hash)), kernel.Goto{Chain: w.given(f)}))
	})
}

// hashed is what a mode hashes.
func (w *writer) hashed(m *mode, f flows) kernel.Value {
	source := f.Masked(f.Source, f.MaskOf(m.mask))
	switch {
	case m.of == config.FarmDestinationHash:
		return f.Masked(f.Dest, f.MaskOf(m.mask))
	case m.of == config.FarmSourceHash || m.of == config.FarmSourcePortHash && f.bare:
		return source
	case m.of == config.FarmSourcePortHash:
		return kernel.Join{source, kernel.SourcePort}
	case f.bare:
		return f.Source
	}
	return kernel.Join{f.Source, kernel.SourcePort}
}

// given counts a server that is given a flow.
func (w *writer) given(f flows) string {
	return w.ChainFor(RoleServer, "", "given", func() []kernel.Rule {
		return []kernel.Rule{traffic.Rule("the server is counted", w.in("copy_given", now)), traffic.Rule("", kernel.Goto{Chain: w.send(f)})}
	})
}

// send sends the packet to the server that is known. Linux takes one off the hop limit
// of a copy, and does not look what is left: below 1 it begins anew at 255, and where
// the server is a balancer that sends it back a packet would go round for ever. So
// what has used up its hops ends here, as at any router.
func (w *writer) send(f flows) string {
	return w.ChainFor(RoleServer, "", "send", func() []kernel.Rule {
		hops := kernel.Hops4
		if f.IPv6() {
			hops = kernel.Hops6
		}
		return []kernel.Rule{
			traffic.Rule("it has used up its hops: it would go round", kernel.Is{Of: hops, Op: kernel.AtMost, To: []byte{1}}, w.Count("expired"), kernel.Drop{}),
			traffic.Rule("a copy to the server", kernel.Dup{IPv6: f.IPv6(), To: w.lookup("copy_to"+f.Digit, now)}, kernel.Drop{}),
			traffic.Rule(tellUnaddressed, w.Count("unaddressed"), kernel.Drop{}),
		}
	})
}

// answersHere says whether a virtual address of routed servers is one of this
// machine, so that Linux takes answers from it for its own.
func (w *writer) answersHere() bool {
	return slices.ContainsFunc(w.servers, func(s *server) bool {
		return s.routed() && slices.ContainsFunc(s.Addresses, func(a netip.Addr) bool {
			return a.Is4() && (s.Serve.Interface != "" || slices.ContainsFunc(w.facts.Interfaces, func(n kernel.Interface) bool {
				return slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr() == a })
			}))
		})
	})
}
