package daemon

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
)

// serving is a virtual server over three hosts, that are probed twice a second.
func serving(f *nettest.Farm, more string) string {
	var servers []string
	for _, h := range f.Hosts {
		servers = append(servers, fmt.Sprintf("{name: s%d, addresses: [%s, %q], port: 8080}", h.N, h.Addr4, h.Addr6))
	}
	return fmt.Sprintf(`version: 1
slb: {repairSysctls: true}
probes: [{name: tcp, kind: tcp, interval: 500ms, timeout: 300ms, rise: 1, fall: 1}]
virtualServers:
  - {name: web, addresses: [%s, %q], port: 80, serve: {farm: web}}
serverFarms:
  - {name: web, probes: [tcp], slots: 64, servers: [%s]%s}
`, f.Virtual4(1), f.Virtual6(1), strings.Join(servers, ", "), more)
}

// The real program serves, in namespaces.
func TestServe_Root(t *testing.T) {
	nettest.NeedRoot(t)
	built := filepath.Join(t.TempDir(), "portolan")
	if out, err := exec.Command("go", "build", "-o", built, "github.com/portolan-lb/portolan/cmd/portolan").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("PORTOLAN_PROGRAM", built)
	t.Run("goes on", servesOn)
	t.Run("counts", servesByCounts)
}

// The real program serves a virtual server of both families: all of its servers
// get connections; one that dies gets none, and its connections are reset in time
// (T38); the program is killed and forwarding goes on, and when it is back what
// was connected still is.
func servesOn(t *testing.T) {
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3})
	f.Serve(8080)
	p := program.New(t, f.Space)
	p.Begin(serving(f, ", onFailure: reschedule"))
	to4 := func(i int) (netip.Addr, netip.AddrPort) { return f.Client4(i), netip.AddrPortFrom(f.Virtual4(1), 80) }
	to6 := func(i int) (netip.Addr, netip.AddrPort) { return f.Client6(i), netip.AddrPortFrom(f.Virtual6(1), 80) }
	for _, route := range []nettest.Route{to4, to6} {
		s := f.Connect(90, route)
		if s.Failed > 0 || s.By[1] < 20 || s.By[2] < 20 || s.By[3] < 20 {
			t.Fatalf("all servers serve: %v", s)
		}
	}
	talks := make([]*nettest.Talk, 6)
	at := map[int][]*nettest.Talk{}
	for i := range talks {
		from, to := to4(i)
		talk, err := f.TCP(from, to)
		if err != nil {
			t.Fatal(err)
		}
		at[talk.First.Host] = append(at[talk.First.Host], talk)
	}
	p.Kill()
	if s := f.Connect(30, to4); s.Failed > 0 {
		t.Fatalf("the program is dead: %v", s)
	}
	p.Start()
	for host, list := range at {
		for _, talk := range list {
			if _, err := talk.Say("still there"); err != nil {
				t.Errorf("a connection to %d after a restart: %v", host, err)
			}
		}
	}
	f.Hosts[1].Die(8080, true)
	p.Until(20*time.Second, func() error {
		if s := f.Connect(30, to4); s.Failed > 0 || s.By[2] > 0 {
			return fmt.Errorf("%v", s)
		}
		return nil
	})
	for _, talk := range at[2] {
		if _, err := talk.SayWithin("anybody?", 2*time.Second); err == nil {
			t.Error("a connection to the dead server goes on")
		}
	}
	for _, talk := range at[1] {
		if _, err := talk.Say("still there"); err != nil {
			t.Errorf("a connection to a server that lives: %v", err)
		}
	}
	if said := p.Does("get", "events"); !strings.Contains(said, "connections ended") || !strings.Contains(said, "realServer/web/s2") {
		t.Errorf("events: %s", said)
	}
}

// Connections are counted by what conntrack tells, by the member of the farm, and
// a server that has many gets few; a server whose name is followed serves; a hold
// cuts off at once what a server has.
func servesByCounts(t *testing.T) {
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3})
	f.Serve(8080)
	p := program.New(t, f.Space)
	p.Begin(serving(f, ", algorithm: least-connections"))
	to4 := func(i int) (netip.Addr, netip.AddrPort) { return f.Client4(i), netip.AddrPortFrom(f.Virtual4(1), 80) }
	held := map[int][]*nettest.Talk{}
	for i := range 30 {
		from, to := to4(i)
		talk, err := f.TCP(from, to)
		if err != nil {
			t.Fatal(err)
		}
		held[talk.First.Host] = append(held[talk.First.Host], talk)
	}
	counted := func() string { return p.Does("get", "realservers", "-o", "json") }
	p.Until(20*time.Second, func() error {
		said := counted()
		for host, list := range held {
			if !strings.Contains(said, fmt.Sprintf(`"connections": %d`, len(list))) {
				return fmt.Errorf("host %d has %d connections: %s", host, len(list), said)
			}
		}
		return nil
	})
	p.Does("hold", "realServer/web/s1", "--reason", "work")
	p.Until(20*time.Second, func() error {
		for _, talk := range held[1] {
			if _, err := talk.SayWithin("cut?", 300*time.Millisecond); err == nil {
				return fmt.Errorf("a connection goes on")
			}
		}
		return nil
	})
	for _, talk := range held[2] {
		if _, err := talk.Say("still there"); err != nil {
			t.Error(err)
		}
	}
	if s := f.Connect(30, to4); s.Failed > 0 || s.By[1] > 0 {
		t.Errorf("s1 is held down: %v", s)
	}
}
