package dnsserver

import (
	"cmp"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

const asker = "198.51.100.7"

func TestDynamicNames(t *testing.T) {
	only := func(r config.Rung) []config.Rung { return []config.Rung{r} }
	declines := config.Slot{Algorithm: "topology"} // there are no rules
	tests := []struct {
		rule  string
		pool  config.Pool
		rows  string
		qtype string
		want  string
	}{
		{"A", config.Pool{Members: servers("a")}, "", "A", "NOERROR 192.0.2.1"},
		{"AAAA", config.Pool{Members: servers("a")}, "", "AAAA", "NOERROR 2001:db8::1"},
		{"answers: n", config.Pool{Members: servers("a", "b", "c"), Answers: 2}, "", "A", "NOERROR 192.0.2.1 192.0.2.2"},
		{"static types live beside", config.Pool{Members: servers("a")}, "", "TXT", `NOERROR "static beside dynamic"`},
		{"other types: NODATA", config.Pool{Members: servers("a")}, "", "NS", "NOERROR"},
		{"a down member leaves", config.Pool{Members: servers("a", "b")}, "virtualServer/a:down", "A", "NOERROR 192.0.2.2"},
		{"a down site takes its members along", config.Pool{Members: servers("a", "b")}, "site/site-a:down", "A", "NOERROR 192.0.2.2"},
		{"a down link takes its members along", config.Pool{Members: servers("a", "b")}, "link/link-a:down", "A", "NOERROR 192.0.2.2"},
		{"1.2.12 a busy link, busy protection on", config.Pool{Members: servers("a", "b"), BusyProtection: true}, "link/link-a:busy", "A", "NOERROR 192.0.2.2"},

		{"1.4.5 declined: refused", config.Pool{Members: servers("a"), Preferred: declines}, "", "A", "REFUSED"},
		{"onDecline servfail", config.Pool{Members: servers("a"), Preferred: declines, OnDecline: config.DeclineServfail}, "", "A", "SERVFAIL"},
		{"onDecline nodata", config.Pool{Members: servers("a"), Preferred: declines, OnDecline: config.DeclineNodata}, "", "A", "NOERROR"},
		{"onDecline drop", config.Pool{Members: servers("a"), Preferred: declines, OnDecline: config.DeclineDrop}, "", "A", "no reply"},
		{"onDecline any", config.Pool{Members: servers("a"), Preferred: declines, OnDecline: config.DeclineAny}, "", "A", "NOERROR 192.0.2.1"},
		{"1.4.2 the next slot", config.Pool{Members: servers("a"), Preferred: declines, Fallback: config.Slot{Algorithm: "first"}}, "", "A", "NOERROR 192.0.2.1"},
		{"1.2.13 full: as declined", config.Pool{Members: servers("a@2", "b")}, "virtualServer/a:full", "A", "REFUSED"},

		{"T5 all down: the last good", config.Pool{Members: servers("a", "b")}, "virtualServer/a:down virtualServer/b:down", "A", "NOERROR 192.0.2.2"},
		{"T5 all down: all", config.Pool{Members: servers("a", "b"), OnDown: only(config.Rung{Action: config.RungAll})}, "virtualServer/a:down virtualServer/b:down", "A", "NOERROR 192.0.2.1"},
		{"T5 addresses", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Addresses: []netip.Addr{v4(99)}})}, "virtualServer/a:down", "A", "NOERROR 192.0.2.99"},
		{"T5 addresses of another family: NODATA", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Addresses: []netip.Addr{v4(99)}})}, "virtualServer/a:down", "AAAA", "NOERROR"},
		{"T5 cname", config.Pool{Name: "alone", Members: servers("a"), OnDown: only(config.Rung{CNAME: "sorry.example.net."})}, "virtualServer/a:down", "A", "NOERROR sorry.example.net."},
		{"T5 cname into our zone is followed", config.Pool{Name: "alone", Members: servers("a"), OnDown: only(config.Rung{CNAME: "ns.example.com."})}, "virtualServer/a:down", "A", "NOERROR ns.example.com. 192.0.2.53"},
		{"T5 nodata", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Action: config.RungNodata})}, "virtualServer/a:down", "A", "NOERROR"},
		{"T5 servfail", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Action: config.RungServfail})}, "virtualServer/a:down", "A", "SERVFAIL"},
		{"T5 refused", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Action: config.RungRefused})}, "virtualServer/a:down", "A", "REFUSED"},
		{"T5 drop", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Action: config.RungDrop})}, "virtualServer/a:down", "A", "no reply"},
		{"T5 other types of a failed name still exist", config.Pool{Members: servers("a"), OnDown: only(config.Rung{Action: config.RungServfail})}, "virtualServer/a:down", "NS", "NOERROR"},
		{"an operator's hold holds on every rung", config.Pool{Members: servers("a", "b")}, "virtualServer/a:held virtualServer/b:down", "A", "NOERROR 192.0.2.2"},
		{"a hold in this pool alone", config.Pool{Members: servers("a", "b")}, "pool/www/a:held", "A", "NOERROR 192.0.2.2"},
		{"a hold in another pool", config.Pool{Members: servers("a", "b")}, "pool/other/a:held", "A", "NOERROR 192.0.2.1"},
		{"a hold on the primary and a failed backup: fail open", config.Pool{Members: servers("a@10", "b")}, "virtualServer/a:held virtualServer/b:down", "A", "NOERROR 192.0.2.2"},
		{"a hold and a failed reserve: fail open", config.Pool{Members: servers("a", "b*0")}, "virtualServer/a:held virtualServer/b:down", "A", "NOERROR 192.0.2.2"},
		{"only reserves, all held: NODATA", config.Pool{Members: servers("a*0", "b*0")}, "virtualServer/a:held virtualServer/b:held", "A", "NOERROR"},
		{"all held: NODATA", config.Pool{Members: servers("a")}, "virtualServer/a:held", "A", "NOERROR"},
		{"a held site: NODATA", config.Pool{Members: servers("a")}, "site/site-a:held", "A", "NOERROR"},

		{"start: no guess before the first result", config.Pool{Members: servers("a", "b")}, "virtualServer/b:waiting", "A", "SERVFAIL"},
		{"an address member", config.Pool{Members: []*config.Member{{Address: v4(42), Weight: 1}}}, "", "A", "NOERROR 192.0.2.42"},
		{"a CNAME member", config.Pool{Name: "alone", Members: []*config.Member{{CNAME: "cdn.example.net.", Weight: 1}}}, "", "AAAA", "NOERROR cdn.example.net."},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			p := tt.pool
			p.Name = cmp.Or(p.Name, "www") // www owns static records too, which no CNAME may stand beside
			w := newWorld(t, pooled(&p))
			w.set(strings.Fields(tt.rows)...)
			if got := short(w.ask(p.Name+".example.com", tt.qtype, asker)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestWhatMembersNeedFollowsEvents(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b")}))
	w.set("virtualServer/a:up", "virtualServer/b:up", "virtualServer/b:down", "virtualServer/a:down")
	if got := short(w.ask("www.example.com", "A", asker)); got != "NOERROR 192.0.2.1" {
		t.Errorf("the last good one was a: got %q", got)
	}
	// A reload keeps what was good, and the draw numbers.
	w.compile(w.table)
	if got := short(w.ask("www.example.com", "A", asker)); got != "NOERROR 192.0.2.1" {
		t.Errorf("after a reload: got %q", got)
	}
}

func TestOnDownPool(t *testing.T) {
	sorry := &config.Pool{Name: "sorry", Members: servers("c", "d")}
	www := &config.Pool{Name: "www", Members: servers("a"), OnDown: []config.Rung{{Pool: "sorry"}, {Action: config.RungAll}}}
	w := newWorld(t, pooled(www, sorry))
	w.set("virtualServer/a:down")
	if got := short(w.ask("www.example.com", "A", asker)); got != "NOERROR 192.0.2.3" {
		t.Errorf("got %q", got)
	}
	w.set("virtualServer/c:down", "virtualServer/d:down")
	if got := short(w.ask("www.example.com", "A", asker)); got != "NOERROR 192.0.2.1" {
		t.Errorf("both down: got %q", got)
	}
}

// A rung whose pool waits is passed over for the scope as for the answer.
func TestScopePassesOverAWaitingRung(t *testing.T) {
	m := pooled(
		&config.Pool{Name: "www", Members: servers("a"), OnDown: []config.Rung{{Pool: "p1"}, {Pool: "p2"}}},
		&config.Pool{Name: "p1", Members: servers("b")},
		&config.Pool{Name: "p2", Members: servers("c", "d"), Preferred: config.Slot{Algorithm: "topology"}, Fallback: config.Slot{Algorithm: "first"}},
	)
	m.Topology = []*config.TopologyRule{{Client: netip.MustParsePrefix("10.0.0.0/8"), Prefer: config.Place{VirtualServer: "d"}}}
	w := newWorld(t, m)
	w.set("virtualServer/a:down", "virtualServer/b:waiting")
	for ecs, want := range map[string]string{"10.1.2.0/24": "NOERROR 192.0.2.4", "11.1.2.0/24": "NOERROR 192.0.2.3"} {
		got := w.askECS("www.example.com", "A", netip.MustParseAddr(asker), netip.MustParsePrefix(ecs))
		if short(got) != want || scopeOf(got) != 8 {
			t.Errorf("%s: %q scope /%d, want %q scope /8", ecs, short(got), scopeOf(got), want)
		}
	}
}

// A, AAAA, HTTPS, and the additional records of MX and SRV of one name come
// from one decision (C10), and so does the next query for another type.
func TestOneDecisionForAllTypes(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b", "c", "d")}))
	hints := func(m *dns.Msg) string {
		for _, kv := range m.Answer[0].(*dns.HTTPS).Value {
			if kv.Key() == dns.SVCB_IPV4HINT {
				return kv.String()
			}
		}
		return "none"
	}
	for round := range 8 {
		n := round%4 + 1
		client := "198.51.100.7"
		a := short(w.ask("www.example.com", "A", client))
		if a != "NOERROR "+v4(n).String() {
			t.Fatalf("round %d: A %q", round, a)
		}
		if got := short(w.ask("www.example.com", "AAAA", client)); got != "NOERROR "+v6(n).String() {
			t.Errorf("round %d: AAAA %q after %q", round, got, a)
		}
		if got := hints(w.ask("www.example.com", "HTTPS", client)); got != v4(n).String() {
			t.Errorf("round %d: HTTPS hint %q after %q", round, got, a)
		}
		for _, qtype := range []string{"MX"} {
			m := w.ask("example.com", qtype, client)
			if len(m.Extra) < 2 || !strings.Contains(m.Extra[0].String(), v4(n).String()) {
				t.Errorf("round %d: %s additional %v", round, qtype, m.Extra)
			}
		}
	}
}

func TestRepeatedQueriesRotate(t *testing.T) {
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a*2", "b")}))
	var got []string
	for range 6 {
		got = append(got, strings.TrimPrefix(short(w.ask("www.example.com", "A", asker)), "NOERROR 192.0.2."))
	}
	if s := strings.Join(got, " "); s != "1 2 1 1 2 1" {
		t.Errorf("weights 2 and 1: %s", s)
	}
}

func TestGroupSharesADecision(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Members: servers("a", "b", "c")})
	names := m.Zones[0].Names
	names[0].Group = "app"
	m.Zones[0].Names = append(names, &config.Name{Name: "api", FQDN: "api.example.com.", Pool: "www", Group: "app", TTL: names[0].TTL})
	w := newWorld(t, m)
	for range 6 {
		if www, api := short(w.ask("www.example.com", "A", asker)), short(w.ask("api.example.com", "A", asker)); www != api {
			t.Errorf("www %q, api %q", www, api)
		}
	}
}

func TestApexAndWildcard(t *testing.T) {
	m := pooled(&config.Pool{Name: "@", Members: servers("a")}, &config.Pool{Name: "*", Members: servers("b")})
	w := newWorld(t, m)
	for _, tt := range []struct{ name, qtype, want string }{
		{"example.com", "A", "NOERROR 192.0.2.1"},
		{"example.com", "MX", "NOERROR 10 www.example.com."},
		{"anything.example.com", "A", "NOERROR 192.0.2.2"},
		{"a.b.example.com", "AAAA", "NOERROR 2001:db8::2"},
		{"ns.example.com", "A", "NOERROR 192.0.2.53"},
		{"x._tcp.example.com", "A", "NXDOMAIN"}, // _tcp exists, so the wildcard does not reach below it (RFC 4592)
	} {
		if got := short(w.ask(tt.name, tt.qtype, asker)); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.name, tt.qtype, got, tt.want)
		}
	}
}

func TestTTLLaw_T6(t *testing.T) {
	ttl := func(m *dns.Msg) uint32 { return m.Answer[0].Header().Ttl }
	w := newWorld(t, pooled(&config.Pool{Name: "www", Members: servers("a", "b")}))
	if got := ttl(w.ask("www.example.com", "A", asker)); got != 30 {
		t.Errorf("all well: TTL %d, want the upper bound 30", got)
	}
	for _, tt := range []struct {
		left time.Duration
		want uint32
	}{{20 * time.Second, 20}, {2 * time.Second, 5}, {time.Hour, 30}} {
		if err := w.board.Hold("virtualServer/b", status.Hold{Until: time.Now().Add(tt.left), By: "test"}); err != nil {
			t.Fatal(err)
		}
		w.set("virtualServer/b:up")
		w.now = w.board.Table().Row("virtualServer/b").Hold.Until.Add(-tt.left)
		if got := ttl(w.ask("www.example.com", "A", asker)); got != tt.want {
			t.Errorf("a hold ends in %s: TTL %d, want %d", tt.left, got, tt.want)
		}
	}
	w.set("virtualServer/b:released", "virtualServer/a:down", "virtualServer/b:down")
	if got := ttl(w.ask("www.example.com", "A", asker)); got != 5 {
		t.Errorf("degraded: TTL %d, want the lower bound 5", got)
	}
	w = newWorld(t, pooled(&config.Pool{Name: "www", Panic: 60, Members: servers("a", "b")}))
	w.set("virtualServer/a:down")
	if got := ttl(w.ask("www.example.com", "A", asker)); got != 5 {
		t.Errorf("health ignored by panic: TTL %d, want the lower bound 5", got)
	}
	soa := func(m *dns.Msg) uint32 { return m.Ns[0].Header().Ttl }
	w.set("virtualServer/a:held", "virtualServer/b:held")
	if got := soa(w.ask("www.example.com", "A", asker)); got != 5 {
		t.Errorf("NODATA of a held name: negative TTL %d, want 5 (T5)", got)
	}
}
