package dnsserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

// zoneText is a small zone whose name www says which zone it is.
func zoneText(txt string) string {
	return plainZone + "www TXT " + txt + "\nalias CNAME www.other.example.\n"
}

// views is a model of two views and three versions of one zone.
func views() (*config.Model, map[string]string) {
	m := &config.Model{DNS: config.DNS{ECS: true, UDPSize: 1232, Listeners: []*config.Listener{
		{Address: netip.MustParseAddrPort("127.0.0.1:53")}, {Address: netip.MustParseAddrPort("127.0.0.1:54")}}}}
	m.Views = []*config.View{
		{Name: "lab", Clients: prefixes("10.1.0.0/16"), Listeners: []netip.AddrPort{m.DNS.Listeners[1].Address}},
		{Name: "inside", Clients: prefixes("10.0.0.0/8", "2001:db8::/32")},
	}
	m.Zones = []*config.Zone{
		{Name: "example.com.", File: "outside"},
		{Name: "example.com.", File: "inside", View: "inside"},
		{Name: "example.com.", File: "lab", View: "lab"},
		{Name: "other.example.", File: "shared"},
		{Name: "only.example.", File: "only", View: "inside"},
		{Name: "sub.example.com.", File: "sub", View: "lab"},
	}
	files := map[string]string{}
	for _, z := range m.Zones {
		files[z.File] = zoneText(z.File)
	}
	return m, files
}

// The first view whose clients and listeners take a query is what it is
// answered from: a view's own version hides the shared one, at its apex and
// below; all other shared zones are seen; zones of other views do not exist.
func TestView_Choice(t *testing.T) {
	m, files := views()
	table := viewed(t, m, files)
	for _, tt := range []struct {
		from     string
		listener int
		name     string
		want     string
	}{
		{"192.0.2.1", 0, "www.example.com.", "outside"},
		{"10.2.0.1", 0, "www.example.com.", "inside"},
		{"10.1.0.1", 0, "www.example.com.", "inside"}, // the lab is on the other listener
		{"10.1.0.1", 1, "www.example.com.", "lab"},
		{"10.2.0.1", 1, "www.example.com.", "inside"},
		{"::ffff:10.2.0.1", 0, "www.example.com.", "inside"},
		{"2001:db8::1", 1, "www.example.com.", "inside"},
		{"2001:db9::1", 1, "www.example.com.", "outside"},
		{"192.0.2.1", 0, "www.other.example.", "shared"},
		{"10.2.0.1", 0, "www.other.example.", "shared"},
		{"10.1.0.1", 1, "www.other.example.", "shared"},
		{"10.2.0.1", 0, "www.only.example.", "only"},
		{"192.0.2.1", 0, "www.only.example.", "REFUSED"},
		{"10.1.0.1", 1, "www.only.example.", "REFUSED"},
		{"10.1.0.1", 1, "www.sub.example.com.", "sub"},
		{"10.2.0.1", 0, "www.sub.example.com.", "NXDOMAIN"},
		{"192.0.2.1", 0, "www.sub.example.com.", "NXDOMAIN"},
		{"10.1.0.1", 1, "alias.example.com.", "shared"},
	} {
		d := newDoor(t, table)
		at := m.DNS.Listeners[tt.listener].Address
		d.udp.gate.listener, d.tcp.gate.listener = at, at
		for _, h := range []*handler{d.udp, d.tcp} {
			if got := shown(d.ask(h, asking(tt.name, dns.TypeTXT), tt.from)); !strings.Contains(got, `TXT "`+tt.want+`"`) && !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s at listener %d, tcp %v: %s is %s, want %s", tt.from, tt.listener, h.tcp, tt.name, got, tt.want)
			}
		}
	}
	if got := table.String(); got != "6 zones, 0 pools" {
		t.Errorf("the table says %q", got)
	}
}

// A view is chosen by the packet's source alone. So a resolver, whichever
// client it asks for, sees one view, and the scope of an answer holds for all
// clients that it may give the answer to (RFC 7871 7.2.1): within the scope,
// every Client Subnet has the same answer from the same source.
func TestView_ScopeHolds(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Preferred: config.Slot{Algorithm: "topology"}, Fallback: config.Slot{Algorithm: "first"}, Members: servers("a", "b")},
		&config.Pool{Name: "inner", Preferred: config.Slot{Algorithm: "first"}, Members: servers("c")})
	m.Topology = []*config.TopologyRule{{Client: netip.MustParsePrefix("10.64.0.0/10"), Prefer: config.Place{VirtualServer: "b"}}}
	m.Views = []*config.View{{Name: "inside", Clients: prefixes("10.0.0.0/8")}}
	own := *m.Zones[0]
	own.View = "inside"
	own.Names = []*config.Name{{Name: "www", FQDN: "www.example.com.", Pool: "inner"}}
	m.Zones[0].Names = m.Zones[0].Names[:1]
	m.Zones = append(m.Zones, &own)
	w := newWorld(t, m)
	for source, want := range map[string][2]string{"10.0.0.53": {"192.0.2.3", "192.0.2.3"}, "192.0.2.53": {"192.0.2.1", "192.0.2.2"}} {
		answers := map[netip.Prefix]string{}
		for i := range 256 { // every /16 of 10.0.0.0/8, and as many outside
			for _, net := range []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i)}), 16), netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i % 224), 9}), 16)} {
				reply := w.askView("www.example.com", source, net)
				got := short(reply)
				if wanted := want[0]; netip.MustParsePrefix("10.64.0.0/10").Contains(net.Addr()) {
					if got != "NOERROR "+want[1] {
						t.Fatalf("%s for %s: %s", source, net, got)
					}
				} else if got != "NOERROR "+wanted {
					t.Fatalf("%s for %s: %s", source, net, got)
				}
				held, _ := net.Addr().Prefix(scopeOf(reply))
				answers[held] = got
			}
		}
		for p, a := range answers {
			for o, b := range answers {
				if p.Overlaps(o) && a != b {
					t.Errorf("%s: %s has %s and %s has %s", source, p, a, o, b)
				}
			}
		}
		if source == "10.0.0.53" && len(answers) != 1 {
			t.Errorf("the view has one answer, with %d scopes", len(answers))
		}
	}
}

// askView asks through admission, as a socket does.
func (w *world) askView(name, source string, ecs netip.Prefix) *dns.Msg {
	a := Ask{Name: name, Client: netip.MustParseAddr(source), ECS: ecs}
	msg, err := a.message()
	if err != nil {
		w.t.Fatal(err)
	}
	q := parseQuery(msg, a.Client, w.table, true).at(w.now, w.board.Table())
	q.admit(w.table, nil)
	return answer(w.table, q)
}

// A reload takes over the zones of a view that did not change, with their
// counters, and counts are kept by view.
func TestView_Reload(t *testing.T) {
	m, files := views()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	src := config.Source{FS: fsys, Dir: "."}
	topo, _ := topology.Compile(m, src)
	first, errs := Compile(Inputs{Model: m, Source: src, Topology: topo})
	if errs.Failed() {
		t.Fatal(errs)
	}
	d := newDoor(t, first)
	for range 3 {
		d.ask(d.udp, asking("www.example.com.", dns.TypeTXT), "10.2.0.1")
	}
	d.ask(d.udp, asking("www.example.com.", dns.TypeTXT), "192.0.2.1")
	fsys["lab"] = &fstest.MapFile{Data: []byte(zoneText("lab2"))}
	second, errs := Compile(Inputs{Model: m, Source: src, Topology: topo, Before: first})
	if errs.Failed() {
		t.Fatal(errs)
	}
	d.Use(second)
	for _, v := range []string{"inside", ""} {
		if first.zonesOf(v).get("example.com.").zone.records != second.zonesOf(v).get("example.com.").zone.records {
			t.Errorf("view %q: the zone was read again", v)
		}
	}
	d.udp.gate.listener = m.DNS.Listeners[1].Address
	if got := shown(d.ask(d.udp, asking("www.example.com.", dns.TypeTXT), "10.1.0.1")); !strings.Contains(got, "lab2") {
		t.Errorf("the lab still has %s", got)
	}
	st := d.Stats()
	if a, b, c := st.Views[ViewZone{"inside", "example.com."}]["NOERROR"], st.Zones["example.com."]["NOERROR"], st.Views[ViewZone{"lab", "example.com."}]["NOERROR"]; a != 3 || b != 1 || c != 1 {
		t.Errorf("counted %d inside, %d outside, %d in the lab", a, b, c)
	}
	var states []string
	for _, z := range second.ZoneStates() {
		states = append(states, fmt.Sprintf("%s %q", z.Name, z.View))
	}
	if want := []string{`example.com. ""`, `example.com. "inside"`, `example.com. "lab"`, `only.example. "inside"`, `other.example. ""`, `sub.example.com. "lab"`}; !slices.Equal(states, want) {
		t.Errorf("states %q", states)
	}
}

// Explain names the view, and the listener that it takes for granted.
func TestView_Explained(t *testing.T) {
	m, files := views()
	table := viewed(t, m, files)
	for from, want := range map[string]string{"10.1.0.1": "client 10.1.0.1 sees view inside", "192.0.2.1": "client 192.0.2.1 sees no view but the zones without one"} {
		e, err := table.Explain(status.NewBoard(1).Table(), Ask{Name: "www.example.com", Type: "TXT", Client: netip.MustParseAddr(from)})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(e.Lookup, want) || !slices.Contains(e.Lookup, "taken as asked at listener 127.0.0.1:53") {
			t.Errorf("%s: %q", from, e.Lookup)
		}
	}
}

// A zone that is added while serving belongs to no view: every view sees it,
// but for those with a version of their own, until it is taken away again.
func TestView_LiveZones(t *testing.T) {
	m, files := views()
	table := viewed(t, m, files)
	ask := func(table *Table, name, from string) string {
		d := newDoor(t, table)
		return shown(d.ask(d.udp, asking(name, dns.TypeTXT), from))
	}
	for _, apex := range []string{"new.example.", "example.com."} {
		z, errs := ParseText(apex, "given", []byte(zoneText("given")), config.DefaultLimits().Zone)
		if errs.Failed() {
			t.Fatal(errs)
		}
		with := table.With(z)
		inside := `TXT "given"`
		if apex == "example.com." {
			inside = `TXT "inside"`
		}
		if got := ask(with, "www."+apex, "10.2.0.1"); !strings.Contains(got, inside) {
			t.Errorf("%s inside: %s", apex, got)
		}
		if got := ask(with, "www."+apex, "192.0.2.1"); !strings.Contains(got, `TXT "given"`) {
			t.Errorf("%s outside: %s", apex, got)
		}
		without := with.Without(apex)
		if got := ask(without, "www."+apex, "192.0.2.1"); got != "REFUSED" {
			t.Errorf("%s outside, gone: %s", apex, got)
		}
		if got := ask(without, "www."+apex, "10.2.0.1"); got != "REFUSED" && apex != "example.com." {
			t.Errorf("%s inside, gone: %s", apex, got)
		}
		if got := ask(table, "www.new.example.", "10.2.0.1"); got != "REFUSED" {
			t.Errorf("the table before has changed: %s", got)
		}
	}
}

// The versions of a name that two views have do not move each other on: clients
// of both that ask in turn still rotate over all members.
func TestView_OwnDraws(t *testing.T) {
	m := pooled(&config.Pool{Name: "www", Members: servers("a", "b")}, &config.Pool{Name: "inner", Members: servers("c", "d")})
	m.Views = []*config.View{{Name: "inside", Clients: prefixes("10.0.0.0/8")}}
	own := *m.Zones[0]
	own.View, own.Names = "inside", []*config.Name{{Name: "www", FQDN: "www.example.com.", Pool: "inner"}}
	m.Zones[0].Names = m.Zones[0].Names[:1]
	m.Zones = append(m.Zones, &own)
	w := newWorld(t, m)
	seen := map[string]int{}
	for range 10 {
		for _, from := range []string{"10.0.0.1", "192.0.2.200"} {
			seen[short(w.askView("www.example.com", from, netip.Prefix{}))]++
		}
	}
	for _, want := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"} {
		if seen["NOERROR "+want] != 5 {
			t.Errorf("answers %v, want each member 5 times", seen)
			break
		}
	}
}
