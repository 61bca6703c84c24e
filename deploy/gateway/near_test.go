package gateway

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/status"
)

const measuring = `proximity: {methods: [icmp], warmUp: 1s, refresh: 10s, perTarget: 1s, weights: {rtt: 100, ttl: 0, cost: %d, in: 0, out: 0}, passive: {enabled: false}}
`

// entries gives how many networks have an entry.
func (p *portolan) entries() int {
	p.T.Helper()
	list, err := client.New(p.File("sock")).Proximity(p.T.Context(), proximity.Query{})
	if err != nil {
		p.T.Fatal(err)
	}
	return len(list.Entries)
}

// goes waits until all of some connections from clients that nothing is known
// of go to a network by one ISP.
func (p *portolan) goes(bound time.Duration, isp, network int) time.Duration {
	p.T.Helper()
	return p.Until(bound, func() error {
		p.Pause(200 * time.Millisecond)
		tally := p.Connect(12, p.strangers(network)) // more than the algorithm would give one link
		if tally.By[isp] != 12 {
			return fmt.Errorf("to network %d they go %v, want isp%d", network, tally, isp)
		}
		return nil
	})
}

// Proximity by destination: a first connection has the algorithm's link and asks
// for a measurement within a second; then the nearest link is used, of those
// that take part (1.2.16), and the second nearest while it is busy (1.2.19). A
// change of cost or method clears, one of the rate limit does not (1.2.4, 1.2.5).
func TestA09_Proximity_Root(t *testing.T) {
	t.Parallel()
	g := gateway(t, nettest.Layout{ISPs: 3, Delay: []time.Duration{20 * time.Millisecond, 2 * time.Millisecond, 40 * time.Millisecond}})
	config := func(cost2 int, method, limit string) string {
		return setup{Gateway: g, link: map[int]string{0: ", cost: 10",
			2: fmt.Sprintf(", cost: %d, maxBandwidth: {out: 8Mbps}, busy: {rate: 50%%, recovery: 40%%}, rateLimit: %s", cost2, limit)},
			rest: equal(", proximity: true, busyProtection: true", "", strings.Replace(fmt.Sprintf(measuring, 100), "[icmp]", method, 1))}.String()
	}
	p := start(t, g, config(10, "[icmp]", "100Mbps"))
	p.up("isp1", "isp2", "isp3")
	pings := func() (n int) {
		for _, i := range g.ISPs {
			n += i.Pings()
		}
		return n
	}
	before, waited := pings(), p.waited()
	if tally := g.Connect(1, one(1)); tally.OK() != 1 {
		t.Fatal(tally)
	}
	p.within("measured", p.Until(longEnough, func() error {
		if pings() == before {
			return fmt.Errorf("nobody measures")
		}
		return nil
	}), time.Second, waited)
	p.goes(longEnough, 2, 0)
	six := g.Connect(1, web6)
	p.Until(longEnough, func() error {
		if six = g.Connect(7, web6); six.By[2] != 7 {
			return fmt.Errorf("IPv6 goes %v", six)
		}
		return nil
	})
	f := fill(t, g, 2, 7_000_000)
	p.row("isp2", longEnough, "busy", func(r status.Row) bool { return r.Busy })
	p.goes(longEnough, 1, 0)
	f.stop()
	p.row("isp2", longEnough, "free", func(r status.Row) bool { return !r.Busy })
	p.goes(longEnough, 2, 0)

	t.Run("cleared", func(t *testing.T) {
		known := func() { // again: asked for, measured, and its warm-up over
			p.goes(longEnough, 2, 0)
			p.Pause(2500 * time.Millisecond)
			p.goes(longEnough, 2, 0)
		}
		had := p.entries()
		if p.Apply(config(10, "[icmp]", "90Mbps")); p.entries() != had {
			t.Errorf("a change of the rate limit left %d of %d entries", p.entries(), had)
		}
		if p.Apply(config(11, "[icmp]", "90Mbps")); p.entries() != 0 {
			t.Errorf("a change of cost left %d of %d entries", p.entries(), had)
		}
		known()
		if p.Apply(config(11, "[tcp, icmp]", "90Mbps")); p.entries() != 0 {
			t.Errorf("a change of method left %d entries", p.entries())
		}
		known()
	})
	t.Run("replaced", func(t *testing.T) { testReplaced(t, p) })
	t.Run("priority", func(t *testing.T) {
		p.Apply(setup{Gateway: g, link: map[int]string{0: ", cost: 10"}, rest: grouped("[{link: isp1, priority: 5}, {link: isp3, priority: 5}, isp2]", ", proximity: true", "", fmt.Sprintf(measuring, 100))}.String())
		p.goes(longEnough, 1, 0)
	})
	clean(t, g)
}

// testReplaced: while an entry turns from one link to another, every connection
// goes by one of both.
func testReplaced(t *testing.T, p *portolan) {
	l := p.Busy(4, 5*time.Millisecond, func(i int) (netip.Addr, error) {
		tally := p.Flows(1, 1, one(i%2000))
		if tally.Failed > 0 {
			return netip.Addr{}, tally.Err
		}
		for isp, n := range tally.By {
			if n == 1 && isp > 0 {
				return p.ISPs[isp-1].Gate4, nil
			}
		}
		return netip.Addr{}, fmt.Errorf("from elsewhere")
	})
	p.ISPs[1].Line.SetDelay(60 * time.Millisecond)
	p.goes(longEnough, 1, 0) // measured again after refresh
	if tally, _ := l.Stop(); tally.Failed > 0 || tally.By[3] > 0 || tally.By[1]*tally.By[2] == 0 {
		t.Errorf("while isp1 became nearer than isp2: %v", tally)
	}
	p.ISPs[1].Line.SetDelay(2 * time.Millisecond)
}

// 10,000 prefixes of an ISP are replaced again and again under load; no flow goes
// wrong.
func TestA10_PrefixesReplaced_Root(t *testing.T) {
	t.Parallel()
	g := gateway(t, nettest.Layout{ISPs: 2})
	dir := t.TempDir()
	file := filepath.Join(dir, "near.txt")
	write := func(round int) {
		var b strings.Builder
		for n := range 10_000 { // 100.64.0.0/16 by its /24s, which stay, and others, which do not
			if n < 256 {
				fmt.Fprintf(&b, "100.64.%d.0/24\n", n)
			} else {
				fmt.Fprintf(&b, "%d.%d.%d.0/24\n", 20+round%100, n/256, n%256)
			}
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(0)
	p := start(t, g, setup{Gateway: g, rest: fmt.Sprintf(`
isps: [{name: near, prefixFile: %s}]
linkGroups: [{name: one, members: [isp1]}, {name: two, members: [isp2]}]
outbound:
  interfaces: [lan0]
  classes: [{name: near, isps: [near]}]
  policies: [{name: where, rules: [{class: near, action: {linkGroup: one}}], default: {linkGroup: two}}]
  virtualServers: [{name: all, policy: where}]
`, file)}.String())
	p.up("isp1", "isp2")
	l := g.Busy(8, time.Millisecond, func(i int) (netip.Addr, error) {
		network, want := i%256, 1
		if i%2 == 1 {
			network, want = 256+i%256, 2
		}
		s, err := nettest.UDP(g.LAN, nettest.Client4(i%2000), netip.AddrPortFrom(nettest.Server4(network, 1), 80))
		if err != nil {
			return netip.Addr{}, err
		}
		defer s.Close()
		source, err := s.Say()
		if err == nil && g.ISPOf(source.Addr()) != want {
			err = fmt.Errorf("to network %d by %s, want isp%d", network, source, want)
		}
		return source.Addr(), err
	})
	began, rounds := time.Now(), 0
	for rounds < 5 || rounds < 30 && time.Since(began) < 8*time.Second {
		rounds++
		write(rounds)
		p.Does("reload")
	}
	tally, _ := l.Stop()
	t.Logf("%d reloads in %s, %v flows", rounds, time.Since(began).Round(time.Millisecond), tally)
	if tally.Failed > 0 || tally.OK() < 50*rounds {
		t.Errorf("%d reloads: %v", rounds, tally)
	}
	clean(t, g)
}
