package farm

import (
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// A server by DNS name is where the name is, of each family, and moves with
// it: new connections go to the new address, those that are open stay.
func TestB22_Name_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	hosts := func(n int) {
		text := fmt.Sprintf("127.0.0.1 localhost\n%s app.example\n%s app.example\n", b.Hosts[n-1].Addr4, b.Hosts[n-1].Addr6)
		if err := os.WriteFile(b.File("hosts"), []byte(text), 0o644); err != nil { // in place: it is mounted
			t.Fatal(err)
		}
	}
	hosts(1)
	b.ownHosts()
	b.use(text("version: 1\nnode: {name: lb}\nvirtualServers:\n" + virtual("web", b.Farm, 1, "80", "farm: web") +
		"serverFarms: [{name: web, servers: [{name: app, host: app.example, port: 80}]}]\n"))
	for _, route := range b.twins(1, 80) {
		b.takes(time.Second, route, 1)
	}
	held, opened := b.Hold(10, 0, b.to4(1, 80))
	if opened.By[1] != 10 {
		t.Fatal(opened)
	}
	hosts(2)
	took := b.takes(40*time.Second, b.to4(1, 80), 2)
	t.Logf("it moved after %s", took.Round(time.Millisecond))
	b.takes(time.Second, b.to6(1, 80), 2)
	if fate := held.Ask(); fate.Lost+fate.Wrong > 0 || fate.Said != 10 {
		t.Errorf("connections of before: %+v", fate)
	}
	if _, err := b.TCP(b.Client4(3), netip.AddrPortFrom(b.Virtual4(1), 80)); err != nil {
		t.Error(err)
	}
}

// ownHosts has the program see the file hosts of its folder as /etc/hosts, in a
// mount namespace of its own.
func (b *balancer) ownHosts() {
	b.T.Helper()
	script := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = serve ] || exec %[1]s \"$@\"\nexec unshare -m sh -c 'mount --bind \"$0\" /etc/hosts && exec \"$@\"' %[2]s %[1]s \"$@\"\n", b.Path, b.File("hosts"))
	b.Path = b.File("portolan")
	if err := os.WriteFile(b.Path, []byte(script), 0o755); err != nil {
		b.T.Fatal(err)
	}
}
