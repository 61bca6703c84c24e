package flow

import (
	"net/netip"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/pick"
)

// Role is what a chain or a set is for, in the words of the configuration:
// "persistence" of name "office". The zero Role: nothing to tell.
type Role struct {
	Kind string `json:"kind"`
	Name string `json:"name,omitempty"`
}

// The kinds of roles that are told in a way of their own. Others are welcome.
const (
	VirtualServer = "virtualServer" // its chain, or the chain that chooses among them
	Policy        = "policy"
	LinkGroup     = "linkGroup"
	DNSProxy      = "dnsProxy"    // queries are brought to the transparent DNS proxy
	Link          = "link"        // the chain that commits to a link
	Persistence   = "persistence" // a map of clients to links
	Proximity     = "proximity"   // a map of destinations to up to three links
)

// Names are what the owner of tables knows of them. Each function may be nil,
// and gives nothing for what is not its owner's.
type Names struct {
	Link   func(mark uint32) string // the link of a mark, masked with kernel.LinkMask
	Chain  func(table, chain string) Role
	Set    func(table, set string) Role
	Group  func(name string) *Group                 // how a link group stands
	Source func(iface string, ipv6 bool) netip.Addr // what masquerading over an interface gives
}

// Part is what one owner has in the kernel, and what he knows of it.
type Part struct {
	Wishes *kernel.Wishes // nil: nothing
	Names  Names
}

// Group tells how a link group stands that a connection came to.
type Group struct {
	Name      string      `json:"name"`
	Algorithm string      `json:"algorithm"`
	Available bool        `json:"available"`
	Why       string      `json:"why,omitempty"`     // it is available or not
	Members   *pick.Trace `json:"members,omitempty"` // who takes part, and why others do not
	Notes     []string    `json:"notes,omitempty"`   // slow starts, lapsed protection
}

// owners asks several owners; the first who knows has it.
type owners []Names

func (o owners) link(mark uint32) string {
	for _, n := range o {
		if n.Link != nil {
			if name := n.Link(mark); name != "" {
				return name
			}
		}
	}
	return ""
}

func (o owners) chain(table, chain string) Role {
	for _, n := range o {
		if n.Chain != nil {
			if r := n.Chain(table, chain); r.Kind != "" {
				return r
			}
		}
	}
	return Role{}
}

func (o owners) set(table, set string) Role {
	for _, n := range o {
		if n.Set != nil {
			if r := n.Set(table, set); r.Kind != "" {
				return r
			}
		}
	}
	return Role{}
}

func (o owners) group(name string) *Group {
	for _, n := range o {
		if n.Group != nil {
			if g := n.Group(name); g != nil {
				return g
			}
		}
	}
	return nil
}

func (o owners) source(iface string, ipv6 bool) (a netip.Addr) {
	for _, n := range o {
		if n.Source != nil && iface != "" {
			if a = n.Source(iface, ipv6); a.IsValid() {
				return a
			}
		}
	}
	return a
}
