package kernel

import (
	"fmt"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// One reading of the counters of 64 interfaces and loopback.
func BenchmarkCounters_Root(b *testing.B) {
	here := nettest.New(b)
	for i := range 32 {
		here.IP(fmt.Sprintf("link add eth%d type veth peer name peer%d", i, i))
	}
	var r *Reader
	var err error
	here.Do(func() { r, err = Open() })
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	into := map[int]Counter{}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Counters(into); err != nil {
			b.Fatal(err)
		}
	}
	if len(into) != 65 {
		b.Errorf("counters of %d interfaces", len(into))
	}
}

// One look at this machine's interfaces, addresses and default routes.
func BenchmarkInterfaces(b *testing.B) {
	r, err := Open()
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Interfaces(); err != nil {
			b.Fatal(err)
		}
	}
}
