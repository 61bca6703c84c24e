package api_test

import (
	"encoding/json"
	"math"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/status"
)

// loaded gives a daemon whose link has a rate in, none out, and is busy.
func loaded() *daemon {
	d := newDaemon()
	unknown := math.NaN()
	d.board.Mark(map[status.ID]status.Load{"link/north": {Busy: true, Why: "in 812Mbps is over 700Mbps (70% of 1Gbps)", By: "link"}})
	d.links = []link.State{{Name: "north", Interface: "eth1", Index: 3, Up: true, Way: link.Way{NextHop: netip.MustParseAddr("192.0.2.254"), Learnt: true},
		Meter: config.MeterInterface, Window: time.Second, Measured: time.Now().Add(-3 * time.Second), Changes: 5,
		Rates: busy.Rates{unknown, 812e6, unknown}, Rule: busy.Rule{busy.In: busy.LimitOf(1e9, 70, 60)},
		MaxBandwidth: config.Bandwidths{In: 1e9}, RateLimit: config.Bandwidths{In: 2e9, Out: 1e9}}}
	return d
}

// T28: what is not known has no number, neither zero nor anything else.
func TestLink_T28(t *testing.T) {
	d := loaded()
	c, _ := serve(t, d.options())
	l, err := c.Link(t.Context(), "north")
	if err != nil {
		t.Fatal(err)
	}
	load, err := json.Marshal(l.Load)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"in":{"rate":812000000,"maxBandwidth":1000000000,"share":81.2,"busyAbove":700000000,"freeBelow":600000000,"rateLimit":2000000000,"remaining":1188000000},` +
		`"out":{"rateLimit":1000000000}}`
	if string(load) != want {
		t.Errorf("got  %s\nwant %s", load, want)
	}
	if !l.Learnt || l.NextHop != netip.MustParseAddr("192.0.2.254") || !l.Interface.Up || l.Meter.From != "interface" || !l.Row.Busy || l.Row.LoadWhy == "" {
		t.Errorf("%+v", l)
	}
	_, err = c.Link(t.Context(), "nroth")
	wantError(t, err, api.NotFound, `there is no link "nroth"; did you mean "north"?`)
}

func TestLinkMetrics(t *testing.T) {
	d := loaded()
	connections := status.NoGauge()
	connections.Connections = 120
	d.board.Measure(map[status.ID]status.Gauge{"virtualServer/a": connections})
	d.model.VirtualServers[0].MaxConnections = 100
	d.board.Mark(map[status.ID]status.Load{"virtualServer/a": {Full: true}})
	c := api.New(d.options()).Collector()
	want := `
# HELP portolan_link_rate_bps What a link carries, in bits a second, over its window.
# TYPE portolan_link_rate_bps gauge
portolan_link_rate_bps{direction="in",link="north"} 8.12e+08
# HELP portolan_link_busy 1 if a link is busy: above its threshold, and not yet below its recovery.
# TYPE portolan_link_busy gauge
portolan_link_busy{link="north"} 1
# HELP portolan_link_busy_threshold_ratio Share of maxBandwidth above which a link is busy.
# TYPE portolan_link_busy_threshold_ratio gauge
portolan_link_busy_threshold_ratio{direction="in",link="north"} 0.7
# HELP portolan_link_load_changes_total How often a link became busy or free, or shed another number of slices.
# TYPE portolan_link_load_changes_total counter
portolan_link_load_changes_total{link="north"} 5
# HELP portolan_link_rate_limit_bps rateLimit of a link, in bits a second.
# TYPE portolan_link_rate_limit_bps gauge
portolan_link_rate_limit_bps{direction="in",link="north"} 2e+09
portolan_link_rate_limit_bps{direction="out",link="north"} 1e+09
# HELP portolan_virtual_server_connections Connections that a virtual server reports, as long as its report counts.
# TYPE portolan_virtual_server_connections gauge
portolan_virtual_server_connections{virtual_server="a"} 120
# HELP portolan_virtual_server_full 1 if a virtual server with maxConnections has reached it, by its own report.
# TYPE portolan_virtual_server_full gauge
portolan_virtual_server_full{virtual_server="a"} 1
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "portolan_link_rate_bps", "portolan_link_busy", "portolan_link_busy_threshold_ratio",
		"portolan_link_load_changes_total", "portolan_link_rate_limit_bps", "portolan_virtual_server_connections", "portolan_virtual_server_full", "portolan_virtual_server_latency_seconds"); err != nil {
		t.Error(err)
	}
	problems, err := testutil.CollectAndLint(c)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
}

// A report is checked, and goes on as numbers with units; what is not told is
// unknown.
func TestReports(t *testing.T) {
	d := newDaemon()
	d.model.Links = []*config.Link{
		{Name: "north", Meter: config.Meter{From: config.MeterPush, MaxAge: config.Duration(30 * time.Second)}},
		{Name: "wan", Interface: "eth1", Meter: config.Meter{From: config.MeterInterface}},
		{Name: "far", Meter: config.Meter{From: config.MeterSNMP}}, {Name: "dark"},
	}
	h := api.New(d.options()).Handler()
	for _, c := range []struct{ path, body, want string }{
		{"/v1/links/north/rate", `{"in":"80Mbps","out":"20Mbps"}`, `{"id":"link/north","maxAge":"30s"}`},
		{"/v1/links/north/rate", `{"counters":{"in":7,"out":8,"bits":32}}`, `{"id":"link/north","maxAge":"30s"}`},
		{"/v1/virtualservers/a/report", `{"connections":0}`, `{"id":"virtualServer/a","until":"2026-01-02T03:04:35Z","full":false}`},
		{"/v1/virtualservers/a/report", `{"latency":"8ms","for":"1m"}`, `{"id":"virtualServer/a","until":"2026-01-02T03:05:05Z","full":false}`},

		{"/v1/links/nroth/rate", `{"in":"80Mbps"}`, `{"kind":"not-found","error":"there is no link \"nroth\"; did you mean \"north\"?"}`},
		{"/v1/links/wan/rate", `{"in":"80Mbps"}`, `{"kind":"conflict","error":"link \"wan\" is metered by its interface eth1, so it takes no reports; configure meter: push"}`},
		{"/v1/links/far/rate", `{"in":"80Mbps"}`, `{"kind":"conflict","error":"link \"far\" is metered by SNMP, so it takes no reports; configure meter: push"}`},
		{"/v1/links/dark/rate", `{"in":"80Mbps"}`, `{"kind":"conflict","error":"link \"dark\" is metered by nothing, so it takes no reports; configure meter: push"}`},
		{"/v1/links/north/rate", `{}`, `{"kind":"invalid","error":"say rates (in, out, total) such as 80Mbps, or counters, one of both"}`},
		{"/v1/links/north/rate", `{"in":"1bps","counters":{"in":1,"out":1}}`, `{"kind":"invalid","error":"say rates (in, out, total) such as 80Mbps, or counters, one of both"}`},
		{"/v1/links/north/rate", `{"in":"80MB"}`, `{"kind":"invalid","error":"the body: \"80MB\" is not a bandwidth such as 64kbps, 100Mbps or 1Gbps (bits, not bytes)"}`},
		{"/v1/links/north/rate", `{"in":"80Mbps","total":"20Mbps"}`, `{"kind":"invalid","error":"total 20Mbps is less than one direction of it"}`},
		{"/v1/links/north/rate", `{"counters":{"in":4294967296,"out":1,"bits":32}}`, `{"kind":"invalid","error":"a counter of 4294967296 octets does not fit in 32 bits"}`},
		{"/v1/links/north/rate", `{"counters":{"in":1,"out":1,"bits":16}}`, `{"kind":"invalid","error":"counters.bits 16 is not 32 or 64"}`},
		{"/v1/virtualservers/c/report", `{"connections":1}`, `{"kind":"not-found","error":"there is no virtual server \"c\""}`},
		{"/v1/virtualservers/a/report", `{}`, `{"kind":"invalid","error":"nothing is reported: say connections, latency, or both"}`},
		{"/v1/virtualservers/a/report", `{"connections":-1}`, `{"kind":"invalid","error":"connections -1 is not from 0 to 2000000000"}`},
		{"/v1/virtualservers/a/report", `{"connections":1,"for":"0s"}`, `{"kind":"invalid","error":"for 0s is not from 1s to 1h"}`},
		{"/v1/virtualservers/a/report", `{"latency":"2h"}`, `{"kind":"invalid","error":"latency 2h is over 1h"}`},
		{"/v1/virtualservers/a/report", `{"latency":"NaN"}`, `{"kind":"invalid","error":"the body: \"NaN\" is not a time such as 500ms, 5s, 2m or 1h"}`},
		{"/v1/virtualservers/a/report", `{"latency":"8"}`, `{"kind":"invalid","error":"the body: \"8\" has no unit; write 8s, or use ms, m, h"}`},
	} {
		w := ask(h, http.MethodPut, c.path, "application/json", strings.NewReader(c.body))
		if got := strings.TrimSpace(w.Body.String()); got != c.want {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.path, c.body, got, c.want)
		}
	}
	if len(d.reports) != 8 {
		t.Fatalf("%v", d.reports)
	}
	rates, ok := d.reports[1].(busy.Rates)
	if !ok || rates[busy.In] != 80e6 || rates[busy.Out] != 20e6 || !math.IsNaN(rates[busy.Total]) {
		t.Errorf("%v", d.reports[1])
	}
	if o, ok := d.reports[3].(api.Octets); !ok || o != (api.Octets{In: 7, Out: 8, Bits: 32}) {
		t.Errorf("%v", d.reports[3])
	}
	first, _ := d.reports[5].(api.ServerReport)
	second, _ := d.reports[7].(api.ServerReport)
	if first.Connections == nil || *first.Connections != 0 || first.Latency != nil || first.For != 30*time.Second ||
		second.Connections != nil || second.Latency == nil || *second.Latency != 8*time.Millisecond || second.For != time.Minute {
		t.Errorf("%+v %+v", first, second)
	}
}
