package api

import (
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Labels are names of the configuration; none is of a client or a connection.
var (
	outboundHits   = counter("outbound_connections_total", "New connections that things of outbound had, by what became of them; counted by the kernel. Without those of single rules where there are more than 10,000 things.", "kind", "name", "outcome")
	groupUp        = gauge("link_group_up", "1 if a link group is available, 0 if it is not: below its thresholds, or held.", "group")
	groupLapsed    = gauge("link_group_busy_lapsed", "1 if all links that take part in a group are busy, so that busy protection has lapsed.", "group")
	groupShare     = gauge("link_group_share_ratio", "Part of a group's new connections that a link gets, where neither persistence nor proximity speaks.", "group", "link")
	groupLinks     = gauge("link_group_links", "Links of a group by phase: serving, ramp, standby, drain, out.", "group", "phase")
	linkSessions   = gauge("link_connections", "Connections over a link; none where nothing goes by their number.", "link")
	linkMostOpen   = gauge("link_max_connections", "maxConnections of a link.", "link")
	kernelOK       = gauge("kernel_ok", "1 if Linux is as an owner wishes, 0 if something could not be done.", "owner")
	trackedNow     = gauge("conntrack_entries", "Connections that the kernel tracks, of everything on this host.")
	trackedMost    = gauge("conntrack_max_entries", "The most that it may track (nf_conntrack_max).")
	trackedDropped = counter("conntrack_dropped_total", "Since the machine started: packets dropped for want of room (drop), sessions that could not be entered (insert_failed) and those thrown out to make room (early_drop).", "reason")

	outboundFamilies = []metric{outboundHits, groupUp, groupLapsed, groupShare, groupLinks, linkSessions, linkMostOpen, kernelOK, trackedNow, trackedMost, trackedDropped}
)

// maxHitSeries is up to how many things each has a counter in a scrape.
const maxHitSeries = 10_000

func (v view) collectOutbound(emit emitter) {
	for r := range v.table.All() {
		if r.ID.Kind() == status.KindKernel {
			emit.put(kernelOK, one(r.Health == status.Up), r.ID.Name())
		}
	}
	balances := v.balances() == nil
	if balances || v.serves() == nil {
		v.collectTracking(emit)
	}
	if !balances {
		return
	}
	emit.groups(v.opts.Outbound.Groups())
	hits, err := v.opts.Outbound.Hits()
	if err != nil {
		hits = nil // the kernel's row tells
	}
	for _, h := range hits {
		if h.Kind != outbound.HitRule || len(hits) <= maxHitSeries {
			emit.put(outboundHits, float64(h.Connections), h.Kind, h.Name, h.What)
		}
	}
	counts := v.opts.Outbound.Connections()
	for _, c := range v.model.Links {
		if v.opts.Outbound.Number(c.Name) == 0 {
			continue
		}
		if counts != nil {
			emit.put(linkSessions, float64(counts[c.Name]), c.Name)
		}
		if c.MaxConnections > 0 {
			emit.put(linkMostOpen, float64(c.MaxConnections), c.Name)
		}
	}
}

// collectTracking tells of the table that all connections stand in.
func (v view) collectTracking(emit emitter) {
	if v.opts.Outbound == nil {
		return
	}
	if t, err := v.opts.Outbound.Tracking(); err == nil {
		emit.put(trackedNow, float64(t.Entries))
		emit.put(trackedMost, float64(t.Max))
		emit.put(trackedDropped, float64(t.Drop), "drop")
		emit.put(trackedDropped, float64(t.InsertFailed), "insert_failed")
		emit.put(trackedDropped, float64(t.EarlyDrop), "early_drop")
	}
}

func (e emitter) groups(all []outbound.GroupState) {
	for _, g := range all {
		e.put(groupUp, one(g.Result.Up), g.Name)
		e.put(groupLapsed, one(len(g.Result.Lapsed) > 0), g.Name)
		phases := map[slots.Phase]int{slots.Serving: 0, slots.Ramping: 0, slots.StandingBy: 0, slots.Draining: 0, slots.Out: 0}
		for i := range g.Result.Members {
			m := &g.Result.Members[i]
			phases[m.Phase]++
			e.put(groupShare, m.Share, g.Name, m.Name)
		}
		for phase, n := range phases {
			e.put(groupLinks, float64(n), g.Name, phase.String())
		}
	}
}
