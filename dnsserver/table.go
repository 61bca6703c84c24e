package dnsserver

import (
	"cmp"
	"encoding/hex"
	"iter"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/topology"
)

// Table is everything that answers are made from: zones, settings, and pools
// behind the names. It is immutable; [Server.Use] swaps it whole.
type Table struct {
	zones   *zoneSet      // that every view sees
	views   []*clientView // the first that takes a client is what it sees
	rest    *view         // of the clients that no view takes
	ecs     bool          // use EDNS Client Subnet as the client (T7)
	udpSize int           // largest UDP answer, octets
	nsid    string        // hexadecimal, as miekg/dns takes it; empty: none
	chaos   chaos
	cookies *cookieSecrets // nil: COOKIE options are ignored
	limits  config.Limits
	full    bool // positive answers name the zone's servers too

	demandAbove   int // UDP queries a second without a proof of their source; 0: no bound
	acl           *acl
	listenerACLs  []listenerACL
	limiter       *limiter // nil: nothing is limited
	amplification config.Amplification

	pools    *pools
	topology *topology.Table
	model    *config.Model
	met      [limits]uint64 // limits that its zones' files exceed
}

// defaultUDPSize is the size that fits every path without fragments (the DNS
// flag day of 2020).
const defaultUDPSize = 1232

// newTable makes a table of zones and the settings of the dns section.
func newTable(d *config.DNS, zones ...*Zone) *Table {
	t := &Table{ecs: d.ECS, udpSize: d.UDPSize, pools: &pools{}}
	if t.udpSize == 0 {
		t.udpSize = defaultUDPSize
	}
	if t.limits = d.Limits; t.limits == (config.Limits{}) {
		t.limits = config.DefaultLimits()
	}
	t.amplification = d.Amplification
	t.full = !d.Minimal()
	t.nsid = hex.EncodeToString([]byte(d.NSID))
	t.chaos = newChaos(&d.Chaos)
	if d.Cookies.Enabled {
		t.demandAbove = d.Cookies.DemandAbove
	}
	list := make([]*served, len(zones))
	for i, z := range zones {
		list[i] = &served{zone: z, state: ZoneState{Name: z.apex}, count: &zoneTally{}}
	}
	return t.serve(zonesOf(list))
}

// serve puts zones into a table that is being made.
func (t *Table) serve(zones *zoneSet) *Table {
	t.zones = zones
	t.rest = &view{own: noZones, shared: zones}
	t.views = sharing(t.views, zones)
	return t
}

// Zones gives the zones that have records, in no order.
func (t *Table) Zones() iter.Seq[*Zone] {
	return func(yield func(*Zone) bool) {
		for z := range t.all() {
			if z.zone != nil && !yield(z.zone) {
				return
			}
		}
	}
}

// Zone gives the records of a zone that belongs to no view, or nil if there are
// none to serve.
func (t *Table) Zone(apex string) *Zone { return t.ZoneIn("", apex) }

// ZoneIn gives the records of the zone that belongs to a view, or with an empty
// name to none; nil if there are none to serve. The zone without a view does
// not stand for one of a view.
func (t *Table) ZoneIn(view, apex string) *Zone {
	if z := t.zonesOf(view).get(apex); z != nil {
		return z.zone
	}
	return nil
}

// ViewsOf names the views that have a zone of their own of this apex, in their
// order: their clients do not see the zone without a view.
func (t *Table) ViewsOf(apex string) (names []string) {
	for _, v := range t.views {
		if v.own.get(apex) != nil {
			names = append(names, v.name)
		}
	}
	return names
}

// States tells how each zone stands, in no order and without a copy of all.
func (t *Table) States() iter.Seq[ZoneState] {
	return func(yield func(ZoneState) bool) {
		for z := range t.all() {
			if !yield(z.state) {
				return
			}
		}
	}
}

// MaxZoneCounts is up to how many zones [Server.Stats] counts the responses of
// each. Of more, the maps alone would be gigabytes at each look.
const MaxZoneCounts = 10_000

// counted gives the zones whose responses are told one by one.
func (t *Table) counted() iter.Seq[*served] {
	if t.size() > MaxZoneCounts {
		return func(func(*served) bool) {}
	}
	return t.all()
}

// ZoneStates tells how each zone stands, by name.
func (t *Table) ZoneStates() []ZoneState {
	states := slices.AppendSeq(make([]ZoneState, 0, t.size()), t.States())
	slices.SortFunc(states, func(a, b ZoneState) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.View, b.View)) })
	return states
}
