package proximity

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// soliciting is a configuration that asks a share of networks, so many a second.
func soliciting(share, perSecond int) *config.Proximity {
	c := &config.Proximity{Refresh: config.Duration(5 * time.Minute)}
	c.Passive.Enabled = true
	c.Passive.Solicit = config.Solicit{Share: config.Percent(share), PerSecond: perSecond}
	return c
}

func slash24(n int) netip.Prefix {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(n)<<8)
	return netip.PrefixFrom(netip.AddrFrom4(b), 24)
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Once in a refresh, and the next query in it is answered.
func TestSolicit_OnceInARefresh(t *testing.T) {
	var s solicitor
	c, n := soliciting(100, 1000), slash24(0xc00002)
	for _, test := range []struct {
		after time.Duration
		want  bool
	}{
		{0, true}, {0, false}, {time.Second, false}, {299 * time.Second, false}, {300 * time.Second, true}, {301 * time.Second, false},
		{599 * time.Second, false}, {600 * time.Second, true}, {24 * time.Hour, true},
		{-24 * time.Hour, true}, // a clock that was set back is no reason not to
	} {
		if got := s.solicit(n, c, noon.Add(test.after)); got != test.want {
			t.Errorf("after %v: %v", test.after, got)
		}
	}
	c.Passive.Enabled = false
	if s.solicit(n, c, noon.Add(48*time.Hour)) {
		t.Error("asked although passive measuring is off")
	}
}

// The share is of networks, the same ones always and on every node, and of IPv6
// as of IPv4.
func TestSolicit_Share(t *testing.T) {
	for _, share := range []int{0, 1, 10, 50, 100} {
		for _, v6 := range []bool{false, true} {
			var s, other solicitor
			asked, c := 0, soliciting(share, 1000)
			for i := range 10_000 {
				n := slash24(0x0a0000 + i)
				if v6 {
					b := netip.MustParseAddr("2001:db8::").As16()
					binary.BigEndian.PutUint16(b[4:], uint16(i))
					n = netip.PrefixFrom(netip.AddrFrom16(b), 48)
				}
				at := noon.Add(time.Duration(i) * 10 * time.Minute) // no place is taken, and no budget spent
				got := s.solicit(n, c, at)
				if again := other.solicit(n, c, at.Add(time.Hour)); again != got {
					t.Fatalf("%s: %v, then %v", n, got, again)
				}
				if got {
					asked++
				}
			}
			if asked < share*90 || asked > share*110 {
				t.Errorf("share %d %%, IPv6 %v: %d of 10000 asked", share, v6, asked)
			}
		}
	}
}

// A flood of networks gets no more than the budget, from however many sockets;
// and none of them twice.
func TestSolicit_Budget(t *testing.T) {
	var s solicitor
	c := soliciting(100, 7)
	var asked atomic.Int64
	var twice sync.Map
	var wg sync.WaitGroup
	const seconds, each = 20, 5000
	for range 4 {
		wg.Go(func() {
			for i := range seconds * each {
				n := slash24(i)
				if s.solicit(n, c, noon.Add(time.Duration(i/each)*time.Second)) {
					asked.Add(1)
					if _, before := twice.LoadOrStore(n, true); before {
						t.Errorf("%s was asked twice", n)
					}
				}
			}
		})
	}
	wg.Wait()
	// The goroutines' seconds overlap: each step back begins a budget anew.
	if n := asked.Load(); n < 7*seconds {
		t.Errorf("%d asked", n)
	}
	if s.asked.Load() != uint64(asked.Load()) || s.over.Load() == 0 {
		t.Errorf("counted %d asked, %d over", s.asked.Load(), s.over.Load())
	}
	var one solicitor
	got := 0
	for i := range seconds * each {
		if one.solicit(slash24(i), c, noon.Add(time.Duration(i/each)*time.Second)) {
			got++
		}
	}
	if got != 7*seconds {
		t.Errorf("%d asked in %d s", got, seconds)
	}
}

// More networks than there are places: none is asked twice in a refresh, and
// the memory is what it was.
func TestSolicit_Crowded(t *testing.T) {
	var s solicitor
	c := soliciting(100, 1_000_000)
	asked := map[netip.Prefix]bool{}
	for i := range 3 * len(solicited{}) {
		n := slash24(i % (2 * len(solicited{})))
		if s.solicit(n, c, noon.Add(time.Duration(i)*time.Millisecond)) {
			if asked[n] {
				t.Fatalf("%s was asked twice", n)
			}
			asked[n] = true
		}
	}
	if len(asked) > len(solicited{}) || len(asked) < len(solicited{})/2 || s.crowded.Load() == 0 {
		t.Errorf("%d asked with %d places, %d crowded", len(asked), len(solicited{}), s.crowded.Load())
	}
}

// Who is not asked costs nothing to find out.
func BenchmarkSolicit(b *testing.B) {
	var s solicitor
	c := soliciting(1, 1000)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		s.solicit(slash24(n&0xffff), c, noon)
		n++
	}
}
