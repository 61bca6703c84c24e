package probe

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

func farms() *config.Model {
	served := func(enabled bool) *config.Serve {
		return &config.Serve{Type: config.ServeTCP, Enabled: enabled, Farm: "web"}
	}
	return &config.Model{
		SLB:    &config.SLB{Enabled: true},
		Probes: []*config.Probe{{Name: "web", Kind: "http"}, {Name: "ping", Kind: "icmp"}, {Name: "admin", Kind: "http", Target: config.Target{Port: 8080}}},
		VirtualServers: []*config.VirtualServer{
			{Name: "served", Addresses: addrs("192.0.2.1"), Port: 80, Serve: served(true)},
			{Name: "off", Addresses: addrs("192.0.2.2"), Port: 80, Serve: served(false)},
			{Name: "elsewhere", Addresses: addrs("192.0.2.3"), Port: 80, Probes: []string{"web"}},
		},
		ServerFarms: []*config.ServerFarm{
			{Name: "web", Probes: []string{"web", "ping"}, Criteria: config.Criteria{AtLeast: 1}, Servers: []*config.RealServer{
				{Name: "a", Addresses: addrs("10.0.0.1", "fd00::1"), Port: 8443},
				{Name: "b", Addresses: addrs("10.0.0.2"), Probes: []string{"admin"}},
				{Name: "c", Host: "c.example", Port: 80},
				{Name: "d", Host: "d.example", Port: 80, Criteria: config.Criteria{AtLeast: 2}},
			}},
			{Name: "plain", Servers: []*config.RealServer{{Name: "10.0.0.1:8443", Addresses: addrs("10.0.0.1"), Port: 8443}, {Name: "e", Host: "e.example"}}},
		},
		Pools: []*config.Pool{{Name: "p", Probes: []string{"web"}, Members: []*config.Member{{VirtualServer: "served"}}}},
	}
}

// Servers have a row each, by their own probes or else the farm's; what two
// farms ask the same is asked once. A virtual server that is served has its row
// from its farms, and one that is switched off is down.
func TestCompileRealServers(t *testing.T) {
	names := map[string][]netip.Addr{"web/c": addrs("10.0.0.30", "fd00::30")}
	plan := CompileOver(farms(), Learnt{RealServer: func(farm, name string) []netip.Addr { return names[farm+"/"+name] }})
	want := strings.ReplaceAll(strings.TrimLeft(`
	probe/192.0.2.3:80/web to 192.0.2.3:80
	probe/10.0.0.1:8443/web to 10.0.0.1:8443
	probe/[fd00::1]:8443/web to [fd00::1]:8443
	probe/10.0.0.1/ping to 10.0.0.1:0
	probe/fd00::1/ping to [fd00::1]:0
	probe/10.0.0.2:8080/admin to 10.0.0.2:8080
	probe/10.0.0.30:80/web to 10.0.0.30:80
	probe/[fd00::30]:80/web to [fd00::30]:80
	probe/10.0.0.30/ping to 10.0.0.30:0
	probe/fd00::30/ping to [fd00::30]:0
	probe/192.0.2.1:80/web to 192.0.2.1:80
	virtualServer/off: switched off: serve.enabled is false
	virtualServer/elsewhere: web[probe/192.0.2.3:80/web]
	realServer/web/a: web[probe/10.0.0.1:8443/web probe/[fd00::1]:8443/web] ping[probe/10.0.0.1/ping probe/fd00::1/ping] at least 1
	realServer/web/b: admin[probe/10.0.0.2:8080/admin]
	realServer/web/c: web[probe/10.0.0.30:80/web probe/[fd00::30]:80/web] ping[probe/10.0.0.30/ping probe/fd00::30/ping] at least 1
	realServer/web/d: at least 2 d.example has no address
	realServer/plain/10.0.0.1:8443: not probed
	realServer/plain/e: e.example has no address
	pool/p/served: web[probe/192.0.2.1:80/web]
	`, "\n"), "\t", "")
	if got := render(plan); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, v := range plan.Verdicts {
		if down := v.ID == "virtualServer/off" || strings.HasSuffix(string(v.ID), "/d") || strings.HasSuffix(string(v.ID), "/e"); v.Missing != down {
			t.Errorf("%s: missing %v", v.ID, v.Missing)
		}
	}
	names["web/c"] = addrs("10.0.0.31") // the name has moved: its probes follow
	plan = CompileOver(farms(), Learnt{RealServer: func(farm, name string) []netip.Addr { return names[farm+"/"+name] }})
	if text := render(plan); !strings.Contains(text, "realServer/web/c: web[probe/10.0.0.31:80/web] ping[probe/10.0.0.31/ping]") || strings.Contains(text, "10.0.0.30") {
		t.Errorf("the probes do not follow the name:\n%s", text)
	}
}

// Nobody resolves names where a configuration is only looked at: then their
// servers are unknown, not down.
func TestCompileRealServers_Offline(t *testing.T) {
	for _, v := range Compile(farms()).Verdicts {
		if v.ID == status.MakeID(status.KindRealServer, "web", "c") && (v.Missing || v.Note != "not probed: c.example is not resolved here") {
			t.Errorf("%+v", v)
		}
	}
}

// With slb switched off, nothing that would be served is answered for.
func TestCompileRealServers_Off(t *testing.T) {
	m := farms()
	m.SLB.Enabled = false
	for _, v := range Compile(m).Verdicts {
		if v.ID == "virtualServer/served" && v.Missing && v.Note == "switched off: slb.enabled is false" {
			return
		}
	}
	t.Error("virtualServer/served is not down")
}
