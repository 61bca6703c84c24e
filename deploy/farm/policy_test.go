package farm

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
)

// goes fails unless connections by a route go to a host; 0: they are dropped.
func (b *balancer) goes(what string, route nettest.Route, host int) {
	b.T.Helper()
	err := error(nil)
	if host > 0 {
		_, err = program.Within(b.T.Context(), late, func() error { return only(b.InTurn(2, route), host) })
	} else if s := b.Many(3, 3, func(i int) (nettest.Seen, error) {
		from, to := route(i)
		talk, err := nettest.Call(b.Clients, from, to, 300*time.Millisecond)
		if err != nil {
			return nettest.Seen{}, err
		}
		return talk.First, talk.Close()
	}); s.OK() > 0 {
		err = fmt.Errorf("connections go %v, want them dropped", s)
	}
	if err != nil {
		b.T.Errorf("%s: %v", what, err)
	}
}

// The truth table of policies (1.1.7, T44): an action's farm; an action whose
// farm has no servers, or that has none, drops; a rule without an action, and
// what no rule takes, goes to the farm of the virtual server.
func TestB16_TruthTable_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	source := func(n int) string { return fmt.Sprintf("[\"%s/32\", \"%s/128\"]", b.Client4(n), b.Client6(n)) }
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" +
		virtual("ruled", b.Farm, 1, "80", "farm: one, policy: rules") +
		virtual("bare", b.Farm, 2, "80", "policy: rules") +
		virtual("empty", b.Farm, 3, "80", "farm: nobody") +
		virtual("none", b.Farm, 4, "80", "") +
		virtual("vacant", b.Farm, 5, "80", "farm: one, policy: vacant") +
		"serverFarms:\n" + alone(b.Farm) + "  - {name: nobody}\n" + fmt.Sprintf(`slb:
  classes:
    - {name: c1, sources: %s}
    - {name: c2, sources: %s}
    - {name: c3, sources: %s}
    - {name: c4, sources: %s}
    - {name: c5, sources: %s}
  policies:
    - {name: vacant}
    - name: rules
      rules:
        - {class: c1, action: {farm: two}}
        - {class: c2, action: {farm: nobody}}
        - {class: c3, action: drop}
        - {class: c4}
        - {class: c5, action: {farm: nobody, onFailure: continue}}
        - {class: c5, action: {farm: three}}
`, source(1), source(2), source(3), source(4), source(5))))
	for _, c := range []struct{ vs, client, host int }{
		{1, 1, 2}, {1, 2, 0}, {1, 3, 0}, {1, 4, 1}, {1, 5, 3}, {1, 6, 1},
		{2, 1, 2}, {2, 4, 0}, {2, 6, 0}, {3, 6, 0}, {4, 6, 0}, {5, 1, 1},
	} {
		for family := range 2 {
			route := []nettest.Route{b.to4(c.vs, 80), b.to6(c.vs, 80)}[family]
			b.goes(fmt.Sprintf("virtual server %d, client %d, family %d", c.vs, c.client, family), b.from(c.client, route), c.host)
		}
	}
}

// database writes a database of countries, or of autonomous systems.
func (b *balancer) database(name, kind string, networks map[string]mmdbtype.Map) {
	b.T.Helper()
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: kind, IPVersion: 6, RecordSize: 24, IncludeReservedNetworks: true})
	for prefix, record := range networks {
		p := netip.MustParsePrefix(prefix)
		if err == nil {
			err = tree.Insert(&net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, record)
		}
	}
	var octets bytes.Buffer
	if err == nil {
		_, err = tree.WriteTo(&octets)
	}
	if err == nil {
		err = os.WriteFile(b.File(name), octets.Bytes(), 0o644)
	}
	if err != nil {
		b.T.Fatal(err)
	}
}

// Classes by source, destination port, ISP, autonomous system, country, and of
// classes.
func TestB16_Classes_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	if err := os.WriteFile(b.File("near.txt"), []byte("10.10.2.0/24\nfd10:10::1f0/124\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// Countries and systems of clients, not of where they go.
	country := func(code string) mmdbtype.Map {
		return mmdbtype.Map{"country": mmdbtype.Map{"iso_code": mmdbtype.String(code)}}
	}
	system := func(n uint32) mmdbtype.Map { return mmdbtype.Map{"autonomous_system_number": mmdbtype.Uint32(n)} }
	b.database("country.mmdb", "GeoLite2-Country", map[string]mmdbtype.Map{
		"10.10.4.0/25": country("ES"), "10.10.4.128/25": country("PT"), "fd10:10::400/121": country("ES"), "fd10:10::480/121": country("PT"), "203.0.113.0/24": country("PT"), "2001:db8:113::/48": country("PT")})
	b.database("asn.mmdb", "GeoLite2-ASN", map[string]mmdbtype.Map{
		"10.10.5.0/25": system(64500), "10.10.5.128/25": system(64501), "fd10:10::500/121": system(64500), "fd10:10::580/121": system(64501), "203.0.113.0/24": system(64501)})
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" +
		virtual("web", b.Farm, 1, "", "ports: [\"80-81\"], farm: one, policy: rules") +
		"serverFarms:\n" + alone(b.Farm) + `geo: {databases: [country.mmdb, asn.mmdb]}
isps: [{name: near, prefixes: ["10.10.3.0/24", "fd10:10::300/120"]}, {name: carrier, asns: [64501]}]
slb:
  classes:
    - {name: alt, ports: [tcp/81]}
    - {name: some, sources: ["10.10.2.0/24", "fd10:10::1f0/124"]}
    - {name: both, match: all, classes: [some], ports: [tcp/81]}
    - {name: isp, isps: [near]}
    - {name: spain, countries: [ES]}
    - {name: portugal, countries: [PT]}
    - {name: system, asns: [64500]}
    - {name: carrier, isps: [carrier]}
  policies:
    - name: rules
      rules: [{class: both, action: {farm: two}}, {class: alt, action: {farm: three}}, {class: some, action: drop}, {class: isp, action: {farm: two}},
        {class: spain, action: {farm: two}}, {class: portugal, action: drop}, {class: system, action: {farm: three}}, {class: carrier, action: {farm: two}}]
`))
	for _, c := range []struct {
		client int // 10.10.1.x: 0 to 249, 10.10.2.x: 250 to 499, 10.10.3.x: 500 to 749
		port   uint16
		host   int
	}{{1, 80, 1}, {1, 81, 3}, {300, 80, 0}, {300, 81, 2}, {600, 80, 2}} {
		b.goes(fmt.Sprintf("client %s, port %d", b.Client4(c.client), c.port), b.from(c.client, b.to4(1, c.port)), c.host)
	}
	b.goes("IPv6, of the class", b.from(0x1f2-1, b.to6(1, 80)), 0)
	b.goes("IPv6, of the ISP", b.from(0x310-1, b.to6(1, 80)), 2)
	b.goes("IPv6, of neither", b.from(1, b.to6(1, 80)), 1)
	for _, c := range []struct {
		what         string
		client, host int // of 10.10.N.x, and fd10:10::Nxx
	}{
		{"Spain", 4<<8 | 0x20, 2}, {"Portugal", 4<<8 | 0xa0, 0}, {"the system", 5<<8 | 0x20, 3}, {"an ISP by its system", 5<<8 | 0xa0, 2},
	} {
		b.goes(c.what, b.from((c.client>>8-1)*250+c.client&0xff, b.to4(1, 80)), c.host)
		b.goes("IPv6, "+c.what, b.from(c.client, b.to6(1, 80)), c.host)
	}
}

// What the module of L7 would do is taken and shown, and has no effect on a
// virtual server of L4, which works all the same (1.1.10, T48).
func TestB16_Ignored_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	c := setup{Farm: b.Farm, serve: ", persistence: jar, profile: web, policy: pages", rest: `persistence: [{name: jar, by: cookie, cookie: SRV}]
slb:
  profiles: [{name: web, rebalancePerRequest: true}]
  classes: [{name: page, http: {paths: [/a]}}]
  policies: [{name: pages, kind: http, rules: [{class: page, action: drop}]}]
`}
	b.use(c)
	b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
	if s := b.InTurn(30, b.from(3, b.to4(1, 80))); s.Failed > 0 || len(s.At) != 3 {
		t.Errorf("a cookie holds a client of L4: %v", s)
	}
	said, err := b.check(c.String())
	if err != nil || !strings.Contains(said, "not in effect") {
		t.Errorf("check does not tell: %v: %s", err, said)
	}
	if said := b.Does("get", "virtualservers"); !strings.Contains(said, "not in effect") {
		t.Errorf("get virtualservers does not tell:\n%s", said)
	}
}

// ToS to the client is the virtual server's, ToS to the server is the action's
// (1.1.5, T46), of both families.
func TestB16_TOS_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	toClient := map[string]*nettest.Witness{}
	toServer := map[string]*nettest.Witness{}
	for family, ip := range map[string]string{"IPv4": "ip", "IPv6": "ip6"} {
		for _, code := range []string{"af11", "ef"} {
			toClient[family+code] = b.Clients.Watch(ip+code, "prerouting priority -300", ip+" dscp "+code)
			toServer[family+code] = b.Hosts[0].Watch(ip+code, "prerouting priority -300", ip+" dscp "+code)
		}
	}
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" +
		virtual("web", b.Farm, 1, "80", "policy: rules, tos: af11") +
		"serverFarms:\n" + alone(b.Farm) + "slb: {policies: [{name: rules, rules: [{action: {farm: one, tos: ef}}]}]}\n"))
	for family, route := range b.twins(1, 80) {
		b.Until(late, func() error { return only(b.InTurn(1, route), 1) })
		from, to := route(1)
		talk, err := b.TCP(from, to)
		if err == nil {
			_, err = talk.Say("hello")
		}
		if err != nil {
			t.Fatal(err)
		}
		talk.Close()
		if a, c := toClient[family+"af11"].Packets(), toServer[family+"ef"].Packets(); a < 4 || c < 4 {
			t.Errorf("%s: %d packets to the client and %d to the server have it", family, a, c)
		}
		if a, c := toClient[family+"ef"].Packets(), toServer[family+"af11"].Packets(); a+c > 0 {
			t.Errorf("%s: %d packets to the client and %d to the server have the other's", family, a, c)
		}
	}
}
