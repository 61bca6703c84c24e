package dnsserver

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

func prefixes(words ...string) (list []netip.Prefix) {
	for _, w := range words {
		list = append(list, netip.MustParsePrefix(w))
	}
	return list
}

// slowACL is the rule as the manual says it, over the lists themselves.
func slowACL(c *config.ACL, a netip.Addr) bool {
	longest, allowed := -1, len(c.Allow) == 0
	for _, p := range c.Allow {
		if p.Contains(a) && p.Bits() > longest {
			longest, allowed = p.Bits(), true
		}
	}
	for _, p := range c.Deny {
		if p.Contains(a) && p.Bits() >= longest {
			longest, allowed = p.Bits(), false
		}
	}
	return allowed
}

// Random ACLs judge like the slow one, at random addresses and at both edges of
// each prefix.
func TestACL_Twin(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 8))
	random := func() netip.Prefix {
		if r.IntN(3) == 0 {
			p, _ := netip.AddrFrom16([16]byte{byte(r.IntN(2)) * 255, byte(r.IntN(4)) * 85, byte(r.IntN(4)), 15: byte(r.IntN(4))}).Prefix(r.IntN(129))
			return p
		}
		p, _ := netip.AddrFrom4([4]byte{byte(r.IntN(2)) * 255, byte(r.IntN(4)) * 85, byte(r.IntN(2)), byte(r.IntN(4))}).Prefix(r.IntN(33))
		return p
	}
	verdicts := map[bool]int{}
	for range 3000 {
		c := &config.ACL{}
		for range r.IntN(8) {
			c.Allow = append(c.Allow, random())
		}
		for range r.IntN(8) {
			c.Deny = append(c.Deny, random())
		}
		if len(c.Allow) > 0 && r.IntN(2) == 0 {
			c.Deny = append(c.Deny, c.Allow[0])
		}
		a := newACL(c, "")
		if a == nil {
			if len(c.Allow)+len(c.Deny) > 0 {
				t.Fatalf("%+v: nothing", c)
			}
			continue
		}
		for _, p := range slices.Concat(c.Allow, c.Deny, []netip.Prefix{random(), random(), random()}) {
			for _, at := range []netip.Addr{p.Addr(), p.Addr().Prev(), lastOf(p), lastOf(p).Next()} {
				if !at.IsValid() {
					continue
				}
				_, got := a.judge(at)
				if want := slowACL(c, at); got != want {
					t.Fatalf("allow %v deny %v: %s allowed %v, want %v", c.Allow, c.Deny, at, got, want)
				}
				verdicts[got]++
			}
		}
	}
	if verdicts[true] < 1000 || verdicts[false] < 1000 {
		t.Errorf("verdicts %v: one of them is hardly tested", verdicts)
	}
}

// viewed compiles a configuration whose zone files are texts.
func viewed(t testing.TB, m *config.Model, files map[string]string) *Table {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	src := config.Source{FS: fsys, Dir: "."}
	topo, errs := topology.Compile(m, src)
	if topo == nil {
		t.Fatal(errs)
	}
	table, errs := Compile(Inputs{Model: m, Source: src, Topology: topo})
	if errs.Failed() {
		t.Fatal(errs)
	}
	table.Ready(status.NewBoard(1).Table(), nil)
	return table
}

const plainZone = `$TTL 300
@ SOA ns root 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.53
www A 192.0.2.80
`

// oneZone is a model of one zone with an ACL at each of the four places.
func oneZone(server, listener, view, zone *config.ACL) *config.Model {
	m := &config.Model{DNS: config.DNS{UDPSize: 1232, ACL: server, Listeners: []*config.Listener{
		{Address: netip.MustParseAddrPort("127.0.0.1:53"), ACL: listener}}}}
	m.Views = []*config.View{{Name: "v", ACL: view}}
	m.Zones = []*config.Zone{{Name: "example.com.", File: "zone", ACL: zone}}
	return m
}

// Every transport asks the ACLs of all four places, by the packet's source and
// never by Client Subnet. A client that speaks EDNS is told Prohibited (RFC
// 8914 4.19); where the action is drop, nobody is told anything.
func TestACL_Places(t *testing.T) {
	const allowed, denied = "192.0.2.1", "203.0.113.1"
	first := netip.MustParseAddrPort("127.0.0.1:53")
	for place, name := range []string{"server", "listener", "view", "zone"} {
		for _, action := range []string{config.ACLRefuse, config.ACLDrop} {
			var at [4]*config.ACL
			at[place] = &config.ACL{Deny: prefixes("203.0.113.0/24", "2001:db8::/32"), Action: action}
			d := newDoor(t, viewed(t, oneZone(at[0], at[1], at[2], at[3]), map[string]string{"zone": plainZone}))
			for _, h := range []*handler{d.udp, d.tcp} {
				h.gate.listener = first
				for _, edns := range []bool{false, true} {
					query := asking("www.example.com.", dns.TypeA)
					if edns {
						query.SetEdns0(1232, false)
						ecs := "203.0.113.0/24"
						query.IsEdns0().Option = append(query.IsEdns0().Option, subnetOption(netip.MustParsePrefix(ecs)))
					}
					if r := d.ask(h, query, allowed); r == nil || len(r.Answer) != 1 {
						t.Errorf("%s %s tcp=%v edns=%v: who is allowed gets %v", name, action, h.tcp, edns, r)
					}
					for _, from := range []string{denied, "::ffff:" + denied, "2001:db8::7"} {
						checkForbidden(t, strings.Join([]string{name, action, from}, " "), d.ask(h, query, from), action, edns)
					}
				}
			}
			if st := d.Stats(); (st.Dropped["acl"] > 0) != (action == config.ACLDrop) || st.Dropped["policy"] > 0 {
				t.Errorf("%s %s: dropped %v", name, action, st.Dropped)
			}
		}
	}
}

func checkForbidden(t *testing.T, what string, r *dns.Msg, action string, edns bool) {
	t.Helper()
	switch {
	case action == config.ACLDrop:
		if r != nil {
			t.Errorf("%s: %v", what, r)
		}
		return
	case r == nil || r.Rcode != dns.RcodeRefused || r.Authoritative || len(r.Answer)+len(r.Ns) > 0:
		t.Errorf("%s: %v", what, r)
		return
	}
	if opt := r.IsEdns0(); (opt != nil) != edns {
		t.Errorf("%s: EDNS %v, OPT %v", what, edns, opt)
	} else if edns {
		if e, ok := opt.Option[len(opt.Option)-1].(*dns.EDNS0_EDE); !ok || e.InfoCode != dns.ExtendedErrorCodeProhibited {
			t.Errorf("%s: EDE %v", what, opt)
		}
	}
}

// An ACL belongs to its listener, not to its place in the list: a list in
// another order, which takes a restart to be opened, changes nothing meanwhile,
// and a listener that is gone from it keeps its ACL until then.
func TestACL_ListenersMove(t *testing.T) {
	closed := &config.Listener{Address: netip.MustParseAddrPort("10.0.0.53:53"), ACL: &config.ACL{Allow: prefixes("10.0.0.0/8")}}
	open := &config.Listener{Address: netip.MustParseAddrPort("192.0.2.53:53")}
	m := oneZone(nil, nil, nil, nil)
	src := config.Source{FS: fstest.MapFS{"zone": {Data: []byte(plainZone)}}, Dir: "."}
	var before *Table
	for _, listeners := range [][]*config.Listener{{open, closed}, {closed, open}, {open}, {open}, {open, closed}} {
		m.DNS.Listeners = listeners
		topo, _ := topology.Compile(m, src)
		table, errs := Compile(Inputs{Model: m, Source: src, Topology: topo, Before: before})
		if errs.Failed() {
			t.Fatal(errs)
		}
		d := newDoor(t, table)
		for _, l := range []*config.Listener{open, closed} {
			d.udp.gate.listener = l.Address
			want := dns.RcodeSuccess
			if l == closed {
				want = dns.RcodeRefused
			}
			if r := d.ask(d.udp, asking("www.example.com.", dns.TypeA), "203.0.113.1"); r == nil || r.Rcode != want {
				t.Errorf("%d listeners, asked at %s: %v", len(listeners), l.Address, r)
			}
		}
		before = table
	}
}

// Each socket knows its listener, over both transports.
func TestACL_Sockets(t *testing.T) {
	closed := &config.ACL{Deny: prefixes("127.0.0.0/8"), Action: config.ACLRefuse}
	m := oneZone(nil, nil, nil, nil)
	m.DNS.Listeners = []*config.Listener{{Address: netip.MustParseAddrPort("127.0.0.1:0")}, {Address: netip.MustParseAddrPort("127.0.0.2:0"), ACL: closed}}
	s := New(Options{Listeners: m.DNS.Listeners, Rows: status.NewBoard(1).Table, Sockets: 2})
	s.Use(viewed(t, m, map[string]string{"zone": plainZone}))
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	udp, tcp := s.Addrs()
	for network, addrs := range map[string][]netip.AddrPort{"udp": udp, "tcp": tcp} {
		for _, to := range addrs {
			want := dns.RcodeSuccess
			if to.Addr() == m.DNS.Listeners[1].Address.Addr() {
				want = dns.RcodeRefused
			}
			c := &dns.Conn{Conn: dialed(t, network, to)}
			_ = c.SetDeadline(time.Now().Add(patience))
			if err := c.WriteMsg(asking("www.example.com.", dns.TypeA)); err != nil {
				t.Fatal(err)
			}
			if r, err := c.ReadMsg(); err != nil || r.Rcode != want {
				t.Errorf("%s %s: %v, %v", network, to, r, err)
			}
		}
	}
	if len(udp) != 2 || len(tcp) != 2 {
		t.Errorf("listening on %v and %v", udp, tcp)
	}
}

const (
	openZone = `$TTL 300
@ SOA ns root 1 3600 600 86400 60
@ NS ns
@ MX 10 www.closed.example.
ns A 192.0.2.53
alias CNAME www.closed.example.
below DNAME closed.example.
child NS ns.child
ns.child A 192.0.2.99
child DS 1 8 2 00
svc HTTPS 1 pool.closed.example. alpn=h2
mx MX 10 www.child
`
	closedZone = `$TTL 300
@ SOA ns root 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.54
www A 192.0.2.81
`
)

// A zone's ACL holds wherever records of it could be given: as the zone of the
// question, behind an alias, as additional addresses, as hints. DS at a cut is
// the parent's, and so is its ACL.
func TestACL_ZoneEverywhere(t *testing.T) {
	closed := &config.ACL{Deny: prefixes("203.0.113.0/24"), Action: config.ACLRefuse}
	m := pooled(&config.Pool{Name: "pool", Members: servers("a")})
	m.Zones[0].Name, m.Zones[0].ACL, m.Zones[0].File = "closed.example.", closed, "closed"
	m.Zones[0].Names[0].FQDN = "pool.closed.example."
	m.Zones = append(m.Zones, &config.Zone{Name: "open.example.", File: "open"},
		&config.Zone{Name: "child.open.example.", File: "closed", ACL: closed})
	table := viewed(t, m, map[string]string{"open": openZone, "closed": closedZone})
	ask := func(name string, qtype uint16, from string) string {
		return shown(newDoor(t, table).ask(newDoor(t, table).udp, asking(name, qtype), from))
	}
	for _, tt := range []struct {
		name             string
		qtype            uint16
		friend, stranger string
	}{
		{"www.closed.example.", dns.TypeA, "ANSWER www.closed.example. 300 A 192.0.2.81", "REFUSED"},
		{"nothing.closed.example.", dns.TypeA, "NXDOMAIN AA", "REFUSED"},
		{"open.example.", dns.TypeMX, "ADDITIONAL www.closed.example. 300 A 192.0.2.81", "NOERROR AA ANSWER open.example. 300 MX 10 www.closed.example."},
		{"alias.open.example.", dns.TypeA, "www.closed.example. 300 A 192.0.2.81", "NOERROR AA ANSWER alias.open.example. 300 CNAME www.closed.example."},
		{"www.below.open.example.", dns.TypeA, "www.closed.example. 300 A 192.0.2.81", "CNAME www.closed.example."},
		{"svc.open.example.", dns.TypeHTTPS, `ipv4hint="192.0.2.1"`, `HTTPS 1 pool.closed.example. alpn="h2"`},
		{"child.open.example.", dns.TypeDS, "300 DS 1 8 2", "300 DS 1 8 2"},
		{"child.open.example.", dns.TypeSOA, "NOERROR AA ANSWER child.open.example. 300 SOA", "REFUSED"},
		{"mx.open.example.", dns.TypeMX, "ADDITIONAL www.child.open.example. 300 A 192.0.2.81", "MX 10 www.child.open.example."},
	} {
		if got := ask(tt.name, tt.qtype, "192.0.2.1"); !strings.Contains(got, tt.friend) {
			t.Errorf("%s %s for a friend: %s", tt.name, dns.TypeToString[tt.qtype], got)
		}
		got := ask(tt.name, tt.qtype, "203.0.113.1")
		if !strings.HasSuffix(got, tt.stranger) && tt.qtype != dns.TypeDS || !strings.Contains(got, tt.stranger) {
			t.Errorf("%s %s for a stranger: %s", tt.name, dns.TypeToString[tt.qtype], got)
		}
		for _, secret := range []string{"192.0.2.81", "2001:db8::1", `hint="192.0.2.1"`} {
			if strings.Contains(got, secret) {
				t.Errorf("%s: %s is given to a stranger: %s", tt.name, secret, got)
			}
		}
	}
}

// Explain tells which rule lets a client pass or not, and where it stands.
func TestACL_Explained(t *testing.T) {
	server := &config.ACL{Allow: prefixes("192.0.2.0/24", "203.0.113.0/24"), Action: config.ACLRefuse, Pos: config.Pos{File: "c.yaml", Line: 3, Col: 8}}
	zone := &config.ACL{Deny: prefixes("203.0.113.0/24"), Action: config.ACLDrop, Pos: config.Pos{File: "c.yaml", Line: 9, Col: 5}}
	table := viewed(t, oneZone(server, nil, nil, zone), map[string]string{"zone": plainZone})
	for from, want := range map[string][]string{
		"192.0.2.1":    {"dns.acl (c.yaml:3:8) allows 192.0.2.1: allow 192.0.2.0/24", "the acl of zone example.com. (c.yaml:9:5) allows 192.0.2.1: no prefix denies it"},
		"203.0.113.1":  {"dns.acl (c.yaml:3:8) allows 203.0.113.1: allow 203.0.113.0/24", "the acl of zone example.com. (c.yaml:9:5) denies 203.0.113.1: deny 203.0.113.0/24"},
		"198.51.100.1": {"dns.acl (c.yaml:3:8) denies 198.51.100.1: it is in no prefix of the allow list"},
	} {
		e, err := table.Explain(status.NewBoard(1).Table(), Ask{Name: "www.example.com", Client: netip.MustParseAddr(from)})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range want {
			if !slices.Contains(e.Lookup, w) {
				t.Errorf("%s: no %q in %q", from, w, e.Lookup)
			}
		}
		if forbidden := strings.Contains(want[len(want)-1], " denies "+from); forbidden == (len(e.Answer) > 0) || e.Dropped != (from == "203.0.113.1") {
			t.Errorf("%s: %+v", from, e)
		}
	}
}

// RFC 5936 2.2.1: no transfer is given, and a closed zone is closed to asking
// for one too: what is said to AXFR and IXFR is what is said to SOA, which is
// nothing where the action is drop.
func TestACL_Transfers(t *testing.T) {
	for _, action := range []string{config.ACLRefuse, config.ACLDrop} {
		d := newDoor(t, viewed(t, oneZone(nil, nil, nil, &config.ACL{Deny: prefixes("203.0.113.0/24"), Action: action}), map[string]string{"zone": plainZone}))
		for _, h := range []*handler{d.udp, d.tcp} {
			for _, qtype := range []uint16{dns.TypeSOA, dns.TypeAXFR, dns.TypeIXFR} {
				for _, name := range []string{"example.com.", "www.example.com."} {
					query := asking(name, qtype)
					query.SetEdns0(1232, false)
					what := strings.Join([]string{name, dns.TypeToString[qtype], action}, " ")
					checkForbidden(t, what, d.ask(h, query, "203.0.113.1"), action, true)
					if r := d.ask(h, query, "192.0.2.1"); r == nil {
						t.Errorf("%s: no reply to who is allowed", what)
					}
				}
			}
		}
		if st := d.Stats(); (st.Dropped["acl"] > 0) != (action == config.ACLDrop) || st.Dropped["policy"] > 0 {
			t.Errorf("%s: dropped %v", action, st.Dropped)
		}
	}
}

// An alias into a closed zone cannot be told from one into a zone of others,
// in full responses neither (dns.minimalResponses: false).
func TestACL_AliasTellsNothing(t *testing.T) {
	for _, action := range []string{config.ACLRefuse, config.ACLDrop} {
		for _, full := range []bool{false, true} {
			reply := func(zones ...*config.Zone) string {
				minimal := !full
				m := &config.Model{DNS: config.DNS{UDPSize: 1232, MinimalResponses: &minimal}}
				m.Zones = append(zones, &config.Zone{Name: "open.example.", File: "open"})
				d := newDoor(t, viewed(t, m, map[string]string{"open": openZone, "closed": closedZone}))
				return shown(d.ask(d.udp, asking("alias.open.example.", dns.TypeA), "203.0.113.1"))
			}
			closed := reply(&config.Zone{Name: "closed.example.", File: "closed", ACL: &config.ACL{Deny: prefixes("203.0.113.0/24"), Action: action}})
			if foreign := reply(); closed != foreign || !strings.Contains(closed, "CNAME") {
				t.Errorf("%s, full %v: into a closed zone\n%s, into one of others\n%s", action, full, closed, foreign)
			}
		}
	}
}
