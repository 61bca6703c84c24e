package gateway

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// From an ISP's silence to the first flow that goes by another: the bound of the
// probe, and what comes after the program knows. New flows begin each 2 ms.
func BenchmarkFailover_Root(b *testing.B) {
	g := three(b)
	p := start(b, g, setup{Gateway: g, rest: grouped("[{link: isp1, priority: 5}, isp2, isp3]", "", "", "")}.String())
	var known, right, after []float64
	for round := range 10 {
		p.up("isp1", "isp2", "isp3")
		p.Until(10*time.Second, func() error {
			if tally := g.Flows(20, 1, web4); tally.By[1] != 20 {
				return fmt.Errorf("not all by isp1: %v", tally)
			}
			return nil
		})
		g.ISPs[0].Silence(true)
		began := time.Now()
		first := make(chan time.Duration, 1)
		go func() { first <- firstElsewhere(g, round, began) }()
		down := p.row("isp1", 5*time.Second, "down", func(r status.Row) bool { return r.Health == status.Down })
		moved := <-first
		g.ISPs[0].Silence(false)
		known, right, after = append(known, ms(down)), append(right, ms(moved)), append(after, ms(moved-down))
	}
	fmt.Printf("failover: bound of the probe %.0f ms; down after %.0f ms (median; %.0f to %.0f); the first flow that went by another link began after %.0f ms (median; %.0f to %.0f), %.1f ms (median) after the API showed it\n",
		ms(detected), nettest.Median(known), slices.Min(known), slices.Max(known), nettest.Median(right), slices.Min(right), slices.Max(right), nettest.Median(after))
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// firstElsewhere begins flows until one is answered, and says when that began.
func firstElsewhere(g *nettest.Gateway, round int, began time.Time) time.Duration {
	var mu sync.Mutex
	first := time.Duration(0)
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for i := range 2000 {
		<-tick.C
		mu.Lock()
		at := first
		mu.Unlock()
		if at > 0 {
			return at
		}
		s, err := nettest.UDP(g.LAN, nettest.Client4((round*2000+i)%2000), netip.AddrPortFrom(nettest.Server4(i%7, 1), 80))
		if err != nil {
			continue
		}
		at = time.Since(began)
		wg.Go(func() {
			defer s.Close()
			if source, err := s.Say(); err == nil && g.ISPOf(source.Addr()) != 1 {
				mu.Lock()
				if first == 0 || at < first {
					first = at
				}
				mu.Unlock()
			}
		})
	}
	return 0
}

// A burst of 500 new objects (D2 g): in one change, and each in one of its own
// as fast as the program takes them.
func BenchmarkBurst_Root(b *testing.B) {
	g := three(b)
	config := func(n int) string {
		var c strings.Builder
		c.WriteString("linkGroups: [{name: all, members: [isp1, isp2, isp3]}]\noutbound:\n  interfaces: [lan0]\n  virtualServers:\n    - {name: all, linkGroup: all}\n")
		for i := range n {
			fmt.Fprintf(&c, "    - {name: s%d, destinations: [100.%d.%d.0/24], protocol: tcp, ports: [443], linkGroup: all}\n", i, 64+i/256, i%256)
		}
		return setup{Gateway: g, rest: c.String()}.String()
	}
	p := start(b, g, config(0))
	p.up("isp1", "isp2", "isp3")
	f := forwarder{name: "portolan", pid: p.Cmd.Process.Pid}
	const objects = 500
	idle := f.cpu(b)
	p.Pause(2 * time.Second)
	idle = (f.cpu(b) - idle) / 2
	fmt.Printf("burst: with nothing to do %.1f ms of CPU a second\n", ms(idle))
	for range 3 {
		p.Applies(config(0))
		p.Pause(time.Second)
		before, began := f.cpu(b), time.Now()
		p.Applies(config(objects))
		took := time.Since(began)
		p.Pause(time.Second - took)
		cost := f.cpu(b) - before
		fmt.Printf("burst: %d virtual servers in one change: at work after %.0f ms, %.0f ms of CPU in the second: %.1f %% of a core\n", objects, ms(took), ms(cost), ms(cost)/10)
	}
	p.Applies(config(0))
	before, began := f.cpu(b), time.Now()
	for i := range objects {
		p.Applies(config(i + 1))
	}
	took, cost := time.Since(began), f.cpu(b)-before
	fmt.Printf("burst: %d virtual servers, each in a change of its own: %.1f s, %.1f ms of CPU a change\n", objects, took.Seconds(), ms(cost)/objects)
}
