package flow

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/pick"
)

var update = flag.Bool("update", false, "write the golden texts")

func when(tell string, steps ...kernel.Step) kernel.Rule { return kernel.Rule{Tell: tell, Do: steps} }

// linkChain commits to a link that takes at most so many connections.
func linkChain(name string, id uint32, most uint32) kernel.Chain {
	return kernel.Chain{Name: "link_" + name, Rules: []kernel.Rule{
		when("link "+name+": at its limit", kernel.CountOver{Connections: most}, kernel.Return{}),
		when("link "+name, kernel.SetCtMark{Mask: kernel.LinkMask, Bits: id}, kernel.SetMark{Mask: kernel.LinkMask, Bits: id}, kernel.Accept{}),
	}}
}

// office balances what comes in by lan0 over telecom (3) and cable (1).
func office() *kernel.World {
	number, any4 := kernel.Number, netip.MustParsePrefix("0.0.0.0/0")
	slots := kernel.NewElements()
	for n := range uint32(256) {
		slots.Put(kernel.Element{Key: number(n), Data: number(1 + (n%4)/3)})
	}
	draw := kernel.Choose{Key: kernel.Lookup{Key: kernel.Turn{Of: 256}, Map: "g_slots"}, Map: "g_avail"}
	w := kernel.NewWorld(&kernel.Wishes{
		Tables: []kernel.Table{{
			Name: "portolan_outbound",
			Chains: []kernel.Chain{
				{Name: "prerouting", Hook: &kernel.Hook{Type: "filter", Point: "prerouting", Priority: -150}, Rules: []kernel.Rule{
					when("existing session of a link", kernel.Choose{Key: kernel.Masked{Of: kernel.CtMark, Mask: number(kernel.LinkMask)}, Map: "restore"}),
					when("", kernel.Is{Of: kernel.CtState, Op: kernel.NotEqual, To: number(kernel.CtNew)}, kernel.Return{}),
					when("inside interfaces", kernel.Is{Of: kernel.InName, To: kernel.Name("lan0")}, kernel.Jump{Chain: "servers"}),
				}},
				{Name: "servers", Rules: []kernel.Rule{
					when("virtual server mail: drop", kernel.Is{Of: kernel.DestPort, To: kernel.Port(25)}, kernel.Drop{}),
					when("virtual server all: policy office", kernel.Goto{Chain: "policy"}),
				}},
				{Name: "policy", Rules: []kernel.Rule{
					when("policy office: rule 1: class video -> forward", kernel.In{Key: kernel.Dest4, Set: "video"}, kernel.Accept{}),
					when("policy office: default -> link group fast", kernel.Goto{Chain: "fast"}),
				}},
				{Name: "fast", Rules: []kernel.Rule{
					when("link group fast: by persistence", kernel.Choose{Key: kernel.Lookup{Key: kernel.Source4, Map: "g_src4"}, Map: "g_avail"}),
					when("link group fast: by proximity", kernel.Choose{Key: kernel.Masked{Of: kernel.Lookup{Key: kernel.Masked{Of: kernel.Dest4, Mask: []byte{255, 255, 255, 0}}, Map: "prox4"}, Mask: number(kernel.LinkMask)}, Map: "g_avail"}),
					when("link group fast: by turn", draw),
					when("link group fast: second draw", draw),
					when("link group fast: no link has room", kernel.Drop{}),
				}},
				linkChain("telecom", 1, 100), linkChain("cable", 2, 50),
				{Name: "established_1", Rules: []kernel.Rule{when("", kernel.SetMark{Mask: kernel.LinkMask, Bits: 1}, kernel.Accept{})}},
				{Name: "postrouting", Hook: &kernel.Hook{Type: "nat", Point: "postrouting", Priority: 100}, Rules: []kernel.Rule{
					when("link telecom", kernel.Is{Of: kernel.OutName, To: kernel.Name("wan1")}, kernel.Masquerade{}),
					when("link cable", kernel.Is{Of: kernel.OutName, To: kernel.Name("wan2")}, kernel.SNAT{From: netip.MustParseAddr("198.51.100.1"), To: netip.MustParseAddr("198.51.100.9")}),
				}},
			},
			Sets: []kernel.Set{
				{Name: "restore", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true, Elements: kernel.NewElements(kernel.Element{Key: number(1), Verdict: kernel.Goto{Chain: "established_1"}})},
				{Name: "video", Key: []kernel.Type{kernel.TypeAddr4}, Interval: true, Elements: kernel.NewElements(kernel.Element{Key: []byte{9, 9, 0, 0}, End: []byte{9, 9, 255, 255}})},
				{Name: "g_slots", Key: []kernel.Type{kernel.TypeNumber}, Data: []kernel.Type{kernel.TypeNumber}, Elements: slots},
				{Name: "g_avail", Key: []kernel.Type{kernel.TypeNumber}, Verdicts: true, Elements: kernel.NewElements(
					kernel.Element{Key: number(1), Verdict: kernel.Jump{Chain: "link_telecom"}}, kernel.Element{Key: number(2), Verdict: kernel.Jump{Chain: "link_cable"}})},
				{Name: "g_src4", Key: []kernel.Type{kernel.TypeAddr4}, Data: []kernel.Type{kernel.TypeNumber}, Dynamic: true, Timeout: 10 * time.Minute},
				{Name: "prox4", Key: []kernel.Type{kernel.TypeAddr4}, Data: []kernel.Type{kernel.TypeNumber}, Elements: kernel.NewElements(
					kernel.Element{Key: []byte{7, 7, 7, 0}, Data: number(2 | 1<<10)})},
			},
		}},
		Rules: []kernel.PolicyRule{{Priority: 1001, Mark: 1, Mask: kernel.LinkMask, Table: 1001}, {Priority: 1002, Mark: 2, Mask: kernel.LinkMask, Table: 1002}},
		Routes: []kernel.Route{{Table: 1001, To: any4, Interface: "wan1", Via: netip.MustParseAddr("192.0.2.254")},
			{Table: 1002, To: any4, Interface: "wan2"}, {Table: 1002, To: any4, Kind: kernel.Unreachable, Metric: 1 << 30}},
	})
	now := time.Unix(0, 0)
	w.Now = func() time.Time { return now }
	w.Read = func(string, string) ([]kernel.Element, error) {
		return []kernel.Element{{Key: []byte{10, 0, 0, 7}, Data: number(2), Timeout: 10 * time.Minute, Expires: 9 * time.Minute}}, nil
	}
	return w
}

func names() Names {
	links := []string{"", "telecom", "cable"}
	return Names{
		Link: func(mark uint32) string {
			if mark < uint32(len(links)) {
				return links[mark]
			}
			return ""
		},
		Chain: func(_, chain string) Role {
			kinds := map[string]Role{"servers": {VirtualServer, ""}, "policy": {Policy, "office"}, "fast": {LinkGroup, "fast"}}
			if strings.HasPrefix(chain, "link_") {
				return Role{Link, chain[len("link_"):]}
			}
			return kinds[chain]
		},
		Set: func(_, set string) Role {
			return map[string]Role{"g_src4": {Persistence, "clients"}, "prox4": {Proximity, ""}}[set]
		},
		Group: func(name string) *Group {
			return &Group{Name: name, Algorithm: "round-robin", Available: true, Notes: []string{"cable comes back slowly: all of its share at 10:00:00"}, Members: &pick.Trace{
				Members: []pick.MemberTrace{{Member: "telecom", Active: true}, {Member: "cable", Active: true}, {Member: "mobile", Why: "priority 0: 2 of priority 1 are enough"}}}}
		},
		Source: func(iface string, _ bool) netip.Addr {
			if iface == "wan1" {
				return netip.MustParseAddr("192.0.2.1")
			}
			return netip.Addr{}
		},
	}
}

// What people read, for each thing that may decide.
func TestExplainText(t *testing.T) {
	session := &kernel.Session{
		Original: tuple("10.0.0.5:40000", "8.8.8.8:443"), Reply: tuple("8.8.8.8:443", "192.0.2.77:61000"),
		Mark: 1 | kernel.Placed, Status: kernel.StatusSeenReply, State: "ESTABLISHED", Timeout: 90 * time.Second,
	}
	for _, c := range []struct {
		name, from, to string
		session        *kernel.Session
		all            bool
	}{
		{"shared", "10.0.0.5", "8.8.8.8:443/tcp", nil, false},
		{"persistent", "10.0.0.7", "8.8.8.8:443/tcp", nil, false},
		{"near", "10.0.0.5", "7.7.7.7", nil, false},
		{"forwarded", "10.0.0.5", "9.9.9.9:443", nil, false},
		{"dropped", "10.0.0.5", "8.8.8.8:25/tcp", nil, true},
		{"session", "10.0.0.5:40000", "8.8.8.8:443/tcp", session, true},
	} {
		q, err := Parse(c.from, c.to, "lan0")
		if err != nil {
			t.Fatal(err)
		}
		e, err := Explain(office(), q, c.session, names())
		if err != nil {
			t.Fatal(c.name, err)
		}
		var b strings.Builder
		if err := e.WriteText(&b, c.all); err != nil {
			t.Fatal(err)
		}
		golden(t, filepath.Join("testdata", c.name+".txt"), b.String())
	}
}

func tuple(from, to string) kernel.Tuple {
	return kernel.Tuple{Protocol: 6, Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to)}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant\n%s", file, got, want)
	}
}

// The shares are those of the slots, and where a link at its limit has its
// connections drawn again, those of both draws.
func TestExplainShares(t *testing.T) {
	q, err := Parse("10.0.0.5", "8.8.8.8:443", "lan0")
	if err != nil {
		t.Fatal(err)
	}
	e, err := Explain(office(), q, nil, names())
	if err != nil {
		t.Fatal(err)
	}
	if len(e.Ways) != 2 || e.Ways[0].Percent != 75 || e.Ways[0].Link != "telecom" || e.Ways[1].Percent != 25 || e.Ways[1].Link != "cable" {
		t.Errorf("ways %+v", e.Ways)
	}
	// Telecom full: what telecom's slots drew is drawn once more; what draws
	// telecom again is dropped: .75*.75.
	want := []Share{{Percent: 43.75, Link: "cable", End: "passed"}, {Percent: 56.25, End: "dropped"}}
	got := slices.Clone(e.Ways[0].Bounds[0].IfOver)
	slices.SortFunc(got, func(a, b Share) int { return strings.Compare(b.Link, a.Link) })
	if !slices.Equal(got, want) {
		t.Errorf("with telecom full %+v, want %+v", got, want)
	}
}

// The filter of sessions takes what the client began, from any port of it.
func TestSessions(t *testing.T) {
	for _, c := range []struct {
		to   string
		port uint16
	}{{"8.8.8.8:443", 443}, {"8.8.8.8/icmp", 0}} {
		q, err := Parse("10.0.0.5", c.to, "lan0")
		if err != nil {
			t.Fatal(err)
		}
		f := q.Sessions()
		if f.Port != c.port || f.Protocol != q.Protocol || f.Family != unix.AF_INET || f.Source.String() != "10.0.0.5/32" || f.Destination.String() != "8.8.8.8/32" {
			t.Errorf("%s: %+v", q, f)
		}
	}
	if q, err := Parse("fd00::5", "2001:db8::1", "lan0"); err != nil || q.Sessions().Family != unix.AF_INET6 {
		t.Errorf("%+v, %v", q, err)
	}
}
