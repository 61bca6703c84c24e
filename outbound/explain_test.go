package outbound

import (
	"bytes"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	flows "github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

const explained = threeLinks + `
persistence:
  - {name: clients, timeout: 10m}
linkGroups:
  - {name: all, members: [{link: one, weight: 2}, two, {link: three, priority: 0}], algorithm: round-robin, spill: [down]}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: mail, protocol: tcp, ports: [25], linkGroup: all}
    - {name: everything, policy: office}
  classes:
    - {name: web, ports: [tcp/443]}
    - {name: video, destinations: [9.9.0.0/16]}
  policies:
    - name: office
      rules:
        - {class: video, action: forward}
        - {class: web, action: {linkGroup: all, persistence: clients}}
`

func question(t *testing.T, from, to, in string) flows.Question {
	t.Helper()
	q, err := flows.Parse(from, to, in)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func toldBy(t *testing.T, g *gateway, q flows.Question) *flows.Explanation {
	t.Helper()
	x := explaining{plan: g.Plan, wishes: g.frozen(g.Wishes(g.facts)), own: g.Names(), groups: map[string]*flows.Group{}}
	m := flows.Machine{Interfaces: g.facts.Interfaces, Element: func(_, set string, key []byte) (kernel.Element, bool, error) {
		for _, el := range g.written[set] {
			if bytes.Equal(el.Key, key) {
				return el, true, nil
			}
		}
		return kernel.Element{}, false, nil
	}}
	e, err := flows.Journey(t.Context(), m, q, x.part(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// What explain tells of shares is what 256 connections in a row get (A.2, 1.1.15).
func TestExplainSharesAreThoseOfTraffic(t *testing.T) {
	g := newGateway(t, explained)
	v := g.Variants()[0]
	ids := g.members(v)
	r := slots.Result{Slots: make(slots.Slots, SlotCount), Alive: ids, Available: ids, AvailableOrBusy: ids}
	for i := range r.Slots { // 128, 96 and 32
		r.Slots[i] = ids[[]int{0, 1, 0, 1, 0, 1, 0, 2}[i%8]]
	}
	v.Set(&r)
	e := toldBy(t, g, question(t, "10.0.0.5", "8.8.8.8:25", ""))
	want := map[string]float64{}
	for _, w := range e.Ways {
		want[w.Link] = w.Percent
		if w.By != "algorithm round-robin: the link of a slot" || w.Table == 0 || w.NAT != "masquerade" {
			t.Errorf("way %+v", w)
		}
	}
	turn := uint32(0)
	g.world.Draw = func(_ kernel.Place, of uint32) uint32 { turn++; return turn % of }
	got := map[string]float64{}
	for range SlotCount {
		got[g.send("10.0.0.5:1000 > 8.8.8.8:25/tcp")] += 100. / SlotCount
	}
	if len(got) != 3 || len(want) != 3 {
		t.Errorf("told %v, sent %v", want, got)
	}
	for link, share := range got {
		if want[link] != share {
			t.Errorf("link %s: told %v %%, sent %v %%", link, want[link], share)
		}
	}
}

// Each thing that decides is told, and what did not is told with its reason.
func TestExplainReasons(t *testing.T) {
	g := newGateway(t, explained)
	g.written = map[string][]kernel.Element{"stick4_clients_all": {{Key: []byte{10, 0, 0, 7}, Data: kernel.Number(2), Timeout: 10 * time.Minute, Expires: 9 * time.Minute}}}
	for _, c := range []struct {
		from, to, in string
		want         []string
	}{
		{"10.0.0.7", "8.8.8.8:443", "", []string{"no   virtual server mail: th dport is 443, not 25", "no   policy office rule 1: class video: ip daddr 8.8.8.8 is not in class_video_to4",
			"yes  policy office rule 2: class web", "yes  persistence clients: 10.0.0.7: link two, 9m0s left of 10m0s: last used 1m0s ago",
			"100.00%  link two, ip rule 1002, table 1002: via 198.51.100.1 dev eth2, as 198.51.100.2 (masquerade)", "by persistence clients"}},
		{"10.0.0.5", "9.9.9.9/icmp", "", []string{"in by lan0", "yes  policy office rule 1: class video", "by policy office rule 1: by the routing table", "no link"}},
		{"10.0.0.5", "8.8.8.8:80", "", []string{"no   policy office rule 2: class web: th dport is 80, not 443", "100.00%  dropped"}},
		{"fd10::5", "[2001:db8::8]:443", "", []string{"link one, ip rule 1001, table 1001: via 2001:db8:1::1 dev eth1, as 2001:db8:1::2 (masquerade)"}},
		{"10.0.0.5", "203.0.113.2:25", "", []string{"to this machine"}},
		{"198.51.100.2", "8.8.8.8:443", "", []string{"of this machine itself", "ip rule 2002, table 1002: via 198.51.100.1 dev eth2"}},
	} {
		var b strings.Builder
		if err := toldBy(t, g, question(t, c.from, c.to, c.in)).WriteText(&b, false); err != nil {
			t.Fatal(err)
		}
		for _, want := range c.want {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s to %s: no %q in\n%s", c.from, c.to, want, &b)
			}
		}
	}
}

// Offline the groups have their first tick: weights and priorities count.
func TestExplainOffline(t *testing.T) {
	p := compile(t, explained, nil)
	part, err := Offline(p, status.NewBoard(10).Table(), usual().Interfaces, usual().Now)
	if err != nil {
		t.Fatal(err)
	}
	e, err := flows.Journey(t.Context(), flows.Machine{Interfaces: usual().Interfaces}, question(t, "10.0.0.5", "8.8.8.8:25", ""), part)
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Ways) != 3 || e.Ways[0].Link != "one" || e.Ways[0].Percent != 50 || e.Ways[1].Percent != 25 {
		t.Errorf("ways %+v", e.Ways)
	}
	if len(e.Groups) != 1 || e.Groups[0].Members == nil || len(e.Groups[0].Members.Members) != 3 || !e.Groups[0].Available {
		t.Errorf("groups %+v", e.Groups)
	}
}

// While conntrack, maps and routes are asked, ticks go on; what is not ours is
// asked of Linux, and what it cannot tell is noted.
func TestExplainWaitsForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, explained)
		b.say(status.Up, "one", "two", "three")
		routes := 0
		m := flows.Machine{Interfaces: b.nics, Sessions: b, Element: b.Element}
		m.Lookup = func(p kernel.Packet) (kernel.Route, error) {
			b.free("a route is asked for")
			if routes++; p.Dest == netip.MustParseAddr("9.9.9.9") {
				return kernel.Route{Table: 254, Interface: "eth7", Via: netip.MustParseAddr("192.0.2.77")}, nil
			}
			return kernel.Route{}, errors.New("a martian")
		}
		for _, c := range []struct{ from, to, want string }{
			{"10.0.0.5", "8.8.8.8:443", "link"}, {"10.0.0.5:1000", "8.8.8.8:443", "link"}, {"10.0.0.5", "8.8.8.8/icmp", "dropped"},
			{"10.0.0.5", "9.9.9.9:443", "no link, by the machine's own table main: via 192.0.2.77 dev eth7, as 10.0.0.5"},
			{"10.0.0.5", "9.9.9.8:443", "note: Linux tells no route: a martian"},
		} {
			e, err := flows.Journey(t.Context(), m, question(t, c.from, c.to, "lan0"), b.Part())
			if err != nil {
				t.Fatal(err)
			}
			var text strings.Builder
			if err := e.WriteText(&text, false); err != nil || !strings.Contains(text.String(), c.want) {
				t.Errorf("%s to %s: no %q in %v\n%s", c.from, c.to, c.want, err, &text)
			}
		}
		if routes != 2 {
			t.Errorf("%d routes were asked for, of two that are not ours", routes)
		}
	})
}

// Every chain of a rich configuration that a connection may come to is for
// something that explain knows, but for those that every packet comes to.
func TestEveryChainHasARole(t *testing.T) {
	g := sample(t, "rich")
	n := g.Names()
	for _, c := range g.Wishes(g.facts).Tables[0].Chains {
		common := c.Hook != nil || c.Name == "from_links" || c.Name == "session" || strings.HasPrefix(c.Name, "snat") || strings.HasPrefix(c.Name, "link_asked")
		if got := n.Chain(Table, c.Name); (got.Kind == "") != common {
			t.Errorf("chain %s is for %+v", c.Name, got)
		}
	}
	for _, s := range g.Wishes(g.facts).Tables[0].Sets {
		told := strings.HasPrefix(s.Name, "stick") || s.Name == "prox4" || s.Name == "prox6"
		if got := n.Set(Table, s.Name); (got.Kind != "") != told {
			t.Errorf("set %s is for %+v", s.Name, got)
		}
	}
}
