package flow

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/kernel"
)

// ErrNothing says that nobody has anything in the kernel that could be explained.
var ErrNothing = errors.New("there is nothing to explain")

// Machine is what is asked of Linux while a connection is explained. Nothing of it
// is changed.
type Machine struct {
	Interfaces []kernel.Interface // may be empty: addresses are not known then

	Sessions Sessions                                                          // nil: connections that are open are not known
	Element  func(table, set string, key []byte) (kernel.Element, bool, error) // of what packets write; nil: they have written nothing
	Lookup   func(kernel.Packet) (kernel.Route, error)                         // the route of what none of our tables has one for; nil: it is not known
}

// Sessions looks connections up; a [kernel.Conntrack] does.
type Sessions interface {
	Find(t kernel.Tuple) (kernel.Session, bool, error)
	Sessions(ctx context.Context, f kernel.SessionFilter, yield func(kernel.Session) bool) error
}

// Journey tells what becomes of a connection on a machine, by what the owners have
// in the kernel: a nil part is nothing, and [ErrNothing] is all parts' being so. No
// more is read than the question needs.
func Journey(ctx context.Context, m Machine, q Question, parts ...*Part) (*Explanation, error) {
	a := asking{Machine: m}
	for _, p := range parts {
		if p != nil {
			a.parts, a.names = append(a.parts, p), append(a.names, p.Names)
		}
	}
	if len(a.parts) == 0 {
		return nil, ErrNothing
	}
	assumed := ""
	q.In, assumed = a.inbound(q)
	session, open, err := a.find(ctx, q)
	if err != nil {
		return nil, err
	}
	e, err := Explain(a.world(), q, session, a.names...)
	if err != nil {
		return nil, err
	}
	for _, n := range []string{assumed, open} {
		if n != "" {
			e.Notes = append(e.Notes, n)
		}
	}
	if a.failed != nil {
		e.Notes = append(e.Notes, "Linux tells no route: "+a.failed.Error())
	}
	return e, nil
}

// asking is one question to a machine.
type asking struct {
	Machine
	parts  []*Part
	names  owners
	failed error // why a route could not be looked up
}

// outside is the interface that is taken where none is known.
const outside = "outside"

// inbound finds the interface that a client comes in by, if it is not told: none
// for an address of this machine; for one that is served that of its network, or
// else of the route to it; for others the inside interface in whose network it is,
// else the first.
func (a *asking) inbound(q Question) (name, assumed string) {
	if q.In != "" {
		return q.In, ""
	}
	var inside []string
	served := false
	for _, p := range a.parts {
		inside = append(inside, p.Inside...)
		served = served || p.Serves != nil && p.Serves(q.To.Addr())
	}
	var near string
	for _, n := range a.Interfaces {
		for _, p := range n.Addresses {
			switch {
			case p.Addr().WithZone("") == q.From.Addr():
				return "", ""
			case !p.Masked().Contains(q.From.Addr()):
			case slices.Contains(inside, n.Name):
				return n.Name, ""
			case near == "":
				near = n.Name
			}
		}
	}
	switch {
	case !served && len(inside) > 0:
		return inside[0], ""
	case !served:
		return "", ""
	case near == "":
		near = a.towards(q.From.Addr())
	}
	if near == "" {
		return outside, "the interface that it comes in by is not known: --in tells it"
	}
	return near, ""
}

// towards gives the interface by which this machine reaches a client.
func (a *asking) towards(client netip.Addr) string {
	if a.Lookup == nil {
		return ""
	}
	from := netip.IPv4Unspecified()
	if client.Is6() {
		from = netip.IPv6Unspecified()
	}
	r, err := a.Lookup(kernel.Packet{Source: from, Dest: client})
	if err != nil || r.Kind != kernel.Unicast {
		return ""
	}
	return r.Interface
}

// find gives the session of a question. Without the client's port there may be
// several: they are told in a sentence, and a new one is explained.
func (a *asking) find(ctx context.Context, q Question) (session *kernel.Session, open string, err error) {
	if a.Sessions == nil {
		return nil, "", nil
	}
	if kernel.HasPorts(q.Protocol) && !q.Assumed {
		s, found, err := a.Sessions.Find(kernel.Tuple{Protocol: q.Protocol, Source: q.From, Destination: q.To})
		if err != nil || !found {
			return nil, "", err
		}
		return &s, "", nil
	}
	at := map[string]int{}
	err = a.Sessions.Sessions(ctx, q.Sessions(), func(s kernel.Session) bool {
		at[a.where(&s)]++
		return true
	})
	if err != nil {
		return nil, "", err
	}
	var words []string
	for where, n := range at {
		words = append(words, fmt.Sprintf("%d %s", n, where))
	}
	slices.Sort(words)
	if len(words) > 0 {
		open = "sessions between the two that are open already stay where they are: " + strings.Join(words, ", ")
	}
	return nil, open, nil
}

// where says in words where a session is.
func (a *asking) where(s *kernel.Session) string {
	if served := a.names.session(s); served != nil && served.Server != "" {
		return "with server " + served.Farm + "/" + served.Server
	}
	if name := a.names.link(s.Mark & kernel.LinkMask); name != "" {
		return "on " + name
	}
	return "on no link"
}

// world gives what a packet meets.
func (a *asking) world() *kernel.World {
	var all []*kernel.Wishes
	for _, p := range a.parts {
		if p.Wishes != nil {
			all = append(all, p.Wishes)
		}
	}
	w := kernel.NewWorld(all...)
	var own []netip.Prefix
	up := map[string]bool{}
	for _, n := range a.Interfaces {
		own = append(own, n.Addresses...)
		up[n.Name] = n.Up
	}
	w.AddressType = kernel.AddressTypes(own...)
	w.Present = func(name string) bool { return len(up) == 0 || up[name] || name == "lo" }
	w.Find = a.Element
	if a.Lookup != nil {
		w.Elsewhere = func(p kernel.Packet) (kernel.Route, bool) {
			r, err := a.Lookup(p)
			if err != nil {
				a.failed = err
			}
			return r, err == nil
		}
	}
	return w
}
