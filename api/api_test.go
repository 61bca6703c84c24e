package api_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/user"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// show gives a value as JSON, for comparing.
func show(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestGet(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	ctx := t.Context()
	d.board.Update(status.Row{ID: "virtualServer/b", Health: status.Down, Since: start, Why: "refused", Waiting: true})

	for what, get := range map[string]func() (any, error){
		`[{"name":"web","state":"up","waiting":true,"members":2,"active":["a"],"slots":["round-robin"],"names":["www.example.com."]},` +
			`{"name":"outer","state":"up","members":2,"active":["pool:web","192.0.2.9"],"slots":["first"]}]`: func() (any, error) { return c.Pools(ctx) },
		`[{"name":"a","addresses":["192.0.2.1"],"port":80,"site":"north","pools":["web"],` +
			`"row":{"id":"virtualServer/a","health":"up","since":"2026-01-02T03:04:05Z","why":"200 OK"}},` +
			`{"name":"b","addresses":["192.0.2.2"],"port":80,"link":"north","pools":["web"],` +
			`"row":{"id":"virtualServer/b","health":"down","waiting":true,"since":"2026-01-02T03:04:05Z","why":"refused"}}]`: func() (any, error) { return c.VirtualServers(ctx) },
		`[{"name":"north","load":{},"affects":{"virtualServers":["b"],"pools":["web","outer"],"names":["www.example.com."]},"row":{"id":"link/north","health":"up","since":"2026-01-02T03:04:05Z"}}]`: func() (any, error) { return c.Links(ctx) },
		`[{"name":"north","virtualServers":["a"],"row":{"id":"site/north","health":"unknown","since":"2026-01-02T03:04:05Z"}},` +
			`{"name":"south","row":{"id":"site/south","health":"unknown","since":"2026-01-02T03:04:05Z"}}]`: func() (any, error) { return c.Sites(ctx) },
		`[{"name":"example.com.","file":"example.com.zone","origin":"configuration","serial":7,"records":12,"state":"ok",` +
			`"names":[{"name":"www.example.com.","pool":"web","ttl":{"min":"0s","max":"0s"}}]}]`: func() (any, error) { return c.Zones(ctx) },
		`[]`: func() (any, error) { return c.Holds(ctx) },
	} {
		got, err := get()
		if err != nil {
			t.Fatal(err)
		}
		if s := show(t, got); s != what {
			t.Errorf("got  %s\nwant %s", s, what)
		}
	}
	checks, err := c.Probes(ctx)
	if err != nil || len(checks) != 1 || checks[0].Saw != "200 OK" {
		t.Errorf("probes %+v, %v", checks, err)
	}
}

func TestMembers(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	states := func() string {
		t.Helper()
		members, err := c.Members(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for _, m := range members {
			s = append(s, fmt.Sprintf("%s/%s:%s:%v:%d", m.Pool, m.Name, m.State, m.Active, m.Weight))
		}
		return strings.Join(s, " ")
	}
	if got, want := states(), "web/a:up:true:3 web/b:unknown:true:1 outer/pool:web:up:true:1 outer/192.0.2.9:up:true:1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	d.board.Update(status.Row{ID: "virtualServer/a", Health: status.Down, Why: "refused"},
		status.Row{ID: "virtualServer/b", Health: status.Up})
	d.board.Mark(map[status.ID]status.Load{"virtualServer/b": {Busy: true, Full: true}})
	if err := d.board.Hold("virtualServer/b", status.Hold{Reason: "work"}); err != nil {
		t.Fatal(err)
	}
	if got, want := states(), "web/a:down:false:3 web/b:held:false:1 outer/pool:web:down:false:1 outer/192.0.2.9:up:true:1"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}

	// A site that nobody probes makes its virtual server no less known.
	d.groups["web"] = pick.NewGroup([]*pick.Member{
		{Index: 0, Name: "a", Weight: 3, Needs: []status.ID{"virtualServer/a", "site/north"}},
		{Index: 1, Name: "b", Weight: 1, Needs: []status.ID{"virtualServer/b", "site/south"}},
	}, pick.Rules{Name: "web", Spill: pick.SpillDown}, pick.Slot{Name: "preferred: first", Algorithm: pick.First()})
	d.board.Release("virtualServer/b", "done", "test")
	for _, c := range []struct {
		row  status.Row
		want string
	}{
		{status.Row{Health: status.Up}, "up"},
		{status.Row{Health: status.Unknown}, "unknown"},
		{status.Row{Health: status.Unknown, Waiting: true}, "waiting"},
		{status.Row{Health: status.Up, Busy: true}, "busy"},
		{status.Row{Health: status.Up, Busy: true, Full: true}, "full"},
		{status.Row{Health: status.Down, Full: true}, "down"},
	} {
		c.row.ID = "virtualServer/b"
		d.board.Update(c.row)
		d.board.Mark(map[status.ID]status.Load{c.row.ID: {Busy: c.row.Busy, Full: c.row.Full}})
		if got := states(); !strings.Contains(got, " web/b:"+c.want+":") {
			t.Errorf("%+v: %s, want %s", c.row, got, c.want)
		}
	}
	d.board.Update(status.Row{ID: "virtualServer/b", Health: status.Up})
	d.board.Mark(map[status.ID]status.Load{"virtualServer/b": {Busy: true, Full: true}})
	if err := d.board.Hold("virtualServer/b", status.Hold{Reason: "work"}); err != nil {
		t.Fatal(err)
	}

	members, err := c.Members(t.Context(), "web")
	if err != nil || len(members) != 2 || !strings.Contains(members[0].Why, "refused") || members[1].Needs[0].Hold == nil {
		t.Errorf("members of web: %s, %v", show(t, members), err)
	}
	_, err = c.Members(t.Context(), "nope")
	wantError(t, err, api.NotFound, `there is no pool "nope"`)
}

func TestDescribe(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	for _, ask := range []struct {
		kind, name, answer string
		evidence, events   int
		members            int
	}{
		{"pool", "web", "pool web", 0, 0, 2},
		{"Pools", "web", "pool web", 0, 0, 2},
		{"member", "web/a", "member web/a", 1, 1, 0},
		{"member", "outer/192.0.2.9", "member outer/192.0.2.9", 0, 0, 0},
		{"virtualServer", "a", "virtualServer a", 1, 1, 0},
		{"virtualservers", "b", "virtualServer b", 0, 0, 0},
		{"link", "north", "link north", 0, 1, 0},
		{"site", "north", "site north", 0, 0, 0},
		{"probe", "http", "probe http", 1, 0, 0},
		{"probe", "192.0.2.1:80/http", "probe 192.0.2.1:80/http", 1, 1, 0},
		{"zone", "Example.COM", "zone example.com.", 0, 0, 0},
	} {
		got, err := c.Describe(t.Context(), ask.kind, ask.name)
		if err != nil {
			t.Errorf("%s %s: %v", ask.kind, ask.name, err)
			continue
		}
		if got.Kind+" "+got.Name != ask.answer || got.Config == nil || got.State == nil && ask.kind != "probe" ||
			len(got.Evidence) != ask.evidence || len(got.Events) != ask.events || len(got.Members) != ask.members {
			t.Errorf("%s %s: %s", ask.kind, ask.name, show(t, got))
		}
	}
	for _, name := range []string{"nope", "web/nope", "nope/a", "", "../../metrics", "192.0.2.7:80/http", "%2e%2e"} {
		for _, kind := range []string{"pool", "member", "virtualServer", "link", "site", "probe", "zone"} {
			var e *api.Error
			if _, err := c.Describe(t.Context(), kind, name); !errors.As(err, &e) || e.ExitCode() != 1 {
				t.Errorf("%s %q: %v", kind, name, err)
			}
		}
	}
	_, err := c.Describe(t.Context(), "fish", "web")
	wantError(t, err, api.Invalid, `"fish" is not a kind; there are pool, member, virtualServer, link, site, probe, zone, dnsServer, linkGroup, outbound, serverFarm, realServer, snatPool and slb`)
}

func TestEvents(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	all, err := c.Events(t.Context(), 0, 0)
	if err != nil || len(all) != 3 {
		t.Fatalf("%v, %v", all, err)
	}
	newest, err := c.Events(t.Context(), all[0].Seq, 1)
	if err != nil || len(newest) != 1 || newest[0].Seq != all[2].Seq {
		t.Errorf("%v, %v", newest, err)
	}
	none, err := c.Events(t.Context(), all[2].Seq, 0)
	if err != nil || none == nil || len(none) != 0 {
		t.Errorf("%v, %v", none, err)
	}
}

func TestHoldAndRelease(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}

	held, err := c.Hold(t.Context(), api.HoldRequest{ID: "VirtualServer/a", State: "drain", Reason: "new disks", For: "2h"})
	if err != nil {
		t.Fatal(err)
	}
	if held.ID != "virtualServer/a" || held.State != status.HoldDrain || held.By != me.Username ||
		held.Until.Sub(held.At) != 2*time.Hour || held.Warning != "" {
		t.Errorf("held %+v", held)
	}
	if d.board.Table().Row("virtualServer/a").Usable() {
		t.Error("it is usable")
	}
	if n := len(d.saved); n != 1 || d.saved[0]["virtualServer/a"].Reason != "new disks" {
		t.Errorf("saved %v", d.saved)
	}
	holds, err := c.Holds(t.Context())
	if err != nil || len(holds) != 1 || holds[0].By != me.Username {
		t.Errorf("holds %v, %v", holds, err)
	}

	// A bare name will do, and the thing may have left the configuration.
	d.model.VirtualServers = d.model.VirtualServers[1:]
	_, err = c.Release(t.Context(), "a", "done")
	wantError(t, err, api.NotFound, `there is no "a" that could be held; see get virtualservers, links, sites, members, groups, farms and realservers`)
	released, err := c.Release(t.Context(), "virtualServer/a", "done")
	if err != nil || released.ID != "virtualServer/a" || released.Reason != "new disks" {
		t.Errorf("released %+v, %v", released, err)
	}
	if n := len(d.saved); n != 2 || len(d.saved[1]) != 0 {
		t.Errorf("saved %v", d.saved)
	}
	events := d.board.Events(0)
	if e := events[len(events)-1]; e.New != "released" || e.Why != "done" || e.By != me.Username {
		t.Errorf("event %+v", e)
	}
}

func TestHoldRefused(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	for _, r := range []struct {
		id, state, reason, length string
		kind                      api.Kind
		text                      string
	}{
		{"a", "sideways", "x", "", api.Invalid, `state "sideways" is not down, up or drain`},
		{"a", "down", " ", "", api.Invalid, "a reason is needed: whoever comes next must know why"},
		{"a", "down", "two\nlines", "", api.Invalid, "the reason must be one line of at most 500 bytes"},
		{"a", "down", "turned \u202eround", "", api.Invalid, "the reason must be one line of at most 500 bytes"},
		{"a", "down", strings.Repeat("x", 501), "", api.Invalid, "the reason must be one line of at most 500 bytes"},
		{"a", "down", "x", "soon", api.Invalid, `for "soon" is not a time such as 30m or 2h`},
		{"a", "down", "x", "-1h", api.Invalid, `for "-1h" is not a time such as 30m or 2h`},
		{"north", "down", "x", "", api.Invalid, `"north" may be link/north or site/north: say which`},
		{"probe/192.0.2.1:80/http", "down", "x", "", api.Invalid,
			"probe/192.0.2.1:80/http is evidence; hold what it is evidence of: a virtual server, link, site, farm, DNS server, or member of a pool, link group or farm"},
		{"pool/web/nope", "down", "x", "", api.NotFound,
			`there is no "pool/web/nope" that could be held; see get virtualservers, links, sites, members, groups, farms and realservers`},
		{"", "down", "x", "", api.NotFound, `there is no "" that could be held; see get virtualservers, links, sites, members, groups, farms and realservers`},
		{"link/nope", "down", "x", "", api.NotFound, `there is no "link/nope" that could be held; see get virtualservers, links, sites, members, groups, farms and realservers`},
	} {
		_, err := c.Hold(t.Context(), api.HoldRequest{ID: r.id, State: r.state, Reason: r.reason, For: r.length})
		wantError(t, err, r.kind, r.text)
	}
	_, err := c.Release(t.Context(), "site/north", "x")
	wantError(t, err, api.NotFound, "site/north is not held")
	if len(d.board.Holds()) != 0 || len(d.saved) != 0 {
		t.Errorf("something is held: %v", d.board.Holds())
	}
}

func TestHoldOfAMemberWithARow(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	d.board.Update(status.Row{ID: "pool/web/a"})
	held, err := c.Hold(t.Context(), api.HoldRequest{ID: "pool/web/a", Reason: "x"})
	if err != nil || held.ID != "pool/web/a" || held.State != status.HoldDown {
		t.Errorf("%+v, %v", held, err)
	}
}

func TestHoldThatIsNotKept(t *testing.T) {
	d := newDaemon()
	d.fails = errors.New("disk full")
	opts := d.options()
	c, _ := serve(t, opts)
	held, err := c.Hold(t.Context(), api.HoldRequest{ID: "a", Reason: "x"})
	if err != nil || held.Warning != "a restart may forget this: disk full" {
		t.Errorf("%+v, %v", held, err)
	}
	opts.SaveHolds = nil
	c, _ = serve(t, opts)
	released, err := c.Release(t.Context(), "a", "x")
	if err != nil || released.Warning != "there is no state folder: a restart will forget this" {
		t.Errorf("%+v, %v", released, err)
	}
}

func TestApply(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	change := api.Change{Base: "/etc/portolan", Files: map[string]string{"portolan.yaml": "version: 1"}}
	applied, err := c.Apply(t.Context(), change)
	if err != nil || !applied.Changed || applied.Revision != "abc" {
		t.Fatalf("%+v, %v", applied, err)
	}
	if got := d.changes[0]; got.Files["portolan.yaml"] != "version: 1" || got.Base != "/etc/portolan" || got.By == "" || got.By == "unknown" {
		t.Errorf("change %+v", got)
	}
	if applied, err := c.Reload(t.Context()); err != nil || applied.Changed {
		t.Errorf("%+v, %v", applied, err)
	}

	for text, bad := range map[string]api.Change{
		`base "etc" is not an absolute folder`:       {Base: "etc", Files: change.Files},
		`files: 0; there must be from 1 to 1000`:     {Base: "/etc"},
		`file "../passwd" is not a name within base`: {Base: "/etc", Files: map[string]string{"../passwd": ""}},
		`file "/etc/x" is not a name within base`:    {Base: "/etc", Files: map[string]string{"/etc/x": ""}},
	} {
		_, err := c.Apply(t.Context(), bad)
		wantError(t, err, api.Invalid, text)
	}
	if len(d.changes) != 1 {
		t.Errorf("%d changes came through", len(d.changes))
	}
}

func TestApplyRefused(t *testing.T) {
	d := newDaemon()
	d.fails = fmt.Errorf("apply: %w", config.Errors{
		{Pos: config.Pos{File: "p.yaml", Line: 3, Col: 5}, Path: "pools[0]", Text: "wrong", Hint: "did you mean right?", Snippet: "x\n^"},
		{Text: "odd", Warning: true},
	})
	c, _ := serve(t, d.options())
	_, err := c.Apply(t.Context(), api.Change{Base: "/", Files: map[string]string{"p.yaml": ""}})
	wantError(t, err, api.Refused, "the configuration has 1 error; nothing changed")
	e := err.(*api.Error)
	if e.ExitCode() != 1 || !slices.Equal(e.Details, []api.Detail{
		{Place: "p.yaml:3:5", Path: "pools[0]", Text: "wrong", Hint: "did you mean right?", Snippet: "x\n^"},
		{Text: "odd", Warning: true},
	}) {
		t.Errorf("details %+v", e.Details)
	}
	d.fails = errors.New("no space")
	_, err = c.Reload(t.Context())
	wantError(t, err, api.Internal, "no space")
	d.fails = api.Errorf(api.Conflict, "another apply is under way")
	_, err = c.Reload(t.Context())
	wantError(t, err, api.Conflict, "another apply is under way")
}

func TestExplain(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	q := api.ExplainQuery{
		Name: "www.example.com", Type: "aaaa", Client: netip.MustParseAddr("::ffff:203.0.113.7"),
		ECS: netip.MustParsePrefix("198.51.100.9/24"), Down: []status.ID{"virtualServer/a", "link/north"},
	}
	var answer struct{ Answer string }
	if err := c.Explain(t.Context(), q, &answer); err != nil || answer.Answer != "192.0.2.1" {
		t.Fatalf("%+v, %v", answer, err)
	}
	got := d.asked[0]
	if got.Name != q.Name || got.Type != "AAAA" || got.Client != netip.MustParseAddr("203.0.113.7") ||
		got.ECS != netip.MustParsePrefix("198.51.100.0/24") || !slices.Equal(got.Down, q.Down) {
		t.Errorf("asked %+v", got)
	}

	bad := func(change func(*api.ExplainQuery), kind api.Kind, text string) {
		t.Helper()
		q := api.ExplainQuery{Name: "www.example.com", Client: netip.MustParseAddr("::1")}
		change(&q)
		wantError(t, c.Explain(t.Context(), q, &answer), kind, text)
	}
	bad(func(q *api.ExplainQuery) { q.Name = "" }, api.Invalid, `name "" is not a domain name`)
	bad(func(q *api.ExplainQuery) { q.Client = netip.Addr{} }, api.Invalid, `client "invalid IP" is not an address`)
	bad(func(q *api.ExplainQuery) { q.Down = []status.ID{"a"} }, api.Invalid, `down "a" is not a row such as virtualServer/web`)
	bad(func(q *api.ExplainQuery) { q.Down = []status.ID{"link/x"} }, api.NotFound, `down "link/x": there is no such row`)
	if len(d.asked) != 1 {
		t.Errorf("%d questions came through", len(d.asked))
	}
}

// What a client of the network can write and the types of Go cannot hold.
func TestParseExplainQuery(t *testing.T) {
	for _, c := range []struct{ client, ecs, want string }{
		{"fe80::1%eth0", "", `client "fe80::1%eth0" is not an address`},
		{"::1", "fe80::1%eth0", `ecs "fe80::1%eth0" is not a prefix such as 203.0.113.0/24`},
		{"::1", "::ffff:192.0.2.0/120", `ecs "::ffff:192.0.2.0/120" is not a prefix such as 203.0.113.0/24`},
		{"::1", "192.0.2.0/33", `ecs "192.0.2.0/33" is not a prefix such as 203.0.113.0/24`},
	} {
		_, err := api.ParseExplainQuery("a", "", c.client, c.ecs, nil)
		wantError(t, err, api.Invalid, c.want)
	}
	for text, want := range map[string]string{
		"192.0.2.9": "192.0.2.9/32", "::ffff:192.0.2.9": "192.0.2.9/32", "192.0.2.9/24": "192.0.2.0/24", "2001:db8::1/48": "2001:db8::/48",
	} {
		if q, err := api.ParseExplainQuery("a", "", "::1", text, nil); err != nil || q.ECS.String() != want {
			t.Errorf("%s: %s, %v, want %s", text, q.ECS, err, want)
		}
	}
}

func TestReady(t *testing.T) {
	d := newDaemon()
	c, _ := serve(t, d.options())
	r, err := c.Ready(t.Context())
	if err != nil || !r.Ready || r.Config.Revision != "abc" {
		t.Errorf("%+v, %v", r, err)
	}
	d.mu.Lock()
	d.missing = []api.NotReady{{Part: "pool web", Why: "2 of 2 members wait for their first result"}}
	d.mu.Unlock()
	r, err = c.Ready(t.Context())
	if err != nil || r.Ready || len(r.NotReady) != 1 || r.NotReady[0].Part != "pool web" {
		t.Errorf("%+v, %v", r, err)
	}
}
