package link

import (
	"context"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

const longEnough = 20 * time.Second

// gateway is a namespace with links that run, and a cable eth1 to another.
type gateway struct {
	*Links
	t           *testing.T
	here, there *nettest.Space
	moved       chan struct{}
}

func newGateway(t *testing.T, yaml string) *gateway {
	t.Helper()
	g := &gateway{t: t, here: nettest.New(t), there: nettest.New(t), moved: make(chan struct{}, 100)}
	for _, s := range []*nettest.Space{g.here, g.there} {
		s.Set("ipv6/conf/default/disable_ipv6", "1") // its own packets would be counted
	}
	g.here.Cable("eth1", g.there, "peer")
	g.here.IP("addr add 192.0.2.1/24 dev eth1")
	g.there.IP("addr add 192.0.2.2/24 dev peer")
	var r *kernel.Reader
	var err error
	g.here.Do(func() { r, err = kernel.Open() })
	if err != nil {
		t.Fatal(err)
	}
	g.Links = New(status.NewBoard(1000), Options{Kernel: r, Log: slog.New(slog.DiscardHandler), Moved: func() { g.moved <- struct{}{} }})
	g.Want(specs(t, yaml))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		r.Close()
	})
	return g
}

// until waits until something is so, and says how long that took.
func (g *gateway) until(what string, ok func() bool) time.Duration {
	g.t.Helper()
	begin := time.Now()
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !ok() {
		if time.Since(begin) > longEnough {
			g.t.Fatalf("%s: not seen; links %+v", what, g.States())
		}
		<-poll.C
	}
	return time.Since(begin)
}

// flow sends datagrams of 1,000 octets on the wire at a rate, in bits a second,
// from a namespace to a neighbour that drops them, until stop is called. It
// keeps to its schedule: what a busy machine delays is made up for.
func (g *gateway) flow(from *nettest.Space, device, to string, rate float64) (stop func()) {
	g.t.Helper()
	from.IP("neigh replace " + to + " lladdr 02:00:00:00:00:99 dev " + device + " nud permanent")
	var conn net.Conn
	var err error
	from.Do(func() { conn, err = net.Dial("udp", to+":9") })
	if err != nil {
		g.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), 2*longEnough)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer conn.Close()
		payload := make([]byte, 1000-14-20-8) // Ethernet, IP, UDP
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		begin, sent := time.Now(), 0.0
		for {
			for sent < time.Since(begin).Seconds()*rate/8000 {
				if _, err := conn.Write(payload); err != nil {
					g.t.Error(err)
					return
				}
				sent++
			}
			select {
			case <-ctx.Done():
				return
			case <-pace.C:
			}
		}
	}()
	return func() { cancel(); <-done }
}

// Rates of real traffic, both ways, are right within 5 %; a link over its
// threshold is busy within a window and a tick, and free again.
func TestRates_Root(t *testing.T) {
	g := newGateway(t, "  - {name: a, interface: eth1, maxBandwidth: {out: 20Mbps, in: 1Gbps}}\n")
	g.until("a rate", func() bool { return g.States()[0].Rates[busy.Total] == 0 })
	stopIn := g.flow(g.there, "peer", "192.0.2.1", 8e6)
	near := func(d busy.Direction, want float64) func() bool {
		return func() bool { return math.Abs(g.States()[0].Rates[d]-want) <= 0.05*want }
	}
	g.until("8 Mbit/s in", near(busy.In, 8e6))
	if g.board.Table().Row("link/a").Busy {
		t.Error("busy by what came in")
	}
	stopOut := g.flow(g.here, "eth1", "192.0.2.2", 16e6)
	took := g.until("busy", func() bool { return g.board.Table().Row("link/a").Busy })
	t.Logf("busy %v after the traffic began: %s", took, g.board.Table().Row("link/a").LoadWhy)
	g.until("16 Mbit/s out", near(busy.Out, 16e6))
	g.until("24 Mbit/s together", near(busy.Total, 24e6))
	g.until("8 Mbit/s in, still", near(busy.In, 8e6))
	stopOut()
	took = g.until("free", func() bool { return !g.board.Table().Row("link/a").Busy })
	t.Logf("free %v after it ended: %s", took, g.board.Table().Row("link/a").LoadWhy)
	stopIn()
}

func (g *gateway) row(id status.ID, health status.Health, why string) func() bool {
	return func() bool {
		r, ok := g.board.Table().Lookup(id)
		return ok && r.Health == health && (why == "" || r.Why == why)
	}
}

// A link follows its interface through a pulled cable, a rename, a removal and
// a return, and the default route over it.
func TestFollows_Root(t *testing.T) {
	g := newGateway(t, "  - {name: a, interface: eth1}\n")
	up := func(what string) { g.t.Helper(); g.until(what, g.row("interface/eth1", status.Up, "")) }
	hop := func(want string, lost bool) {
		t.Helper()
		g.until("next hop "+want, func() bool { w, _ := g.Way("a"); return w.NextHop.String() == want && w.Lost == lost })
	}
	up("cable")
	hop("invalid IP", false)
	g.here.IP("route add default via 192.0.2.2")
	hop("192.0.2.2", false)
	<-g.moved
	g.here.IP("route replace default via 192.0.2.3")
	hop("192.0.2.3", false)
	<-g.moved

	g.there.IP("link set peer down")
	g.until("no cable", g.row("interface/eth1", status.Down, ""))
	g.there.IP("link set peer up")
	up("cable again")

	g.until("rates", func() bool { return !math.IsNaN(g.States()[0].Rates[busy.In]) })
	g.here.IP("link set eth1 down")
	g.until("switched off", g.row("interface/eth1", status.Down, "it is switched off (ip link set eth1 up)"))
	g.here.IP("link set eth1 name wan0")
	g.until("renamed", g.row("interface/eth1", status.Down, "interface eth1 is gone (renamed to wan0)"))
	hop("192.0.2.3", true)
	g.until("rates unknown", func() bool { return math.IsNaN(g.States()[0].Rates[busy.In]) })
	g.here.IP("link del wan0")
	g.until("removed", g.row("interface/eth1", status.Down, "interface eth1 is gone"))
	g.here.Cable("eth1", g.there, "peer")
	up("another of its name")
	g.here.IP("addr add 192.0.2.1/24 dev eth1")
	g.here.IP("route add default via 192.0.2.9")
	hop("192.0.2.9", false)
	if name, ok := g.Owner(netip.MustParseAddr("192.0.2.1"), 0); name != "a" || !ok {
		t.Errorf("owner %q %v", name, ok)
	}
	g.until("rates of the other one", func() bool { return !math.IsNaN(g.States()[0].Rates[busy.In]) })
}
