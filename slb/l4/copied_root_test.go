package l4

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// newDirect has a plan of virtual servers whose hosts have their addresses stand in
// Linux, on one segment with the clients.
func newDirect(t *testing.T, text string, oneArm bool) *farmed {
	t.Helper()
	nettest.NeedRoot(t)
	f := nettest.NewFarm(t, nettest.FarmLayout{Hosts: 3, OneArm: oneArm})
	vips := []netip.Addr{f.Virtual4(1), f.Virtual6(1)}
	for _, h := range f.Hosts {
		h.Hold(vips...)
	}
	f.Batch("addr add "+vips[0].String()+"/32 dev back0", "addr add "+vips[1].String()+"/128 dev back0 nodad")
	f.Serve(80)
	b := newBalancer(t, strings.NewReplacer("VIP4", vips[0].String(), "VIP6", vips[1].String()).Replace(text))
	b.facts.Interfaces = []kernel.Interface{nic("back0", "10.30.0.1/16", "fd10:30::1/64", vips[0].String()+"/32")}
	out := &farmed{b, newLinux(t, f.Space), f, t}
	out.stands(b.Wishes(b.facts))
	return out
}

// held is a virtual server of both families on the three hosts.
func held(mode, farm string) string {
	return `
version: 1
virtualServers:
  - {name: web, addresses: [VIP4, "VIP6"], port: 80, serve: {farm: web}}
  - {name: dns, addresses: [VIP4, "VIP6"], port: 80, serve: {type: udp, farm: web}}
serverFarms:
  - name: web
    mode: ` + mode + `
    ` + farm + `
    servers:
      - {name: one, addresses: [10.30.0.11, "fd10:30::11"]}
      - {name: two, addresses: [10.30.0.12, "fd10:30::12"]}
      - {name: three, addresses: [10.30.0.13, "fd10:30::13"]}
`
}

// Connections of both families are spread in turn among servers that have the
// virtual address, see the client's own and answer it past this machine, of which no
// answer comes by; nothing is tracked, whatever the size.
func TestDirect_Root(t *testing.T) {
	f := newDirect(t, held("direct", ""), true)
	answers := f.farm.Watch("answers", "prerouting priority -310", "meta l4proto { tcp, udp } th sport 80")
	for name, route := range map[string]nettest.Route{"IPv4": f.four, "IPv6": f.six} {
		if s := f.farm.InTurn(48, route); fmt.Sprint(s.By) != "[0 16 16 16]" || s.Failed > 0 || len(s.Source) != 48 {
			t.Errorf("%s: %s from %d", name, s, len(s.Source))
		}
		if s := f.farm.Flows(30, 5, route); s.Failed > 0 || s.By[1] == 0 || s.By[2] == 0 || s.By[3] == 0 {
			t.Errorf("%s, UDP: %s", name, s)
		}
		from, to := route(0)
		talk, err := f.farm.UDP(from, to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := talk.Say(strings.Repeat("fragments ", 180)); err != nil {
			t.Errorf("%s: a datagram of several fragments: %v", name, err)
		}
		talk.Close()
	}
	if n := answers.Packets(); n > 0 {
		t.Errorf("%d answers came by this machine", n)
	}
	if list := f.farm.Must("", "conntrack", "-L", "-p", "tcp"); strings.Contains(list, "dport=80") {
		t.Errorf("tracked is\n%s", list)
	}
	var hits, given uint64
	for _, table := range f.CopyTables() {
		for set, sum := range map[string]*uint64{"copy_hits": &hits, "copy_given": &given} {
			list, err := f.Elements(table, set)
			if err != nil {
				t.Fatal(err)
			}
			for _, el := range list {
				*sum += el.Packets
			}
		}
	}
	if want := uint64(2 * (48 + 30 + 1)); hits != want || given != want {
		t.Errorf("%d flows are counted and %d given, want %d", hits, given, want)
	}
	f.farm.Must("", "nft", "list", "ruleset") // a program that looks does not stumble
}

// A server that fails moves only its own flows; slots that move move none (T38).
func TestDirectFails_Root(t *testing.T) {
	f := newDirect(t, held("direct", "onFailure: reschedule"), true)
	all := f.byFarm["web"].ids()
	for name, route := range map[string]nettest.Route{"IPv4": f.four, "IPv6": f.six} {
		conns, s := f.farm.Hold(30, 0, route)
		if s.Failed > 0 || fmt.Sprint(s.By) != "[0 10 10 10]" {
			t.Fatalf("%s: %s", name, s)
		}
		f.set("web", spread(f.byFarm["web"].Slots, all[1:2]), evenly(all))
		if fate := conns.Ask(); fate.Lost+fate.Wrong > 0 {
			t.Errorf("%s: slots moved: %+v", name, fate)
		}
		f.set("web", spread(f.byFarm["web"].Slots, all[1:]), evenly(all[1:]))
		if fate := conns.Ask(); fate.Lost != 10 || fate.Wrong > 0 {
			t.Errorf("%s: one of three failed: %+v", name, fate)
		}
		conns.Close()
		f.set("web", spread(f.byFarm["web"].Slots, all), evenly(all))
	}
}

// What routed servers answer comes back through this machine, and is not tracked, so
// that rules which drop what conntrack calls invalid let it pass.
func TestRouted_Root(t *testing.T) {
	f := newDirect(t, held("routed", ""), false)
	f.farm.Set("ipv4/conf/all/accept_local", "1")
	f.farm.Must("table inet strict { chain f { type filter hook forward priority 0; ct state invalid drop; }; }", "nft", "-f", "-")
	answers := f.farm.Watch("answers", "forward priority 10", "tcp sport 80 ct state untracked")
	for name, route := range map[string]nettest.Route{"IPv4": f.four, "IPv6": f.six} {
		before := answers.Packets()
		if s := f.farm.InTurn(30, route); fmt.Sprint(s.By) != "[0 10 10 10]" || s.Failed > 0 {
			t.Errorf("%s: %s", name, s)
		}
		if answers.Packets() == before {
			t.Errorf("%s: no answer came by", name)
		}
	}
}
