package dnsserver

import (
	"iter"
	"net/netip"
	"slices"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
)

// view is the zones that some clients see. A zone of the view's own takes the
// place of the shared zone with its apex; all other shared zones are seen too.
type view struct {
	name   string // empty: the clients that no other view takes
	acl    *acl
	own    *zoneSet // noZones in the view without a name
	shared *zoneSet
}

// get gives the zone of an apex as this view sees it, or nil.
func (v *view) get(apex string) *served {
	if v.own.size > 0 {
		if z := v.own.get(apex); z != nil {
			return z
		}
	}
	return v.shared.get(apex)
}

// lookup finds the zone with the longest apex that a canonical name is in, also
// one that has no good version, which must not be answered from the zone above
// it. It gives nil for a name of others.
func (v *view) lookup(name string) *served {
	for {
		if z := v.get(name); z != nil {
			return z
		}
		if name == "." {
			return nil
		}
		name = parent(name)
	}
}

// lookupFor finds the zone that answers a question. DS at an apex belongs to
// the parent zone, if that is ours too (RFC 4035 3.1.4.1) and has the cut. A
// parent that does not would deny a name that lives.
func (v *view) lookupFor(name string, qtype uint16) *served {
	z := v.lookup(name)
	if qtype != dns.TypeDS || name == "." || z == nil || z.zone == nil || name != z.zone.apex {
		return z
	}
	if above := v.lookup(parent(name)); above != nil && above.zone != nil {
		if n := above.zone.find(name); n != nil && n.cut {
			return above
		}
	}
	return z
}

// zoneOf gives the zone that a canonical name is in, or nil if there is none
// with records here that this source may have.
func (q *query) zoneOf(name string) *Zone {
	if z := q.view.lookup(name); z != nil && q.lets(z.acl) {
		return z.zone
	}
	return nil
}

// clientView is a view and who sees it.
type clientView struct {
	*view
	clients   *prefixMap       // nil: all
	listeners []netip.AddrPort // as configured; none: all
}

func (v *clientView) takes(source netip.Addr, listener netip.AddrPort) bool {
	return (len(v.listeners) == 0 || slices.Contains(v.listeners, listener)) &&
		(v.clients == nil || v.clients.has(source))
}

// viewOf gives the view that a query is answered from. It depends on the
// packet's source and on the listener, never on Client Subnet: a resolver sees
// one view whoever it asks for, so that no cache mixes two.
func (t *Table) viewOf(q *query) *view {
	for _, v := range t.views {
		if v.takes(q.question.client.source, q.listener) {
			return v.view
		}
	}
	return t.rest
}

// view records which view a client sees, where there are several.
func (tr *Trace) view(t *Table, q *query) {
	if tr == nil || len(t.views) == 0 && len(t.listenerACLs) == 0 {
		return
	}
	if len(t.model.DNS.Listeners) > 1 {
		tr.note("taken as asked at listener %s", q.listener)
	}
	switch name := q.seen.name; {
	case name != "":
		tr.note("client %s sees view %s", q.question.client.source, name)
	case len(t.views) > 0:
		tr.note("client %s sees no view but the zones without one", q.question.client.source)
	}
}

// firstListener is where an explanation takes a query to come in.
func (t *Table) firstListener() (address netip.AddrPort) {
	if t.model != nil && len(t.model.DNS.Listeners) > 0 {
		address = t.model.DNS.Listeners[0].Address
	}
	return address
}

// newViews compiles the views of a model, with the zones that belong to each.
func newViews(m *config.Model, own map[string][]*served) []*clientView {
	views := make([]*clientView, len(m.Views))
	for i, c := range m.Views {
		v := &clientView{listeners: c.Listeners, view: &view{name: c.Name, own: zonesOf(own[c.Name]), acl: newACL(c.ACL, "the acl of view "+c.Name)}}
		if len(c.Clients) > 0 {
			v.clients = newPrefixMap(c.Clients)
		}
		views[i] = v
	}
	return views
}

// sharing gives the views with other shared zones.
func sharing(views []*clientView, shared *zoneSet) []*clientView {
	next := make([]*clientView, len(views))
	for i, v := range views {
		with := *v.view
		with.shared = shared
		next[i] = &clientView{view: &with, clients: v.clients, listeners: v.listeners}
	}
	return next
}

// zonesOf gives the zones that belong to a view, or with no name to none.
func (t *Table) zonesOf(name string) *zoneSet {
	if name == "" {
		return t.zones
	}
	for _, v := range t.views {
		if v.name == name {
			return v.own
		}
	}
	return noZones
}

// size is how many zones there are in all views.
func (t *Table) size() int {
	n := t.zones.size
	for _, v := range t.views {
		n += v.own.size
	}
	return n
}

// all gives every zone of every view, in no order.
func (t *Table) all() iter.Seq[*served] {
	return func(yield func(*served) bool) {
		for z := range t.zones.all() {
			if !yield(z) {
				return
			}
		}
		for _, v := range t.views {
			for z := range v.own.all() {
				if !yield(z) {
					return
				}
			}
		}
	}
}
