package daemon

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
)

// A connection to a virtual server that came in by a link is one line, with both;
// one of either is shown as it is, and one of neither is not.
func TestSessions_Both(t *testing.T) {
	path := filepath.Join(t.TempDir(), "portolan.yaml")
	if err := os.WriteFile(path, []byte(`version: 1
links: [{name: fibre, interface: eth1, nextHop: 192.0.2.1}]
linkGroups: [{name: all, members: [fibre]}]
outbound: {interfaces: [lan0], virtualServers: [{name: everything, linkGroup: all}]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := SourceOf(path)
	if err != nil {
		t.Fatal(err)
	}
	built, errs := Build(src, nil, nil)
	if errs.Failed() {
		t.Fatal(errs)
	}
	link := uint32(built.Outbound.Number("fibre"))
	serving := func(c *kernel.Session) (slb.Session, bool) {
		if c.Mark&kernel.ServerMask == 0 {
			return slb.Session{}, false
		}
		return slb.Session{Protocol: "tcp", From: c.Original.Source, To: c.Original.Destination, VirtualServer: "shop", Farm: "web", Server: "one", At: c.Reply.Source}, true
	}
	both := browser{plan: built.Outbound, serving: serving}
	ours := browser{plan: built.Outbound, serving: serving, byServer: true}
	alone := browser{serving: serving}
	for _, k := range []struct {
		name string
		b    browser
		mark uint32
		want string // "": it is not shown
	}{
		{"neither", both, 0, ""},
		{"link", both, link, "fibre  false"},
		{"virtual server", both, l4.Mark(5), " shop/one false"},
		{"both", both, link | l4.Mark(5) | kernel.Inbound, "fibre shop/one true"},
		{"of servers alone: link", ours, link, ""},
		{"of servers alone: both", ours, link | l4.Mark(5), "fibre shop/one false"},
		{"nothing balanced: link", alone, link, ""},
		{"nothing balanced: both", alone, link | l4.Mark(5), " shop/one false"},
	} {
		c := kernel.Session{Mark: k.mark}
		c.Original.Protocol = 6
		c.Original.Source, c.Original.Destination = netip.MustParseAddrPort("198.51.100.7:1000"), netip.MustParseAddrPort("203.0.113.10:80")
		c.Reply.Source, c.Reply.Destination = netip.MustParseAddrPort("10.0.0.11:8080"), c.Original.Source
		shown, ok := k.b.show(&c)
		if !ok && k.want == "" {
			continue
		}
		got := shown.Link + " " + shown.VirtualServer
		if shown.Server != "" {
			got += "/" + shown.Server
		}
		if got += map[bool]string{true: " true", false: " false"}[shown.Inbound]; got != k.want || shown.From != c.Original.Source || shown.Protocol != "tcp" {
			text, _ := json.Marshal(shown)
			t.Errorf("%s: %q, want %q: %s", k.name, got, k.want, text)
		}
	}
}
