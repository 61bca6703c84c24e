package api_test

import (
	"errors"
	"fmt"
	"iter"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/status"
)

func TestMetricsLint(t *testing.T) {
	c := api.New(newDaemon().options()).Collector()
	problems, err := testutil.CollectAndLint(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	// A pedantic registry checks that what is collected is what was described.
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(c)
	if _, err := r.Gather(); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	d := newDaemon()
	d.board.Update(status.Row{ID: "virtualServer/b", Health: status.Down})
	if err := d.board.Hold("link/north", status.Hold{State: status.HoldDrain, Reason: "x"}); err != nil {
		t.Fatal(err)
	}
	c := api.New(d.options()).Collector()
	want := `
# HELP portolan_dns_requests_total Queries by transport, address family and type.
# TYPE portolan_dns_requests_total counter
portolan_dns_requests_total{family="1",proto="udp",type="A"} 3
portolan_dns_requests_total{family="1",proto="udp",type="other"} 2
# HELP portolan_dns_replies_total Answers by response code, those outside of our zones too.
# TYPE portolan_dns_replies_total counter
portolan_dns_replies_total{rcode="NOERROR"} 5
portolan_dns_replies_total{rcode="REFUSED"} 2
# HELP portolan_dns_responses_total Answers by zone, the view that it belongs to, and response code; not with more than 10,000 zones.
# TYPE portolan_dns_responses_total counter
portolan_dns_responses_total{rcode="NOERROR",view="",zone="example.com."} 5
portolan_dns_responses_total{rcode="NOERROR",view="inside",zone="example.com."} 2
# HELP portolan_dns_request_duration_seconds Time from the socket to the packed answer.
# TYPE portolan_dns_request_duration_seconds histogram
portolan_dns_request_duration_seconds_bucket{le="0.001"} 4
portolan_dns_request_duration_seconds_bucket{le="0.002"} 6
portolan_dns_request_duration_seconds_bucket{le="+Inf"} 7
portolan_dns_request_duration_seconds_sum 0.009
portolan_dns_request_duration_seconds_count 7
# HELP portolan_dns_tcp_connections TCP connections that are open now.
# TYPE portolan_dns_tcp_connections gauge
portolan_dns_tcp_connections 1
# HELP portolan_dns_tcp_connections_total TCP connections: accepted, refused over their client's limit or without descriptors, displaced when idle by new ones, failed for want of descriptors.
# TYPE portolan_dns_tcp_connections_total counter
portolan_dns_tcp_connections_total{result="accepted"} 3
portolan_dns_tcp_connections_total{result="displaced"} 1
portolan_dns_tcp_connections_total{result="failed"} 0
portolan_dns_tcp_connections_total{result="refused"} 2
# HELP portolan_dns_dropped_total Packets that were not answered, by reason.
# TYPE portolan_dns_dropped_total counter
portolan_dns_dropped_total{reason="malformed"} 2
# HELP portolan_dns_limit Limits of the DNS engine, by their key below dns.limits, as they are now: things, seconds or bytes.
# TYPE portolan_dns_limit gauge
portolan_dns_limit{limit="connections"} 1000
portolan_dns_limit{limit="zone.records"} 2e+07
# HELP portolan_dns_limit_reached_total How often a limit of the DNS engine was reached.
# TYPE portolan_dns_limit_reached_total counter
portolan_dns_limit_reached_total{limit="connections"} 2
portolan_dns_limit_reached_total{limit="zone.records"} 0
# HELP portolan_dns_rrl_total Queries that response rate limiting looked at: passed; over the limit and answered TC (slipped), BADCOOKIE (badcookie) or not at all (dropped); over the limit in a dry run (dry).
# TYPE portolan_dns_rrl_total counter
portolan_dns_rrl_total{result="passed"} 4
portolan_dns_rrl_total{result="slipped"} 1
# HELP portolan_config_last_reload_successful 1 if the last start, reload or apply succeeded.
# TYPE portolan_config_last_reload_successful gauge
portolan_config_last_reload_successful 1
# HELP portolan_config_last_reload_success_timestamp_seconds When the running configuration was taken into use.
# TYPE portolan_config_last_reload_success_timestamp_seconds gauge
portolan_config_last_reload_success_timestamp_seconds 1.767323045e+09
# HELP portolan_pool_active_members Members of a pool that take part in answers now.
# TYPE portolan_pool_active_members gauge
portolan_pool_active_members{pool="outer"} 2
portolan_pool_active_members{pool="web"} 1
# HELP portolan_holds Operators' holds in force, by state.
# TYPE portolan_holds gauge
portolan_holds{state="down"} 0
portolan_holds{state="drain"} 1
portolan_holds{state="up"} 0
# HELP portolan_probe_results_total Finished probes by kind and outcome; void says nothing about the target.
# TYPE portolan_probe_results_total counter
portolan_probe_results_total{kind="http",outcome="fail"} 2
portolan_probe_results_total{kind="http",outcome="pass"} 5
portolan_probe_results_total{kind="http",outcome="void"} 0
# HELP portolan_zone_file_ok 1 if the zone's file is good, 0 if an older version or nothing is served; not with more than 10,000 zones.
# TYPE portolan_zone_file_ok gauge
portolan_zone_file_ok{view="",zone="example.com."} 1
`
	var names []string
	for _, m := range regexp.MustCompile(`# TYPE (\S+)`).FindAllStringSubmatch(want, -1) {
		names = append(names, m[1])
	}
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), names...); err != nil {
		t.Error(err)
	}
}

func TestMetricsOfPools(t *testing.T) {
	d := newDaemon()
	d.board.Update(status.Row{ID: "virtualServer/b", Health: status.Down})
	w := ask(api.New(d.options()).Handler(), "GET", "/metrics", "", nil)
	for _, line := range []string{
		`portolan_pool_members{pool="web",state="up"} 1`,
		`portolan_pool_members{pool="web",state="down"} 1`,
		`portolan_pool_members{pool="web",state="held"} 0`,
		`portolan_rows{health="down",kind="virtualServer"} 1`,
		`portolan_build_info{`,
		`go_goroutines `,
		`process_open_fds `,
	} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("no line %s", line)
		}
	}
}

// With very many zones a scrape has totals and no line for each of them.
func TestMetricsOfVeryManyZones(t *testing.T) {
	for _, n := range []int{api.MaxZoneSeries, api.MaxZoneSeries + 1} {
		opts := newDaemon().options()
		opts.Zones = func() iter.Seq[api.Zone] {
			return func(yield func(api.Zone) bool) {
				for i := range n {
					if !yield(api.Zone{Name: fmt.Sprintf("z%d.example.", i), Origin: "live", State: api.ZoneOK}) {
						return
					}
				}
			}
		}
		text := ask(api.New(opts).Handler(), "GET", "/metrics", "", nil).Body.String()
		if total := fmt.Sprintf("portolan_zones{origin=\"live\",state=\"ok\"} %d\n", n); !strings.Contains(text, total) {
			t.Errorf("%d zones: no line %s", n, total)
		}
		each := strings.Count(text, "\nportolan_zone_serial{") + strings.Count(text, "\nportolan_zone_file_ok{")
		if want := 2 * n; n <= api.MaxZoneSeries && each != want || n > api.MaxZoneSeries && each != 0 {
			t.Errorf("%d zones: %d lines of single zones", n, each)
		}
	}
}

func TestMetricsAfterABadReload(t *testing.T) {
	opts := newDaemon().options()
	opts.Config = func() api.ConfigState {
		return api.ConfigState{Loaded: start, LastGood: true, LastFailed: errors.New("bad file").Error()}
	}
	w := ask(api.New(opts).Handler(), "GET", "/metrics", "", nil)
	for _, line := range []string{"portolan_config_last_reload_successful 0", "portolan_config_last_good 1"} {
		if !strings.Contains(w.Body.String(), "\n"+line) {
			t.Errorf("no line %s", line)
		}
	}
}
