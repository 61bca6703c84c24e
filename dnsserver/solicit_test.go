package dnsserver

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/proximity"
)

// steady is a dynamic name that always decides the same, for sockets at once.
type steady struct{ decision }

func (s *steady) decide(*question, uint16) *decision { return &s.decision }

// near answers one address, and had a slot that looked for measurements.
func near() *steady {
	return &steady{decision{v4: addrs("192.0.2.10"), ttl: 30, wants: true, ede: dns.ExtendedErrorCodeOther, text: "for test"}}
}

// solicitTable has the names www, near: wanted; far: not wanted; shut: refused.
func solicitTable(t testing.TB, d config.DNS) *Table {
	shut := near()
	shut.rcode, shut.v4 = dns.RcodeRefused, nil
	far := near()
	far.wants = false
	return newTable(&d, mustZone(t, "example.com.", zoneHead, map[string]decider{"www": near(), "far": far, "shut": shut}))
}

// solicited asks over a transport whose server would have every client come.
func solicited(t *testing.T, d config.DNS, m *dns.Msg, set func(*handler)) (r *dns.Msg, packet, reply int, asked []Arrival) {
	t.Helper()
	listener := netip.MustParseAddrPort("192.0.2.53:53")
	s := New(Options{Listeners: []*config.Listener{{Address: listener}}, Solicit: func(a Arrival) bool {
		asked = append(asked, a)
		return true
	}})
	s.Use(solicitTable(t, d))
	s.opening = listener
	h := s.newHandler(false)
	set(h)
	b := &bench{t: t, h: h}
	text, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	out := b.send(text)
	return b.unpack(out), len(text), len(out), asked
}

// TC and nothing else is for answers over UDP that a slot for proximity had a
// word in, of whose client a connection would show something, and that has
// somewhere to come.
func TestSolicit_Whom(t *testing.T) {
	www := func() *dns.Msg { return asking("www.example.com.", dns.TypeA) }
	withECS := www()
	withECS.SetEdns0(1232, false)
	withECS.IsEdns0().Option = append(withECS.IsEdns0().Option, subnetOption(netip.MustParsePrefix("203.0.113.0/24")))
	withEDNS := www()
	withEDNS.SetEdns0(1232, false)
	plain := config.DNS{}
	for _, test := range []struct {
		name string
		dns  config.DNS
		ask  *dns.Msg
		set  func(*handler)
		want bool
	}{
		{"plain", plain, www(), func(*handler) {}, true},
		{"EDNS", plain, withEDNS, func(*handler) {}, true},
		{"Client Subnet that is not used", plain, withECS, func(*handler) {}, true},
		{"Client Subnet", config.DNS{ECS: true}, withECS, func(*handler) {}, false},
		{"over TCP", plain, www(), func(h *handler) { h.tcp = true }, false},
		{"no TCP here", plain, www(), func(h *handler) { h.gate.alsoTCP = false }, false},
		{"half of the connections are taken", plain, www(), func(h *handler) { h.server.conns.load.Store(int64(h.server.limits().Connections / 2)) }, false},
		{"few descriptors", plain, www(), func(h *handler) { h.server.conns.affordable.Store(4); h.server.conns.load.Store(2) }, false},
		{"no slot looked", plain, asking("far.example.com.", dns.TypeA), func(*handler) {}, false},
		{"static", plain, asking("ns.example.com.", dns.TypeA), func(*handler) {}, false},
		{"refused", plain, asking("shut.example.com.", dns.TypeA), func(*handler) {}, false},
		{"no data", plain, asking("www.example.com.", dns.TypeAAAA), func(*handler) {}, false},
		{"nobody solicits", plain, www(), func(h *handler) { h.server.opts.Solicit = nil }, false},
	} {
		r, packet, reply, asked := solicited(t, test.dns, test.ask, test.set)
		if r.Truncated != test.want || test.want != (len(asked) == 1) {
			t.Errorf("%s: TC %v, asked %v", test.name, r.Truncated, asked)
		}
		if !test.want {
			continue
		}
		if len(r.Answer)+len(r.Ns) != 0 || r.Rcode != dns.RcodeSuccess || !r.Authoritative || (r.IsEdns0() != nil) != (test.ask.IsEdns0() != nil) || reply > packet {
			t.Errorf("%s: %d octets for %d:\n%v", test.name, reply, packet, r)
		}
		if a := asked[0]; a.Client != benchSource.Addr() || a.Local != netip.MustParseAddr("192.0.2.53") || a.At.IsZero() {
			t.Errorf("%s: %+v", test.name, a)
		}
	}
}

// A client that has all the connections that it may have is not sent for one
// more.
func TestSolicit_ClientHasEnough(t *testing.T) {
	r, _, _, asked := solicited(t, config.DNS{}, asking("www.example.com.", dns.TypeA), func(h *handler) {
		for range h.server.limits().ConnectionsPerClient {
			here, there := net.Pipe()
			t.Cleanup(func() { here.Close(); there.Close() })
			h.server.conns.open(here, benchSource, h.server.limits())
		}
	})
	if r.Truncated || len(r.Answer) != 1 || len(asked) != 1 {
		t.Errorf("asked %v, got\n%v", asked, r)
	}
}

// Where a packet went to is known on a socket for all addresses too.
func TestSolicit_Wildcard(t *testing.T) {
	for _, test := range []struct {
		control []byte
		local   string
		index   int
	}{
		{control(0, 8, slices.Concat(binary.NativeEndian.AppendUint32(nil, 7), []byte{10, 0, 0, 1, 192, 0, 2, 53})...), "192.0.2.53", 7},
		{control(41, 50, append(netip.MustParseAddr("2001:db8::53").AsSlice(), binary.NativeEndian.AppendUint32(nil, 9)...)...), "2001:db8::53", 9},
		{nil, "", 0},
	} {
		r, _, _, asked := solicited(t, config.DNS{}, asking("www.example.com.", dns.TypeA), func(h *handler) {
			h.gate.listener, h.control = netip.MustParseAddrPort("0.0.0.0:53"), test.control
		})
		switch {
		case test.local == "":
			if r.Truncated || len(asked) != 0 {
				t.Errorf("not known where to: %v", asked)
			}
		case len(asked) != 1 || asked[0].Local.String() != test.local || asked[0].Interface != test.index:
			t.Errorf("%s: %+v", test.local, asked)
		}
	}
}

func TestServesTCP(t *testing.T) {
	a, b := netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")
	list := []*config.Listener{{Address: a, Protocols: []string{"udp"}}, {Address: b, Protocols: []string{"udp"}}, {Address: b, Protocols: []string{"tcp"}}}
	if servesTCP(list, a) || !servesTCP(list, b) || !servesTCP([]*config.Listener{{Address: a}}, a) {
		t.Error("wrong")
	}
}

// A real client of a network that lacks measurements is told TC once, comes over
// TCP by itself, gets its answer, and its way is known then; one without TCP gets
// its answer at the next query.
func TestSolicit_Client_Root(t *testing.T) {
	model := pooled(&config.Pool{Name: "web", Preferred: config.Slot{Algorithm: "proximity"}, Members: servers("a")})
	model.Links = []*config.Link{{Name: "link-a"}}
	model.Proximity = config.Proximity{Enabled: true, Methods: []string{"icmp"}, Mask: config.Mask{V4: 24, V6: 56}, Refresh: config.Duration(time.Hour),
		Timeout: config.Duration(time.Hour), MaxEntries: 100, NewPerSecond: 10,
		Passive: config.Passive{Enabled: true, Solicit: config.Solicit{Share: 100, PerSecond: 10}}}
	table := proximity.NewTable(proximity.TableOptions{Ask: func(proximity.Want) error { return nil }})
	plan := proximity.Compile(model)
	table.Use(plan)
	f := newFar(t)
	passive := proximity.NewPassive(table, func(_ netip.Addr, index int) (string, bool) {
		return "link-a", index == f.index["short"]
	})
	f.serve(t, Options{
		Solicit: func(a Arrival) bool { return passive.Solicit(a.Client, a.Local, a.Interface, a.At) },
		Observe: func(o Observation) {
			passive.Observe(proximity.Trip{Client: o.Client, Local: o.Local, Index: o.Interface, RTT: o.RTT, TTL: o.TTL, At: time.Now()})
		},
	}, solicitTable(t, config.DNS{}))
	client := netip.MustParseAddr("198.51.100.2")
	plan.Want(proximity.Asked{Client: client, Target: client, Now: time.Now().Add(-15 * time.Second)})

	ask := func(network string) *dns.Msg {
		return f.ask(t, network, "198.51.100.2", "198.51.100.1", "www.example.com.")
	}
	if r := ask("udp"); r == nil || !r.Truncated || len(r.Answer) != 0 {
		t.Fatalf("the first query over UDP:\n%v", r)
	}
	if r := ask("udp"); r == nil || r.Truncated || len(r.Answer) != 1 {
		t.Errorf("the second, of a client without TCP:\n%v", r)
	}
	if r := ask("tcp"); r == nil || len(r.Answer) != 1 {
		t.Errorf("over TCP:\n%v", r)
	}
	entries, _ := table.List(proximity.Query{Client: client}, nil, time.Now())
	if len(entries) != 1 || entries[0].Links[0].RTT < 2*shortWay || entries[0].Links[0].Heard != 1 || entries[0].Links[0].Hops != 1 {
		t.Errorf("known: %+v", entries)
	}
	if st := passive.Stats(); st.Solicited != 1 {
		t.Errorf("%+v", st)
	}
	if why := table.Why(client, time.Now()); !strings.Contains(why, "measured") {
		t.Error(why)
	}
}
