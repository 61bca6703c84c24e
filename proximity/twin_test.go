package proximity

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/config"
)

// slowTable is the table once more, slow and plain: a map, looked through whole.
type slowTable struct {
	entries map[netip.Prefix]*slowEntry
	tokens  float64 // of new entries
	filled  time.Time
}

type slowEntry struct {
	made, asked time.Time
	links       map[string]bool
}

const (
	twinMax     = 40
	twinRate    = 8
	twinTimeout = 60 * time.Second
	twinWarmUp  = 10 * time.Second
)

func (s *slowTable) aged(e *slowEntry, now, start time.Time) bool {
	whole := func(t time.Time) time.Duration { return t.Sub(start).Truncate(time.Second) }
	return whole(now)-whole(e.asked) > twinTimeout
}

// state is what a client finds.
func (s *slowTable) state(n netip.Prefix, now, start time.Time) State {
	e := s.entries[n]
	switch {
	case e == nil || s.aged(e, now, start):
		return Absent
	case now.Before(e.made.Add(twinWarmUp)):
		return Warming
	}
	return Ready
}

// token takes one of the second's new entries.
func (s *slowTable) token(now time.Time) bool {
	if s.filled.IsZero() {
		s.tokens = twinRate
	} else {
		s.tokens = min(s.tokens+now.Sub(s.filled).Seconds()*twinRate, twinRate)
	}
	s.filled = now
	if s.tokens < 1 {
		return false
	}
	s.tokens--
	return true
}

// Over random queries, results, sweeps, clears and reloads the table holds and
// says what its slow twin does; it never holds more than maxEntries.
func TestTableIsItsSlowTwin(t *testing.T) {
	m := asking(t, fmt.Sprintf("proximity: {methods: [icmp], maxEntries: 100, newPerSecond: %d, timeout: 1m, mask: {v4: 24, v6: 56}}\n", twinRate))
	m.Proximity.MaxEntries = twinMax
	rapid.Check(t, func(rt *rapid.T) {
		table := NewTable(TableOptions{Ask: func(Want) error { return nil }})
		p := Compile(m)
		table.Use(p)
		slow := &slowTable{entries: map[netip.Prefix]*slowEntry{}}
		start := table.clock.start
		now := start
		client := rapid.Custom(func(rt *rapid.T) netip.Addr {
			n := rapid.IntRange(0, 69).Draw(rt, "network")
			if rapid.Bool().Draw(rt, "six") {
				return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 0, 0, byte(n), byte(rapid.IntRange(0, 1).Draw(rt, "host"))})
			}
			return netip.AddrFrom4([4]byte{10, 0, byte(n), byte(rapid.IntRange(0, 255).Draw(rt, "host"))})
		})
		rt.Repeat(map[string]func(*rapid.T){
			"want": func(rt *rapid.T) {
				a := client.Draw(rt, "client")
				n, before := p.network(a), table.shards.Load().count.Load()
				state := slow.state(n, now, start)
				p.Want(Asked{Client: a, Target: a, Now: now})
				if state != Absent {
					slow.entries[n].asked = now
					return
				}
				if slow.entries[n] != nil {
					delete(slow.entries, n) // it had aged, and makes room for itself
					before--
				}
				if !slow.token(now) {
					return
				}
				e := &slowEntry{made: now, asked: now, links: map[string]bool{}}
				if before < twinMax {
					slow.entries[n] = e
					return
				}
				if p.Look(a, now).State == Absent {
					return // which aged entries are near enough to give way the twin cannot know
				}
				for other, o := range slow.entries {
					if slow.aged(o, now, start) && table.shards.Load().find(mustKey(other)) == nil {
						delete(slow.entries, other)
					}
				}
				if int64(len(slow.entries)) >= before {
					rt.Fatalf("%s was added to a full table, and nobody who had aged gave way", n)
				}
				slow.entries[n] = e
			},
			"result": func(rt *rapid.T) {
				a, link := client.Draw(rt, "client"), rapid.SampledFrom([]string{"telecom", "unicom", "unused"}).Draw(rt, "link")
				table.Deliver(Result{Prefix: p.network(a), Link: link, Tag: table.shards.Load().era,
					Sample: Sample{Link: link, RTT: time.Millisecond, Hops: 1, Method: "icmp", At: now}})
				if e := slow.entries[p.network(a)]; e != nil && link != "unused" {
					e.links[link] = true
				}
			},
			"time": func(rt *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "ms")) * time.Millisecond)
			},
			"sweep": func(*rapid.T) {
				for range lapTicks + numShards {
					table.sweep(now)
				}
				for n, e := range slow.entries {
					if slow.aged(e, now, start) {
						delete(slow.entries, n)
					}
				}
			},
			"clear": func(rt *rapid.T) {
				a := client.Draw(rt, "client")
				prefix, _ := a.Prefix(rapid.IntRange(18, 26).Draw(rt, "bits"))
				n := table.Clear(prefix, "twin", "twin")
				for other := range slow.entries {
					if other.Overlaps(prefix) {
						delete(slow.entries, other)
						n--
					}
				}
				if n != 0 {
					rt.Fatalf("cleared %d too many", n)
				}
			},
			"reload": func(rt *rapid.T) {
				p = Compile(m)
				table.Use(p)
			},
			"": func(rt *rapid.T) {
				if got := table.shards.Load().count.Load(); got > twinMax || got != int64(len(slow.entries)) {
					rt.Fatalf("%d entries, the twin has %d", got, len(slow.entries))
				}
				a := client.Draw(rt, "client")
				v := p.Look(a, now)
				if want := slow.state(p.network(a), now, start); v.State != want {
					rt.Fatalf("%s: %v, the twin says %v", a, v.State, want)
				}
				if e := slow.entries[p.network(a)]; v.State != Absent && len(v.entry.distances()) != len(e.links) {
					rt.Fatalf("%s: %d links, the twin has %d", a, len(v.entry.distances()), len(e.links))
				}
			},
		})
	})
}

func mustKey(n netip.Prefix) key {
	k, _ := keyOf(n.Addr(), config.Mask{V4: 24, V6: 56})
	return k
}

// Readers beside writers, for the race detector: what a reader finds is whole,
// and what nobody removes is found at every moment, also while a shard grows.
func TestReadersBesideWriters(t *testing.T) {
	table, p := filled(t, 500)
	now := time.Now()
	stop := make(chan struct{})
	var writers, readers sync.WaitGroup
	for w := range 2 {
		writers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				a := addrOf(1000 + (i*7+w)%20_000)
				p.Want(Asked{Client: a, Target: a, Now: now})
				table.Deliver(Result{Prefix: netip.PrefixFrom(addrOf(i%500), 24), Link: "l1", Tag: table.shards.Load().era,
					Sample: Sample{RTT: time.Millisecond, Method: "icmp", At: now}})
				if i%5000 == 0 {
					table.Clear(netip.MustParsePrefix("11.2.0.0/15"), "test", "test") // not of the first 500
				}
				table.sweep(now)
			}
		})
	}
	for r := range 2 {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(r)))
			for range 30_000 {
				v := p.Look(addrOf(random.IntN(500)), now)
				if v.State != Ready {
					t.Errorf("an entry that nobody removed is %v", v.State)
					return
				}
				rated := v.Rank([]int{0, 1, 2, 3}, nil, nil)
				if rated.Best < 0 || len(rated.Rated) != 4 {
					t.Errorf("%+v", rated)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	writers.Wait()
}
