package probe

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// large is 1,000 pools that probe the same 10,000 virtual servers, ten each.
func large() *config.Model {
	m := &config.Model{Probes: []*config.Probe{{Name: "web", Kind: "http", Interval: 5 * sec, Timeout: 3 * sec, Rise: 3, Fall: 3}}}
	for i := range 10_000 {
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{
			Name: fmt.Sprint("vs", i), Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})}, Port: 80, Probes: []string{"web"},
		})
	}
	for i := range 1_000 {
		p := &config.Pool{Name: fmt.Sprint("pool", i), Probes: []string{"web"}}
		for j := range 10 {
			p.Members = append(p.Members, &config.Member{VirtualServer: fmt.Sprint("vs", i*10+j)})
		}
		m.Pools = append(m.Pools, p)
	}
	return m
}

func BenchmarkCompile(b *testing.B) {
	m := large()
	for b.Loop() {
		if p := Compile(m); len(p.Checks) != 10_000 || len(p.Verdicts) != 20_000 {
			b.Fatalf("%d checks, %d verdicts", len(p.Checks), len(p.Verdicts))
		}
	}
}

// BenchmarkReload wants a plan of 10,000 checks again, unchanged.
func BenchmarkReload(b *testing.B) {
	m := large()
	p := New(status.NewBoard(10), Options{})
	p.Want(Compile(m))
	plan := Compile(m)
	for b.Loop() {
		p.Want(plan)
	}
}

// BenchmarkResult is a result that changes no row, among 10,000 checks.
func BenchmarkResult(b *testing.B) {
	plan := Compile(large())
	p := New(status.NewBoard(10), Options{})
	p.Want(plan)
	r := p.runners[plan.Checks[77].ID]
	p.record(r, Record{Outcome: Pass, Saw: "fine"})
	b.ReportAllocs()
	for b.Loop() {
		p.record(r, Record{Outcome: Pass, Saw: "fine"})
	}
}

// BenchmarkFlip is a result that changes a row and two verdicts.
func BenchmarkFlip(b *testing.B) {
	plan := Compile(large())
	p := New(status.NewBoard(10), Options{})
	for i := range plan.Checks {
		plan.Checks[i].Probe.Rise, plan.Checks[i].Probe.Fall = 1, 1
	}
	p.Want(plan)
	r := p.runners[plan.Checks[77].ID]
	for i := 0; b.Loop(); i++ {
		p.record(r, Record{Outcome: Outcome(i % 2), Saw: "fine"})
		p.publish()
	}
}
