package dnsserver

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// rrl is a configuration of rate limiting as the defaults have it.
func rrl() config.RRL {
	return config.RRL{Rate: 200, Burst: 500, Slip: 2, TableSize: 1 << 16,
		V4: []*config.RRLPrefix{{Bits: 24, Factor: 1}, {Bits: 20, Factor: 8}, {Bits: 18, Factor: 24}},
		V6: []*config.RRLPrefix{{Bits: 56, Factor: 1}, {Bits: 48, Factor: 4}, {Bits: 32, Factor: 64}}}
}

// slowLimiter is the obvious twin: a leaky bucket for each prefix ever seen,
// with exact counts in a map.
type slowLimiter struct {
	l      *limiter
	levels map[netip.Prefix]*slowLevel
}

type slowLevel struct{ level, at uint64 }

func (s *slowLimiter) limit(a netip.Addr, now time.Time) bool {
	rules := s.l.v4
	if a.Is6() {
		rules = s.l.v6
	}
	t := uint64(now.Sub(s.l.loads.start) / tick)
	levels := make([]*slowLevel, len(rules))
	for i, r := range rules {
		p, _ := a.Prefix(r.bits)
		v := s.levels[p]
		if v == nil {
			v = &slowLevel{}
			s.levels[p] = v
		}
		v.level, v.at = v.level-min(v.level, t-v.at), t
		if v.level+r.cost > s.l.most {
			return true
		}
		levels[i] = v
	}
	for i, r := range rules {
		levels[i].level += r.cost
	}
	return false
}

// As long as the table is not overfull, it decides as if it were exact: random
// sources of nested prefixes, some quiet and some loud, at random moments.
func TestLimiter_Twin(t *testing.T) {
	limited := 0
	seeds := uint64(20)
	if raceEnabled {
		seeds = 4
	}
	for seed := range seeds {
		r := rand.New(rand.NewPCG(seed, 1))
		c := rrl()
		c.Rate, c.Burst = 1+r.IntN(300), 1+r.IntN(600)
		now := time.Now()
		l := newLimiter(&c, nil, now)
		slow := &slowLimiter{l: l, levels: map[netip.Prefix]*slowLevel{}}
		for i := range 50000 {
			now = now.Add(time.Duration(r.ExpFloat64() * float64(200*time.Microsecond)))
			if r.IntN(10000) == 0 {
				now = now.Add(time.Duration(r.IntN(6)) * time.Hour) // beyond what stamps can tell
				l.loads.sweep(now)
			}
			a := sourceOf(r)
			_, got := l.limit(a, now)
			if want := slow.limit(a, now); got != want {
				t.Fatalf("seed %d, query %d of %s: limited %v, exact is %v", seed, i, a, got, want)
			}
			if got {
				limited++
			}
		}
	}
	t.Logf("%d of %d queries were limited", limited, seeds*50000)
	if limited < 10000 {
		t.Error("too few: the test shows nothing")
	}
}

// sourceOf gives an address of a small universe, some far more often than
// others.
func sourceOf(r *rand.Rand) netip.Addr {
	near, far := byte(r.IntN(1+r.IntN(4))), byte(r.IntN(1+r.IntN(40)))
	if r.IntN(4) == 0 {
		return netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, near, far, near, byte(r.IntN(256)), 15: 1})
	}
	return netip.AddrFrom4([4]byte{192, near, far, byte(r.IntN(256))})
}

// Who asks at its rate, or bursts within its burst after a rest, is never
// limited. Who asks ten times as much gets its burst and then its rate, at
// every length of prefix, without steps from second to second.
func TestLimiter_Rate(t *testing.T) {
	c := rrl()
	for _, tt := range []struct {
		name    string
		sources int // over how many neighbouring /24 the queries are spread
		offered int // a second, all together
		allowed int
	}{
		{"at its rate", 1, 200, 200},
		{"a tenth over", 1, 220, 200},
		{"ten times over", 1, 2000, 200},
		{"a /20 of which each /24 keeps its rate", 16, 3000, 1600},
		{"a /18 of which each /20 keeps its rate", 64, 6000, 4800},
		{"a /18 all over", 64, 60000, 4800},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now := time.Now()
			l := newLimiter(&c, nil, now)
			const seconds = 20
			passed := make([]int, seconds)
			for i := range tt.offered * seconds {
				at := now.Add(time.Duration(i) * time.Second / time.Duration(tt.offered))
				a := netip.AddrFrom4([4]byte{198, 51, byte(i % tt.sources), byte(i)})
				if _, limited := l.limit(a, at); !limited {
					passed[i/tt.offered]++
				}
			}
			factor := tt.allowed / c.Rate
			sum := 0
			for s, n := range passed {
				sum += n
				if s >= 10 && tt.offered > tt.allowed*2 && (n < tt.allowed*99/100 || n > tt.allowed*101/100) {
					t.Errorf("second %d: %d passed, want %d within 1 %%", s, n, tt.allowed)
				}
			}
			want := min(tt.offered*seconds, c.Burst*factor+tt.allowed*seconds)
			if sum < want*995/1000-1 || sum > want*1005/1000+1 {
				t.Errorf("%d of %d passed in %d s, want %d", sum, tt.offered*seconds, seconds, want)
			}
		})
	}
}

// A flood of random forged sources, 200 times what the table can hold: an
// innocent at its rate is not limited, and a heavy one does not hide in it.
//
// The bounds: an innocent is limited only when its tag and bucket are those of
// a loaded one, at odds of 8/2^24 for each of its prefixes. A heavy one may
// pass more than its rate for as long as newcomers push it out.
func TestLimiter_Flood(t *testing.T) {
	c := rrl()
	c.TableSize = 1024
	c.V4 = c.V4[:1]
	for _, perMilli := range []int{100, 1000, 5000} {
		t.Run(fmt.Sprintf("%d000 a second", perMilli), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(perMilli), 2))
			now := time.Now()
			l := newLimiter(&c, nil, now)
			innocent, heavy := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
			limited, passed := 0, 0
			millis := 2000
			if raceEnabled {
				millis = 200
			}
			for ms := range millis {
				for i := range perMilli {
					at := now.Add(time.Duration(ms)*time.Millisecond + time.Duration(i)*time.Millisecond/time.Duration(perMilli))
					l.limit(netip.AddrFrom4([4]byte{byte(r.IntN(190)), byte(r.IntN(256)), byte(r.IntN(256)), 1}), at)
				}
				at := now.Add(time.Duration(ms+1) * time.Millisecond)
				if ms%5 == 0 {
					if _, over := l.limit(innocent, at); over {
						limited++
					}
				}
				for range 10 { // 10,000 a second
					if _, over := l.limit(heavy, at); !over {
						passed++
					}
				}
			}
			share := float64(perMilli*1000/c.Rate) / 1024
			t.Logf("the flood would fill %.1f times the table; innocent limited %d times, heavy passed %d of %d", share, limited, passed, millis*10)
			if limited > 0 {
				t.Errorf("the innocent was limited %d times", limited)
			}
			exact := c.Burst + c.Rate*millis/1000
			if passed > exact*2 {
				t.Errorf("the heavy one passed %d times, twice what it may (%d)", passed, exact)
			}
		})
	}
}

// A crowd of loud sources, each over its limit and four times as many as the
// table has places, limits no innocent either: whoever takes a place begins
// with nothing on it.
func TestLimiter_LoudCrowd(t *testing.T) {
	c := rrl()
	c.TableSize = 1024
	c.V4 = c.V4[:1]
	c.Rate, c.Burst = 20, 50
	r := rand.New(rand.NewPCG(7, 7))
	now := time.Now()
	l := newLimiter(&c, nil, now)
	asked, limited, crowd := 0, 0, 0
	for i := range 2000000 { // 100 a second each, for 5 s
		at := now.Add(time.Duration(i) * time.Second / 400000)
		n := r.IntN(4000)
		if _, over := l.limit(netip.AddrFrom4([4]byte{100, byte(n >> 8), byte(n), 1}), at); over {
			crowd++
		}
		if i%20000 == 0 { // innocents at their rate, of networks that come and go
			asked++
			if _, over := l.limit(netip.AddrFrom4([4]byte{10, byte(i >> 18), byte(i >> 17 & 1), 1}), at); over {
				limited++
			}
		}
	}
	t.Logf("of the crowd %d of 2000000 were limited, of the innocent %d of %d", crowd, limited, asked)
	if limited > 0 || crowd == 0 {
		t.Errorf("%d of %d innocent queries were limited, and %d of the crowd", limited, asked, crowd)
	}
}

// A loud source whose bucket is full of sources at their limit, which keep
// asking, finds a place all the same: it cannot hide behind them.
func TestLimiter_FullBucket(t *testing.T) {
	c := rrl()
	c.V4 = c.V4[:1]
	now := time.Now()
	l := newLimiter(&c, nil, now)
	bucket := func(a netip.Addr) *loadBucket { return l.loads.bucket(l.loads.hash(keyOf(a, 24))) }
	loud := netip.MustParseAddr("192.0.2.1")
	var others []netip.Addr
	for i := 0; len(others) < loadWays; i++ {
		if a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}); i&255 == 1 && bucket(a) == bucket(loud) {
			others = append(others, a)
		}
	}
	for range c.Burst {
		for _, a := range others {
			l.limit(a, now)
		}
	}
	passed := 0
	const asked = 50000 // in 5 s
	for i := range asked {
		at := now.Add(time.Duration(i) * 5 * time.Second / asked)
		if _, over := l.limit(loud, at); !over {
			passed++
		}
		if i%50 == 0 { // each at its rate
			for _, a := range others {
				l.limit(a, at)
			}
		}
	}
	exact := c.Burst + 5*c.Rate
	t.Logf("%d of %d passed, %d would with a place of its own", passed, asked, exact)
	if passed > exact+16*c.Burst { // it gets in at odds of 1/(burst+1) a query: later than that once in e^16
		t.Errorf("%d of %d passed, want hardly more than %d", passed, asked, exact)
	}
}

// Exempt are loopback and what the configuration says, never their neighbours.
func TestLimiter_Exempt(t *testing.T) {
	c := rrl()
	c.Rate, c.Burst = 1, 1
	c.Exempt = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8::/64")}
	now := time.Now()
	l := newLimiter(&c, nil, now)
	for a, want := range map[string]bool{"127.0.0.9": false, "::1": false, "192.0.2.15": false, "192.0.2.16": true,
		"2001:db8::7": false, "2001:db8:0:100::7": true, "203.0.113.1": true} {
		l.limit(netip.MustParseAddr(a), now)
		if _, got := l.limit(netip.MustParseAddr(a), now); got != want {
			t.Errorf("%s: limited %v, want %v", a, got, want)
		}
	}
}

// A reload keeps what was counted, unless the table's size changes; a change of
// rate acts at once.
func TestLimiter_Reload(t *testing.T) {
	c := rrl()
	c.Burst = 10
	now, a := time.Now(), netip.MustParseAddr("192.0.2.1")
	l := newLimiter(&c, nil, now)
	for range 10 {
		l.limit(a, now)
	}
	if _, limited := newLimiter(&c, l, now).limit(a, now); !limited {
		t.Error("the load is forgotten by a reload")
	}
	c.Burst = 20
	if _, limited := newLimiter(&c, l, now).limit(a, now); limited {
		t.Error("a larger burst does not act")
	}
	c.TableSize *= 2
	if newLimiter(&c, l, now).loads == l.loads {
		t.Error("the table has its old size")
	}
	c.Rate = 0
	if newLimiter(&c, l, now) != nil {
		t.Error("rate 0 limits")
	}
}

// The table is flat: what it has at the start is what it has under a flood, and
// limiting allocates nothing.
func TestLimiter_Flat(t *testing.T) {
	c := rrl()
	now := time.Now()
	l := newLimiter(&c, nil, now)
	if l.loads.size() != c.TableSize {
		t.Errorf("%d entries, want %d", l.loads.size(), c.TableSize)
	}
	r := rand.New(rand.NewPCG(1, 3))
	if n := testing.AllocsPerRun(1000, func() {
		l.limit(netip.AddrFrom4([4]byte{byte(r.IntN(256)), byte(r.IntN(256)), 1, 1}), now)
		l.limit(netip.AddrFrom16([16]byte{0x20, byte(r.IntN(256)), byte(r.IntN(256))}), now)
	}); n != 0 {
		t.Errorf("%v allocations a query", n)
	}
	if n := l.loads.live(now); n == 0 {
		t.Error("nothing is counted")
	}
	if n := l.loads.live(now.Add(time.Second)); n != 0 {
		t.Errorf("%d entries are loaded after a second of rest", n)
	}
}

// A stamp repeats after 4.9 hours. A load of then is not one of now, if the
// table is swept in between, and a table that was never used is empty always.
func TestLimiter_StampsRepeat(t *testing.T) {
	c := rrl()
	c.Burst = 10
	now, a := time.Now(), netip.MustParseAddr("192.0.2.1")
	l := newLimiter(&c, nil, now)
	round := time.Duration(1<<stampBits) * tick
	if n := l.loads.live(now.Add(round - time.Millisecond)); n != 0 {
		t.Errorf("%d entries of an unused table are loaded", n)
	}
	for range 10 {
		l.limit(a, now)
	}
	l.loads.sweep(now)
	if _, limited := l.limit(a, now); !limited {
		t.Error("sweeping takes loads that have not drained")
	}
	l.loads.sweep(now.Add(time.Hour))
	if _, limited := l.limit(a, now.Add(round)); limited {
		t.Error("a load of 4.9 hours ago counts")
	}
}

// Goroutines that count for one source at once let no more through than their
// number.
func TestLimiter_Concurrent(t *testing.T) {
	c := rrl()
	now := time.Now()
	l := newLimiter(&c, nil, now)
	var passed atomic.Int64
	var wg sync.WaitGroup
	const workers = 8
	for range workers {
		wg.Go(func() {
			for range 10000 {
				if _, limited := l.limit(netip.MustParseAddr("192.0.2.1"), now); !limited {
					passed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	// An addition that loses four races in a row is forgotten, hence the slack.
	if n := int(passed.Load()); n < c.Burst || n > c.Burst+workers+c.Burst/10 {
		t.Errorf("%d passed, want %d and at most a few more", n, c.Burst)
	}
}

func BenchmarkLimiter(b *testing.B) {
	for _, sources := range []int{1, 1000, 1000000} {
		addrs := make([]netip.Addr, min(sources, 1<<20))
		r := rand.New(rand.NewPCG(1, 4))
		for i := range addrs {
			addrs[i] = netip.AddrFrom4([4]byte{byte(r.IntN(224)), byte(r.IntN(256)), byte(r.IntN(256)), 1})
		}
		c := rrl()
		c.TableSize = 1 << 18
		b.Run(fmt.Sprintf("sources=%d", sources), func(b *testing.B) {
			l := newLimiter(&c, nil, time.Now())
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				l.limit(addrs[i%len(addrs)], time.Now())
			}
		})
		b.Run(fmt.Sprintf("sources=%d/two", sources), func(b *testing.B) {
			l := newLimiter(&c, nil, time.Now())
			b.SetParallelism(1)
			b.RunParallel(func(pb *testing.PB) {
				i := rand.IntN(len(addrs))
				for ; pb.Next(); i++ {
					l.limit(addrs[i%len(addrs)], time.Now())
				}
			})
		})
	}
}
