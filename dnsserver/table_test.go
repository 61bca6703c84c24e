package dnsserver

import (
	"fmt"
	"slices"
	"testing"

	"github.com/portolan-lb/portolan/config"
)

// tableOf gives a table of n zones, each of which was asked once.
func tableOf(n int) *Table {
	list := make([]*served, n)
	for i := range list {
		list[i] = &served{state: ZoneState{Name: fmt.Sprintf("z%d.example.", i)}, count: &zoneTally{}}
		list[i].count.add(0, 0)
	}
	return newTable(&config.DNS{}).serve(zonesOf(list))
}

// Statistics name up to MaxZoneCounts zones, and none of more.
func TestStatsOfVeryManyZones(t *testing.T) {
	s := New(Options{})
	for n, want := range map[int]int{MaxZoneCounts: MaxZoneCounts, MaxZoneCounts + 1: 0} {
		s.Use(tableOf(n))
		if got := len(s.Stats().Zones); got != want {
			t.Errorf("%d zones: %d are counted", n, got)
		}
	}
}

// States goes through the table that serves: no copy of very many zones.
func TestStatesAllocateNothing(t *testing.T) {
	table := tableOf(1000)
	n := 0
	if allocs := testing.AllocsPerRun(10, func() {
		for s := range table.States() {
			n += len(s.Name)
		}
	}); allocs > 10 || n == 0 {
		t.Errorf("%.0f allocations", allocs)
	}
	if got, want := slices.Collect(table.States()), table.ZoneStates(); len(got) != len(want) {
		t.Errorf("%d states, %d zones", len(got), len(want))
	}
}

// BenchmarkStates is a look at a million zones for those that are missing.
func BenchmarkStates(b *testing.B) {
	table := tableOf(1_000_000)
	b.ReportAllocs()
	for b.Loop() {
		for s := range table.States() {
			if s.Missing {
				b.Fatal(s)
			}
		}
	}
}
