package gateway

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// A DNS server that is auto is asked at the addresses that its link was given,
// over that link, once its probes say that it answers; when they are withdrawn
// it is asked no more (T42). One that refuses our questions is not used.
func TestA22_DNSAuto_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	resolvers(t, g)
	four, _ := at53(g.ISPs[1])
	p := start(t, g, setup{Gateway: g, rest: equal("", "", fmt.Sprintf(`
dnsServers:
  - {name: given, auto: true, link: isp1, probes: [resolves]}
  - {name: fixed, address: %s, link: isp2, probes: [resolves]}
dnsServerPools: [{name: all, members: [{server: given, priority: 1}, fixed]}]
dnsProxy: {interfaces: [lan0], pool: all, timeout: 300ms}
`, four)), probe: quickProbe + "}, {name: resolves, kind: dns, queryName: who.test, queryType: TXT, " + quickProbe}.String())
	p.up("isp1", "isp2", "isp3")
	server := func(name string, health status.Health) {
		t.Helper()
		deadline := time.Now().Add(longEnough)
		for {
			list, err := p.API.DNSServers(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				if d.Name == name && d.Row.Health == health {
					return
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s is not %s: %+v", name, health, list)
			}
			p.Pause(50 * time.Millisecond)
		}
	}
	from := func(want string) {
		t.Helper()
		name, _, err := who(g, query{from: nettest.Client4(1), to: netip.MustParseAddr("8.8.8.8")})
		if err != nil || name != want {
			t.Errorf("answered by %q, %v, want %s", name, err, want)
		}
	}
	server("fixed", status.Up)
	server("given", status.Down)
	from("isp2")
	one, _ := at53(g.ISPs[0])
	p.Does("report", "dns/isp1", one.String())
	server("given", status.Up)
	from("isp1")
	other, _ := at53(g.ISPs[2]) // which serves the clients of its own ISP alone
	p.Does("report", "dns/isp1", other.String())
	server("given", status.Down)
	from("isp2")
	p.Does("report", "dns/isp1", other.String(), one.String())
	server("given", status.Up)
	for range 5 {
		from("isp1") // the address that answers, although it stands second
	}
	p.Does("report", "dns/isp1")
	server("given", status.Down)
	from("isp2")
	clean(t, g)
}
