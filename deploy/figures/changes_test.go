package figures

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// A load of 10,000 virtual servers into a kernel that has nothing of them: reading
// the configuration, compiling it, and all until it stands, with the memory that
// it takes.
func BenchmarkLoad_Root(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		text := configuration(n)
		var wall, inKernel, cpu []float64
		for range 3 {
			x := newBox(b)
			s := newBalancer(b, x.Space)
			before, began := heap(), time.Now()
			s.read(text)
			read := time.Since(began)
			s.compile()
			compiled := time.Since(began) - read
			kernelBefore, allBefore := nettest.Used()
			began = time.Now()
			s.stand()
			took := time.Since(began)
			kernelAfter, allAfter := nettest.Used()
			wall, inKernel, cpu = append(wall, ms(took)), append(inKernel, ms(kernelAfter-kernelBefore)), append(cpu, ms(allAfter-allBefore))
			fmt.Printf("  %d virtual servers: read %.0f ms, compiled %.0f ms, stand after %.0f ms more (CPU %.0f, %.0f of it in the kernel); heap %.0f MiB\n",
				n, ms(read), ms(compiled), ms(took), ms(allAfter-allBefore), ms(kernelAfter-kernelBefore), heap()-before)
			s.Use(nil, nil, s.numbers)
			s.synced()
		}
		fmt.Printf("load of %d virtual servers: least %.0f ms, median %.0f ms; CPU least %.0f ms, %.0f of it in the kernel; load average %s\n",
			n, slices.Min(wall), nettest.Median(wall), slices.Min(cpu), slices.Min(inKernel), nettest.LoadAverage())
	}
}

// A server fails or is back, in one farm of 10 and of 10,000: from the row to
// where it stands in Linux, and what nft monitor tells of it.
func BenchmarkDelta_Root(b *testing.B) {
	for _, n := range []int{10, 1000, 10_000} {
		x := newBox(b)
		s := newBalancer(b, x.Space).serves(configuration(n))
		round := 0
		change := func() (asked, stood time.Duration) {
			row := status.Row{ID: status.MakeID(status.KindRealServer, fmt.Sprintf("f%d/s%d", round/2*7%n, round/2%perFarm)), Health: status.Down, Why: "the figures say so", By: "figures"}
			if round%2 == 1 {
				row.Health = status.Up
			}
			round++
			select {
			case <-s.changed:
			default:
			}
			began := time.Now()
			s.board.Update(row)
			<-s.changed
			asked = time.Since(began)
			s.synced()
			return asked, time.Since(began)
		}
		for range 20 {
			change()
		}
		heard := x.Overhear(b, func() { change() })
		back := x.Overhear(b, func() { change() })
		const count = 1000
		var decide, whole, written []float64
		kernelBefore, allBefore := nettest.Used()
		for range count {
			asked, stood := change()
			decide, whole, written = append(decide, ms(asked)), append(whole, ms(stood)), append(written, ms(stood-asked))
		}
		kernelAfter, allAfter := nettest.Used()
		fmt.Printf("delta in %d virtual servers: decided least %.3f, median %.3f ms; then in Linux least %.3f, median %.3f, p99 %.3f ms; in all median %.3f, p99 %.3f ms; CPU a change %.0f us, %.0f in the kernel; nft monitor: down %+v, back %+v; load average %s\n",
			n, slices.Min(decide), nettest.Median(decide), slices.Min(written), nettest.Median(written), nettest.Percentile(written, 99), nettest.Median(whole), nettest.Percentile(whole, 99),
			float64(allAfter-allBefore)/count/1e3, float64(kernelAfter-kernelBefore)/count/1e3, heard, back, nettest.LoadAverage())
	}
	for _, n := range []int{1000, 10_000} {
		x := newBox(b)
		began := time.Now()
		x.Must(list(n), "nft", "-f", "-")
		fmt.Printf("a rule each: %d services loaded by nft in %.2f s\n", n, time.Since(began).Seconds())
	}
	for _, n := range []int{500, 1000, 2000} {
		x := newBox(b)
		began := time.Now()
		x.Must(chains(n), "nft", "-f", "-")
		took := time.Since(began)
		var wall []float64
		for i := range 10 {
			began = time.Now()
			x.Must(chainDown(i/2, i%2 == 0), "nft", "-f", "-")
			wall = append(wall, ms(time.Since(began)))
		}
		began = time.Now()
		x.Must("", "nft", "--version")
		fmt.Printf("a chain each: %d services loaded by nft in %.2f s; a server down or back least %.1f ms, median %.1f ms, %.1f of it the start of nft\n",
			n, took.Seconds(), slices.Min(wall), nettest.Median(wall), ms(time.Since(began)))
	}
}

// shared is configuration over the servers of one farm of machines, which all
// virtual servers share: they answer.
func shared(f *nettest.Farm, virtuals int, more string) string {
	servers := ""
	for k := range perFarm {
		h := f.Hosts[k%len(f.Hosts)]
		servers += fmt.Sprintf("{name: s%d, address: %s, port: 80}, ", k, h.Server(k, h.Addr4))
	}
	text, farms := "version: 1\nvirtualServers:\n", "serverFarms:\n"
	var b, c []byte
	for i := range virtuals {
		b = fmt.Appendf(b, "  - {name: v%d, address: %s, port: 80, serve: {type: %s, farm: f%d}}\n", i, virtual(i), []string{"udp", "tcp"}[i%2], i)
		c = fmt.Appendf(c, "  - {name: f%d, slots: 64, servers: [%s]}\n", i, servers)
	}
	return text + string(b) + more + farms + string(c)
}

// Forwarding while virtual servers are added to 10,000: how long a new flow and its
// answer take when nothing changes, while changes are computed that nobody
// applies, and while they are applied.
func BenchmarkAdd_Root(b *testing.B) {
	const virtuals = 10_000
	f := nettest.NewFarm(b, nettest.FarmLayout{Hosts: 3})
	f.Serve(80)
	s := newBalancer(b, f.Space).serves(shared(f, virtuals, ""))
	other := newBalancer(b, nettest.New(b)) // computes, and nobody sees it
	if spread := f.Flows(200, 1, func(i int) (netip.Addr, netip.AddrPort) { return f.Client4(i), netip.AddrPortFrom(virtual(2*i), 80) }); spread.Failed > 0 {
		b.Fatal(spread)
	}
	models, round := []*config.Model{s.model}, 0
	other.read(shared(f, virtuals, fmt.Sprintf("  - {name: one, address: %s, port: 81, serve: {type: udp, farm: f1}}\n", virtual(0))))
	models = append(models, other.model)
	next := func(s *balancer) *balancer { // one more virtual server, or one less
		round++
		s.model = models[round/2%2]
		s.compile()
		return s
	}
	var lost int
	// window measures new flows until what goes on beside them has ended.
	window := func(name string, beside func()) *nettest.Contender {
		return &nettest.Contender{Name: name, Run: func() float64 {
			done := make(chan struct{})
			var wg sync.WaitGroup
			wg.Go(func() { defer close(done); beside() })
			var took []float64
			for i := 0; ; i++ {
				began := time.Now()
				talk, err := f.UDP(f.Client4(i%5000), netip.AddrPortFrom(virtual(2*i%virtuals), 80))
				if err == nil {
					err = talk.Close()
				}
				took = append(took, ms(time.Since(began)))
				if err != nil {
					lost++
				}
				select {
				case <-done:
					wg.Wait()
					return nettest.Percentile(took, 99)
				default:
				}
			}
		}}
	}
	idle := window("nothing changes", func() { <-time.After(1500 * time.Millisecond) })
	computed := window("computed, not applied", func() { next(other) })
	added := window("one virtual server more or less", func() { next(s).stand() })
	nettest.Contest(7, idle, computed, added)
	fmt.Printf("p99 of a new UDP flow and its answer beside 10,000 virtual servers; %d failed\n", lost)
	idle.Tell(b, "ms", nil, true)
	computed.Tell(b, "ms", idle, true)
	added.Tell(b, "ms", idle, true)
	added.Tell(b, "ms", computed, true)
}
