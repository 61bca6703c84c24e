package api

import (
	"net/http"
	"regexp"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/portolan-lb/portolan/status"
)

// metric is one family. Names are those of CoreDNS where it has one, with our
// prefix, so that its dashboards convert by changing that.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("portolan_"+name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc("portolan_"+name, help, labels, nil), prometheus.GaugeValue}
}

var (
	dnsRequests  = counter("dns_requests_total", "Queries by transport, address family and type.", "proto", "family", "type")
	dnsReplies   = counter("dns_replies_total", "Answers by response code, those outside of our zones too.", "rcode")
	dnsResponses = counter("dns_responses_total", "Answers by zone, the view that it belongs to, and response code; not with more than 10,000 zones.", "zone", "view", "rcode")
	dnsDuration  = counter("dns_request_duration_seconds", "Time from the socket to the packed answer.")
	dnsTCP       = gauge("dns_tcp_connections", "TCP connections that are open now.")
	dnsTCPSeen   = counter("dns_tcp_connections_total", "TCP connections: accepted, refused over their client's limit or without descriptors, displaced when idle by new ones, failed for want of descriptors.", "result")
	dnsLimit     = gauge("dns_limit", "Limits of the DNS engine, by their key below dns.limits, as they are now: things, seconds or bytes.", "limit")
	dnsReached   = counter("dns_limit_reached_total", "How often a limit of the DNS engine was reached.", "limit")
	dnsDropped   = counter("dns_dropped_total", "Packets that were not answered, by reason.", "reason")
	dnsRRL       = counter("dns_rrl_total", "Queries that response rate limiting looked at: passed; over the limit and answered TC (slipped), BADCOOKIE (badcookie) or not at all (dropped); over the limit in a dry run (dry).", "result")
	panics       = counter("panics_total", "Panics while answering a query; each was answered SERVFAIL.")
	apiPanics    = counter("api_panics_total", "Panics while answering an API request.")

	reloadOK   = gauge("config_last_reload_successful", "1 if the last start, reload or apply succeeded.")
	reloadTime = gauge("config_last_reload_success_timestamp_seconds", "When the running configuration was taken into use.")
	lastGood   = gauge("config_last_good", "1 if the file was bad at start and the last good configuration runs.")
	configInfo = gauge("config_info", "1, with the revision of the running configuration.", "revision")

	poolMembers = gauge("pool_members", "Members of a pool by state.", "pool", "state")
	poolActive  = gauge("pool_active_members", "Members of a pool that take part in answers now.", "pool")
	poolLapsed  = gauge("pool_busy_lapsed", "1 if all that take part in a pool are busy, so that busy protection has lapsed.", "pool")
	poolPanic   = gauge("pool_panic", "1 if a pool ignores health because too few members are usable.", "pool")
	rowHealth   = gauge("rows", "Virtual servers, links, sites, farms, real servers and checks by health.", "kind", "health")
	holdsNow    = gauge("holds", "Operators' holds in force, by state.", "state")
	zonesNow    = gauge("zones", "Zones by where they come from and how they stand.", "origin", "state")
	zoneSerial  = gauge("zone_serial", "Serial of a zone as it is served; not with more than 10,000 zones.", "zone", "view")
	zoneOK      = gauge("zone_file_ok", "1 if the zone's file is good, 0 if an older version or nothing is served; not with more than 10,000 zones.", "zone", "view")

	probeResults  = counter("probe_results_total", "Finished probes by kind and outcome; void says nothing about the target.", "kind", "outcome")
	probeOverruns = counter("probe_overruns_total", "Probes skipped because the one before was still out.")
	probeWaits    = counter("probe_waits_total", "Probes that had to wait for others to finish.")
	probePanics   = counter("probe_panics_total", "Panics of a probe kind.")
	probeChecks   = gauge("probe_checks", "Checks in the plan.")
	probeRunning  = gauge("probe_running", "Probes that are out now.")

	buildInfo = gauge("build_info", "1, with the version, commit and Go version of the program.", "version", "revision", "goversion")

	families = []metric{
		dnsRequests, dnsReplies, dnsResponses, dnsDuration, dnsTCP, dnsTCPSeen, dnsLimit, dnsReached, dnsDropped, dnsRRL, dnsCookies, dnsDemands, panics, apiPanics,
		reloadOK, reloadTime, lastGood, configInfo,
		poolMembers, poolActive, poolLapsed, poolPanic, rowHealth, holdsNow, zonesNow, zoneSerial, zoneOK,
		probeResults, probeOverruns, probeWaits, probePanics, probeChecks, probeRunning,
		proximityEntries, proximityMost, proximityMade, proximityRefused, proximityProbes, proximityPackets, proximityDropped, proximitySamples, proximitySolicited,
		buildInfo,
	}
)

// memberStates are shown for each pool, zero or not, so that a graph does not
// lose a line when a state empties.
var memberStates = []string{"up", "unknown", "waiting", "busy", "full", "down", "held"}

// metrics answers a scrape.
func (s *Server) metrics() http.Handler {
	return promhttp.HandlerFor(s.registry(), promhttp.HandlerOpts{Timeout: 10 * time.Second})
}

func (s *Server) registry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(s.collector(),
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

func (s *Server) collector() prometheus.Collector { return collector{s} }

// collector reads the counters that the other packages keep, when it is asked.
type collector struct{ *Server }

// Describe implements [prometheus.Collector].
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range slices.Concat(families, linkFamilies, dnsProxyFamilies, outboundFamilies, slbFamilies) {
		ch <- m.desc
	}
}

// Collect implements [prometheus.Collector].
func (c collector) Collect(ch chan<- prometheus.Metric) {
	emit := emitter(ch)
	c.collectDNS(emit)
	c.collectConfig(emit)
	v := c.view()
	v.collectPools(emit)
	v.collectRows(emit)
	v.collectLinks(emit)
	v.collectOutbound(emit)
	v.collectSLB(emit)
	v.collectReports(emit)
	v.collectDNSProxy(emit)
	v.collectZones(emit)
	c.collectProbes(emit)
	c.collectProximity(emit)
	emit.put(apiPanics, float64(c.panics.Load()))
	version, revision := build()
	emit.put(buildInfo, 1, version, revision, runtime.Version())
}

type emitter chan<- prometheus.Metric

func (e emitter) put(m metric, v float64, labels ...string) {
	e <- prometheus.MustNewConstMetric(m.desc, m.kind, v, labels...)
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// typeLabel is what a record type may look like. The engine gives mnemonics
// from a fixed list; whatever else came would be a label from a query.
var typeLabel = regexp.MustCompile(`^[A-Z][A-Z0-9-]{0,9}$`)

func (c collector) collectDNS(emit emitter) {
	s := c.opts.Stats()
	requests := map[[3]string]uint64{}
	for _, r := range s.Requests {
		if !typeLabel.MatchString(r.Type) {
			r.Type = "other"
		}
		requests[[3]string{r.Proto, r.Family, r.Type}] += r.N
	}
	for labels, n := range requests {
		emit.put(dnsRequests, float64(n), labels[:]...)
	}
	for _, r := range s.Responses {
		emit.put(dnsResponses, float64(r.N), r.Zone, r.View, r.Rcode)
	}
	for rcode, n := range s.Replies {
		emit.put(dnsReplies, float64(n), rcode)
	}
	emit.durations(s)
	emit.put(dnsTCP, float64(s.TCP.Open))
	emit.put(dnsTCPSeen, float64(s.TCP.Accepted), "accepted")
	emit.put(dnsTCPSeen, float64(s.TCP.Refused), "refused")
	emit.put(dnsTCPSeen, float64(s.TCP.Displaced), "displaced")
	emit.put(dnsTCPSeen, float64(s.TCP.Failed), "failed")
	for result, n := range s.RRL {
		emit.put(dnsRRL, float64(n), result)
	}
	for reason, n := range s.Dropped {
		emit.put(dnsDropped, float64(n), reason)
	}
	for name, l := range s.Limits {
		emit.put(dnsLimit, l.Value, name)
		emit.put(dnsReached, float64(l.Reached), name)
	}
	emit.cookies(s.Cookies)
	emit.put(panics, float64(s.Panics))
}

// durations turns counts a bucket into counts up to a bucket, which is what a
// histogram holds.
func (e emitter) durations(s DNSStats) {
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, d := range s.Durations {
		if n += d.N; i < len(s.Durations)-1 {
			buckets[d.Below.Seconds()] = n
		}
	}
	e <- prometheus.MustNewConstHistogram(dnsDuration.desc, n, s.Total.Seconds(), buckets)
}

func (c collector) collectConfig(emit emitter) {
	s := c.opts.Config()
	emit.put(reloadOK, one(s.LastFailed == ""))
	emit.put(reloadTime, float64(s.Loaded.UnixMilli())/1000)
	emit.put(lastGood, one(s.LastGood))
	emit.put(configInfo, 1, s.Revision)
}

func (v view) collectPools(emit emitter) {
	for _, p := range v.model.Pools {
		n := map[string]int{}
		for _, m := range v.members(p) {
			n[m.State]++
		}
		for _, state := range memberStates {
			emit.put(poolMembers, float64(n[state]), p.Name, state)
		}
		shown := v.pool(p, nil)
		emit.put(poolActive, float64(len(shown.Active)), p.Name)
		emit.put(poolLapsed, one(shown.Lapsed), p.Name)
		emit.put(poolPanic, one(shown.Panic), p.Name)
	}
}

func (v view) collectRows(emit emitter) {
	n := map[[2]string]int{}
	for _, kind := range []string{status.KindVirtualServer, status.KindLink, status.KindSite, status.KindPool, status.KindProbe} {
		for _, h := range []status.Health{status.Unknown, status.Up, status.Down} {
			n[[2]string{kind, h.String()}] = 0
		}
	}
	for r := range v.table.All() {
		n[[2]string{r.ID.Kind(), r.Health.String()}]++
	}
	for labels, n := range n {
		emit.put(rowHealth, float64(n), labels[:]...)
	}
	held := map[status.HoldState]int{}
	for _, h := range v.opts.Board.Holds() {
		held[h.State]++
	}
	for _, state := range []status.HoldState{status.HoldDown, status.HoldUp, status.HoldDrain} {
		emit.put(holdsNow, float64(held[state]), state.String())
	}
}

// MaxZoneSeries is up to how many zones each has metrics of its own. Beyond it
// there are totals only: of very many zones a scrape would be hundreds of
// megabytes, for whoever reaches the port.
const MaxZoneSeries = 10_000

func (v view) collectZones(emit emitter) {
	n, all := map[[2]string]int{}, 0
	zones := v.opts.Zones()
	for z := range zones {
		n[[2]string{z.Origin, z.State}]++
		all++
	}
	for labels, n := range n {
		emit.put(zonesNow, float64(n), labels[:]...)
	}
	if all > MaxZoneSeries {
		return
	}
	for z := range zones {
		emit.put(zoneSerial, float64(z.Serial), z.Name, z.View)
		emit.put(zoneOK, one(z.State == ZoneOK), z.Name, z.View)
	}
}

func (c collector) collectProbes(emit emitter) {
	s := c.opts.Probes.Stats()
	for kind, r := range s.Results {
		emit.put(probeResults, float64(r.Pass), kind, "pass")
		emit.put(probeResults, float64(r.Fail), kind, "fail")
		emit.put(probeResults, float64(r.Void), kind, "void")
	}
	emit.put(probeOverruns, float64(s.Overruns))
	emit.put(probeWaits, float64(s.Waited))
	emit.put(probePanics, float64(s.Panics))
	emit.put(probeChecks, float64(s.Checks))
	emit.put(probeRunning, float64(s.Running))
}

// build gives the version and commit that the go command stamped.
func build() (version, revision string) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown", "unknown"
	}
	version, revision = info.Main.Version, "unknown"
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			revision = s.Value
		}
	}
	return version, revision
}
