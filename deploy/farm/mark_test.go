package farm

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
)

// Test 10: no packet of a virtual server leaves with a routing mark that we
// set, nor with a priority of ours, whatever the way: TCP, UDP and ICMP, of
// both families, with persistence, limits, policies, hairpin, dropped and
// refused ones. What the administrator marks keeps his bits, and no others.
func TestB10_Marks_Root(t *testing.T) {
	t.Parallel()
	b := before(t, farm(t, nettest.FarmLayout{}))
	var seen []*nettest.Witness
	for n, hook := range []string{"postrouting priority 400", "output priority 400", "forward priority 400", "input priority 400", "prerouting priority -1"} {
		seen = append(seen, b.Watch(fmt.Sprint("mark4_", n), hook, "meta nfproto ipv4 meta mark != 0"),
			b.Watch(fmt.Sprint("mark6_", n), hook, "ip6 daddr != ff00::/8 meta mark != 0"), // the kernel's own to groups of neighbours aside
			b.Watch(fmt.Sprint("prio", n), hook, "ip daddr 10.30.0.0/15 meta priority > 16"))
	}
	link := b.Watch("link", "postrouting priority 401", fmt.Sprintf("ct mark & 0x%x != 0", kernel.LinkMask))
	ours := b.Watch("ours", "postrouting priority 401", fmt.Sprintf("ct mark & 0x%x != 0", kernel.ServerMask))
	b.use(setup{Farm: b.Farm, serve: ", persistence: same, limitPolicy: each, maxConnections: 500, policy: some", server: map[int]string{0: ", maxConnections: 100"},
		virtual: virtual("any", b.Farm, 2, "", "type: ip, farm: bare"), farms: setup{Farm: b.Farm}.bare(""),
		rest: `persistence: [{name: same}]
slb:
  limitPolicies: [{name: each, rules: [{per: [source], upper: 200}]}]
  classes: [{name: bad, sources: [10.10.1.9/32]}]
  policies: [{name: some, rules: [{class: bad, action: drop}]}]
`})
	b.Until(late, func() error { return only(b.Connect(6, b.stranger(b.to4(1, 80))), 1, 2, 3) })
	traffic := func() {
		for _, route := range b.twins(1, 80) {
			b.Connect(80, func(i int) (netip.Addr, netip.AddrPort) { return route(i + 20) })
			b.Flows(80, 3, route)
		}
		b.Connect(1, b.from(8, b.to4(1, 80))) // a class that is dropped
		for n := range 5 {
			if err := b.Ping(b.Client4(n), b.Virtual4(2), uint16(n+1)); err != nil {
				t.Error(err)
			}
			if err := b.Ping(b.Client6(n), b.Virtual6(2), uint16(n+1)); err != nil {
				t.Error(err)
			}
		}
		_, to := b.to4(1, 80)(0)
		if talk, err := nettest.Call(b.Hosts[0].Space, b.Hosts[0].Addr4, to, nettest.Patience); err != nil {
			t.Error(err)
		} else {
			talk.Close()
		}
	}
	traffic()
	for _, w := range seen {
		if n := w.Packets(); n > 0 {
			t.Errorf("%d packets with a mark or a priority of ours at %s", n, w.Name)
		}
	}
	if link.Packets() > 0 || ours.Packets() == 0 {
		t.Errorf("%d packets of connections with the mark of a link, %d with that of a virtual server", link.Packets(), ours.Packets())
	}
	// An administrator's own bits, of the packet and of the connection.
	kept := b.Watch("kept", "postrouting priority 500", "ip daddr 10.30.0.0/16 meta mark 0x20000000 ct mark and 0xe0000000 == 0x40000000")
	other := b.Watch("other", "postrouting priority 500", "meta mark != 0x20000000 meta mark != 0")
	b.Must(`table inet admin {
	chain pre { type filter hook prerouting priority -155; ip daddr 203.0.113.1 meta mark set 0x20000000 ct mark set ct mark or 0x40000000; }
}
`, "nft", "-f", "-")
	if s := b.Connect(30, b.stranger(b.to4(1, 80))); s.Failed > 0 {
		t.Errorf("with an administrator's marks: %v", s)
	}
	if kept.Packets() < 60 || other.Packets() > 0 {
		t.Errorf("%d packets with his bits, %d with others", kept.Packets(), other.Packets())
	}
}
