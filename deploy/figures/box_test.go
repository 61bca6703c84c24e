package figures

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

func TestMain(m *testing.M) { program.Main(m) }

// box is a machine between clients and servers, which are all addresses of one
// namespace. What comes to port 9 there is counted and dropped as it arrives, so
// that nothing but the clients' sending and the box costs.
type box struct {
	*nettest.Space
	clients, servers *nettest.Space
}

// edge drops at the far ends what no one answers.
const edge = `table inet edge {
	counter seen { }
	chain arrive {
		type filter hook prerouting priority -500;
		udp dport 9 counter name seen drop
		udp sport 9 drop
	}
}
`

// newBox makes a box that routes and has no rules.
func newBox(b *testing.B) *box {
	b.Helper()
	x := &box{nettest.New(b), nettest.New(b), nettest.New(b)}
	x.Set("ipv4/ip_forward", "1")
	x.Cable("front0", x.clients, "eth0")
	x.Cable("back0", x.servers, "eth0")
	x.Batch("addr add 192.0.2.1/24 dev front0", "addr add 10.30.0.1/24 dev back0", "route add 10.10.0.0/16 via 192.0.2.2",
		"route add 172.16.0.0/12 via 10.30.0.2", "route add 100.64.0.0/10 via 10.30.0.2")
	x.clients.Batch("addr add 192.0.2.2/24 dev eth0", "route add local 10.10.0.0/16 dev lo", "route add default via 192.0.2.1")
	x.servers.Batch("addr add 10.30.0.2/24 dev eth0", "route add local 172.16.0.0/12 dev lo", "route add local 100.64.0.0/10 dev lo", "route add default via 10.30.0.1")
	x.clients.Must(edge, "nft", "-f", "-")
	x.servers.Must(edge, "nft", "-f", "-")
	return x
}

// seen counts what has reached the servers.
func (x *box) seen(b *testing.B) (n int) {
	b.Helper()
	out := x.servers.Must("", "nft", "list", "counter", "inet", "edge", "seen")
	at := strings.Index(out, "packets")
	if at < 0 {
		b.Fatal(out)
	}
	if _, err := fmt.Sscanf(out[at:], "packets %d", &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// client, virtual and server are the addresses: 2,000 clients, and so many
// virtual servers as there are, each with so many servers of its own.
func client(n int) netip.Addr  { return after(10<<24|10<<16, n%2000+1) }
func virtual(n int) netip.Addr { return after(100<<24|64<<16, n+1) }

const perFarm = 10

func server(vs, n int) netip.Addr { return after(172<<24|16<<16, vs*perFarm+n+1) }

func after(base uint32, n int) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], base+uint32(n))
	return netip.AddrFrom4(a)
}

// configuration is of so many virtual servers, each over a farm of its own of ten
// servers with 64 slots. Nothing is probed: what probes cost is seen elsewhere.
func configuration(virtuals int) string {
	var servers, farms strings.Builder
	for i := range virtuals {
		fmt.Fprintf(&servers, "  - {name: v%d, address: %s, port: 9, serve: {type: udp, farm: f%d}}\n", i, virtual(i), i)
		fmt.Fprintf(&farms, "  - {name: f%d, slots: 64, servers: [", i)
		for k := range perFarm {
			fmt.Fprintf(&farms, "{name: s%d, address: %s, port: 9}, ", k, server(i, k))
		}
		farms.WriteString("]}\n")
	}
	return "version: 1\nvirtualServers:\n" + servers.String() + "serverFarms:\n" + farms.String()
}

// balancer is what the program has for a configuration, without the program: what
// costs is seen apart from it.
type balancer struct {
	*slb.SLB
	*kernel.Kernel
	b       testing.TB
	board   *status.Board
	numbers l4.Numbers
	plan    *l4.Plan
	model   *config.Model

	changed chan struct{} // the kernel was told of a change
}

// Changed passes on what slb tells the kernel, and says that it did.
func (s *balancer) Changed(owner string, sets ...*kernel.Elements) {
	s.Kernel.Changed(owner, sets...)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// newBalancer has nothing stand yet.
func newBalancer(b testing.TB, space *nettest.Space) *balancer {
	b.Helper()
	s := &balancer{b: b, board: status.NewBoard(1000), changed: make(chan struct{}, 1)}
	var reader *kernel.Reader
	var tracking *kernel.Conntrack
	var err error
	space.Do(func() {
		if s.Kernel, err = kernel.New(kernel.Options{}); err != nil {
			return
		}
		if reader, err = kernel.Open(); err == nil {
			tracking, err = kernel.OpenConntrack()
		}
	})
	if err != nil {
		b.Fatal(err)
	}
	s.SLB = slb.New(slb.Options{Board: s.board, Kernel: s, Sessions: tracking, Interfaces: reader.Interfaces,
		Count: func() (slb.Counter, error) { return kernel.OpenLiveServers(kernel.ServerMask) }})
	s.board.Prepare(s.Prepare)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- s.Kernel.Run(ctx) }()
	go func() { done <- s.SLB.Run(ctx) }()
	b.Cleanup(func() {
		stop()
		for range 2 {
			if err := <-done; err != nil {
				b.Error(err)
			}
		}
		reader.Close()
		s.Close()
	})
	return s
}

// Run is of neither alone.
func (s *balancer) Run(context.Context) error { panic("it runs") }

// read takes in a configuration.
func (s *balancer) read(text string) {
	s.b.Helper()
	m, errs := config.LoadBytes([]byte(text), config.Source{})
	if errs.Failed() {
		s.b.Fatal(errs)
	}
	s.model = m
}

// compile makes a plan of it.
func (s *balancer) compile() {
	s.b.Helper()
	topo, errs := topology.Compile(s.model, config.Source{})
	if errs.Failed() {
		s.b.Fatal(errs)
	}
	var err error
	if s.numbers, err = l4.Number(s.model, s.numbers, nil); err != nil {
		s.b.Fatal(err)
	}
	if s.plan, errs = l4.Compile(l4.Inputs{Model: s.model, Topology: topo, Numbers: s.numbers, Before: s.plan}); errs.Failed() {
		s.b.Fatal(errs)
	}
}

// stand has it stand in Linux.
func (s *balancer) stand() {
	s.b.Helper()
	s.Use(s.plan, s.model, s.numbers)
	s.synced()
}

func (s *balancer) synced() {
	s.b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := s.Sync(ctx, slb.Owner); err != nil {
		s.b.Fatal(err)
	}
}

// serves is read, compile and stand.
func (s *balancer) serves(text string) *balancer {
	s.b.Helper()
	s.read(text)
	s.compile()
	s.stand()
	return s
}

// heap gives the MiB of our memory that are in use.
func heap() float64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
