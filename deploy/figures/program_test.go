package figures

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/deploy/program"
	"github.com/portolan-lb/portolan/nettest"
)

// TCP connections a second through a balancer of 10,000 virtual servers, through
// one rule of destination NAT, and through the same machine without either: each
// with an exchange.
func BenchmarkConnections_Root(b *testing.B) {
	const count, rounds, virtuals = 3000, 9, 10_000
	farm := func() *nettest.Farm {
		f := nettest.NewFarm(b, nettest.FarmLayout{Hosts: 3})
		f.Serve(80)
		return f
	}
	plain, static, ours := farm(), farm(), farm()
	plain.Must(tracked, "nft", "-f", "-")
	var to []string
	for k := range perFarm {
		h := static.Hosts[k%3]
		to = append(to, fmt.Sprintf("%d : %s", k, h.Server(k, h.Addr4)))
	}
	static.Must(fmt.Sprintf("table ip rival {\n\tchain serve {\n\t\ttype nat hook prerouting priority -100;\n\t\tip daddr %s tcp dport 80 dnat to numgen random mod %d map { %s }\n\t}\n}\n",
		virtual(1), perFarm, strings.Join(to, ", ")), "nft", "-f", "-")
	newBalancer(b, ours.Space).serves(shared(ours, virtuals, ""))
	var costs [3][]float64
	rate := func(place int, name string, f *nettest.Farm, to func(i int) netip.Addr) *nettest.Contender {
		return &nettest.Contender{Name: name, Run: func() float64 {
			f.Must("", "conntrack", "-F")
			_, before := nettest.Used()
			began := time.Now()
			if s := f.Connect(count, func(i int) (netip.Addr, netip.AddrPort) { return f.Client4(i % 500), netip.AddrPortFrom(to(i), 80) }); s.OK() != count {
				b.Fatal(name, ": ", s)
			}
			took := time.Since(began)
			_, after := nettest.Used()
			costs[place] = append(costs[place], float64(after-before)/1e3/count)
			return count / took.Seconds()
		}}
	}
	all := []*nettest.Contender{
		rate(0, "routing and conntrack", plain, func(i int) netip.Addr { h := plain.Hosts[i%3]; return h.Server(i%perFarm, h.Addr4) }),
		rate(1, "one rule of DNAT", static, func(int) netip.Addr { return virtual(1) }),
		rate(2, "portolan 10000", ours, func(i int) netip.Addr { return virtual(2*i%virtuals + 1) }),
	}
	nettest.Contest(rounds, all...)
	var cpu []*nettest.Contender
	for i, c := range all {
		c.Tell(b, "connections/s", all[0], false)
		cpu = append(cpu, &nettest.Contender{Name: c.Name, Got: costs[i]})
	}
	fmt.Println("CPU of clients, servers and kernel a connection")
	for _, c := range cpu {
		c.Tell(b, "us", cpu[0], true)
	}
}

// The program with 10,000 virtual servers: until it is ready, what it needs at
// rest, and a burst of 500 real servers, and of 5,000, into nothing and beside
// 10,000 virtual servers.
func BenchmarkProgram_Root(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		x := newBox(b)
		p := program.New(b, x.Space)
		few := configuration(n)
		began := time.Now()
		p.Begin(few)
		ready := time.Since(began)
		pid := p.Cmd.Process.Pid
		p.Until(time.Minute, func() error { // and stands
			out, err := x.Run("", "nft", "list", "map", "inet", "portolan_slb", "served")
			if err == nil && strings.Count(out, " : ") < n {
				err = fmt.Errorf("%d of %d stand", strings.Count(out, " : "), n)
			}
			return err
		})
		start := nettest.Worked(b, pid)
		p.Pause(5 * time.Second)
		before := nettest.Worked(b, pid)
		p.Pause(5 * time.Second)
		fmt.Printf("program with %d virtual servers: ready after %.1f s, %.1f s of CPU until all stood; at rest %.1f ms of CPU a second; %s; load average %s\n",
			n, ready.Seconds(), start.Seconds(), ms(nettest.Worked(b, pid)-before)/5, resident(b, pid), nettest.LoadAverage())
		for _, objects := range []int{50, 50, 50, 500} {
			before, began = nettest.Worked(b, pid), time.Now()
			p.Applies(configuration(n + objects))
			took := time.Since(began)
			p.Pause(max(0, time.Second-took))
			cost := nettest.Worked(b, pid) - before
			fmt.Printf("burst: %d virtual servers with ten servers each more than %d, in one change: at work after %.0f ms, %.0f ms of CPU\n", objects, n, ms(took), ms(cost))
			p.Applies(few)
			p.Pause(time.Second)
		}
		p.Stop()
	}
}

// resident is the memory of a process that is in use.
func resident(b *testing.B, pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "VmRSS") {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return "memory unknown"
}
