package api_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// serving is what serves virtual servers, as far as the API can see it.
type serving struct {
	closed  error
	model   *config.Model
	farms   []slb.FarmState
	hits    []traffic.Hit
	breaks  error
	asked   []slb.StickyQuery
	cleared []slb.StickyQuery
}

func (s *serving) Closed() error          { return s.closed }
func (s *serving) Farms() []slb.FarmState { return s.farms }
func (s *serving) Hits(want func(*traffic.Hit) bool) ([]traffic.Hit, error) {
	return slices.DeleteFunc(slices.Clone(s.hits), func(h traffic.Hit) bool { return want != nil && !want(&h) }), s.breaks
}
func (s *serving) VirtualServers() []slb.VirtualState {
	n := 3
	return []slb.VirtualState{{Config: s.model.VirtualServers[2], Row: "virtualServer/shop", Why: "farm web: 2 of 3 servers are usable", Farms: []string{"web"}, Mark: l4.Mark(7), Connections: &n}}
}
func (s *serving) Pools() []slb.PoolState {
	return []slb.PoolState{{Config: s.model.SNATPools[0], Ports: 100, Lent: 99, Address: netip.MustParseAddr("10.0.0.100"), Server: netip.MustParseAddrPort("10.0.0.1:80"), Full: true, Failed: 4}}
}
func (s *serving) Sticky(q slb.StickyQuery, yield func(slb.StickyEntry) bool) error {
	s.asked = append(s.asked, q)
	yield(slb.StickyEntry{Persistence: "home", VirtualServer: "shop", Farm: "web", Server: "one", Client: netip.MustParsePrefix("192.0.2.0/24")})
	return nil
}
func (s *serving) ClearSticky(q slb.StickyQuery) (int, error) {
	s.cleared = append(s.cleared, q)
	return 2, nil
}

// balancer has virtual server shop over farm web of three servers, beside the
// virtual servers a and b that others serve.
func balancer(t *testing.T) (*daemon, *serving, api.Options) {
	t.Helper()
	d := newDaemon()
	one := &config.RealServer{Name: "one", Enabled: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, Port: 80, Weight: 5}
	two := &config.RealServer{Name: "two", Enabled: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Port: 80, Weight: 1}
	off := &config.RealServer{Name: "off", Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.3")}, Port: 80, Weight: 1}
	web := &config.ServerFarm{Name: "web", Algorithm: config.FarmRandom, Slots: 64, OnFailure: config.ServerKeep, OnBusy: config.FarmDrop, Mode: config.FarmNAT, SNATPool: "wide", Servers: []*config.RealServer{one, two, off}}
	d.model.ServerFarms = []*config.ServerFarm{web, {Name: "spare", Algorithm: config.FarmRoundRobin}}
	d.model.SNATPools = []*config.SNATPool{{Name: "wide", Ports: config.PortRange{From: 1024, To: 1123}}}
	d.model.VirtualServers = append(d.model.VirtualServers, &config.VirtualServer{Name: "shop", Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.10")}, Port: 80,
		Serve: &config.Serve{Type: config.ServeTCP, Enabled: true, Mask: config.Mask{V4: 32, V6: 128}, Farm: "web", Policy: "p", Persistence: "home"}})
	d.model.SLB = &config.SLB{Enabled: true, Policies: []*config.FarmPolicy{{Name: "p", Rules: []*config.FarmRule{{Class: "k", Action: &config.FarmAction{Farm: "web"}}}}}}
	n := 3
	s := &serving{model: d.model, farms: []slb.FarmState{{Config: web, Row: "serverFarm/web", Used: true,
		Result: slots.Result{Up: true, Why: "2 of 3 servers are usable"},
		Servers: []slb.ServerState{
			{Config: one, Row: "realServer/web/one", Addresses: one.Addresses, Standing: slots.Standing{Name: "one", Active: true, Share: .25, Phase: slots.Ramping, Until: start}, Connections: &n, Gauge: status.NoGauge()},
			{Config: two, Row: "realServer/web/two", Addresses: two.Addresses, Standing: slots.Standing{Name: "two", Phase: slots.Out}, Out: "shut down by itself: it reset 5 connections within 10s", Until: start, Gauge: status.NoGauge()},
			{Config: off, Row: "realServer/web/off", Addresses: off.Addresses, Standing: slots.Standing{Name: "off", Phase: slots.Draining}, Gauge: status.NoGauge()},
		}}}}
	s.hits = []traffic.Hit{
		{Kind: traffic.HitServer, Name: "shop", What: traffic.Taken, Does: "farm web", Connections: 7, Octets: 420, Last: start},
		{Kind: traffic.HitServer, Name: "other", What: traffic.Taken},
		{Kind: traffic.HitRule, Name: "p/1", What: traffic.Taken, Connections: 2},
		{Kind: traffic.HitRule, Name: "q/1", What: traffic.Taken},
		{Kind: traffic.HitPersistence, Name: "home", What: traffic.Taken},
		{Kind: l4.HitFarm, Name: "web", What: traffic.None},
		{Kind: l4.HitFarm, Name: "spare", What: traffic.None},
		{Kind: l4.HitServer, Name: "web/one", What: traffic.Taken, Connections: 6},
		{Kind: l4.HitServer, Name: "web/two", What: traffic.Taken, Connections: 1},
	}
	o := d.options()
	o.SLB = s
	return d, s, o
}

// The keys of the JSON are what scripts go by: they do not change.
func TestServedShown(t *testing.T) {
	_, _, o := balancer(t)
	c, _ := serve(t, o)
	row := func(id string) string {
		return `"row":{"id":"` + id + `","health":"unknown","since":"0001-01-01T00:00:00Z","why":"nothing probes it"}`
	}
	farms, err := c.Farms(t.Context(), 0)
	want := `{"farms":[{"name":"web","state":"up","algorithm":"random","weightsCount":false,"mode":"nat","snatPool":"wide","slots":64,"onFailure":"keep","onBusy":"drop","virtualServers":["shop"],"active":1,` +
		`"servers":[{"server":"one","state":"ramp","active":true,"weight":5,"priority":0,"share":25,"until":"2026-01-02T03:04:05Z"},` +
		`{"server":"two","state":"out","active":false,"weight":1,"priority":0,"share":0,"until":"2026-01-02T03:04:05Z","why":"shut down by itself: it reset 5 connections within 10s"},` +
		`{"server":"off","state":"off","active":false,"weight":1,"priority":0,"share":0,"why":"it is switched off, and keeps the connections that it has"}],"connections":3,"why":"2 of 3 servers are usable",` + row("serverFarm/web") + `},` +
		`{"name":"spare","state":"unused","algorithm":"round-robin","weightsCount":true,"mode":"","snat":"none","slots":0,"onFailure":"","onBusy":"","active":0,"servers":[],` + row("serverFarm/spare") + `}],"more":false}`
	if got := show(t, farms); err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	servers, err := c.RealServers(t.Context(), "web", 1)
	want = `{"servers":[{"name":"web/one","farm":"web","server":"one","state":"ramp","active":true,"until":"2026-01-02T03:04:05Z","addresses":["10.0.0.1"],"port":80,"weight":5,"weightCounts":false,"priority":0,"share":25,"connections":3,` + row("realServer/web/one") + `}],"more":true}`
	if got := show(t, servers); err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	all, err := c.VirtualServers(t.Context())
	want = `{"type":"tcp","networks":["203.0.113.10/32"],"ports":["80"],"enabled":true,"farm":"web","persistence":"home","policy":"p","farms":["web"],"number":7,"connections":3,"why":"farm web: 2 of 3 servers are usable"}`
	if err != nil || show(t, all[2].Serve) != want || all[0].Serve != nil {
		t.Errorf("got  %s, %v\nwant %s", show(t, all[2].Serve), err, want)
	}
	pools, err := c.SNATPools(t.Context())
	want = `[{"name":"wide","state":"full","addresses":null,"ports":100,"inUse":99,"tightest":"10.0.0.100","towards":"10.0.0.1:80","failed":4,"farms":["web"],` + row("snatPool/wide") + `}]`
	if got := show(t, pools); err != nil || got != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
	for kind, name := range map[string]string{"serverFarm": "web", "realServer": "web/one", "snatPool": "wide", "virtualServer": "shop", "slb": "realServer/web/one"} {
		if d, err := c.Describe(t.Context(), kind, name); err != nil || d.Name != name || d.State == nil || d.Config == nil {
			t.Errorf("%s: %+v, %v", kind, d, err)
		}
	}
	for _, id := range []string{"serverFarm/web", "realServer/web/one", "web/two"} {
		if _, err := c.Hold(t.Context(), api.HoldRequest{ID: id, Reason: "works"}); err != nil {
			t.Errorf("%s cannot be held: %v", id, err)
		}
	}
	servers, err = c.RealServers(t.Context(), "", 0)
	if err != nil || len(servers.Servers) != 3 || servers.Servers[0].State != "held" {
		t.Errorf("%s, %v", show(t, servers), err)
	}
}

// What a virtual server, a farm and a server have to do with is told apart from
// what they have not (FAQ 1.1.2).
func TestCounters(t *testing.T) {
	_, s, o := balancer(t)
	c, _ := serve(t, o)
	for _, k := range []struct {
		q    api.CounterQuery
		want string
		more bool
	}{
		{api.CounterQuery{}, "virtualServer/shop virtualServer/other rule/p/1 rule/q/1 persistence/home serverFarm/web serverFarm/spare realServer/web/one realServer/web/two", false},
		{api.CounterQuery{Limit: 2}, "virtualServer/shop virtualServer/other", true},
		{api.CounterQuery{VirtualServer: "shop"}, "virtualServer/shop rule/p/1 persistence/home serverFarm/web realServer/web/one realServer/web/two", false},
		{api.CounterQuery{VirtualServer: "shop", Farm: "web", Server: "two"}, "virtualServer/shop realServer/web/two", false},
		{api.CounterQuery{Farm: "web"}, "serverFarm/web realServer/web/one realServer/web/two", false},
		{api.CounterQuery{Farm: "web", Server: "one"}, "realServer/web/one", false},
		{api.CounterQuery{VirtualServer: "a"}, "", false},
	} {
		l, err := c.Served(t.Context(), k.q)
		var got []string
		for _, h := range l.Counters {
			got = append(got, h.Kind+"/"+h.Name)
		}
		if err != nil || strings.Join(got, " ") != k.want || l.More != k.more {
			t.Errorf("%+v: %v, %v, %v; want %s", k.q, got, l.More, err, k.want)
		}
	}
	s.breaks = errors.New("no table")
	_, err := c.Served(t.Context(), api.CounterQuery{})
	wantError(t, err, api.Unavailable, "the counters cannot be read: no table")
}

// Entries of links and of virtual servers are in one list, and are cleared by one
// command; what names either is of it alone.
func TestSticky_Both(t *testing.T) {
	d, s, o := balancer(t)
	b := &balancing{}
	d.model.Outbound, o.Outbound, o.Sessions = &config.Outbound{Enabled: true}, b, b.Sessions
	c, _ := serve(t, o)
	for _, k := range []struct {
		q          api.StickyQuery
		want       string
		links, our bool
	}{
		{api.StickyQuery{}, "north web/one", true, true},
		{api.StickyQuery{Client: netip.MustParsePrefix("192.0.2.0/24")}, "north web/one", true, true},
		{api.StickyQuery{Link: "north"}, "north", true, false},
		{api.StickyQuery{VirtualServer: "shop"}, "web/one", false, true},
		{api.StickyQuery{Farm: "web", Server: "one"}, "web/one", false, true},
	} {
		l, err := c.Sticky(t.Context(), k.q, 0)
		var got []string
		for _, e := range l.Entries {
			got = append(got, strings.Trim(e.Link+" "+e.Farm+"/"+e.Server, " /"))
		}
		if err != nil || strings.Join(got, " ") != k.want {
			t.Errorf("%+v: %v, %v; want %s", k.q, got, err, k.want)
		}
		links, our := len(b.cleared), len(s.cleared)
		done, err := c.ClearSticky(t.Context(), k.q, "works")
		want := 0
		for _, is := range []struct {
			yes bool
			n   int
		}{{k.links, 4}, {k.our, 2}} {
			if is.yes {
				want += is.n
			}
		}
		if err != nil || done.Entries != want || (len(b.cleared) > links) != k.links || (len(s.cleared) > our) != k.our {
			t.Errorf("%+v: cleared %+v, %v, want %d", k.q, done, err, want)
		}
	}
	if q := s.asked[len(s.asked)-1]; q.Farm != "web" || q.Server != "one" {
		t.Errorf("%+v", q)
	}
}

// What makes no sense is refused before anything is looked at or cleared.
func TestServed_Bad(t *testing.T) {
	d, s, o := balancer(t)
	h := api.New(o).Handler()
	ask := func(method, path string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		return w.Code, w.Body.String()
	}
	for _, c := range []struct{ method, path, text string }{
		{"GET", "/v1/farms?limit=x", `limit=\"x\" is not a number`},
		{"GET", "/v1/realservers?limit=100001", "limit 100001 is more than 100000"},
		{"GET", "/v1/realservers?farm=wbe", `there is no server farm \"wbe\"; did you mean \"web\"?`},
		{"GET", "/v1/slb?server=one", `server \"one\" is not FARM/NAME`},
		{"GET", "/v1/slb?server=web/", `server \"web/\" is not FARM/NAME`},
		{"GET", "/v1/slb?server=web/onn", `there is no server \"web/onn\"; did you mean \"web/one\"?`},
		{"GET", "/v1/slb?virtualserver=shpo", `there is no virtual server \"shpo\"; did you mean \"shop\"?`},
		{"GET", "/v1/sessions?farm=spare&server=web/one", `server \"web/one\" is not of farm \"spare\"`},
		{"GET", "/v1/sticky?link=north&virtualserver=shop", "ask for one of them"},
		{"GET", "/v1/sticky?link=north", "this node balances no connections: the configuration has no outbound"},
		{"GET", "/v1/describe/realServer/web", `there is no realServer \"web\"`},
		{"GET", "/v1/describe/slb/rule/p/9", `there is no slb \"rule/p/9\"`},
		{"DELETE", "/v1/sticky?reason=x&all=true&farm=web", "say one of them"},
		{"DELETE", "/v1/sticky?reason=x&server=web", "is not FARM/NAME"},
	} {
		if code, body := ask(c.method, c.path); code/100 != 4 || !strings.Contains(body, c.text) {
			t.Errorf("%s %s: %d %s, want %s", c.method, c.path, code, body, c.text)
		}
	}
	if len(s.asked)+len(s.cleared) > 0 {
		t.Errorf("%v %v", s.asked, s.cleared)
	}
	s.closed = errors.New("no capability")
	for _, path := range []string{"/v1/slb", "/v1/sessions", "/v1/sticky"} {
		if code, body := ask("GET", path); code != http.StatusServiceUnavailable || !strings.Contains(body, "nothing is served: no capability") {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for _, k := range []struct {
		text string
		set  func()
	}{
		{"all have serve.enabled: false", func() { d.model.VirtualServers[2].Serve.Enabled = false }},
		{"slb.enabled is false", func() { d.model.SLB.Enabled = false }},
		{"none of the configuration has serve", func() { d.model.SLB = nil }},
	} {
		k.set()
		if code, body := ask("GET", "/v1/slb"); code != http.StatusNotFound || !strings.Contains(body, "this node serves no virtual servers: "+k.text) {
			t.Errorf("%d %s, want %s", code, body, k.text)
		}
	}
}

// Of very many things a scrape has no series of their own.
func TestMetrics_Served(t *testing.T) {
	_, s, o := balancer(t)
	want := `
# HELP portolan_slb_connections_total New connections that things of server load balancing had, by what became of them; counted by the kernel. Not of a kind of which there are more than 10,000.
# TYPE portolan_slb_connections_total counter
portolan_slb_connections_total{kind="virtualServer",name="shop",outcome="taken"} 7
# HELP portolan_slb_left_out Things of a kind that have no series of their own, for there are more than 10,000.
# TYPE portolan_slb_left_out gauge
portolan_slb_left_out{kind="persistence"} 0
portolan_slb_left_out{kind="realServer"} 10001
portolan_slb_left_out{kind="rule"} 0
portolan_slb_left_out{kind="serverFarm"} 0
portolan_slb_left_out{kind="virtualServer"} 0
# HELP portolan_farm_active_servers Servers of a farm that take part. Not with more than 10,000 farms.
# TYPE portolan_farm_active_servers gauge
portolan_farm_active_servers{farm="web"} 1
# HELP portolan_real_server_share_ratio Part of a farm's new connections that a server gets, where persistence does not speak. Not with more than 10,000 servers.
# TYPE portolan_real_server_share_ratio gauge
portolan_real_server_share_ratio{farm="web",server="off"} 0
portolan_real_server_share_ratio{farm="web",server="one"} 0.25
portolan_real_server_share_ratio{farm="web",server="two"} 0
# HELP portolan_snat_pool_full 1 if an address of a SNAT pool has no port left towards a server.
# TYPE portolan_snat_pool_full gauge
portolan_snat_pool_full{pool="wide"} 1
`
	s.hits = s.hits[:1]
	for i := range 10_001 {
		s.hits = append(s.hits, traffic.Hit{Kind: l4.HitServer, Name: fmt.Sprintf("web/%d", i), What: traffic.Taken}, traffic.Hit{Kind: l4.HitServer, Name: fmt.Sprintf("web/%d", i), What: traffic.Full})
	}
	c := api.New(o).Collector()
	if err := testutil.CollectAndCompare(c, strings.NewReader(want), "portolan_slb_connections_total", "portolan_slb_left_out", "portolan_farm_active_servers", "portolan_real_server_share_ratio", "portolan_snat_pool_full"); err != nil {
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

// Lists of very many servers are written as they come (100,000 servers).
func TestRealServers_Many(t *testing.T) {
	d, s, o := balancer(t)
	s.farms = nil
	d.model.ServerFarms = nil
	for i := range 10_000 {
		f := &config.ServerFarm{Name: fmt.Sprintf("f%d", i), Algorithm: config.FarmRoundRobin}
		for k := range 10 {
			f.Servers = append(f.Servers, &config.RealServer{Name: fmt.Sprintf("s%d", k), Enabled: true})
		}
		d.model.ServerFarms = append(d.model.ServerFarms, f)
	}
	c, _ := serve(t, o)
	count := func(c *client.Client, limit int) (int, bool) {
		l, err := c.RealServers(t.Context(), "", limit)
		if err != nil {
			t.Fatal(err)
		}
		return len(l.Servers), l.More
	}
	if n, more := count(c, 0); n != 100_000 || more {
		t.Errorf("%d, more %v", n, more)
	}
	if n, more := count(c, 99_999); n != 99_999 || !more {
		t.Errorf("%d, more %v", n, more)
	}
	d.model.ServerFarms[0].Servers = append(d.model.ServerFarms[0].Servers, &config.RealServer{Name: "one more"})
	if n, more := count(c, 0); n != 100_000 || !more {
		t.Errorf("%d, more %v", n, more)
	}
}

// All virtual servers are listed, none of none and very many of very many.
func TestVirtualServers_Many(t *testing.T) {
	d, _, o := balancer(t)
	o.SLB = nil
	c, _ := serve(t, o)
	for _, n := range []int{0, 1, 10_000} {
		d.model.VirtualServers = nil
		for i := range n {
			d.model.VirtualServers = append(d.model.VirtualServers, &config.VirtualServer{Name: fmt.Sprintf("v%d", i), Serve: &config.Serve{Enabled: true}})
		}
		all, err := c.VirtualServers(t.Context())
		if err != nil || all == nil || len(all) != n || n > 0 && all[n-1].Name != fmt.Sprintf("v%d", n-1) {
			t.Errorf("%d of %d, %v", len(all), n, err)
		}
	}
}
