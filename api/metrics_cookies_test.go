package api_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portolan-lb/portolan/api"
)

func TestMetricsOfCookies(t *testing.T) {
	want := `
# HELP portolan_dns_cookies_total Queries by what their COOKIE option proved: none without one, client with a client cookie alone, valid, bad, malformed.
# TYPE portolan_dns_cookies_total counter
portolan_dns_cookies_total{outcome="bad"} 1
portolan_dns_cookies_total{outcome="client"} 3
portolan_dns_cookies_total{outcome="malformed"} 5
portolan_dns_cookies_total{outcome="none"} 4
portolan_dns_cookies_total{outcome="valid"} 2
# HELP portolan_dns_cookie_demands_total UDP queries without a valid cookie above dns.cookies.demandAbove, by reply: badcookie or tc.
# TYPE portolan_dns_cookie_demands_total counter
portolan_dns_cookie_demands_total{reply="badcookie"} 6
portolan_dns_cookie_demands_total{reply="tc"} 7
`
	c := api.New(newDaemon().options()).Collector()
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "portolan_dns_cookies_total", "portolan_dns_cookie_demands_total"); err != nil {
		t.Error(err)
	}
}
