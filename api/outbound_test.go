package api_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// balancing is what balances, as far as the API can see it.
type balancing struct {
	closed   error
	sessions int // how many there are
	breaks   error
	asked    []api.SessionQuery
	cleared  []outbound.StickyQuery
}

func (b *balancing) Closed() error { return b.closed }
func (b *balancing) Groups() []outbound.GroupState {
	r := slots.Result{Up: true, Members: []slots.Standing{{Name: "north", ID: 1, Phase: slots.Ramping, Active: true, Slots: 64, Share: .25, Until: start}, {Name: "south", ID: 2, Busy: true}}, Lapsed: []status.ID{"link/south"}}
	return []outbound.GroupState{{Name: "all", Config: &config.LinkGroup{Name: "all", Members: []*config.LinkMember{{Link: "north", Weight: 2}, {Link: "south"}}}, Result: r}}
}
func (b *balancing) Hits() ([]outbound.Hit, error) {
	return []outbound.Hit{{Kind: outbound.HitRule, Name: "office/1", What: outbound.Taken, Connections: 7, Octets: 420, Last: start}}, nil
}
func (b *balancing) Number(link string) uint16 {
	return map[string]uint16{"north": 1, "south": 2}[link]
}
func (b *balancing) Connections() map[string]int { return map[string]int{"north": 9} }
func (b *balancing) Tracking() (kernel.Tracking, error) {
	return kernel.Tracking{Entries: 5, Max: 100, Drop: 3}, nil
}
func (b *balancing) ClearSticky(q outbound.StickyQuery) (int, error) {
	b.cleared = append(b.cleared, q)
	return 4, nil
}
func (b *balancing) Sticky(q outbound.StickyQuery, yield func(outbound.StickyEntry) bool) error {
	yield(outbound.StickyEntry{Persistence: "home", Group: q.Group, Client: netip.MustParsePrefix("10.0.0.0/24"), Link: "north"})
	return nil
}
func (b *balancing) Sessions(_ context.Context, q api.SessionQuery, yield func(api.Session) bool) error {
	b.asked = append(b.asked, q)
	for range b.sessions {
		if !yield(api.Session{Protocol: "udp", From: netip.MustParseAddrPort("10.0.0.5:1"), To: netip.MustParseAddrPort("9.9.9.9:53"), Link: "north"}) {
			return nil
		}
	}
	return b.breaks
}

// gateway has a link group over two links.
func gateway() (*daemon, *balancing, api.Options) {
	d, b := newDaemon(), &balancing{}
	d.model.Links = append(d.model.Links, &config.Link{Name: "south", MaxConnections: 50})
	d.model.LinkGroups = []*config.LinkGroup{b.Groups()[0].Config, {Name: "idle", Members: []*config.LinkMember{{Link: "south"}}}}
	d.model.Outbound = &config.Outbound{Enabled: true}
	o := d.options()
	o.Outbound, o.Sessions = b, b.Sessions
	return d, b, o
}

func TestOutboundShown(t *testing.T) {
	_, _, o := gateway()
	c, _ := serve(t, o)
	groups, err := c.LinkGroups(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"name":"all","state":"up","algorithm":"","lapsed":true,"onFailure":"","links":[{"link":"north","weight":2,"priority":0,"phase":"ramp","until":"2026-01-02T03:04:05Z","active":true,"share":25},` +
		`{"link":"south","weight":0,"priority":0,"phase":"serving","active":false,"share":0,"busy":true}],"row":{"id":"linkGroup/all","health":"unknown","since":"0001-01-01T00:00:00Z","why":"nothing probes it"}},` +
		`{"name":"idle","state":"unused","algorithm":"","onFailure":"","links":[{"link":"south","weight":0,"priority":0,"active":false,"share":0}],"row":{"id":"linkGroup/idle","health":"unknown","since":"0001-01-01T00:00:00Z","why":"nothing probes it"}}]`
	if got := show(t, groups); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	hits, err := c.Hits(t.Context())
	if got, want := show(t, hits), `[{"kind":"rule","name":"office/1","what":"taken","connections":7,"octets":420,"last":"2026-01-02T03:04:05Z"}]`; err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	l, err := c.Link(t.Context(), "north")
	if got, want := show(t, l.Outbound), `{"number":1,"table":1001,"snat":{"mode":"masquerade"},"connections":9,"groups":[{"group":"all","phase":"ramp","share":25}]}`; err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	if d, err := c.Describe(t.Context(), "linkGroup", "all"); err != nil || d.Name != "all" || d.State == nil {
		t.Errorf("%+v, %v", d, err)
	}
	for _, id := range []string{"linkGroup/all", "all", "linkgroup/all/south"} {
		if _, err := c.Hold(t.Context(), api.HoldRequest{ID: id, Reason: "works"}); err != nil {
			t.Errorf("%s cannot be held: %v", id, err)
		}
	}
}

// Answers about sessions are bounded, and say when there is more, and when they
// broke off; few are made at once.
func TestSessions(t *testing.T) {
	_, b, o := gateway()
	c, _ := serve(t, o)
	q := api.SessionQuery{Link: "north", Client: netip.MustParsePrefix("10.0.0.5/32"), To: netip.MustParsePrefix("9.9.9.0/24"), Protocol: 17, Port: 53, Limit: 5}
	for _, k := range []struct {
		there, want int
		more        bool
	}{{0, 0, false}, {4, 4, false}, {5, 5, false}, {6, 5, true}, {1e6, 5, true}} {
		b.sessions = k.there
		l, err := c.Sessions(t.Context(), q)
		if err != nil || len(l.Sessions) != k.want || l.More != k.more || l.Sessions == nil {
			t.Errorf("of %d: %d, %v, %v", k.there, len(l.Sessions), l.More, err)
		}
	}
	if b.asked[0] != q {
		t.Errorf("asked %+v", b.asked[0])
	}
	b.sessions, b.breaks = 3, errors.New("the table is gone")
	l, err := c.Sessions(t.Context(), q)
	wantError(t, err, api.Unavailable, "the answer broke off: the table is gone")
	if len(l.Sessions) != 3 {
		t.Errorf("of one that broke off: %d", len(l.Sessions))
	}
	b.sessions = 0
	_, err = c.Sessions(t.Context(), q)
	wantError(t, err, api.Unavailable, "the table is gone")
}

func TestSticky(t *testing.T) {
	d, b, o := gateway()
	c, _ := serve(t, o)
	q := api.StickyQuery{Group: "all", Link: "north", Client: netip.MustParsePrefix("10.0.0.0/8")}
	l, err := c.Sticky(t.Context(), q, 0)
	if got, want := show(t, l), `{"entries":[{"persistence":"home","group":"all","client":"10.0.0.0/24","link":"north","expires":"0s"}],"more":false}`; err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	for _, q := range []api.StickyQuery{q, {}} {
		want := outbound.StickyQuery{Group: q.Group, Link: q.Link, Client: q.Client}
		if done, err := c.ClearSticky(t.Context(), q, "works"); err != nil || done.Entries != 4 || b.cleared[len(b.cleared)-1] != want {
			t.Errorf("%+v, %v, %+v", done, err, b.cleared)
		}
	}
	events := d.board.Events(0)
	if e := events[len(events)-1]; e.ID != "persistence" || e.New != "4 entries cleared" || e.Why != "works" || e.By == "" {
		t.Errorf("%+v", e)
	}
}

// What makes no sense is refused before anything is looked at or cleared.
func TestOutbound_Bad(t *testing.T) {
	_, b, o := gateway()
	h := api.New(o).Handler()
	for _, c := range []struct{ method, path, text string }{
		{"GET", "/v1/sessions?link=nort", `there is no link \"nort\"; did you mean \"north\"?`},
		{"GET", "/v1/sessions?client=x", `client: \"x\" is not a network`},
		{"GET", "/v1/sessions?to=10.0.0.1/8", `to: 10.0.0.1/8 has bits beyond its length`},
		{"GET", "/v1/sessions?protocol=tpc", `protocol \"tpc\" is not tcp`},
		{"GET", "/v1/sessions?protocol=256", `is not tcp`},
		{"GET", "/v1/sessions?port=65536", "port 65536 is not from 1 to 65535"},
		{"GET", "/v1/sessions?limit=-1", `limit=\"-1\" is not a number`},
		{"GET", "/v1/sessions?limit=100001", "limit 100001 is more than 100000"},
		{"GET", "/v1/sticky?limit=99999999999999999999", "is not a number"},
		{"GET", "/v1/sticky?group=al", `there is no link group \"al\"`},
		{"GET", "/v1/sticky?link=x", `there is no link \"x\"`},
		{"DELETE", "/v1/sticky?reason=x", "what to clear is needed"},
		{"DELETE", "/v1/sticky?reason=x&all=true&link=north", "say one of them"},
		{"DELETE", "/v1/sticky?all=true", "a reason is needed"},
		{"DELETE", "/v1/sticky?reason=x&client=10.0.0", `client: \"10.0.0\" is not a network`},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		if w.Code/100 != 4 || !strings.Contains(w.Body.String(), c.text) {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.path, w.Code, w.Body, c.text)
		}
	}
	if len(b.asked)+len(b.cleared) > 0 {
		t.Errorf("%v %v", b.asked, b.cleared)
	}
	for _, path := range []string{"/v1/sessions", "/v1/sticky", "/v1/outbound"} {
		b.closed = errors.New("no capability")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "nothing is balanced: no capability") {
			t.Errorf("%s without the kernel: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestMetrics_Outbound(t *testing.T) {
	d, _, o := gateway()
	d.board.Update(status.Row{ID: "kernel/outbound", Health: status.Down, Since: time.Now()})
	c := api.New(o).Collector()
	want := `
# HELP portolan_outbound_connections_total New connections that things of outbound had, by what became of them; counted by the kernel. Without those of single rules where there are more than 10,000 things.
# TYPE portolan_outbound_connections_total counter
portolan_outbound_connections_total{kind="rule",name="office/1",outcome="taken"} 7
# HELP portolan_link_group_share_ratio Part of a group's new connections that a link gets, where neither persistence nor proximity speaks.
# TYPE portolan_link_group_share_ratio gauge
portolan_link_group_share_ratio{group="all",link="north"} 0.25
portolan_link_group_share_ratio{group="all",link="south"} 0
# HELP portolan_kernel_ok 1 if Linux is as an owner wishes, 0 if something could not be done.
# TYPE portolan_kernel_ok gauge
portolan_kernel_ok{owner="outbound"} 0
# HELP portolan_link_max_connections maxConnections of a link.
# TYPE portolan_link_max_connections gauge
portolan_link_max_connections{link="south"} 50
`
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "portolan_outbound_connections_total", "portolan_link_group_share_ratio", "portolan_kernel_ok", "portolan_link_max_connections"); err != nil {
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
