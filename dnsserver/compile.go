package dnsserver

import (
	"fmt"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

// ZoneState is how a zone stands, for those who look.
type ZoneState struct {
	Name    string    `json:"name"`
	View    string    `json:"view,omitempty"` // that alone sees it; empty: every view
	File    string    `json:"file"`
	Origin  string    `json:"origin"` // OriginConfiguration, OriginFolder or OriginLive
	Serial  uint32    `json:"serial"`
	Records int       `json:"records"`
	Dynamic int       `json:"dynamic"`           // names bound to pools
	Stale   bool      `json:"stale,omitempty"`   // an earlier version serves, for the file is bad
	Missing bool      `json:"missing,omitempty"` // nothing serves: SERVFAIL
	Twice   bool      `json:"twice,omitempty"`   // another file has this zone too; Error names both
	Error   string    `json:"error,omitempty"`   // what is wrong with the file, first of all
	Loaded  time.Time `json:"loaded,omitzero"`   // when the records that serve were read
}

// Inputs is what a table is compiled from.
type Inputs struct {
	Model    *config.Model
	Source   config.Source
	Topology *topology.Table
	Before   *Table         // the table that this one follows: unchanged zones and run-time state are taken over; may be nil
	LastGood *config.Source // where an earlier version of a bad zone file is looked for; may be nil
}

// before gives a zone as the table before serves it, or nil.
func (in *Inputs) before(c *config.Zone) *served {
	if in.Before == nil {
		return nil
	}
	return in.Before.zonesOf(c.View).get(c.Name)
}

func (in *Inputs) limiterBefore() *limiter {
	if in.Before == nil {
		return nil
	}
	return in.Before.limiter
}

// Compile makes a table. It changes nothing and may run beside a serving one.
//
// A zone whose file is bad keeps its last good version, from Before or from
// LastGood, and the rest is compiled: then both a table and errors come back.
// A zone with no good version answers SERVFAIL. The table is nil only if the
// pools cannot be made, or there are no cookie secrets to be had.
func Compile(in Inputs) (*Table, config.Errors) {
	var before *pools
	if in.Before != nil {
		before = in.Before.pools
	}
	ps, err := compilePools(in.Model, in.Topology, before)
	if err != nil {
		return nil, config.Errors{{Text: err.Error()}}
	}
	t := newTable(&in.Model.DNS)
	t.pools, t.topology, t.model = ps, in.Topology, in.Model
	t.limiter = newLimiter(&in.Model.DNS.RRL, in.limiterBefore(), time.Now())
	t.setACLs(&in.Model.DNS, in.Before)
	var errs config.Errors
	t.cookies, errs = in.cookies()
	unusable := errs.Failed()
	zones := map[string][]*served{} // by the view that they belong to
	for _, c := range in.Model.Zones {
		z, found := in.zone(c, ps)
		errs = append(errs, found...)
		zones[c.View] = append(zones[c.View], z)
	}
	t.met = exceeded(errs)
	if unusable {
		return nil, errs
	}
	t.views = newViews(in.Model, zones)
	return t.serve(zonesOf(zones[""])), errs
}

// zone makes one zone with its dynamic names. A bad file, and one that has
// static addresses where a name is dynamic, leaves the last good records in
// place; where there are none, what can be served is.
func (in *Inputs) zone(c *config.Zone, ps *pools) (*served, config.Errors) {
	before := in.before(c)
	z := &served{state: ZoneState{Name: c.Name, View: c.View, File: c.File, Origin: OriginConfiguration, Dynamic: len(c.Names)}, count: &zoneTally{},
		acl: newACL(c.ACL, "the acl of zone "+c.Name)}
	if before != nil {
		z.count = before.count
	}
	state := &z.state
	bind := func(records *Zone) (*Zone, config.Errors) {
		state.Serial, state.Records = records.Serial(), records.Records()
		return records.bind(c, in.Model.MayCNAME, func(n *config.Name) decider { return ps.bind(c, n, in.Topology) })
	}
	records, errs := in.records(c, before, state)
	if records != nil {
		var found config.Errors
		z.zone, found = bind(records)
		errs = append(errs, found...)
	}
	if !errs.Failed() {
		return z, errs
	}
	state.Error = errs[slices.IndexFunc(errs, func(e *config.Error) bool { return !e.Warning })].Error()
	if good := in.goodRecords(c, before); good != nil && good != records {
		z.zone, _ = bind(good) // what fails here failed above too
		state.Stale, state.Loaded = true, time.Time{}
		if before != nil {
			state.Loaded = before.state.Loaded
		}
	}
	state.Missing = z.zone == nil
	return z, errs
}

// records gives the records of the zone's file, parsed only if it changed.
func (in *Inputs) records(c *config.Zone, before *served, state *ZoneState) (*Zone, config.Errors) {
	if before != nil && before.zone != nil && before.zone.Fresh(in.Source, c) {
		state.Loaded = before.state.Loaded
		return before.zone, before.zone.Warnings()
	}
	state.Loaded = time.Now()
	return ParseZone(in.Source, c)
}

// goodRecords gives the last good records of a zone, or nil.
func (in *Inputs) goodRecords(c *config.Zone, before *served) *Zone {
	if before != nil && before.zone != nil {
		return before.zone
	}
	if in.LastGood == nil {
		return nil
	}
	z, _ := ParseZone(*in.LastGood, c)
	return z
}

// Ready makes the pools whose rows changed ready for a status table, before
// queries see it; changed nil means all pools. It is called by whoever
// publishes status tables, in their order.
func (t *Table) Ready(rows *status.Table, changed []status.ID) { t.pools.use(rows, changed) }

// PoolStates tells how each pool stands, in a word: up, busy, full, down, held
// or waiting.
func (t *Table) PoolStates(rows *status.Table) map[string]string {
	states := make(map[string]string, len(t.pools.order))
	for _, p := range t.pools.order {
		switch reason, waiting := p.group.State(rows); {
		case waiting:
			states[p.Name] = "waiting"
		case reason != pick.Chosen:
			states[p.Name] = reason.String()
		case p.group.Lapsed(rows):
			states[p.Name] = "busy"
		default:
			states[p.Name] = "up"
		}
	}
	return states
}

// LapsedBy gives the rows that are busy behind a pool whose busy protection
// has lapsed, for all that take part are busy (FAQ 1.2.26); nil if it has not.
func (t *Table) LapsedBy(pool string, rows *status.Table) []status.ID {
	if p := t.pools.byName[pool]; p != nil {
		return p.group.LapsedBy(rows)
	}
	return nil
}

// Waiting names the pools that do not answer yet, for a first probe result of
// some member is still to come.
func (t *Table) Waiting(rows *status.Table) []string {
	var names []string
	for _, p := range t.pools.order {
		if _, waiting := p.group.State(rows); waiting {
			names = append(names, p.Name)
		}
	}
	return names
}

// LastGood gives the members of each pool that took part last, for keeping
// over a restart.
func (t *Table) LastGood() map[string][]string { return t.pools.lastGood() }

// RestoreLastGood puts back what LastGood gave, for pools that have none yet.
func (t *Table) RestoreLastGood(sets map[string][]string) { t.pools.setLastGood(sets) }

// Standing tells who of a pool takes part, and why the others do not. It is
// made by the code that chooses. It is false for a pool that is not there.
func (t *Table) Standing(name string, rows *status.Table) (*pick.Trace, bool) {
	p := t.pools.byName[name]
	if p == nil {
		return nil, false
	}
	return p.group.Explain(rows), true
}

// String names the table in logs.
func (t *Table) String() string {
	return fmt.Sprintf("%s, %s", count(t.size(), "zone"), count(len(t.pools.order), "pool"))
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
