package l4

import (
	"fmt"
	"net/netip"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// many is a model of n virtual servers, each over a farm of so many servers with
// 64 slots, as the decoder would give it.
func many(n, servers int, algorithm config.FarmAlgorithm) *config.Model {
	m := &config.Model{SLB: &config.SLB{Enabled: true, Local: true}}
	a, b := netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("10.0.0.1")
	for i := range n {
		name := fmt.Sprintf("n%05d", i)
		serve := &config.Serve{Type: config.ServeTCP, Enabled: true, Farm: name, Mask: config.Mask{V4: 32, V6: 128}}
		switch i % 4 { // of every kind
		case 1:
			serve.Ports = []config.PortRange{{From: 8000, To: 8099}}
		case 2:
			serve.Type = config.ServeIP
		case 3:
			serve.Mask.V4 = 32
		}
		m.VirtualServers = append(m.VirtualServers, &config.VirtualServer{Name: name, Addresses: []netip.Addr{a}, Port: 80, Serve: serve})
		a = a.Next()
		f := &config.ServerFarm{Name: name, Algorithm: algorithm, Slots: 64, Mode: config.FarmNAT, OnBusy: config.FarmDrop, OnFailure: config.ServerKeep}
		for k := range servers {
			s := &config.RealServer{Name: fmt.Sprint("s", k), Enabled: true, Addresses: []netip.Addr{b}, Weight: 1}
			if i%4 != 2 {
				s.Port = 8080
			}
			f.Servers = append(f.Servers, s)
			b = b.Next()
		}
		m.ServerFarms = append(m.ServerFarms, f)
	}
	return m
}

func compileModel(t testing.TB, m *config.Model, before *Plan) *Plan {
	t.Helper()
	kept := Numbers{}
	if before != nil {
		kept = before.num
	}
	numbers, err := Number(m, kept, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, errs := Compile(Inputs{Model: m, Numbers: numbers, Before: before})
	if errs.Failed() {
		t.Fatal(errs)
	}
	return p
}

// worked is how long this process has had a processor: what the machine does
// beside it does not count.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The number of rules does not grow with virtual servers, farms and servers.
func TestRulesDoNotGrow(t *testing.T) {
	few := rules(compileModel(t, many(10, 3, config.FarmRandom), nil).Wishes(usual()))
	lots := rules(compileModel(t, many(10_000, 10, config.FarmRandom), nil).Wishes(usual()))
	if few != lots || few > 70 {
		t.Errorf("%d rules of 10 virtual servers, %d of 10,000", few, lots)
	}
	turns := rules(compileModel(t, many(1000, 3, config.FarmRoundRobin), nil).Wishes(usual()))
	if turns > few+turnsMost+2 {
		t.Errorf("%d rules of 1000 farms in turn", turns)
	}
}

// Compiling 10,000 virtual servers takes well below a second, four times as long
// as 2,500 and not sixteen; what a reload does not change is shared (T60).
func TestCompileAtSize(t *testing.T) {
	took := map[int]time.Duration{}
	var p *Plan
	for _, n := range []int{2500, 10_000} {
		m := many(n, 10, config.FarmRoundRobin)
		runtime.GC()
		began := worked(t)
		p = compileModel(t, m, nil)
		took[n] = worked(t) - began
	}
	t.Logf("compiled: %v of a processor", took)
	if !raceOn && (took[10_000] > 2*time.Second || took[10_000] > 10*took[2500]) {
		t.Errorf("compiled: %v of a processor", took)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := worked(t)
	for _, f := range p.farms {
		p.SetSlots(f.Name, spread(f.Slots, f.ids()))
		p.SetServers(f.Name, evenly(f.ids()))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	t.Logf("640,000 slots: %s, %d MiB; heap %d MiB", worked(t)-began, (after.HeapAlloc-before.HeapAlloc)>>20, after.HeapAlloc>>20)

	m := many(10_000, 10, config.FarmRoundRobin)
	began = worked(t)
	same := compileModel(t, m, p)
	t.Logf("a reload of the same: %s", worked(t)-began)
	for set, e := range p.data.sets {
		if same.data.sets[set] != e && e.Len() > 0 && set != "farm" && set != "lives" {
			t.Errorf("set %s is another, with %d elements", set, e.Len())
		}
	}
	m.ServerFarms[7].Servers = m.ServerFarms[7].Servers[:9]
	began = worked(t)
	other := compileModel(t, m, p)
	t.Logf("one server less: %s", worked(t)-began)
	gone := p.IDOf("n00007", "s9")
	if n := p.data.sets[turnedSet].Len() - other.data.sets[turnedSet].Len(); n != 6 {
		t.Errorf("%d slots less", n)
	}
	if _, ok := other.data.sets["server4"].Get(kernel.Number(uint32(gone))); ok {
		t.Error("the server is still there")
	}
	if _, ok := p.data.sets["server4"].Get(kernel.Number(uint32(gone))); !ok {
		t.Error("the plan before was changed")
	}
}
