package dnsserver

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// Topology prefers a CNAME, an address and a whole pool by the site that the
// member has of its own (T26); a site whose row is down takes them out (T25).
func TestMemberSite_T26(t *testing.T) {
	inner := &config.Pool{Name: "inner", Preferred: config.Slot{Algorithm: "first"}, Members: servers("a", "b")}
	geo := &config.Pool{Name: "geo", Preferred: config.Slot{Algorithm: "topology", Tie: "first"}, OnDecline: config.DeclineNodata,
		Members: []*config.Member{
			{CNAME: "cdn.example.net.", Site: "south", Weight: 1},
			{Address: netip.MustParseAddr("192.0.2.99"), Site: "north", Weight: 1},
			{Pool: "inner", Site: "west", Weight: 1},
			{Address: netip.MustParseAddr("192.0.2.98"), Weight: 1}, // without a site: nobody prefers it
		}}
	m := pooled(inner, geo)
	for _, site := range []string{"south", "north", "west"} {
		m.Sites = append(m.Sites, &config.Site{Name: site})
	}
	rule := func(client, site string) {
		m.Topology = append(m.Topology, &config.TopologyRule{Client: netip.MustParsePrefix(client), Prefer: config.Place{Site: site}})
	}
	rule("10.0.0.0/8", "south")
	rule("10.0.0.0/8", "north")
	rule("11.0.0.0/8", "west")
	rule("11.0.0.0/8", "site-a") // where a leaf stands: the pool's own site counts instead
	rule("12.0.0.0/8", "site-a")
	w := newWorld(t, m)
	for _, c := range []struct{ client, want string }{
		{"10.0.0.1", "cdn.example.net."},
		{"11.0.0.1", "192.0.2.1"},
		{"12.0.0.1", ""},
		{"13.0.0.1", ""},
	} {
		if got := short(w.ask("geo.example.com.", "A", c.client)); got != strings.TrimSpace("NOERROR "+c.want) {
			t.Errorf("%s: got %q, want %q", c.client, got, c.want)
		}
	}
	w.set("site/south:down", "site/west:down")
	for _, c := range []struct{ client, want string }{
		{"10.0.0.1", "192.0.2.99"},
		{"11.0.0.1", ""},
	} {
		if got := short(w.ask("geo.example.com.", "A", c.client)); got != strings.TrimSpace("NOERROR "+c.want) {
			t.Errorf("with sites down, %s: got %q, want %q", c.client, got, c.want)
		}
	}
}
