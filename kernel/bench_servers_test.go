package kernel

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/nettest"
)

// load is how many virtual servers there are, each with a farm of its own of so
// many servers and slots.
type load struct{ virtual, servers, slots int }

func (l load) elements() int { return l.virtual * (3 + 2*l.servers + l.slots) }

// table is the table of a load, as virtual servers have it: which one, its
// target, the slots of its farm, where its servers are and which of them live.
func (l load) table() (Table, *Elements) {
	exact, target, slots, servers, alive, farm := NewElements(), NewElements(), NewElements(), NewElements(), NewElements(), NewElements()
	number := []Type{TypeNumber}
	for i := range uint32(l.virtual) {
		vs := Number(i + 1)
		exact.Put(Element{Key: Key(big32(0x0a000000+i), []byte{6}, Port(80)), Data: Number((i + 1) << 10)})
		target.Put(Element{Key: Number((i + 1) << 10), Data: vs})
		farm.Put(Element{Key: vs, Data: vs})
		for j := range uint32(l.servers) {
			n := i*uint32(l.servers) + j + 1
			servers.Put(Element{Key: Number(n), Data: Key(big32(0xac100000+n), Port(8080))})
			alive.Put(Element{Key: Key(vs, Number(n))})
		}
		for j := range uint32(l.slots) {
			slots.Put(Element{Key: Key(vs, Number(j)), Data: Number(i*uint32(l.servers) + j%uint32(l.servers) + 1)})
		}
	}
	return Table{Name: "portolan_bench", Sets: []Set{
		{Name: "exact4", Key: []Type{TypeAddr4, TypeProto, TypePort}, Data: number, Elements: exact},
		{Name: "target", Key: number, Data: number, Elements: target},
		{Name: "farm_of", Key: number, Data: number, Elements: farm},
		{Name: "slots", Key: []Type{TypeNumber, TypeNumber}, Data: number, Elements: slots},
		{Name: "server4", Key: number, Data: []Type{TypeAddr4, TypePort}, Elements: servers},
		{Name: "alive", Key: []Type{TypeNumber, TypeNumber}, Elements: alive},
	}, Chains: []Chain{
		{Name: "early", Hook: &Hook{"filter", "prerouting", -152}, Rules: []Rule{
			{Do: []Step{Is{Of: CtMark, To: Number(0)}, CopyCtMark{Lookup{Join{Dest4, Protocol, DestPort}, "exact4"}}}}}},
		{Name: "serve", Hook: &Hook{"nat", "prerouting", -101}, Rules: []Rule{
			{Do: []Step{SetPriority{Lookup{Masked{CtMark, Number(ServerMask)}, "target"}}}},
			{Do: []Step{SetPriority{Lookup{Join{Lookup{Priority, "farm_of"}, Lot{uint32(l.slots)}}, "slots"}}}},
			{Do: []Step{DNAT{To: Lookup{Priority, "server4"}, Port: true}}}}},
	}}, slots
}

// heap gives the octets of our memory that are in use.
func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// spent gives the time that processors have worked for this process, in our
// code and in the kernel: other than the time by the clock it is the same on a busy machine.
func spent() (ours, kernels time.Duration) {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u) // never fails
	return time.Duration(u.Utime.Nano()), time.Duration(u.Stime.Nano())
}

// spending adds up what is spent from start to stop.
type spending struct{ ours, kernels time.Duration }

func (s *spending) start() {
	ours, kernels := spent()
	s.ours, s.kernels = s.ours-ours, s.kernels-kernels
}

func (s *spending) stop() {
	ours, kernels := spent()
	s.ours, s.kernels = s.ours+ours, s.kernels+kernels
}

func (s *spending) report(b *testing.B) {
	b.ReportMetric(float64(s.ours.Milliseconds())/float64(b.N), "user-ms/op")
	b.ReportMetric(float64(s.kernels.Milliseconds())/float64(b.N), "system-ms/op")
}

// patient waits as synced does, longer: others may keep the machine busy.
func (s *standing) patient() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*longEnough)
	defer cancel()
	if err := s.Sync(ctx, "bench"); err != nil {
		s.t.Fatal(err)
	}
}

// Virtual servers by the thousand: the first load, one slot that changes while
// all of them stand (with the 99th percentile), the first look after a restart,
// which finds nothing to do, and how much memory of ours their elements take.
func BenchmarkServers_Root(b *testing.B) {
	at := nettest.New(b)
	for _, l := range []load{{100, 10, 64}, {1000, 10, 64}, {10_000, 10, 64}} {
		before := heap()
		table, slots := l.table()
		held := heap() - before
		b.Run(fmt.Sprintf("load-%d", l.virtual), func(b *testing.B) {
			k := stand(b, at)
			var cpu spending
			for b.Loop() {
				cpu.start()
				k.Want("bench", &Wishes{Tables: []Table{table}})
				k.patient()
				cpu.stop()
				b.StopTimer()
				k.Want("bench", nil)
				k.patient()
				b.StartTimer()
			}
			cpu.report(b)
			b.ReportMetric(float64(l.elements()), "elements")
			b.ReportMetric(float64(held)/float64(l.elements()), "octets/element-wished")
		})
		b.Run(fmt.Sprintf("delta-%d", l.virtual), func(b *testing.B) {
			k := stand(b, at)
			k.Want("bench", &Wishes{Tables: []Table{table}})
			k.patient()
			b.ReportMetric(float64(heap()-before)/float64(l.elements()), "octets/element-loaded")
			var took []time.Duration
			for n := uint32(0); b.Loop(); n++ {
				start := time.Now()
				slots.Put(Element{Key: Key(Number(n%uint32(l.virtual)+1), Number(n%uint32(l.slots))), Data: Number(n + 1)})
				k.Changed("bench", slots)
				k.patient()
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "us-p99")
		})
		b.Run(fmt.Sprintf("restart-%d", l.virtual), func(b *testing.B) {
			var cpu spending
			for b.Loop() {
				k := stand(b, at)
				cpu.start()
				k.Want("bench", &Wishes{Tables: []Table{table}})
				k.patient()
				cpu.stop()
				k.stop()
			}
			cpu.report(b)
		})
		k := stand(b, at)
		k.Want("bench", nil)
		k.patient()
		k.stop()
	}
}
