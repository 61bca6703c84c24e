package api

import (
	"math"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/status"
)

// What is not known has no sample: a graph with a gap is honest, one at zero is
// not (T28).
var (
	linkUp        = gauge("link_up", "1 if a link is up, 0 if it is down; none while that is not known.", "link")
	linkBusy      = gauge("link_busy", "1 if a link is busy: above its threshold, and not yet below its recovery.", "link")
	linkShed      = gauge("link_shed_slices", "Slices of clients, of 256, that are to leave a link with busy.shed: hash-slices.", "link")
	linkChanges   = counter("link_load_changes_total", "How often a link became busy or free, or shed another number of slices.", "link")
	linkRate      = gauge("link_rate_bps", "What a link carries, in bits a second, over its window.", "link", "direction")
	linkMost      = gauge("link_max_bandwidth_bps", "maxBandwidth of a link, in bits a second: what busy protection judges by.", "link", "direction")
	linkThreshold = gauge("link_busy_threshold_ratio", "Share of maxBandwidth above which a link is busy.", "link", "direction")
	linkRecovery  = gauge("link_busy_recovery_ratio", "Share of maxBandwidth below which a busy link is free again.", "link", "direction")
	linkLimit     = gauge("link_rate_limit_bps", "rateLimit of a link, in bits a second.", "link", "direction")
	linkMeterAge  = gauge("link_meter_age_seconds", "How long ago the meter of a link was last given something.", "link", "meter")
	linkMeterOK   = gauge("link_meter_ok", "0 if the meter of a link could not read at its last try.", "link", "meter")

	serverConnections = gauge("virtual_server_connections", "Connections that a virtual server reports, as long as its report counts.", "virtual_server")
	serverLatency     = gauge("virtual_server_latency_seconds", "Latency that a virtual server reports, as long as its report counts.", "virtual_server")
	serverMost        = gauge("virtual_server_max_connections", "maxConnections of a virtual server.", "virtual_server")
	serverFull        = gauge("virtual_server_full", "1 if a virtual server with maxConnections has reached it, by its own report.", "virtual_server")

	linkFamilies = []metric{
		linkUp, linkBusy, linkShed, linkChanges, linkRate, linkMost, linkThreshold, linkRecovery, linkLimit, linkMeterAge, linkMeterOK,
		serverConnections, serverLatency, serverMost, serverFull,
	}
)

// sample gives a sample, unless it is not known.
func (e emitter) sample(m metric, v float64, labels ...string) {
	if !math.IsNaN(v) {
		e.put(m, v, labels...)
	}
}

func (v view) collectLinks(emit emitter) {
	now := time.Now()
	for _, s := range v.opts.Links() {
		row := v.table.Row(status.MakeID(status.KindLink, s.Name))
		if row.Health != status.Unknown {
			emit.put(linkUp, one(row.Health == status.Up), s.Name)
		}
		emit.put(linkBusy, one(row.Busy), s.Name)
		emit.put(linkShed, float64(row.Shed), s.Name)
		emit.put(linkChanges, float64(s.Changes), s.Name)
		if s.Meter != "" {
			emit.put(linkMeterOK, one(s.Error == ""), s.Name, s.Meter)
			if !s.Measured.IsZero() {
				emit.put(linkMeterAge, now.Sub(s.Measured).Seconds(), s.Name, s.Meter)
			}
		}
		for d := range busy.Directions {
			emit.direction(&s, d)
		}
	}
}

func (e emitter) direction(s *link.State, d busy.Direction) {
	pick := func(b config.Bandwidths) float64 { return float64([...]config.Bandwidth{b.Total, b.In, b.Out}[d]) }
	e.sample(linkRate, s.Rates[d], s.Name, d.String())
	if most := pick(s.MaxBandwidth); most > 0 {
		e.put(linkMost, most, s.Name, d.String())
		e.put(linkThreshold, s.Rule[d].Threshold/most, s.Name, d.String())
		e.put(linkRecovery, s.Rule[d].Recovery/most, s.Name, d.String())
	}
	if limit := pick(s.RateLimit); limit > 0 {
		e.put(linkLimit, limit, s.Name, d.String())
	}
}

// collectReports tells what virtual servers reported.
func (v view) collectReports(emit emitter) {
	gauges := v.opts.Board.Gauges()
	for _, c := range v.model.VirtualServers {
		id := status.MakeID(status.KindVirtualServer, c.Name)
		g, _ := gauges.Get(id)
		emit.sample(serverConnections, g.Connections, c.Name)
		emit.sample(serverLatency, g.Latency, c.Name)
		if c.MaxConnections > 0 {
			emit.put(serverMost, float64(c.MaxConnections), c.Name)
			emit.put(serverFull, one(v.table.Row(id).Full), c.Name)
		}
	}
}
