package slb

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/traffic"
)

const stuck = `
version: 1
persistence: [{name: own, mask: {v4: 24, v6: 64}}, {name: common, by: source-port, shared: true}]
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web, persistence: own}}
  - {name: two, address: 203.0.113.11, port: 80, serve: {farm: web, persistence: common}}
serverFarms:
  - {name: web, servers: [{name: a, address: 10.1.0.1}, {name: b, address: 10.1.0.2}]}
`

// sticks enters what packets would have written.
func (b *bench) sticks() {
	for _, s := range b.plan.Sticks() {
		if s.Family.IPv6() {
			continue
		}
		web := b.number.VirtualServers["web"]
		key, to := kernel.Key(kernel.Number(l4.Mark(web)), kernel.Addr(addr("198.51.100.0"))), "web/a"
		if s.Shared {
			key, to = kernel.Key(kernel.Number(1<<31|b.number.Farms["web"]), kernel.Addr(addr("198.51.100.7")), kernel.Port(4000)), "web/b"
		}
		b.elements[s.Set] = []kernel.Element{{Key: key, Data: kernel.Number(b.number.Servers[to]), Expires: 90 * time.Second}}
	}
}

// Entries are read back with the names of what they are of, and forgotten by
// query: by virtual server, farm, server, client.
func TestSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, stuck).run(t)
		b.sticks()
		list := func(q StickyQuery) string {
			t.Helper()
			var all []string
			if err := b.Sticky(q, func(e StickyEntry) bool {
				all = append(all, fmt.Sprintf("%s %s %s/%s %s %d %s", e.Persistence, e.VirtualServer, e.Farm, e.Server, e.Client, e.Port, e.Expires))
				return true
			}); err != nil {
				t.Fatal(err)
			}
			return strings.Join(all, ", ")
		}
		const own, common = "own web web/a 198.51.100.0/24 0 1m30s", "common  web/b 198.51.100.7/32 4000 1m30s"
		for _, c := range []struct {
			q    StickyQuery
			want string
		}{
			{StickyQuery{}, common + ", " + own},
			{StickyQuery{VirtualServer: "web"}, own},
			{StickyQuery{Farm: "web", Server: "b"}, common},
			{StickyQuery{Server: "c"}, ""},
			{StickyQuery{Client: prefix("198.51.100.9/32")}, own},
			{StickyQuery{Client: prefix("2001:db8::/32")}, ""},
		} {
			b.want(fmt.Sprint(c.q), list(c.q), c.want)
		}
		held, err := b.Held()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range []l4.Held{{Kind: l4.OfServer, Number: b.number.Servers["web/a"]}, {Kind: l4.OfServer, Number: b.number.Servers["web/b"]},
			{Kind: l4.OfFarm, Number: b.number.Farms["web"]}, {Kind: l4.OfVirtualServer, Number: b.number.VirtualServers["web"]}} {
			if !held[h] {
				t.Errorf("not held: %v", h)
			}
		}
		if len(held) != 4 {
			t.Errorf("held are %v", held)
		}
		n, err := b.ClearSticky(StickyQuery{Server: "b"})
		if n != 1 || err != nil {
			t.Errorf("%d were forgotten, %v", n, err)
		}
		b.want("left", list(StickyQuery{}), own)
	})
}

// Sessions are told with the names of what they are of, by whom answers them.
func TestSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "")).run(t)
		b.session("web", "10.1.0.2:8080")
		b.session("web", "10.1.0.77:8080")
		b.sessions = append(b.sessions, kernel.Session{Mark: 5}) // of outbound
		list := func(q SessionQuery) string {
			var all []string
			if err := b.SLB.Sessions(t.Context(), conntrack{b}, q, func(s Session) bool {
				all = append(all, fmt.Sprintf("%s %s %s/%s %s", s.Protocol, s.VirtualServer, s.Farm, s.Server, s.At))
				return true
			}); err != nil {
				t.Fatal(err)
			}
			return strings.Join(all, ", ")
		}
		b.want("all", list(SessionQuery{}), "tcp web web/b 10.1.0.2:8080, tcp web / 10.1.0.77:8080")
		b.want("of a server", list(SessionQuery{Farm: "web", Server: "b"}), "tcp web web/b 10.1.0.2:8080")
		b.want("of no virtual server", list(SessionQuery{VirtualServer: "other"}), "")
	})
}

// Hits are what elements and named counters count; who asks twice is told when
// they moved. Limits that are reached are told as they begin and end.
func TestHits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.Replace(fmt.Sprintf(web, ""), "{farm: web}", "{farm: web, maxConnections: 5}", 1)).run(t)
		count := func(kind, name, what string, n uint64) {
			for _, h := range b.plan.Hits() {
				if h.Kind == kind && h.Name == name && h.What == what {
					for i, at := range b.plan.Places(h.From.Set) { // a server's are told of both families: 1 here, the rest there
						k := uint64(1)
						if i == 0 {
							k = n - uint64(min(len(b.plan.Places(h.From.Set))-1, int(n)))
						}
						b.elements[at.Set] = []kernel.Element{{Key: []byte(h.From.Key), Packets: k, Octets: 60 * k}}
					}
					return
				}
			}
			t.Fatalf("no hit %s %s %s", kind, name, what)
		}
		hits := func(kind, name, what string) traffic.Hit {
			list, err := b.Hits(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, h := range list {
				if h.Kind == kind && h.Name == name && h.What == what {
					return h
				}
			}
			return traffic.Hit{}
		}
		count(traffic.HitServer, "web", traffic.Taken, 3)
		count(l4.HitServer, "web/b", traffic.Taken, 5)
		if h := hits(traffic.HitServer, "web", traffic.Taken); h.Connections != 3 || h.Octets != 180 || !h.Last.IsZero() {
			t.Errorf("%+v", h)
		}
		b.wait(time.Second)
		count(traffic.HitServer, "web", traffic.Taken, 4)
		if h := hits(traffic.HitServer, "web", traffic.Taken); h.Connections != 4 || !h.Last.Equal(time.Now()) {
			t.Errorf("%+v", h)
		}
		if h := hits(l4.HitServer, "web/b", traffic.Taken); h.Connections != 5 || h.Octets != 300 {
			t.Errorf("%+v", h)
		}
		count(traffic.HitServer, "web", traffic.Limited, 0)
		b.wait(2 * alarmsEvery)
		count(traffic.HitServer, "web", traffic.Limited, 7)
		b.wait(2 * alarmsEvery)
		if !b.heard("virtualServer/web:  -> limit reached (7 new connections were refused)") {
			t.Error("nobody was told of the limit")
		}
		b.wait(time.Minute)
		if !b.heard("virtualServer/web: limit reached -> below its limit") {
			t.Error("nor of its end")
		}
	})
}
