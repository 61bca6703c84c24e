package api

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/status"
)

// fakeProxy is a DNS proxy that has counted one of everything.
type fakeProxy struct{}

func (fakeProxy) Stats() dnsproxy.Stats {
	return dnsproxy.Stats{UDP: 1, TCP: 1, Hits: 2, Stale: 1, Dropped: map[string]uint64{"policy": 1}, Replies: map[string]uint64{"NOERROR": 1},
		Policies: []dnsproxy.PolicyStats{{Name: "default", Queries: 2}, {Name: "default", Queries: 3}},
		Servers: []dnsproxy.ServerStats{{Name: "isp", Link: "line", Queries: 7, Latency: time.Millisecond,
			Failures: map[string]uint64{"timeout": 1, "servfail": 0}, Ignored: map[string]uint64{"stray": 4}}}}
}
func (fakeProxy) Listening() dnsproxy.Listening { return dnsproxy.Listening{Port: 5300} }
func (fakeProxy) Learnt(string) []dnsproxy.LearntAddress {
	return []dnsproxy.LearntAddress{{Address: netip.MustParseAddr("192.0.2.53"), Source: "hook"}}
}
func (fakeProxy) ExplainQuery(dnsproxy.Ask) (*dnsproxy.Explanation, error) { return nil, nil }
func (fakeProxy) ReportDNS(string, []netip.Addr, time.Time, string) ([]netip.Addr, error) {
	return nil, nil
}

// A scrape takes all of the DNS proxy's figures: none stands there twice, even
// where a policy is called default, and what is not known is not there.
func TestMetricsOfDNSProxy(t *testing.T) {
	board := status.NewBoard(10)
	board.Update(status.Row{ID: "dnsServer/isp", Health: status.Up})
	m := &config.Model{DNSProxy: &config.DNSProxy{Enabled: true}, DNSServers: []*config.DNSServer{{Name: "isp", Auto: true, Link: "line"}, {Name: "other", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}}}}
	v := (&Server{opts: Options{Board: board, Model: func() *config.Model { return m }, DNSProxy: fakeProxy{}}}).view()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(proxyCollector{v})
	found, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range found {
		for _, one := range f.Metric {
			text.WriteString(f.GetName())
			for _, l := range one.Label {
				text.WriteString(" " + l.GetName() + "=" + l.GetValue())
			}
			value := one.GetCounter().GetValue() + one.GetGauge().GetValue()
			text.WriteString(" " + strings.TrimSuffix(time.Duration(value*float64(time.Second)).String(), "s") + "\n")
		}
	}
	for _, line := range []string{
		"portolan_dns_proxy_listening 1\n", "portolan_dns_proxy_policy_queries_total policy=default 5\n", "portolan_dns_proxy_cache_hits_total kind=fresh 1\n",
		"portolan_dns_server_up server=isp 1\n", "portolan_dns_server_addresses server=isp 1\n", "portolan_dns_server_failures_total link=line reason=timeout server=isp 1\n",
		"portolan_dns_server_ignored_total link=line reason=stray server=isp 4\n", "portolan_dns_server_queries_total link=line server=isp 7\n",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in\n%s", line, text.String())
		}
	}
	if strings.Contains(text.String(), "dns_server_up server=other") {
		t.Error("the health of a server that nobody probes is told")
	}
}

// proxyCollector collects the figures of the DNS proxy alone.
type proxyCollector struct{ view }

func (c proxyCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range dnsProxyFamilies {
		ch <- m.desc
	}
}
func (c proxyCollector) Collect(ch chan<- prometheus.Metric) { c.collectDNSProxy(emitter(ch)) }

func TestParseDNSQuery(t *testing.T) {
	for _, c := range []struct {
		name, rtype, client, asked string
		good                       bool
	}{
		{"example.com", "", "10.0.0.5", "", true}, {"example.com", "aaaa", "fd00::5", "2001:db8::1", true}, {"example.com", "TYPE65", "10.0.0.5", "8.8.8.8", true},
		{"", "A", "10.0.0.5", "", false}, {"example.com", "TYPE70000", "10.0.0.5", "", false}, {"example.com", "A", "", "", false}, {"example.com", "A", "10.0.0.5", "x", false},
		{"example.com", "A", "10.0.0.5", "fe80::1%eth0", false},
	} {
		if _, err := ParseDNSQuery(c.name, c.rtype, c.client, c.asked); (err == nil) != c.good {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
