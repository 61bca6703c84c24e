package l4

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// fitting gives the claims that a packet fits, in the documented order: the longest
// mask, the smaller rank, and what stands first in the file (FAQ 1.1.9).
func (p *Plan) fitting(to netip.Addr, protocol uint8, port uint16) (list []claim) {
	for _, s := range p.servers {
		for _, c := range s.claims() {
			if c.net.Contains(to) && c.takes(protocol, port) {
				list = append(list, c)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.net.Bits(), a.net.Bits()), cmp.Compare(a.rank(), b.rank()))
	})
	return list
}

// takes says whether a claim has a protocol and port.
func (c *claim) takes(protocol uint8, port uint16) bool {
	switch {
	case c.protocol == 0:
		return true
	case c.protocol != protocol:
		return false
	}
	return c.every() || c.ports.From <= port && port <= c.ports.To
}

// every says whether it has every port.
func (c *claim) every() bool { return c.ports == config.PortRange{} }

// tell tells what it has.
func (c *claim) tell() string {
	return where(c.net) + ", " + c.service()
}

func where(n netip.Prefix) string {
	if n.IsSingleIP() {
		return n.Addr().String()
	}
	return n.String()
}

// service tells the protocol and ports.
func (c *claim) service() string {
	switch {
	case c.protocol == 0:
		return "every protocol"
	case c.every():
		return "every port of " + kernel.ProtocolName(c.protocol)
	case c.ports.From == c.ports.To:
		return fmt.Sprintf("%s port %d", kernel.ProtocolName(c.protocol), c.ports.From)
	}
	return fmt.Sprintf("%s ports %d-%d", kernel.ProtocolName(c.protocol), c.ports.From, c.ports.To)
}

// before says why it goes before another one.
func (c *claim) before(o *claim) string {
	switch {
	case c.net.Bits() > o.net.Bits():
		return "its mask is longer"
	case o.protocol == 0 && c.protocol != 0:
		return "it names the protocol"
	case o.every() && !c.every():
		return "it names the port"
	case c.rank() < o.rank():
		return "its range of ports is smaller"
	}
	return "it stands first in the configuration"
}

// near lists whose address one is, with what they have of it; "": nobody's.
func (p *Plan) near(a netip.Addr) string {
	const most = 4
	var words []string
	for _, s := range p.servers {
		var has []string
		for _, c := range s.claims() {
			if c.net.Contains(a) {
				has = append(has, c.service())
			}
		}
		if len(has) > 0 {
			words = append(words, s.Name+" ("+strings.Join(has, ", ")+")")
		}
	}
	if more := len(words) - most; more > 0 {
		words = append(words[:most], fmt.Sprintf("%d more", more))
	}
	return strings.Join(words, ", ")
}

// Serves says whether an address is one of a virtual server's.
func (p *Plan) Serves(a netip.Addr) bool {
	for _, s := range p.servers {
		for _, n := range s.ServedPrefixes() {
			if n.Contains(a) {
				return true
			}
		}
	}
	return false
}
