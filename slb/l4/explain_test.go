package l4

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/traffic"
)

// tells explains a connection with the entries that packets wrote before.
func (b *balancer) tells(from, to string, session *kernel.Session) *flow.Explanation {
	b.t.Helper()
	q, err := flow.Parse(from, to, "out0")
	if err != nil {
		b.t.Fatal(err)
	}
	w := kernel.NewWorld(b.Wishes(b.facts))
	w.Find = func(_, set string, key []byte) (kernel.Element, bool, error) {
		for _, el := range b.written[set] {
			if bytes.Equal(el.Key, key) {
				return el, true, nil
			}
		}
		return kernel.Element{}, false, nil
	}
	e, err := flow.Explain(w, q, session, b.Names(func(c traffic.Counted) (uint64, bool) { return 7, c.Set == ServedSet }))
	if err != nil {
		b.t.Fatal(err)
	}
	return e
}

const overlapping = `
version: 1
persistence: [{name: keep, timeout: 10m}]
virtualServers:
  - {name: ports, address: 203.0.113.10, serve: {ports: ["80-90"], farm: web, persistence: keep}}
  - {name: every, address: 203.0.113.10, serve: {type: tcp, farm: web}}
  - {name: protocols, address: 203.0.113.10, serve: {type: ip, farm: plain}}
  - {name: net, addresses: [203.0.113.0], serve: {mask: {v4: 24}, type: tcp, farm: plain}}
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web, persistence: keep}}
serverFarms:
  - {name: web, slots: 64, servers: [{name: one, address: 10.1.0.1, port: 8080}, {name: two, address: 10.1.0.2, port: 8080}, {name: three, address: 10.1.0.3, port: 8080}]}
  - {name: plain, servers: [10.1.0.4]}
`

// Of several virtual servers that a connection fits the one that has it is told, and
// of each other one why it has not (FAQ 1.1.9).
func TestExplainOrder(t *testing.T) {
	b := newBalancer(t, overlapping)
	for to, want := range map[string]string{
		"203.0.113.10:80":     "+web -ports its range of ports is smaller -every it names the port -protocols it names the protocol -net its mask is longer",
		"203.0.113.10:85":     "+ports -every it names the port -protocols it names the protocol -net its mask is longer",
		"203.0.113.10:91":     "+every -protocols it names the protocol -net its mask is longer",
		"203.0.113.10:53/udp": "+protocols",
		"203.0.113.9:80":      "+net",
		"203.0.113.9:80/udp":  "- 203.0.113.9 is an address of net (every port of tcp), and this is udp port 80",
		"203.0.114.1:80":      "",
	} {
		var got []string
		for _, f := range b.tells("198.51.100.9", to, nil).Findings {
			switch {
			case f.Kind != flow.VirtualServer:
			case f.Hit:
				got = append(got, "+"+f.Name)
			default:
				_, why, cut := strings.Cut(f.Why, "goes first: ")
				if !cut {
					why = f.Why
				}
				got = append(got, "-"+f.Name+" "+why)
			}
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("%s: %s\nwant %s", to, text, want)
		}
	}
}

// The shares that are told are those of the slots; whom persistence knows has one
// way, and an entry whose server takes nothing new is told as forgotten (T23).
func TestExplainShares(t *testing.T) {
	b := newBalancer(t, overlapping)
	ids := b.byFarm["web"].ids()
	b.SetSlots("web", spread(64, []ID{ids[0], ids[1], ids[0], ids[2]}))
	want := map[string]float64{"one": 50, "two": 25, "three": 25}
	e := b.tells("198.51.100.9", "203.0.113.10:80", nil)
	for _, w := range e.Ways {
		if w.VirtualServer != "web" || w.Farm != "web" || w.Percent != want[w.Server] || w.To.Port() != 8080 || w.By != "algorithm: the server of a slot, by round-robin" {
			t.Errorf("%+v", w)
		}
	}
	if len(e.Ways) != 3 {
		t.Errorf("%d ways", len(e.Ways))
	}
	if c := e.Counters[0]; c.Name != "web" || c.What != traffic.Taken || c.Connections == nil || *c.Connections != 7 {
		t.Errorf("%+v", c)
	}
	key := kernel.Key(kernel.Number(b.MarkOf("web")), []byte{198, 51, 100, 9})
	b.written = map[string][]kernel.Element{"stick4_keep": {{Key: key, Data: kernel.Number(uint32(ids[1]))}}}
	for _, c := range []struct{ out, want string }{
		{"", "100 two persistence keep; true server web/two, 1h0m0s left"},
		{"two", "50 one algorithm: the server of a slot, by round-robin; false server web/two, 1h0m0s left: it takes no new connections, or is of another farm, so it is forgotten"},
	} {
		if c.out != "" {
			b.SetServers("web", States{Alive: ids, Loose: ids[:1], Available: ids[:1]})
		}
		e := b.tells("198.51.100.9", "203.0.113.10:80", nil)
		got := fmt.Sprint(e.Ways[0].Percent, " ", e.Ways[0].Server, " ", e.Ways[0].By)
		for _, f := range e.Findings {
			if f.Kind == flow.Persistence {
				got += fmt.Sprintf("; %v %s", f.Hit, f.Why)
			}
		}
		if got != c.want {
			t.Errorf("%s\nwant %s", got, c.want)
		}
	}
}

// A session is told with the server that answers it, and goes to it whatever slots
// say now; a farm that has nobody says so.
func TestExplainSessionAndNobody(t *testing.T) {
	b := newBalancer(t, overlapping)
	s := &kernel.Session{Mark: b.MarkOf("web"), Status: kernel.StatusSeenReply,
		Original: kernel.Tuple{Protocol: 6, Source: ap("198.51.100.9:4000"), Destination: ap("203.0.113.10:80")},
		Reply:    kernel.Tuple{Protocol: 6, Source: ap("10.1.0.3:8080"), Destination: ap("198.51.100.9:4000")}}
	e := b.tells("198.51.100.9:4000", "203.0.113.10:80", s)
	if e.Session.Server != "three" || e.Session.VirtualServer != "web" || len(e.Ways) != 1 || e.Ways[0].Server != "three" || e.Ways[0].To != ap("10.1.0.3:8080") {
		t.Errorf("%+v %+v", e.Session, e.Ways)
	}
	b.SetSlots("web", nil)
	b.SetServers("web", States{})
	e = b.tells("198.51.100.9", "203.0.113.10:80", nil)
	if w := e.Ways[0]; len(e.Ways) != 1 || w.End != "dropped" || w.By != "server farm web: none of its servers lives" {
		t.Errorf("%+v", e.Ways)
	}
}

// What is dropped is told by whoever drops it, also among all rules that the packet
// came to: the chain that counts is common to them.
func TestExplainDropped(t *testing.T) {
	b := newBalancer(t, `
version: 1
virtualServers:
  - {name: empty, address: 203.0.113.10, port: 80}
  - {name: none, address: 203.0.113.10, port: 81, serve: {}}
  - {name: strict, address: 203.0.113.10, port: 82, serve: {policy: strict}}
slb:
  classes: [{name: bad, sources: [198.51.100.0/24]}]
  policies: [{name: strict, rules: [{class: bad, action: drop}]}]
`)
	const why, rule = "it has no farm: dropped", "policy strict rule 1: drop"
	for _, c := range []struct{ from, to, by, want, never string }{
		{"192.0.2.9", "203.0.113.10:81", "virtual server none has no farm", why, rule},
		{"192.0.2.9", "203.0.113.10:82", "virtual server strict has no farm", why, rule},
		{"198.51.100.9", "203.0.113.10:82", rule, rule, why},
	} {
		e := b.tells(c.from, c.to, nil)
		if w := e.Ways[0]; len(e.Ways) != 1 || w.End != "dropped" || w.By != c.by {
			t.Errorf("%s to %s: %+v", c.from, c.to, e.Ways)
		}
		told := false
		for _, r := range e.Rules {
			told = told || r.Tell == c.want && r.Why == ""
			if r.Tell == c.never && r.Why == "" {
				t.Errorf("%s to %s: %q in chain %s", c.from, c.to, r.Tell, r.Chain)
			}
		}
		if !told {
			t.Errorf("%s to %s: no rule says %q", c.from, c.to, c.want)
		}
	}
}

func ap(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
