package kernel

import "testing"

// One reading of the counters of this machine's interfaces.
func BenchmarkCounters(b *testing.B) {
	r, err := Open()
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
	b.ReportMetric(float64(len(into)), "interfaces")
}

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
