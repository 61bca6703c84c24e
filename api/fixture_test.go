package api_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// daemon is the rest of the program, as far as the API can see it.
type daemon struct {
	board  *status.Board
	model  *config.Model
	groups map[string]*pick.Group
	checks []probe.History
	links  []link.State

	mu      sync.Mutex
	missing []api.NotReady
	changes []api.Change
	asked   []api.ExplainQuery
	saved   []map[status.ID]status.Hold
	reports []any
	fails   error // what Apply, Reload, Explain and SaveHolds say
	enter   func()

	distances distances
}

func (d *daemon) Standing(pool string, t *status.Table) (*pick.Trace, bool) {
	g := d.groups[pool]
	if g == nil {
		return nil, false
	}
	tr := &pick.Trace{}
	_, reason := g.Shares(pick.Input{Table: t}, nil, tr)
	tr.Reason = reason.String()
	return tr, true
}

func (d *daemon) Checks() []probe.History { return append([]probe.History{}, d.checks...) }

func (d *daemon) Evidence(id status.ID) []probe.History {
	if id == "virtualServer/a" {
		return d.Checks()
	}
	return nil
}

func (d *daemon) Stats() probe.Stats {
	return probe.Stats{Results: map[string]probe.Results{"http": {Pass: 5, Fail: 2}}, Checks: 1}
}

func (d *daemon) Apply(_ context.Context, c api.Change) (api.Applied, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes = append(d.changes, c)
	return api.Applied{Changed: true, Revision: "abc"}, d.fails
}

func (d *daemon) Reload(context.Context, string) (api.Applied, error) {
	return api.Applied{Revision: "abc"}, d.fails
}

func (d *daemon) Explain(_ context.Context, q api.ExplainQuery) (any, error) {
	if d.enter != nil {
		d.enter()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, q)
	return map[string]string{"answer": "192.0.2.1"}, d.fails
}

func (d *daemon) saveHolds(holds map[status.ID]status.Hold) error {
	d.saved = append(d.saved, holds)
	return d.fails
}

func (d *daemon) ReportServer(name string, r api.ServerReport) (api.ServerReported, error) {
	d.reports = append(d.reports, name, r)
	return api.ServerReported{ID: status.MakeID(status.KindVirtualServer, name), Until: start.Add(r.For)}, d.fails
}

func (d *daemon) ReportRates(link string, rates busy.Rates) error {
	d.reports = append(d.reports, link, rates)
	return d.fails
}

func (d *daemon) ReportOctets(link string, o api.Octets) error {
	d.reports = append(d.reports, link, o)
	return d.fails
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// newDaemon has pools web (servers a and b) and outer (web and an address), a
// link, a site, a zone and one check.
func newDaemon() *daemon {
	need := func(id status.ID) []status.ID { return []status.ID{id} }
	web := pick.NewGroup([]*pick.Member{
		{Index: 0, Name: "a", Weight: 3, Needs: need("virtualServer/a")},
		{Index: 1, Name: "b", Weight: 1, Needs: need("virtualServer/b")},
	}, pick.Rules{Name: "web", Spill: pick.SpillDown}, pick.Slot{Name: "preferred: round-robin", Algorithm: pick.RoundRobin(true)})
	outer := pick.NewGroup([]*pick.Member{
		{Index: 2, Name: "pool:web", Weight: 1, Group: web},
		{Index: 3, Name: "192.0.2.9", Weight: 1},
	}, pick.Rules{Name: "outer", Spill: pick.SpillDown}, pick.Slot{Name: "preferred: first", Algorithm: pick.First()})

	d := &daemon{board: status.NewBoard(100), groups: map[string]*pick.Group{"web": web, "outer": outer}}
	d.model = &config.Model{
		Zones: []*config.Zone{{Name: "example.com.", File: "example.com.zone",
			Names: []*config.Name{{Name: "www", FQDN: "www.example.com.", Pool: "web"}}}},
		Pools: []*config.Pool{
			{Name: "web", Preferred: config.Slot{Algorithm: "round-robin"}, Members: []*config.Member{
				{VirtualServer: "a", Weight: 3}, {VirtualServer: "b", Weight: 1}}},
			{Name: "outer", Preferred: config.Slot{Algorithm: "first"}, Members: []*config.Member{
				{Pool: "web", Weight: 1}, {Address: netip.MustParseAddr("192.0.2.9"), Weight: 1}}},
		},
		VirtualServers: []*config.VirtualServer{
			{Name: "a", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Port: 80, Site: "north", Probes: []string{"http"}},
			{Name: "b", Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.2")}, Port: 80, Link: "north"},
		},
		Links:  []*config.Link{{Name: "north"}},
		Sites:  []*config.Site{{Name: "north"}, {Name: "south"}},
		Probes: []*config.Probe{{Name: "http", Kind: "http"}},
	}
	d.checks = []probe.History{{ID: "probe/192.0.2.1:80/http", Probe: "http", Kind: "http", Saw: "200 OK", Health: status.Up}}
	d.board.Update(
		status.Row{ID: "virtualServer/a", Health: status.Up, Since: start, Why: "200 OK"},
		status.Row{ID: "virtualServer/b", Since: start, Why: "not probed"},
		status.Row{ID: "link/north", Health: status.Up, Since: start},
		status.Row{ID: "site/north", Since: start},
		status.Row{ID: "site/south", Since: start},
		status.Row{ID: "probe/192.0.2.1:80/http", Health: status.Up, Since: start},
	)
	return d
}

func (d *daemon) options() api.Options {
	return api.Options{
		Board: d.board,
		Model: func() *config.Model { return d.model },
		Config: func() api.ConfigState {
			return api.ConfigState{Revision: "abc", Loaded: start, LastTry: start}
		},
		Zones: func() iter.Seq[api.Zone] {
			return slices.Values([]api.Zone{{Name: "example.com.", File: "example.com.zone", Origin: "configuration", Serial: 7, Records: 12, State: api.ZoneOK}})
		},
		Stats: func() api.DNSStats {
			return api.DNSStats{
				Requests: []api.RequestCount{
					{Proto: "udp", Family: "1", Type: "A", N: 3},
					{Proto: "udp", Family: "1", Type: "evil\"}\n", N: 1},
					{Proto: "udp", Family: "1", Type: "type\xff", N: 1},
				},
				Replies:   map[string]uint64{"NOERROR": 5, "REFUSED": 2},
				Durations: []api.DurationCount{{Below: time.Millisecond, N: 4}, {Below: 2 * time.Millisecond, N: 2}, {N: 1}},
				Total:     9 * time.Millisecond,
				TCP:       api.TCPStats{Open: 1, Accepted: 3, Refused: 2, Displaced: 1},
				Responses: []api.ResponseCount{{Zone: "example.com.", Rcode: "NOERROR", N: 5}, {Zone: "example.com.", View: "inside", Rcode: "NOERROR", N: 2}},
				Dropped:   map[string]uint64{"malformed": 2},
				Limits:    map[string]api.LimitCount{"connections": {Value: 1000, Reached: 2}, "zone.records": {Value: 2e7}},
				RRL:       map[string]uint64{"passed": 4, "slipped": 1},
				Cookies:   api.CookieStats{None: 4, Client: 3, Valid: 2, Bad: 1, Malformed: 5, DemandedCookie: 6, DemandedTCP: 7},
			}
		},
		Ready: func() []api.NotReady {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.missing
		},
		Pools: d, Probes: d, Apply: d, Explain: d, Reports: d, Proximity: &d.distances,
		Links:     func() []link.State { return d.links },
		SaveHolds: d.saveHolds,
		Log:       slog.New(slog.DiscardHandler),
	}
}

// serve runs the API on a socket of its own until the test ends.
func serve(t *testing.T, opts api.Options) (*client.Client, string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	l, err := api.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- api.New(opts).Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return client.New(socket), socket
}

// wantError checks kind and text of an error that went over the wire.
func wantError(t *testing.T, err error, kind api.Kind, text string) {
	t.Helper()
	var e *api.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Text != text {
		t.Errorf("got  %#v\nwant %s: %s", err, kind, text)
	}
}
