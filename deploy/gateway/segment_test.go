package gateway

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// Two routers on a segment, a link each: replies go to the one that the
// connection came from.
func TestA05_Routers_Root(t *testing.T) {
	t.Parallel()
	g := gateway(t, nettest.Layout{ISPs: 2, Twice: true})
	g.Must(admin, "nft", "-f", "-")
	nettest.Serve(t, g.DMZ, 80)
	nettest.Serve(t, g.Space, 80)
	p := start(t, g, setup{Gateway: g, rest: grouped("[isp1, isp2, isp3]", "", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	p.Until(longEnough, func() error { // as soon as Linux has been told who the routers are
		if out := g.Must("", "nft", "list", "map", "inet", "portolan_outbound", "last_hop"); strings.Count(out, `"wan1" . `) < 2 {
			return fmt.Errorf("both routers are not known yet: %s", out)
		}
		return nil
	})
	one, two := g.ISPs[0], g.Second()
	for _, c := range []struct {
		from, to netip.Addr
		by, not  *nettest.ISP
	}{
		{nettest.Behind4, one.Gate4, two, one}, {nettest.Behind6, one.Gate6, two, one},
		{nettest.Server4(20, 9), one.Gate4, one, two}, {nettest.Server6(20, 9), one.Gate6, one, two},
	} {
		by, not := c.by.Passed(), c.not.Passed()
		for range 5 {
			answers(t, g.Internet, c.from, netip.AddrPortFrom(c.to, 80))
			answers(t, g.Internet, c.from, netip.AddrPortFrom(c.to, 8000))
		}
		if by, not = c.by.Passed()-by, c.not.Passed()-not; by < 50 || not > 0 {
			t.Errorf("%s to %s: %d packets back to the router that it came by, %d to the other", c.from, c.to, by, not)
		}
	}
	by1, by2 := one.Passed(), two.Passed()
	shared(t, "what leaves, by two routers of one ISP", g.Connect(300, web4), 0.01, 2, 1)
	if by1, by2 = one.Passed()-by1, two.Passed()-by2; by1 < 300 || by2 < 300 {
		t.Errorf("100 connections by each router of isp1 were %d and %d packets", by1, by2)
	}
	clean(t, g)
}
