package gateway

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slots"
)

// TCP connections a second through gateways that balance and one that does not.
func BenchmarkConnections_Root(b *testing.B) {
	r := newRivals(b)
	const count, rounds = 4000, 9
	rate := func(name string, g *nettest.Gateway) *nettest.Contender {
		return &nettest.Contender{Name: name, Run: func() float64 {
			g.Must("", "conntrack", "-F")
			began := time.Now()
			if tally := g.Connect(count, web4); tally.OK() != count {
				b.Fatal(name, ": ", tally)
			}
			return count / time.Since(began).Seconds()
		}}
	}
	plain, static, ours := rate("masquerade", r.plain), rate("static numgen and masquerade", r.static), rate("portolan", r.ours)
	nettest.Contest(rounds, plain, static, ours)
	for _, c := range []*nettest.Contender{plain, static, ours} {
		c.Tell(b, "connections/s", plain, false)
	}
	ours.Tell(b, "connections/s", static, false)
}

// office is a namespace with n lines that lead nowhere.
func office(b *testing.B, n int) (*nettest.Space, []string) {
	s := nettest.New(b)
	var lines, links []string
	for i := 1; i <= n; i++ {
		lines = append(lines, fmt.Sprintf("link add wan%d type veth peer name far%d", i, i), fmt.Sprintf("link set far%d up", i), fmt.Sprintf("addr add 198.18.%d.2/24 dev wan%d", i, i), fmt.Sprintf("link set wan%d up", i))
		links = append(links, fmt.Sprintf("  - {name: isp%d, interface: wan%d, nextHop: 198.18.%d.1}\n", i, i, i))
	}
	s.Batch(append(lines, "link add lan0 type veth peer name desk", "link set desk up", "addr add 10.10.0.1/16 dev lan0", "link set lan0 up")...)
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		s.Set(name, "1")
	}
	return s, links
}

// A full start: the configuration of 10 links and 10,000 prefixes is compiled,
// and its tables, routes and 50,000 networks with their distances are put into
// Linux, which has nothing of it.
func BenchmarkStart_Root(b *testing.B) {
	s, links := office(b, 10)
	text := everything(10_000, links, "lan0")
	var wall, cpu []float64
	for range 9 {
		_, before := nettest.Used()
		began := time.Now()
		t := compiled(b, s, text)
		loaded := time.Now()
		t.share(3, 2, 1, 1, 1, 1, 1, 1, 1, 1)
		t.measured(50_000, 10)
		t.stand()
		_, after := nettest.Used()
		wall = append(wall, float64(time.Since(loaded))/1e6)
		cpu = append(cpu, float64(after-before)/1e6)
		fmt.Printf("  reading the configuration %.0f ms, then %.0f ms until all stands\n", float64(loaded.Sub(began))/1e6, wall[len(wall)-1])
		t.Want(outbound.Owner, nil)
		t.synced()
	}
	fmt.Printf("full start: tables stand after %.0f ms (least), %.0f (median); CPU with reading the configuration %.0f (least), %.0f (median)\n", slices.Min(wall), nettest.Median(wall), slices.Min(cpu), nettest.Median(cpu))
}

// A tick that rewrites all slots of a group, one that rewrites 8, and the loss
// of a member: time until it stands, CPU time, and what nft monitor shows.
func BenchmarkChanges_Root(b *testing.B) {
	s, links := office(b, 10)
	t := compiled(b, s, everything(10_000, links, "lan0"))
	even := []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	t.share(even...)
	t.measured(50_000, 10)
	t.stand()
	rewritten := func(of func(i, round int) slots.ID) func(int) []*kernel.Elements {
		return func(round int) (changed []*kernel.Elements) {
			all := make(slots.Slots, outbound.SlotCount)
			for i := range all {
				all[i] = of(i, round)
			}
			for _, v := range t.plan.Variants() {
				changed = append(changed, v.SetSlots(all)...)
			}
			return changed
		}
	}
	without := func(round int) []*kernel.Elements { // a link comes and goes
		w := slices.Clone(even)
		w[9] = round % 2
		r := slots.Result{Slots: make(slots.Slots, outbound.SlotCount)}
		for i, n := range w {
			if n > 0 {
				r.Alive = append(r.Alive, slots.ID(i+1))
			}
		}
		r.Available, r.AvailableOrBusy = r.Alive, r.Alive
		for i := range r.Slots { // only the slots of the tenth move
			if r.Slots[i] = slots.ID(i%10 + 1); r.Slots[i] == 10 && w[9] == 0 {
				r.Slots[i] = slots.ID(i/10%9 + 1)
			}
		}
		var changed []*kernel.Elements
		for _, v := range t.plan.Variants() {
			changed = append(changed, v.Set(&r)...)
		}
		return changed
	}
	for _, c := range []struct {
		name   string
		change func(round int) []*kernel.Elements
	}{
		{"256 slots rewritten", rewritten(func(i, round int) slots.ID { return slots.ID((i+round)%10 + 1) })},
		{"8 slots rewritten", rewritten(func(i, round int) slots.ID {
			if i < 8 {
				return slots.ID((i+round)%10 + 1)
			}
			return 1
		})},
		{"one of ten members lost or found", without},
	} {
		t.Changed(outbound.Owner, c.change(0)...)
		t.synced()
		shown := s.Overhear(b, func() { t.Changed(outbound.Owner, c.change(1)...); t.synced() })
		const count = 1000
		var wall []float64
		kernelBefore, allBefore := nettest.Used()
		for round := range count {
			began := time.Now()
			t.Changed(outbound.Owner, c.change(round)...)
			t.synced()
			wall = append(wall, float64(time.Since(began))/1e3)
		}
		kernelAfter, allAfter := nettest.Used()
		fmt.Printf("%-34s until it stands least %.0f us, median %.0f us; CPU a change %.0f us, %.0f of it in the kernel; as nft monitor tells: %+v\n", c.name,
			slices.Min(wall), nettest.Median(wall), float64(allAfter-allBefore)/count/1e3, float64(kernelAfter-kernelBefore)/count/1e3, shown)
	}
}
