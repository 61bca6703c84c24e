package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// A link whose connections have ended takes new ones up to its limit, or that of its
// membership, whichever link it passed on to before; and no link ever has more
// (1.2.13, ADR 24).
func TestA13_RoomAgain_Root(t *testing.T) {
	t.Parallel()
	g := three(t)
	const each = 5
	p := start(t, g, setup{Gateway: g, link: map[int]string{1: ", maxConnections: 5", 2: ", maxConnections: 5"},
		rest: grouped("[isp1, isp2, {link: isp3, maxConnections: 5}]", "", "", "")}.String())
	p.up("isp1", "isp2", "isp3")
	for name, route := range map[string]nettest.Route{"IPv4": web4, "IPv6": web6} {
		open, next := map[int][]*nettest.Session{}, 0
		add := func() error {
			next++
			from, to := route(next)
			s, source, err := nettest.TCP(g.LAN, from, to)
			if err != nil {
				return fmt.Errorf("refused at %d, %d and %d: %w", len(open[1]), len(open[2]), len(open[3]), err)
			}
			isp := g.ISPOf(source.Addr())
			if open[isp] = append(open[isp], s); len(open[isp]) > each {
				t.Fatalf("%s: isp%d has %d, and may have %d", name, isp, len(open[isp]), each)
			}
			return nil
		}
		fill := func(what string) {
			t.Helper()
			p.Until(30*time.Second, func() error {
				for len(open[1])+len(open[2])+len(open[3]) < 3*each {
					if err := add(); err != nil {
						return fmt.Errorf("%s, %s: %w", name, what, err)
					}
				}
				return nil
			})
		}
		fill("at first")
		for isp := 1; isp <= 3; isp++ {
			for _, s := range open[isp] {
				_ = s.Close()
			}
			open[isp] = nil
			fill(fmt.Sprintf("those of isp%d have ended", isp))
		}
		if tally := g.Connect(3, route); tally.OK() > 0 {
			t.Errorf("%s: all are full, and take %v", name, tally)
		}
		for _, list := range open {
			for _, s := range list {
				_ = s.Close()
			}
		}
	}
	clean(t, g)
}
