package dnsserver

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

// world is a compiled table with a board, for tests of dynamic names.
type world struct {
	t     testing.TB
	model *config.Model
	board *status.Board
	table *Table
	now   time.Time
}

const worldZone = `$TTL 300
@    SOA ns.example.com. root.example.com. 1 3600 600 86400 60
@    NS  ns
@    MX  10 www
ns   A   192.0.2.53
_x._tcp SRV 0 0 443 www
www  TXT "static beside dynamic"
www  HTTPS 1 . alpn=h2
svc  HTTPS 1 www alpn=h2 ipv4hint=203.0.113.99
`

// pooled is a model with one zone, whose names are bound to pools of the same
// name, and virtual servers a to f. Addresses are 192.0.2.N and 2001:db8::N, N
// the letter's place.
func pooled(pools ...*config.Pool) *config.Model {
	m := &config.Model{Version: 1, DNS: config.DNS{ECS: true, UDPSize: 1232}}
	zone := &config.Zone{Name: "example.com.", File: "zone"}
	for _, p := range pools {
		if p.Preferred.Algorithm == "" {
			p.Preferred.Algorithm = "round-robin"
		}
		if p.Spill == nil {
			p.Spill = []config.Spill{config.SpillDown}
		}
		if p.OnDown == nil {
			p.OnDown = []config.Rung{{Action: config.RungLastGood}, {Action: config.RungAll}}
		}
		if p.OnDecline == "" {
			p.OnDecline = config.DeclineRefused
		}
		fqdn := p.Name + ".example.com."
		if p.Name == "@" {
			fqdn = "example.com."
		}
		zone.Names = append(zone.Names, &config.Name{Name: p.Name, FQDN: fqdn, Pool: p.Name,
			TTL: config.TTL{Min: config.Duration(5 * time.Second), Max: config.Duration(30 * time.Second)}})
		m.Pools = append(m.Pools, p)
	}
	m.Zones = []*config.Zone{zone}
	for i := range 6 {
		name := string(rune('a' + i))
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{Name: name,
			Addresses: []netip.Addr{v4(i + 1), v6(i + 1)}, Site: "site-" + name, Link: "link-" + name})
	}
	return m
}

func v4(n int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(n)}) }

func v6(n int) netip.Addr {
	return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 15: byte(n)})
}

// servers makes members of virtual servers: "a", or "b*3" with a weight, or
// "c@5" with a priority.
func servers(words ...string) (members []*config.Member) {
	for _, w := range words {
		m := &config.Member{VirtualServer: w[:1], Weight: 1}
		if _, err := fmt.Sscanf(w[1:], "*%d", &m.Weight); err != nil {
			_, _ = fmt.Sscanf(w[1:], "@%d", &m.Priority)
		}
		members = append(members, m)
	}
	return members
}

func newWorld(t testing.TB, m *config.Model) *world {
	w := &world{t: t, model: m, board: status.NewBoard(8), now: time.Now()}
	w.compile(nil)
	for _, count := range w.table.pools.counts {
		count.Store(0) // so that tests can say who comes first
	}
	return w
}

func (w *world) compile(before *Table) {
	w.t.Helper()
	src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte(worldZone)}}, Dir: "."}
	topo, errs := topology.Compile(w.model, src)
	if topo == nil {
		w.t.Fatal(errs)
	}
	table, errs := Compile(Inputs{Model: w.model, Source: src, Topology: topo, Before: before})
	if errs.Failed() {
		w.t.Fatal(errs)
	}
	w.table = table
	w.table.Ready(w.board.Table(), nil)
}

// set writes rows "virtualServer/a:down" and makes the pools ready.
func (w *world) set(words ...string) {
	for _, word := range words {
		id, state, _ := strings.Cut(word, ":")
		r := status.Row{ID: status.ID(id), Health: status.Up, Why: state}
		l := status.Load{Why: state}
		switch state {
		case "down":
			r.Health = status.Down
		case "waiting":
			r.Health, r.Waiting = status.Unknown, true
		case "busy":
			l.Busy = true
		case "full":
			l.Full = true
		case "held":
			if err := w.board.Hold(r.ID, status.Hold{By: "test", Reason: "test"}); err != nil {
				w.t.Fatal(err)
			}
		case "released":
			w.board.Release(r.ID, "test", "test")
		}
		w.board.Update(r)
		w.board.Mark(map[status.ID]status.Load{r.ID: l})
		w.table.Ready(w.board.Table(), nil)
	}
}

// ask answers a question of a client over TCP, through the packet's own path.
func (w *world) ask(name, qtype, client string) *dns.Msg {
	return w.askECS(name, qtype, netip.MustParseAddr(client), netip.Prefix{})
}

func (w *world) askECS(name, qtype string, client netip.Addr, ecs netip.Prefix) *dns.Msg {
	a := Ask{Name: name, Type: qtype, Client: client, ECS: ecs}
	msg, err := a.message()
	if err != nil {
		w.t.Fatal(err)
	}
	q := parseQuery(msg, client, w.table, true).at(w.now, w.board.Table())
	q.question.gauges = w.board.Gauges()
	return answer(w.table, q)
}

// short prints a reply as "RCODE value value ...", values sorted as they came.
func short(m *dns.Msg) string {
	if m == nil {
		return "no reply"
	}
	parts := []string{dns.RcodeToString[m.Rcode]}
	for _, rr := range m.Answer {
		_, value, _ := strings.Cut(rr.String(), "\tIN\t")
		_, value, _ = strings.Cut(value, "\t")
		parts = append(parts, value)
	}
	return strings.Join(parts, " ")
}

func scopeOf(m *dns.Msg) int {
	for _, o := range m.IsEdns0().Option {
		if l, ok := o.(*dns.EDNS0_LOCAL); ok && l.Code == dns.EDNS0SUBNET {
			return int(l.Data[3])
		}
	}
	return -1
}
