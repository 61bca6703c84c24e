package proximity

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// filled gives a table of n ready entries with four measured links.
func filled(t testing.TB, n int) (*Table, *Plan) {
	text := "version: 1\nlinks:\n  - {name: l1}\n  - {name: l2}\n  - {name: l3}\n  - {name: l4}\nvirtualServers:\n" +
		"  - {name: v1, address: 192.0.2.1, link: l1}\n  - {name: v2, address: 192.0.2.2, link: l2}\n" +
		"  - {name: v3, address: 192.0.2.3, link: l3}\n  - {name: v4, address: 192.0.2.4, link: l4}\n" +
		"pools:\n  - {name: web, members: [{virtualServer: v1}, {virtualServer: v2}, {virtualServer: v3}, {virtualServer: v4}]}\n" +
		"proximity: {methods: [icmp], maxEntries: 5000000, newPerSecond: 100000}\n"
	m := load(t, text[len("version: 1\n"):])
	m.Pools[0].Preferred = config.Slot{Algorithm: "proximity"}
	table := NewTable(TableOptions{Ask: func(Want) error { return nil }})
	p := Compile(m)
	table.Use(p)
	fill(table, p, n)
	return table, p
}

func fill(table *Table, p *Plan, n int) {
	table.fresh.rate, table.fresh.tokens = 1e12, 1e12
	then := time.Now().Add(-time.Minute)
	for i := range n {
		a := addrOf(i)
		p.Want(Asked{Client: a, Target: a, Now: then})
		for j, l := range p.Links {
			table.Deliver(Result{Prefix: netip.PrefixFrom(a, 24), Link: l.Name, Tag: table.shards.Load().era,
				Sample: Sample{RTT: time.Duration(10+j) * time.Millisecond, Hops: 3 + j, Method: "icmp", At: then}})
		}
	}
}

// addrOf gives a client in the n-th network.
func addrOf(n int) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(0x0b000000+n<<8+7))
	return netip.AddrFrom4(b)
}

const manyEntries = 100_000

// The goal: under 150 ns, without an allocation.
func BenchmarkLook100k(b *testing.B) {
	_, p := filled(b, manyEntries)
	now := time.Now()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % manyEntries
		if v := p.Look(addrOf(i), now); v.State != Ready {
			b.Fatal(v.State)
		}
	}
}

// With the choice among four links.
func BenchmarkRank100k(b *testing.B) {
	_, p := filled(b, manyEntries)
	now := time.Now()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % manyEntries
		var room [8]Rated
		links := [4]int{0, 1, 2, 3}
		v := p.Look(addrOf(i), now)
		if r := v.Rank(links[:], nil, room[:0]); r.Best != 0 {
			b.Fatal(r.Best)
		}
	}
}

// What a query does after its answer, where all is fresh.
func BenchmarkWant100k(b *testing.B) {
	table, p := filled(b, manyEntries)
	for i := range table.shards.Load().all {
		for _, e := range table.shards.Load().all[i].entries() {
			e.tried.Store(table.clock.stamp(time.Now()))
		}
	}
	now, circle := time.Now(), p.circle([]int{0, 1, 2, 3})
	chose := []Chosen{{circle, 0}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i = (i + 7919) % manyEntries
		a := addrOf(i)
		p.Want(Asked{Client: a, Target: a, Now: now, Chose: chose})
	}
}

func BenchmarkSweepTick100k(b *testing.B) {
	table, _ := filled(b, manyEntries)
	for b.Loop() {
		table.sweep(time.Now())
	}
}

// Looking and ranking allocate nothing; nor does a want where all is fresh.
func TestNoAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	_, p := filled(t, 1000)
	now, circle := time.Now(), p.circle([]int{0, 1})
	chose := []Chosen{{circle, 0}}
	if n := testing.AllocsPerRun(1000, func() {
		var room [8]Rated
		links := [4]int{0, 1, 2, 3}
		v := p.Look(addrOf(7), now)
		v.rank(circle, links[:], nil, room[:0])
		p.Want(Asked{Client: addrOf(7), Target: addrOf(7), Now: now, Chose: chose})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// 100,000 entries with four links take less than 64 MB, and each less than 400
// bytes.
func TestMemory(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measures memory")
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	table, p := filled(t, manyEntries)
	runtime.GC()
	runtime.ReadMemStats(&after)
	bytes := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("%d bytes for %d entries: %d each", bytes, manyEntries, bytes/manyEntries)
	if bytes > 64<<20 || bytes/manyEntries > 400 {
		t.Errorf("%d bytes, %d an entry", bytes, bytes/manyEntries)
	}
	runtime.KeepAlive(table)
	runtime.KeepAlive(p)
}
