package outbound

import (
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// table writes the table: how a packet goes.
//
//	from a link, new ── remember the link and router it came by (keep last hop) ── accept
//	of a session     ── the link that its conntrack mark has ──────────────────── accept
//	to a virtual server of slb ─────────────────────────────────────────────────── accept
//	new, from inside ── server ── policy ── rule ── group ─┬ persistence
//	                    (the most specific)                ├ proximity
//	                                                       └ slots ── link ── place: marks, accept
func (b *builder) table() {
	b.linkSets()
	b.room()
	b.base("prerouting", "filter", -150, b.prerouting)
	if b.plan.resets() {
		b.base("forward", "filter", -5, b.forward)
	}
	b.base("output", "route", -150, b.output)
	b.base("postrouting", "nat", 100, b.postrouting)
}

// linkSets writes what leads from an interface or a number to a link.
func (b *builder) linkSets() {
	var names, inside, restore, place []kernel.Element
	seen := map[string]bool{}
	for _, l := range b.plan.links {
		id := kernel.Number(uint32(l.id))
		if !seen[l.Interface] {
			names = append(names, kernel.Element{Key: kernel.Name(l.Interface)})
		}
		seen[l.Interface] = true
		restore = append(restore, kernel.Element{Key: id, Verdict: kernel.Goto{Chain: b.again(l)}})
		place = append(place, kernel.Element{Key: id, Verdict: kernel.Goto{Chain: b.place(l)}})
	}
	for _, name := range b.plan.conf.Interfaces {
		inside = append(inside, kernel.Element{Key: kernel.Name(name)})
	}
	b.Fix(kernel.Set{Name: "links", Key: []kernel.Type{kernel.TypeName}}, names)
	b.Fix(kernel.Set{Name: "inside", Key: []kernel.Type{kernel.TypeName}}, inside)
	b.Fix(kernel.Set{Name: "restore", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, restore)
	b.Fix(kernel.Set{Name: "place", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, place)
	for _, f := range traffic.Families() {
		prefixes := append(notOutside(), b.plan.conf.Exempt...)
		for _, name := range b.plan.conf.Interfaces {
			if n := b.nics[name]; n != nil {
				prefixes = append(prefixes, n.Addresses...)
				for _, r := range n.Beyond {
					prefixes = append(prefixes, r.To)
				}
			}
		}
		b.Ranges("exempt"+f.Digit, f, traffic.RangesOf(f, prefixes...))
	}
}

// base writes a chain that the kernel enters, with the name of where it does.
func (b *builder) base(point, kind string, priority int32, rules func() []kernel.Rule) {
	b.Base(point, kernel.Hook{Type: kind, Point: point, Priority: priority}, rules)
}

func (b *builder) prerouting() []kernel.Rule {
	rules := []kernel.Rule{
		traffic.Rule("what is for the DNS proxy is not balanced", traffic.AnyBit(kernel.Mark, kernel.Intercepted), kernel.Accept{}),
		traffic.Rule("what comes in by a link", kernel.In{Key: kernel.InName, Set: "links"}, kernel.Goto{Chain: b.Chain("from_links", b.fromLinks)}),
	}
	return append(append(rules, b.served()...),
		traffic.Rule("an existing session keeps its link", traffic.AnyBit(kernel.CtMark, kernel.LinkMask), kernel.Goto{Chain: b.Chain("session", b.session)}),
		traffic.Rule("sessions that were not balanced go by the routing table", traffic.NoBit(kernel.CtState, kernel.CtNew), kernel.Accept{}),
		toVirtualServer(),
		traffic.Rule("only what comes from the inside is balanced", kernel.In{Key: kernel.InName, Set: "inside", Not: true}, kernel.Accept{}),
		traffic.Rule("a new connection of the inside", kernel.Goto{Chain: b.ChainFor(flow.VirtualServer, "", "new", b.newFromInside)}),
	)
}

// toVirtualServer leaves alone what server load balancing has marked before: the
// destination is still that of a virtual server, and the real server that it
// gets needs no link. It stands behind the rules for sessions, which send the
// answers to a client beyond a link back by it, and what its children open.
func toVirtualServer() kernel.Rule {
	return traffic.Rule("a connection to a virtual server of this node is its farm's", traffic.AnyBit(kernel.CtMark, kernel.ServerMask), kernel.Accept{})
}

// session restores the packet mark of a session. It is marked by constants only
// where others have bits of theirs in the packet mark, which must stay.
func (b *builder) session() []kernel.Rule {
	return []kernel.Rule{
		traffic.Rule("the packet gets the link of its session", kernel.Is{Of: kernel.Mark, To: kernel.Number(0)}, kernel.CopyMark{From: linkOf(kernel.CtMark)}, kernel.Accept{}),
		traffic.Rule("the same where others have marked the packet", kernel.Choose{Key: linkOf(kernel.CtMark), Map: "restore"}),
		traffic.Rule("", kernel.Accept{}),
	}
}

// fromLinks notes for the first packet of a connection what it came in by. It
// marks no packet that goes to the inside, which would go back to the ISP; but
// what a real server that is itself beyond a link answers goes to a client
// beyond another.
func (b *builder) fromLinks() (rules []kernel.Rule) {
	if b.plan.conf.KeepLastHop && b.plan.model.Serves() {
		rules = append(rules, traffic.Rule("what a real server answers leaves by the link that the client came in by", traffic.AnyBit(kernel.CtMark, kernel.ServerMask),
			kernel.Is{Of: kernel.CtDirection, To: []byte{1}}, traffic.AnyBit(kernel.CtMark, kernel.Inbound), kernel.Goto{Chain: b.Chain("session", b.session)}))
	}
	rules = append(rules, traffic.Rule("only the first packet decides", traffic.NoBit(kernel.CtState, kernel.CtNew), kernel.Accept{}))
	rules = append(rules, b.assist()...)
	if !b.plan.conf.KeepLastHop {
		return append(rules, traffic.Rule("", kernel.Accept{}))
	}
	var hops, first []kernel.Element
	seen, links := map[string]bool{}, map[string]int{}
	for _, l := range b.plan.links {
		links[l.Interface]++
	}
	for _, l := range b.plan.links {
		to := kernel.Goto{Chain: b.cameBy(l)}
		for _, n := range b.facts.Neighbours { // the router makes a difference only where links share an interface
			if links[l.Interface] > 1 && n.Interface == l.Interface && (n.Addr == l.NextHop || n.Addr.WithZone("") == l.NextHop6.WithZone("")) {
				hops = append(hops, kernel.Element{Key: kernel.Key(kernel.Name(l.Interface), n.Ether[:]), Verdict: to})
			}
		}
		if !seen[l.Interface] {
			seen[l.Interface] = true
			first = append(first, kernel.Element{Key: kernel.Name(l.Interface), Verdict: to})
		}
	}
	hopSet := b.Fix(kernel.Set{Name: "last_hop", Key: []kernel.Type{kernel.TypeName, kernel.TypeEther}, Verdicts: true}, traffic.Distinct(hops))
	firstSet := b.Fix(kernel.Set{Name: "last_link", Key: []kernel.Type{kernel.TypeName}, Verdicts: true}, first)
	return append(rules,
		traffic.Rule("keep last hop: the router that it came from", kernel.Choose{Key: kernel.Join{kernel.InName, kernel.EtherSource}, Map: hopSet}),
		traffic.Rule("keep last hop: the link that it came in by", kernel.Choose{Key: kernel.InName, Map: firstSet}),
	)
}

// newFromInside finds the virtual server of a new connection.
func (b *builder) newFromInside() []kernel.Rule {
	rules := []kernel.Rule{traffic.Rule("the number of a link in the packet mark is ours to set", traffic.AnyBit(kernel.Mark, kernel.LinkMask|b.wishes()), kernel.SetMark{Mask: kernel.LinkMask | b.wishes()})}
	for _, local := range []uint32{kernel.AddrLocal, kernel.AddrBroadcast} {
		rules = append(rules, traffic.Rule("what is for the gateway itself is not balanced", kernel.Is{Of: kernel.DestType, To: kernel.Number(local)}, kernel.Accept{}))
	}
	for _, f := range traffic.Families() {
		rules = append(rules, traffic.Rule("networks of the inside and exempt ones are not balanced", kernel.In{Key: f.Dest, Set: "exempt" + f.Digit}, kernel.Accept{}))
	}
	rules = append(rules, b.assist()...)
	return append(rules, b.servers()...)
}

// assist gives connections of protocols that open further ones the helper of
// the kernel that finds those, so that they follow their parent (FAQ 1.2.24).
func (b *builder) assist() (rules []kernel.Rule) {
	for _, h := range b.plan.conf.Helpers {
		protocols, port := traffic.HelperProtocols(h)
		for _, protocol := range protocols {
			rules = append(rules, traffic.Rule("children of "+string(h)+" follow their parent", traffic.OfProtocol(protocol),
				kernel.Is{Of: kernel.DestPort, To: kernel.Port(port)}, b.Assist(h, protocol)))
		}
	}
	return rules
}

// output sends what this machine sends itself: replies of connections that came
// in by a link go back by it. A packet of the gateway that goes towards the
// inside, such as an ICMP error about a balanced session, must not be marked: so
// the direction counts.
func (b *builder) output() []kernel.Rule {
	original, reply := []byte{0}, []byte{1}
	session := kernel.Goto{Chain: b.Chain("session", b.session)}
	rules := []kernel.Rule{
		traffic.Rule("what is marked already has its link: probes, the DNS proxy", traffic.AnyBit(kernel.Mark, kernel.LinkMask), kernel.Accept{}),
	}
	rules = append(append(rules, b.served()...),
		traffic.Rule("replies to what came in by a link leave by it", traffic.AnyBit(kernel.CtMark, kernel.Inbound), kernel.Is{Of: kernel.CtDirection, To: reply}, traffic.AnyBit(kernel.CtMark, kernel.LinkMask), session),
		traffic.Rule("the gateway's own sessions keep their link", traffic.NoBit(kernel.CtMark, kernel.Inbound), kernel.Is{Of: kernel.CtDirection, To: original}, traffic.AnyBit(kernel.CtMark, kernel.LinkMask), session),
	)
	if !b.plan.conf.Local {
		return rules
	}
	return append(rules,
		traffic.Rule("", kernel.Is{Of: kernel.OutName, To: kernel.Name("lo")}, kernel.Accept{}),
		toVirtualServer(),
		traffic.Rule("a new connection of the gateway itself", traffic.IsNew(), kernel.Goto{Chain: "new"}))
}

// resets says whether sessions of dead links are to be ended at once.
func (p *Plan) resets() bool {
	for _, v := range p.variants {
		if v.Group.OnFailure == config.FailureReset {
			return true
		}
	}
	return false
}

// forward ends the sessions of dead links (onFailure: reset; T38).
func (b *builder) forward() []kernel.Rule {
	b.Set(kernel.Set{Name: "dead", Key: []kernel.Type{kernel.TypeNumber}, Elements: b.plan.dead})
	dead := kernel.In{Key: kernel.Masked{Of: kernel.CtMark, Mask: kernel.Number(endedBits)}, Set: "dead"}
	return []kernel.Rule{
		traffic.Rule("sessions of a dead link are reset", dead, kernel.Is{Of: kernel.Protocol, To: []byte{6}}, b.Count("reset"), kernel.Reject{With: kernel.TCPReset}),
		traffic.Rule("clients of a dead link are told", dead, kernel.In{Key: kernel.InName, Set: "links", Not: true}, b.Count("reset"), kernel.Reject{With: kernel.AdminProhibited}),
	}
}

// connected gives the networks of an interface: not those of a single address,
// nor link-local ones.
func connected(n *kernel.Interface) (list []netip.Prefix) {
	for _, p := range n.Addresses {
		if !p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.Masked())
		}
	}
	return list
}
