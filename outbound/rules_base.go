package outbound

import (
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
)

// table writes the table: how a packet goes.
//
//	from a link, new ── remember the link and router it came by (keep last hop) ── accept
//	of a session     ── the link that its conntrack mark has ──────────────────── accept
//	new, from inside ── server ── policy ── rule ── group ─┬ persistence
//	                    (the most specific)                ├ proximity
//	                                                       └ slots ── link ── place: marks, accept
func (b *builder) table() {
	b.out.Name = Table
	b.linkSets()
	b.base("prerouting", "filter", -150, b.prerouting)
	if b.plan.resets() {
		b.base("forward", "filter", -5, b.forward)
	}
	b.base("output", "route", -150, b.output)
	b.base("postrouting", "nat", 100, b.postrouting)
}

// base writes a chain that the kernel enters.
func (b *builder) base(point, kind string, priority int32, rules func() []kernel.Rule) {
	b.chain(point, rules)
	for i := range b.out.Chains {
		if b.out.Chains[i].Name == point {
			b.out.Chains[i].Hook = &kernel.Hook{Type: kind, Point: point, Priority: priority}
		}
	}
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
	b.fix(kernel.Set{Name: "links", Key: []kernel.Type{kernel.TypeName}}, names)
	b.fix(kernel.Set{Name: "inside", Key: []kernel.Type{kernel.TypeName}}, inside)
	b.fix(kernel.Set{Name: "restore", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, restore)
	b.fix(kernel.Set{Name: "place", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true}, place)
	for _, f := range families() {
		prefixes := append(notOutside(), b.plan.conf.Exempt...)
		for _, name := range b.plan.conf.Interfaces {
			if n := b.nics[name]; n != nil {
				prefixes = append(prefixes, n.Addresses...)
				for _, r := range n.Beyond {
					prefixes = append(prefixes, r.To)
				}
			}
		}
		b.ranges("exempt"+f.digit, f, rangesOf(f, prefixes...))
	}
}

func (b *builder) prerouting() []kernel.Rule {
	rules := []kernel.Rule{
		rule("what is for the DNS proxy is not balanced", anyBit(kernel.Mark, kernel.Intercepted, false), kernel.Accept{}),
		rule("what comes in by a link", kernel.In{Key: kernel.InName, Set: "links"}, kernel.Goto{Chain: b.chain("from_links", b.fromLinks)}),
	}
	return append(append(rules, b.served()...),
		rule("an existing session keeps its link", anyBit(kernel.CtMark, kernel.LinkMask, false), kernel.Goto{Chain: b.chain("session", b.session)}),
		rule("sessions that were not balanced go by the routing table", anyBit(kernel.CtState, kernel.CtNew, true), kernel.Accept{}),
		rule("only what comes from the inside is balanced", kernel.In{Key: kernel.InName, Set: "inside", Not: true}, kernel.Accept{}),
		rule("a new connection of the inside", kernel.Goto{Chain: b.chainFor(flow.VirtualServer, "", "new", b.newFromInside)}),
	)
}

// session restores the packet mark of a session. It is marked by constants only
// where others have bits of theirs in the packet mark, which must stay.
func (b *builder) session() []kernel.Rule {
	return []kernel.Rule{
		rule("the packet gets the link of its session", kernel.Is{Of: kernel.Mark, To: kernel.Number(0)}, kernel.CopyMark{From: linkOf(kernel.CtMark)}, kernel.Accept{}),
		rule("the same where others have marked the packet", kernel.Choose{Key: linkOf(kernel.CtMark), Map: "restore"}),
		rule("", kernel.Accept{}),
	}
}

// fromLinks notes for the first packet of a connection what it came in by. It
// marks no packet: one that goes to the inside would go back to the ISP.
func (b *builder) fromLinks() []kernel.Rule {
	rules := []kernel.Rule{rule("only the first packet decides", anyBit(kernel.CtState, kernel.CtNew, true), kernel.Accept{})}
	rules = append(rules, b.assist()...)
	if !b.plan.conf.KeepLastHop {
		return append(rules, rule("", kernel.Accept{}))
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
	hopSet := b.fix(kernel.Set{Name: "last_hop", Key: []kernel.Type{kernel.TypeName, kernel.TypeEther}, Verdicts: true}, distinct(hops))
	firstSet := b.fix(kernel.Set{Name: "last_link", Key: []kernel.Type{kernel.TypeName}, Verdicts: true}, first)
	return append(rules,
		rule("keep last hop: the router that it came from", kernel.Choose{Key: kernel.Join{kernel.InName, kernel.EtherSource}, Map: hopSet}),
		rule("keep last hop: the link that it came in by", kernel.Choose{Key: kernel.InName, Map: firstSet}),
	)
}

// distinct leaves the first element of each key.
func distinct(list []kernel.Element) (out []kernel.Element) {
	seen := map[string]bool{}
	for _, el := range list {
		if !seen[string(el.Key)] {
			seen[string(el.Key)] = true
			out = append(out, el)
		}
	}
	return out
}

// newFromInside finds the virtual server of a new connection.
func (b *builder) newFromInside() []kernel.Rule {
	rules := []kernel.Rule{rule("the number of a link in the packet mark is ours to set", anyBit(kernel.Mark, kernel.LinkMask|b.wishes(), false), kernel.SetMark{Mask: kernel.LinkMask | b.wishes()})}
	for _, local := range []uint32{kernel.AddrLocal, kernel.AddrBroadcast} {
		rules = append(rules, rule("what is for the gateway itself is not balanced", kernel.Is{Of: kernel.DestType, To: kernel.Number(local)}, kernel.Accept{}))
	}
	for _, f := range families() {
		rules = append(rules, rule("networks of the inside and exempt ones are not balanced", kernel.In{Key: f.dest, Set: "exempt" + f.digit}, kernel.Accept{}))
	}
	rules = append(rules, b.assist()...)
	return append(rules, b.servers()...)
}

// assist gives connections of protocols that open further ones the helper of
// the kernel that finds those, so that they follow their parent (FAQ 1.2.24).
func (b *builder) assist() (rules []kernel.Rule) {
	const tcp, udp = 6, 17
	ports := map[config.Helper]struct {
		port      uint16
		protocols []uint8
	}{config.HelperFTP: {21, []uint8{tcp}}, config.HelperSIP: {5060, []uint8{udp, tcp}}, config.HelperTFTP: {69, []uint8{udp}}}
	for _, h := range b.plan.conf.Helpers {
		for _, protocol := range ports[h].protocols {
			name := string(h)
			if protocol == tcp && h != config.HelperFTP {
				name += "_tcp"
			}
			if !b.have["helper "+name] {
				b.have["helper "+name] = true
				b.out.Helpers = append(b.out.Helpers, kernel.Helper{Name: name, Kind: string(h), Protocol: protocol})
			}
			rules = append(rules, rule("children of "+string(h)+" follow their parent", kernel.Is{Of: kernel.Protocol, To: []byte{protocol}},
				kernel.Is{Of: kernel.DestPort, To: kernel.Port(ports[h].port)}, kernel.Assist{Helper: name}))
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
	session := kernel.Goto{Chain: b.chain("session", b.session)}
	rules := []kernel.Rule{
		rule("what is marked already has its link: probes, the DNS proxy", anyBit(kernel.Mark, kernel.LinkMask, false), kernel.Accept{}),
	}
	rules = append(append(rules, b.served()...),
		rule("replies to what came in by a link leave by it", anyBit(kernel.CtMark, kernel.Inbound, false), kernel.Is{Of: kernel.CtDirection, To: reply}, anyBit(kernel.CtMark, kernel.LinkMask, false), session),
		rule("the gateway's own sessions keep their link", anyBit(kernel.CtMark, kernel.Inbound, true), kernel.Is{Of: kernel.CtDirection, To: original}, anyBit(kernel.CtMark, kernel.LinkMask, false), session),
	)
	if !b.plan.conf.Local {
		return rules
	}
	return append(rules,
		rule("", kernel.Is{Of: kernel.OutName, To: kernel.Name("lo")}, kernel.Accept{}),
		rule("a new connection of the gateway itself", isNew(), kernel.Goto{Chain: "new"}))
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
	b.set(kernel.Set{Name: "dead", Key: []kernel.Type{kernel.TypeNumber}, Elements: b.plan.dead})
	dead := kernel.In{Key: kernel.Masked{Of: kernel.CtMark, Mask: kernel.Number(endedBits)}, Set: "dead"}
	return []kernel.Rule{
		rule("sessions of a dead link are reset", dead, kernel.Is{Of: kernel.Protocol, To: []byte{6}}, b.count("reset"), kernel.Reject{With: kernel.TCPReset}),
		rule("clients of a dead link are told", dead, kernel.In{Key: kernel.InName, Set: "links", Not: true}, b.count("reset"), kernel.Reject{With: kernel.AdminProhibited}),
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
