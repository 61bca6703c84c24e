package outbound

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

const seen = threeLinks + `
persistence:
  - {name: home, mask: {v4: 24, v6: 64}}
  - {name: pair, by: source-destination, destinationMask: {v4: 16, v6: 48}}
linkGroups:
  - {name: all, members: [one, two], onFailure: reschedule, slowOnline: {standby: 10s, ramp: 20s}}
  - {name: spare, members: [three]}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: everything, policy: office, linkGroup: all, backup: spare, persistence: home, maxConnections: 100}
    - {name: off, linkGroup: spare, enabled: false, destinations: [192.0.2.0/24]}
  policies:
    - name: office
      rules:
        - {class: mail, action: {linkGroup: spare, persistence: pair}}
        - {class: games, action: drop}
  classes:
    - {name: mail, ports: [tcp/25]}
    - {name: games, ports: [udp/27015]}
`

// news gives the events since it was asked last.
func (b *bench) news() string {
	var list []string
	for _, e := range b.board.Events(b.told) {
		b.told = e.Seq
		if e.By == Owner {
			list = append(list, fmt.Sprintf("%s: %s>%s (%s)", e.ID, e.Old, e.New, e.Why))
		}
	}
	return strings.Join(list, "\n")
}

// Counters show which virtual server and which rule a connection hit, and when
// (FAQ 1.1.2): those that were hit moved, and no other.
func TestHits_1_1_2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, seen)
		b.counters = map[string]kernel.Counted{"virtualServer/everything": {Packets: 5, Octets: 300}, "rule/office/1": {Packets: 5, Octets: 300}, "group/all": {Packets: 9}}
		b.look1()
		time.Sleep(hitsEvery)
		b.counters = map[string]kernel.Counted{"virtualServer/everything": {Packets: 6, Octets: 360}, "rule/office/1": {Packets: 5, Octets: 300}, "rule/office/2": {Packets: 1, Octets: 60}, "group/all": {Packets: 2}}
		b.look1()
		at := time.Now()
		time.Sleep(hitsEvery / 2)
		list, err := b.Hits()
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, h := range list {
			moved := ""
			if !h.Last.IsZero() {
				moved = fmt.Sprint(" ", h.Last.Sub(at))
			}
			got = append(got, fmt.Sprintf("%s %s %s (%s) %d/%d%s", h.Kind, h.Name, h.What, h.Does, h.Connections, h.Octets, moved))
		}
		want := `virtualServer everything taken (everything: policy office) 6/360 0s
virtualServer everything limited (over its limits) 0/0
virtualServer everything dropped (by an action, or for want of a link) 0/0
rule office/1 taken (class mail: link group spare, persistence pair) 5/300
rule office/2 taken (class games: drop) 1/60
linkGroup all taken (round-robin) 2/0 0s
linkGroup all none (no link could take it) 0/0
linkGroup spare taken (round-robin) 0/0
linkGroup spare none (no link could take it) 0/0
link one taken (left by it) 0/0
link one full (was at a limit) 0/0
link one inbound (came in by it) 0/0
link two taken (left by it) 0/0
link two full (was at a limit) 0/0
link two inbound (came in by it) 0/0
link three taken (left by it) 0/0
link three full (was at a limit) 0/0
link three inbound (came in by it) 0/0
persistence home taken (kept its link) 0/0
persistence pair taken (kept its link) 0/0`
		if strings.Join(got, "\n") != want {
			t.Errorf("got\n%s", strings.Join(got, "\n"))
		}
	})
}

// What is counted is what compiled rules count by, but for what has no thing of
// the configuration to stand under.
func TestHitsAreCounters(t *testing.T) {
	for name, text := range map[string]string{"simple": simple, "seen": seen} {
		p := compile(t, text, nil)
		rules := p.Wishes(usual()).Tables[0].Counters
		var mine []string
		for _, h := range p.hits() {
			mine = append(mine, h.From.Counter)
			// A persistence or a link is counted where rules lead to it; others always.
			if !slices.Contains(rules, h.From.Counter) && h.Kind != HitLink && h.What != Dropped {
				t.Errorf("%s: nothing counts by %s", name, h.From.Counter)
			}
		}
		for _, c := range rules {
			if !slices.Contains(mine, c) && c != "reset" {
				t.Errorf("%s: nobody is shown %s", name, c)
			}
		}
	}
}

// A limit is told when it is reached and when it is over, with how many it
// refused, and not with each connection.
func TestSpells(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, seen)
		b.counters = map[string]kernel.Counted{"limited/everything": {Packets: 7}, "link/one/full": {}, "group/all/none": {}}
		b.look1()
		b.news()
		step := func(limited, full, none uint64, want string) {
			t.Helper()
			time.Sleep(hitsEvery)
			b.counters = map[string]kernel.Counted{"limited/everything": {Packets: limited}, "link/one/full": {Packets: full}, "group/all/none": {Packets: none}}
			b.look1()
			if got := b.news(); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}
		step(7, 0, 0, "") // what was before we started is no news
		step(10, 0, 0, "outboundVirtualServer/everything: >limit reached (3 new connections were refused)")
		step(14, 2, 0, "link/one: >limit reached (2 new connections had to try another link)")
		step(14, 2, 1, "linkGroup/all: >no link (1 new connections found no link that could take them)")
		for range 4 {
			step(14, 2, 1, "")
		}
		step(14, 2, 1, "outboundVirtualServer/everything: limit reached>below its limit (7 new connections were refused, within 5s)\n"+
			"link/one: limit reached>below its limit (2 new connections had to try another link, within 0s)")
	})
}

// The phases of a link that comes back are told once each.
func TestPhasesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, seen)
		b.say(status.Up, "one", "two", "three")
		b.live = 42
		b.news()
		b.say(status.Down, "one")
		if got := b.news(); got != "link/one: >connections ended (the link failed, and a group of it says reschedule: 42 sessions)" {
			t.Errorf("got %s", got)
		}
		b.say(status.Up, "one")
		if got := b.news(); got != "linkGroup/all/one: out>standby (it is back, and gets nothing new for 10s)" {
			t.Errorf("got %s", got)
		}
		time.Sleep(11 * time.Second)
		b.look1()
		b.look1()
		if got := b.news(); got != "linkGroup/all/one: standby>ramp (its share grows for 20s)" {
			t.Errorf("got %s", got)
		}
		time.Sleep(20 * time.Second)
		b.look1()
		if got := b.news(); got != "linkGroup/all/one: ramp>serving (it has its whole share again)" {
			t.Errorf("got %s", got)
		}
	})
}

// That busy protection lapses is told with who is busy (FAQ 1.2.26).
func TestLapseIsTold_1_2_26(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.Replace(seen, "members: [one, two]", "busyProtection: true, members: [one, two]", 1))
		b.say(status.Up, "one", "two")
		b.news()
		b.board.Mark(map[status.ID]status.Load{"link/one": {Busy: true}})
		b.look1()
		if got := b.news(); got != "" {
			t.Errorf("one is busy: %s", got)
		}
		b.board.Mark(map[status.ID]status.Load{"link/one": {Busy: true}, "link/two": {Busy: true}})
		b.look1()
		b.look1()
		if got := b.news(); got != "linkGroup/all: >busy protection lapsed (all that take part are busy: link/one, link/two)" {
			t.Errorf("got %s", got)
		}
		b.board.Mark(map[status.ID]status.Load{"link/one": {}})
		b.look1()
		if got := b.news(); got != "linkGroup/all: busy protection lapsed>busy protection works (not all are busy any more)" {
			t.Errorf("got %s", got)
		}
	})
}

// An operator's word on a group is obeyed: its backup goes before it, and nobody
// new gets a link of it; sessions of its links stay where they are.
func TestHoldOfGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, seen)
		b.say(status.Up, "one", "two", "three")
		hold := func(state status.HoldState) {
			t.Helper()
			if err := b.board.Hold("linkGroup/all", status.Hold{State: state, Reason: "works"}); err != nil {
				t.Fatal(err)
			}
			b.notes = nil
			b.look1()
		}
		alive := func() int { return b.plan.byName["all"].alive.Len() }
		for _, c := range []struct {
			state  status.HoldState
			alive  int
			health status.Health
		}{{status.HoldDrain, 2, status.Down}, {status.HoldDown, 0, status.Down}} {
			hold(c.state)
			if got := b.slotsOf("all"); len(got) != 0 || alive() != c.alive || !b.facts.Unavailable["all"] || b.board.Table().Row("linkGroup/all").Health != c.health {
				t.Errorf("%v: slots %v, %d alive, %v", c.state, got, alive(), b.facts.Unavailable)
			}
			if got := strings.Join(b.notes, " "); strings.Contains(got, "end ") {
				t.Errorf("%v ended sessions: %s", c.state, got)
			}
		}
		b.board.Release("linkGroup/all", "done", "me")
		b.look1()
		if got := b.slotsOf("all"); got[1] != 128 || alive() != 2 || b.facts.Unavailable["all"] {
			t.Errorf("released: %v, %d, %v", got, alive(), b.facts)
		}
		b.say(status.Down, "one", "two")
		hold(status.HoldUp)
		if b.facts.Unavailable["all"] || b.board.Table().Row("linkGroup/all").Health != status.Up {
			t.Error("it is not available although held up")
		}
	})
}

func key(addrs ...string) (b []byte) {
	for _, a := range addrs {
		b = append(b, kernel.Addr(netip.MustParseAddr(a))...)
	}
	return b
}

// Entries are shown in the words of the configuration, and cleared as asked.
func TestSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, seen)
		number := func(id uint32) []byte { return kernel.Number(id) }
		fill := func() {
			b.asked = map[string][]kernel.Element{
				"stick4_home_all":   {{Key: key("10.0.1.0"), Data: number(1), Expires: 90 * time.Second}, {Key: key("10.0.2.0"), Data: number(2), Expires: time.Minute}},
				"stick6_home_all":   {{Key: key("fd10::"), Data: number(2)}, {Key: key("fd11::")[:8], Data: number(2)}},
				"stick4_pair_spare": {{Key: key("10.0.1.7", "8.8.0.0"), Data: number(3)}, {Key: key("10.0.3.1", "9.9.0.0"), Data: number(77)}},
			}
		}
		for _, c := range []struct {
			q    StickyQuery
			want string
		}{
			{StickyQuery{}, "home all 10.0.1.0/24 one 1m30s; home all 10.0.2.0/24 two 1m; home all fd10::/64 two 0s; pair spare 10.0.1.7/32>8.8.0.0/16 three 0s; pair spare 10.0.3.1/32>9.9.0.0/16  0s"},
			{StickyQuery{Group: "spare"}, "pair spare 10.0.1.7/32>8.8.0.0/16 three 0s; pair spare 10.0.3.1/32>9.9.0.0/16  0s"},
			{StickyQuery{Link: "two"}, "home all 10.0.2.0/24 two 1m; home all fd10::/64 two 0s"},
			{StickyQuery{Client: netip.MustParsePrefix("10.0.1.7/32")}, "home all 10.0.1.0/24 one 1m30s; pair spare 10.0.1.7/32>8.8.0.0/16 three 0s"},
			{StickyQuery{Client: netip.MustParsePrefix("10.0.0.0/22"), Link: "one"}, "home all 10.0.1.0/24 one 1m30s"},
			{StickyQuery{Client: netip.MustParsePrefix("fd10::5/128")}, "home all fd10::/64 two 0s"},
			{StickyQuery{Client: netip.MustParsePrefix("172.16.0.0/12")}, ""},
		} {
			fill()
			var list []string
			if err := b.Sticky(c.q, func(e StickyEntry) bool {
				whom := e.Client.String()
				if e.Destination.IsValid() {
					whom += ">" + e.Destination.String()
				}
				list = append(list, fmt.Sprintf("%s %s %s %s %s", e.Persistence, e.Group, whom, e.Link, e.Expires))
				return true
			}); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(list, "; "); got != c.want {
				t.Errorf("%+v:\ngot  %s\nwant %s", c.q, got, c.want)
			}
			if n, err := b.ClearSticky(c.q); err != nil || n != len(list) {
				t.Errorf("%+v: cleared %d of %d, %v", c.q, n, len(list), err)
			}
		}
		fill()
		n := 0
		if err := b.Sticky(StickyQuery{}, func(StickyEntry) bool { n++; return n < 3 }); err != nil || n != 3 {
			t.Errorf("it was enough after 3: %d, %v", n, err)
		}
	})
}

// A group with and without busy protection has one map, and each entry is shown
// once.
func TestStickyOnce(t *testing.T) {
	p := compile(t, threeLinks+`
persistence: [{name: home}]
linkGroups:
  - {name: all, members: [one, two]}
outbound:
  interfaces: [lan0]
  virtualServers:
    - {name: a, linkGroup: all, persistence: home, busyProtection: true}
    - {name: b, linkGroup: all, persistence: home, destinations: [192.0.2.0/24]}
`, nil)
	if got := len(p.sticks(StickyQuery{})); got != 2 || len(p.Variants()) != 2 {
		t.Errorf("%d maps of 2 families, %d variants", got, len(p.Variants()))
	}
}

func TestSessionOf(t *testing.T) {
	p := compile(t, seen, nil)
	at := netip.MustParseAddrPort
	s := kernel.Session{Original: kernel.Tuple{Protocol: 6, Source: at("10.0.0.5:40000"), Destination: at("8.8.8.8:443")},
		Reply: kernel.Tuple{Protocol: 6, Source: at("8.8.8.8:443"), Destination: at("203.0.113.2:40000")}, State: "ESTABLISHED", Timeout: 90 * time.Second}
	if _, ok := p.SessionOf(&s); ok {
		t.Error("a session without a link is shown")
	}
	s.Mark = 2 | kernel.Placed | 1<<31
	got, ok := p.SessionOf(&s)
	if !ok || got.Link != "two" || !got.Sticky || got.Inbound || got.Source != netip.MustParseAddr("203.0.113.2") || got.Sent != nil {
		t.Errorf("%+v", got)
	}
	s.Mark, s.Reply.Destination, s.Traffic = 9|kernel.Inbound, s.Original.Source, [2]kernel.Traffic{{Packets: 3}, {Octets: 5}}
	got, _ = p.SessionOf(&s)
	if got.Link != "" || !got.Inbound || got.Sticky || got.Source.IsValid() || got.Sent.Packets != 3 || got.Replied.Octets != 5 {
		t.Errorf("%+v", got)
	}
}
