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
	Persistence   = "persistence" // a map of clients to links or servers
	Proximity     = "proximity"   // a map of destinations to up to three links
	ServerFarm    = "serverFarm"
	RealServer    = "realServer"
)

// Names are what the owner of tables knows of them. Each function may be nil,
// and gives nothing for what is not its owner's.
type Names struct {
	Link   func(mark uint32) string // the link of a mark, masked with kernel.LinkMask
	Chain  func(table, chain string) Role
	Set    func(table, set string) Role
	Group  func(name string) *Group                 // how a link group stands
	Source func(iface string, ipv6 bool) netip.Addr // what masquerading over an interface gives

	// Visit tells what one visit to a rule of the owner's table is worth telling
	// of, Role and all but the hook. Is says that it is: then nothing is told by the
	// roles of chains and sets.
	Visit func(q Question, v *kernel.Visit) (found []Finding, is bool)
	// Served tells who serves the connection that went a way; nil: nobody of the owner's.
	Served func(w *kernel.Way) *Served
	// Session tells who serves a session that conntrack has; nil: nobody of the owner's.
	Session func(s *kernel.Session) *Served
	// Farm tells how a server farm stands.
	Farm func(name string) *Group
	// Limit tells a limit of the owner's table: of whom, and in words. Limits of one
	// of whom are told together. Empty words: it is none of his; one in the chain of a
	// link is the link's then.
	Limit func(l kernel.Limit) (of, words string)
	// Shut tells whose limit it is that a key stands for in a set where packets put
	// those who are full; "": nobody's. The same words as of Limit.
	Shut func(l kernel.Limit) (of string)
	// Counters lists what counts connections of those who serve a way, or refuse it.
	Counters func(w *kernel.Way) []Counter
}

// Part is what one owner has in the kernel, and what he knows of it.
type Part struct {
	Wishes *kernel.Wishes // nil: nothing
	Names  Names
	Inside []string                 // the interfaces that his clients come in by
	Serves func(to netip.Addr) bool // he serves an address, to whichever interface clients come in by; nil: none
}

// Served is who serves a connection.
type Served struct {
	VirtualServer string
	Farm, Server  string // empty: nobody took it
	By            string // the rule that decided; empty: none of the owner's
}

// Counter is one of the kernel's counters that tells of such connections.
type Counter struct {
	Kind        string  `json:"kind"`
	Name        string  `json:"name"`
	What        string  `json:"what"`                  // what became of those that it counts
	Connections *uint64 `json:"connections,omitempty"` // so far; nil: not read
}

// Group tells how a link group or a server farm stands that a connection came to.
type Group struct {
	Kind      string      `json:"kind,omitempty"` // [ServerFarm]; empty: a link group
	Name      string      `json:"name"`
	Algorithm string      `json:"algorithm"`
	Available bool        `json:"available"`
	Why       string      `json:"why,omitempty"`     // it is available or not
	Members   *pick.Trace `json:"members,omitempty"` // who takes part, and why others do not
	Slots     []Slots     `json:"slots,omitempty"`   // of a server farm: the members that have some
	Size      int         `json:"size,omitempty"`    // how many slots it has
	Notes     []string    `json:"notes,omitempty"`   // slow starts, lapsed protection
}

// Slots is how many slots a member has: its share of new connections.
type Slots struct {
	Member string `json:"member"`
	Slots  int    `json:"slots"`
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

func (o owners) group(kind, name string) *Group {
	for _, n := range o {
		ask := n.Group
		if kind == ServerFarm {
			ask = n.Farm
		}
		if ask != nil {
			if g := ask(name); g != nil {
				return g
			}
		}
	}
	return nil
}

// visit gives what an owner tells of a visit himself.
func (o owners) visit(q Question, v *kernel.Visit) (found []Finding, is bool) {
	for _, n := range o {
		if n.Visit != nil {
			if found, is = n.Visit(q, v); is {
				return found, true
			}
		}
	}
	return nil, false
}

func (o owners) served(w *kernel.Way) *Served {
	for _, n := range o {
		if n.Served != nil {
			if s := n.Served(w); s != nil {
				return s
			}
		}
	}
	return nil
}

func (o owners) session(s *kernel.Session) *Served {
	for _, n := range o {
		if n.Session != nil {
			if served := n.Session(s); served != nil {
				return served
			}
		}
	}
	return nil
}

func (o owners) limit(l kernel.Limit) (of, words string) {
	for _, n := range o {
		if n.Limit != nil {
			if of, words = n.Limit(l); words != "" {
				return of, words
			}
		}
	}
	return "", ""
}

func (o owners) shut(l kernel.Limit) string {
	for _, n := range o {
		if n.Shut != nil {
			if of := n.Shut(l); of != "" {
				return of
			}
		}
	}
	return ""
}

func (o owners) counters(w *kernel.Way) (list []Counter) {
	for _, n := range o {
		if n.Counters != nil {
			list = append(list, n.Counters(w)...)
		}
	}
	return list
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
