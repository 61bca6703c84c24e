package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/proximity"
)

// distances is a table that remembers what it was asked.
type distances struct {
	asked   []proximity.Query
	cleared []string // network, who, why
	stats   api.ProximityStats
}

func (d *distances) List(q proximity.Query) ([]proximity.Entry, netip.Prefix) {
	d.asked = append(d.asked, q)
	if q.State == "warming" {
		return nil, netip.Prefix{}
	}
	n := netip.MustParsePrefix("203.0.113.0/24")
	return []proximity.Entry{{Network: n, State: "ready", Made: start, Links: []proximity.Distance{{Link: "north", RTT: 12 * time.Millisecond}}}}, n
}

func (d *distances) Why(client netip.Addr) string {
	if client.IsValid() {
		return "measured"
	}
	return "proximity has no methods"
}

func (d *distances) Clear(n netip.Prefix, who, why string) int {
	d.cleared = append(d.cleared, n.String(), who, why)
	return 7
}

func (d *distances) Stats() api.ProximityStats { return d.stats }

// What the client of the API asks for arrives, and what is there comes back.
func TestProximity(t *testing.T) {
	d := newDaemon()
	d.distances.stats = api.ProximityStats{Why: "why", Table: proximity.TableStats{Entries: 3, States: map[string]int{"ready": 3}}}
	c, _ := serve(t, d.options())
	want := proximity.Query{Client: netip.MustParseAddr("203.0.113.7"), State: "ready", After: netip.MustParsePrefix("198.51.100.0/24"), Limit: 5}
	l, err := c.Proximity(t.Context(), want)
	if err != nil || len(l.Entries) != 1 || l.Entries[0].Links[0].RTT != 12*time.Millisecond || !l.Entries[0].Made.Equal(start) || l.Next != l.Entries[0].Network || l.Why != "measured" {
		t.Errorf("%+v, %v", l, err)
	}
	if got := d.distances.asked; !reflect.DeepEqual(got, []proximity.Query{want}) {
		t.Errorf("asked %+v", got)
	}
	if l, err := c.Proximity(t.Context(), proximity.Query{State: "warming"}); err != nil || l.Entries == nil || len(l.Entries) != 0 || l.Next.IsValid() || l.Why != "proximity has no methods" {
		t.Errorf("%+v, %v", l, err)
	}
	if s, err := c.ProximityStats(t.Context()); err != nil || s.Why != "why" || s.Table.States["ready"] != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, n := range []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24"), {}} {
		if done, err := c.ClearProximity(t.Context(), n, "a reason"); err != nil || done.Entries != 7 || done.Network != n {
			t.Errorf("%v: %+v, %v", n, done, err)
		}
	}
	got := d.distances.cleared
	if len(got) != 6 || got[0] != "203.0.113.0/24" || got[1] == "" || got[2] != "a reason" || got[3] != "invalid Prefix" {
		t.Errorf("cleared %q", got)
	}
	_, err = c.ClearProximity(t.Context(), netip.Prefix{}, "")
	wantError(t, err, api.Invalid, "a reason is needed: whoever comes next must know why")
}

// What makes no sense is refused, and nothing is cleared by a slip.
func TestProximity_Bad(t *testing.T) {
	d := newDaemon()
	h := api.New(d.options()).Handler()
	for _, c := range []struct{ method, query, text string }{
		{"GET", "?client=x", "client \"x\" is not an address"},
		{"GET", "?after=203.0.113.7", "after \"203.0.113.7\" is not a network such as 203.0.113.0/24"},
		{"GET", "?state=redy", "did you mean \"ready\"?"},
		{"GET", "?limit=x", "limit=\"x\" is not a number"},
		{"GET", "?limit=10001", "limit 10001 is more than 10000; go on with after"},
		{"DELETE", "?reason=x", "what to clear is needed: a network, or all"},
		{"DELETE", "?reason=x&all=false", "what to clear is needed: a network, or all"},
		{"DELETE", "?reason=x&network=203.0.113.0/24&all=true", "all and \"203.0.113.0/24\": say one of them"},
		{"DELETE", "?reason=x&network=203.0.113.7/24", "203.0.113.7/24 has bits beyond its length; 203.0.113.0/24 is the network"},
		{"DELETE", "?reason=x&network=here", "\"here\" is not a network such as 203.0.113.0/24"},
		{"DELETE", "?reason=x&network=::ffff:1.2.3.0/120", "is not a network"},
		{"DELETE", "?network=203.0.113.0/24", "a reason is needed: whoever comes next must know why"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, "/v1/proximity"+c.query, nil))
		var e api.Error
		if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != http.StatusBadRequest || !strings.Contains(e.Text, c.text) {
			t.Errorf("%s %s: %d %s, %v; want %s", c.method, c.query, w.Code, w.Body, err, c.text)
		}
	}
	if len(d.distances.asked)+len(d.distances.cleared) != 0 {
		t.Errorf("%v, %v", d.distances.asked, d.distances.cleared)
	}
}

// An address means the network around it.
func TestParseProximityNetwork(t *testing.T) {
	for text, want := range map[string]string{"203.0.113.7": "203.0.113.7/32", "2001:db8::1": "2001:db8::1/128", "::ffff:203.0.113.7": "203.0.113.7/32", "2001:db8::/32": "2001:db8::/32"} {
		if n, err := api.ParseProximityNetwork(text, false); err != nil || n.String() != want {
			t.Errorf("%s: %v, %v", text, n, err)
		}
	}
}

func TestMetrics_Proximity(t *testing.T) {
	d := newDaemon()
	d.distances.stats = api.ProximityStats{
		Table:       proximity.TableStats{Entries: 5, Max: 100, States: map[string]int{"ready": 4, "warming": 1}, Made: 9, RefusedFull: 2, Heard: 3, Late: 1},
		Probes:      proximity.ProbeStats{Methods: map[string]proximity.MethodStats{"icmp": {Answered: 6, Silent: 2, Packets: 11}}, Refused: map[string]uint64{"link-busy": 8}},
		Passive:     proximity.PassiveStats{Unowned: 4, Solicited: 12},
		Connections: map[string]uint64{"taken": 20, "unsure": 13},
	}
	want := `
# HELP portolan_proximity_entries Client networks in the table of measured distances, by state.
# TYPE portolan_proximity_entries gauge
portolan_proximity_entries{state="off"} 0
portolan_proximity_entries{state="ready"} 4
portolan_proximity_entries{state="warming"} 1
# HELP portolan_proximity_probes_total Measurements of one link by method and outcome: answered, silent, failed (the network said no), void (ours: no capability, no descriptors).
# TYPE portolan_proximity_probes_total counter
portolan_proximity_probes_total{method="icmp",outcome="answered"} 6
portolan_proximity_probes_total{method="icmp",outcome="failed"} 0
portolan_proximity_probes_total{method="icmp",outcome="silent"} 2
portolan_proximity_probes_total{method="icmp",outcome="void"} 0
# HELP portolan_proximity_dropped_total Measurements and samples that were dropped, by reason.
# TYPE portolan_proximity_dropped_total counter
portolan_proximity_dropped_total{reason="late"} 1
portolan_proximity_dropped_total{reason="link-busy"} 8
portolan_proximity_dropped_total{reason="near"} 0
portolan_proximity_dropped_total{reason="unasked"} 0
portolan_proximity_dropped_total{reason="unknown"} 0
portolan_proximity_dropped_total{reason="unowned"} 4
portolan_proximity_dropped_total{reason="unsure"} 13
# HELP portolan_proximity_samples_total Distances that were taken into the table, by source: a method, or passive for clients' own TCP connections.
# TYPE portolan_proximity_samples_total counter
portolan_proximity_samples_total{source="icmp"} 6
portolan_proximity_samples_total{source="passive"} 3
# HELP portolan_proximity_solicited_total UDP queries answered by TC alone, so that the client comes over TCP (proximity.passive.solicit).
# TYPE portolan_proximity_solicited_total counter
portolan_proximity_solicited_total 12
`
	err := testutil.CollectAndCompare(api.New(d.options()).Collector(), strings.NewReader(want), "portolan_proximity_entries", "portolan_proximity_probes_total",
		"portolan_proximity_dropped_total", "portolan_proximity_samples_total", "portolan_proximity_solicited_total")
	if err != nil {
		t.Error(err)
	}
}
