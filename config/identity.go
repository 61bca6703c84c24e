package config

import (
	"cmp"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// claim is a network and a range of ports that a virtual server takes.
type claim struct {
	v     *VirtualServer
	order int // of v in the file
	ports PortRange
	dead  bool // others take all of it
}

func (k *claim) size() int { return int(k.ports.To) - int(k.ports.From) }

// claimKey is a network and a protocol.
type claimKey struct {
	prefix   netip.Prefix
	protocol IPProtocol
}

// claims is what is claimed of one network and protocol.
type claims struct {
	prefix   netip.Prefix
	protocol IPProtocol
	list     []*claim
}

// allPorts is what is claimed where no ports are given.
var allPorts = PortRange{1, 65535}

// identities refuses virtual servers that are the same, and those that others
// leave nothing to (FAQ 1.1.9, T47). Of several that claim a connection the
// longest mask has it, then the smallest range of ports, of equal ones the first
// in the file, then type ip.
func (c *checker) identities() {
	at, all := map[claimKey]*claims{}, []*claims{}
	of, taken := map[*VirtualServer][]*claim{}, new(portSet)
	for order, v := range c.m.VirtualServers {
		if !v.Served() {
			continue
		}
		for _, p := range v.ServedPrefixes() {
			k := claimKey{p, v.Serve.Type.Protocol()}
			g := at[k]
			if g == nil {
				g = &claims{prefix: p, protocol: k.protocol}
				at[k] = g
				all = append(all, g)
			}
			for _, ports := range claimed(v) {
				if ports.From == 0 {
					continue // told by the decoder
				}
				n := &claim{v: v, order: order, ports: ports}
				g.list = append(g.list, n)
				of[v] = append(of[v], n)
			}
		}
	}
	for _, g := range all {
		if len(g.list) > 1 {
			g.rank(c, taken)
		}
	}
	for _, v := range c.m.VirtualServers {
		if list := of[v]; len(list) > 0 {
			c.unreached(v, list, at)
		}
	}
	c.surprises(all)
}

// claimed is the ports of a virtual server, all where none are given.
func claimed(v *VirtualServer) []PortRange {
	if ports := v.ServedPorts(); len(ports) > 0 {
		return ports
	}
	return []PortRange{allPorts}
}

// portSet is a set of ports.
type portSet [1024]uint64

// add adds ports, and says whether any of them is new.
func (s *portSet) add(p PortRange) (news bool) {
	for w := p.From / 64; w <= p.To/64; w++ {
		mask := ^uint64(0)
		if w == p.From/64 {
			mask &= ^uint64(0) << (p.From % 64)
		}
		if w == p.To/64 {
			mask &= ^uint64(0) >> (63 - p.To%64)
		}
		news = news || bits.OnesCount64(s[w]&mask) != bits.OnesCount64(mask)
		s[w] |= mask
	}
	return news
}

// rank puts the claims in the order in which they have connections, refuses
// those that are the same, and finds those that nothing is left to. taken is
// for its use.
func (g *claims) rank(c *checker, taken *portSet) {
	*taken = portSet{}
	slices.SortStableFunc(g.list, func(a, b *claim) int {
		return cmp.Or(a.size()-b.size(), a.order-b.order)
	})
	first := make(map[PortRange]*claim, len(g.list))
	for _, k := range g.list {
		k.dead = !taken.add(k.ports)
		if o := first[k.ports]; o == nil {
			first[k.ports] = k
		} else if o.v != k.v {
			k.dead = false // told here
			c.of(k.v)
			c.bad(k.v, "serves %s, and so does virtual server %q, at %s (FAQ 1.1.9)", g.tell(k.ports), o.v.Name, o.v.Pos)
		}
	}
	g.partly(c)
}

// partly warns of ranges that overlap without one being in the other: who reads
// them one by one does not see who has what both claim.
func (g *claims) partly(c *checker) {
	byStart := slices.SortedStableFunc(slices.Values(g.list), func(a, b *claim) int { return int(a.ports.From) - int(b.ports.From) })
	var open *claim // the one that reaches farthest
	for _, k := range byStart {
		if k.dead {
			continue // told as such
		}
		if open != nil && open.v != k.v && open.ports.From < k.ports.From && k.ports.From <= open.ports.To && open.ports.To < k.ports.To {
			winner, loser, why := open, k, "its range is smaller"
			if w := cmp.Or(k.size()-open.size(), k.order-open.order); w < 0 {
				winner, loser = k, open
			}
			if k.size() == open.size() {
				why = "it comes first in the file"
			}
			c.of(loser.v)
			c.warn(loser.v, "serves %s, and virtual server %q has %s of it: %s",
				g.tell(loser.ports), winner.v.Name, PortRange{k.ports.From, open.ports.To}, why)
		}
		if open == nil || k.ports.To > open.ports.To {
			open = k
		}
	}
}

// tell says what is claimed: "tcp 192.0.2.1 port 80".
func (g *claims) tell(ports PortRange) string {
	where := g.prefix.String()
	if g.prefix.IsSingleIP() {
		where = g.prefix.Addr().String()
	}
	switch {
	case g.protocol == ProtocolAny:
		return "every protocol of " + where
	case ports == allPorts:
		return fmt.Sprintf("%s %s, every port", g.protocol, where)
	default:
		return fmt.Sprintf("%s %s port %s", g.protocol, where, ports)
	}
}

// unreached refuses a virtual server all of whose claims are others', and warns
// of one that loses some of them.
func (c *checker) unreached(v *VirtualServer, list []*claim, at map[claimKey]*claims) {
	dead := 0
	for _, k := range list {
		if k.dead {
			dead++
		}
	}
	if dead == 0 || c.log.full() {
		return
	}
	c.of(v)
	for _, p := range v.ServedPrefixes() {
		g := at[claimKey{p, v.Serve.Type.Protocol()}]
		for _, k := range g.list {
			if k.v != v || !k.dead {
				continue
			}
			by := g.takers(k)
			if by == "" {
				return // its own ports overlap, which is told
			}
			if dead == len(list) {
				c.bad(v, "is never reached: %s has all of %s (FAQ 1.1.9)", by, g.tell(k.ports))
			} else {
				c.warn(v, "never has %s: %s has it", g.tell(k.ports), by)
			}
			return
		}
	}
}

// takers names who has the ports of a claim.
func (g *claims) takers(of *claim) string {
	var names []string
	for _, k := range g.list {
		if k == of {
			break
		}
		if k.v != of.v && (k.ports.Has(of.ports.From) || of.ports.Has(k.ports.From)) {
			names = append(names, fmt.Sprintf("virtual server %q, at %s", k.v.Name, k.v.Pos))
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	case 2:
		return names[0] + ", with " + names[1] + ","
	}
	return fmt.Sprintf("%s, with %d others,", names[0], len(names)-1)
}

// maxCompared bounds the claims of a network that are compared with those of a
// network inside it.
const maxCompared = 16

// surprises warns of virtual servers that lose their very port to one whose
// address is more specific and whose ports are less.
func (c *checker) surprises(all []*claims) {
	lengths, by := map[int]bool{}, map[netip.Prefix][]*claims{}
	for _, g := range all {
		lengths[g.length()] = true
		by[g.prefix] = append(by[g.prefix], g)
	}
	if len(lengths) < 2 {
		return
	}
	told := map[*VirtualServer]bool{}
	for _, g := range all {
		for length := g.prefix.Bits() - 1; length > 0; length-- {
			if !lengths[g.length()-g.prefix.Bits()+length] {
				continue
			}
			outer, _ := g.prefix.Addr().Prefix(length)
			for _, o := range by[outer] {
				g.hides(c, o, told)
			}
		}
	}
}

// length tells prefixes of both families apart.
func (g *claims) length() int {
	if g.prefix.Addr().Is6() {
		return 1000 + g.prefix.Bits()
	}
	return g.prefix.Bits()
}

// hides warns of a claim of the network around that g takes with wider ports.
func (g *claims) hides(c *checker, outer *claims, told map[*VirtualServer]bool) {
	if g.protocol != outer.protocol && g.protocol != ProtocolAny {
		return
	}
	wide := g.list[len(g.list)-1] // they are in order of size
	for _, k := range outer.list[:min(maxCompared, len(outer.list))] {
		exact := k.size() < wide.size() || g.protocol == ProtocolAny && outer.protocol != ProtocolAny
		if told[k.v] || k.v == wide.v || !exact || !wide.ports.Has(k.ports.From) || !wide.ports.Has(k.ports.To) {
			continue
		}
		told[k.v] = true
		c.of(k.v)
		c.warn(k.v, "serves %s, but what goes to %s of that is virtual server %q's, for the longer mask goes before ports and protocols",
			outer.tell(k.ports), g.prefix, wide.v.Name)
	}
}
