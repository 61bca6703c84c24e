package proximity

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// checkBudget holds packets to a budget: none too many in any span of time.
func checkBudget(t *testing.T, sent []time.Time, perSecond int, burst float64) {
	t.Helper()
	for i := range sent {
		for _, span := range []int{1, 10, 100, 1000, len(sent)} {
			j := min(i+span, len(sent)) - 1
			most := burst + float64(perSecond)*sent[j].Sub(sent[i]).Seconds()
			if n := float64(j - i + 1); n > most+1e-6 {
				t.Fatalf("%.0f packets within %s, budget %.1f", n, sent[j].Sub(sent[i]), most)
			}
		}
	}
}

// 50,000 queries from random sources, as fast as they come, make it send no more
// than its budget and hold no more than its bounds; networks that are known are
// measured all the same, each in turn (T14).
func TestFloodOfForgedSources_T14(t *testing.T) {
	for _, silent := range []bool{false, true} {
		t.Run(fmt.Sprintf("silent=%v", silent), func(t *testing.T) { synctest.Test(t, func(t *testing.T) { flood(t, silent) }) })
	}
}

func flood(t *testing.T, silent bool) {
	c := conf("icmp", "tcp")
	b := newProberBench(c)
	defer b.stop()
	real := map[netip.Prefix]bool{}
	for i := range 100 {
		real[netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, byte(i), 0}), 24)] = true
	}
	if silent {
		b.answer = func(_ string, _ Path, target netip.Addr) (int, time.Duration, error) {
			if real[networkOf(target)] {
				return 1, 10 * time.Millisecond, nil
			}
			return 2, 2 * time.Second, errSilent
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	asked, start := 0, time.Now()
	for second := range 5 {
		for range 10_000 {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], random.Uint32())
			if err := b.Ask(client(netip.AddrFrom4(a).String(), "one", "two")); err == nil {
				asked++
			}
			time.Sleep(100 * time.Microsecond)
		}
		// Each second the known networks are asked for, as a resolver with a
		// short TTL does; then it is up to perTarget.
		for p := range real {
			w := client(p.Addr().Next().String(), "one", "two")
			if w.Known = true; second == 0 {
				ask(t, b, w, nil)
			} else {
				b.Ask(w)
			}
		}
		if s := b.Stats(); s.Waiting > 2*maxQueued || s.Out > 2*maxRounds {
			t.Errorf("%d wait, %d are out", s.Waiting, s.Out)
		}
	}
	time.Sleep(time.Minute)
	synctest.Wait()
	checkBudget(t, b.packets, c.ProbesPerSecond, 20)
	reach := map[netip.Prefix]bool{}
	last := time.Duration(0)
	for _, r := range b.take() {
		if real[r.Prefix] && r.Err == nil {
			reach[r.Prefix] = true
			last = max(last, r.Sample.At.Sub(start))
		}
	}
	// They come after a second of the flood: 100 networks, two links and one
	// packet each are at least half of 200 packets a second.
	if len(reach) != len(real) || last > 1*time.Second+3*time.Second {
		t.Errorf("of %d known networks %d were measured, the last after %s", len(real), len(reach), last)
	}
	s := b.Stats()
	if s.Waiting+s.Out != 0 || len(b.queue.held) != 0 || len(b.queue.recent.until) != 0 && !b.queue.recent.old() {
		t.Errorf("left over: %+v, %d held, %d recent", s, len(b.queue.held), len(b.queue.recent.until))
	}
	if len(b.queue.recent.order) != len(b.queue.recent.until) || len(b.queue.recent.order) > 200*65 {
		t.Errorf("%d in order, %d known", len(b.queue.recent.order), len(b.queue.recent.until))
	}
	t.Logf("%d of 50000 accepted, %d packets in all, known networks done after %s", asked, len(b.packets), last)
}

// old says whether all that is remembered could be forgotten.
func (r *recent) old() bool {
	for _, until := range r.until {
		if until.After(time.Now()) {
			return false
		}
	}
	return true
}

// Nor does a flood of networks that are known shut out new ones.
func TestKnownLeaveRoom_T14(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := conf("icmp")
		b := newProberBench(c)
		defer b.stop()
		for i := range 2000 { // 400 a second, where 200 can be done
			w := client(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}).String(), "one")
			w.Known = true
			b.Ask(w)
			if i%100 == 0 {
				ask(t, b, client(netip.AddrFrom4([4]byte{192, 0, byte(i / 100), 1}).String(), "one"), nil)
			}
			time.Sleep(2500 * time.Microsecond)
		}
		time.Sleep(time.Minute)
		fresh := 0
		for _, r := range b.take() {
			if r.Prefix.Addr().As4()[0] == 192 && r.Err == nil {
				fresh++
			}
		}
		if fresh != 20 {
			t.Errorf("%d of 20 new networks were measured", fresh)
		}
	})
}
