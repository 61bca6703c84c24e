package dnsserver

import (
	"github.com/miekg/dns"
)

// view is the zones that some clients see. A zone of the view's own takes the
// place of the shared zone with its apex; all other shared zones are seen too.
type view struct {
	name   string   // empty: the clients that no other view takes
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
// with records here.
func (q *query) zoneOf(name string) *Zone {
	if z := q.view.lookup(name); z != nil {
		return z.zone
	}
	return nil
}
