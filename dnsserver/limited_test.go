package dnsserver

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"
)

// limited_per_second in the log is the rate of all queries over the limit,
// those too that find the log taken and are not noted with their prefix.
func TestLimitedLog_CountsAll(t *testing.T) {
	const lanes, each = 4, 20_000
	var l limitedLog
	l.init()
	p := netip.MustParsePrefix("192.0.2.0/24")
	l.mu.Lock()
	l.note(p)
	l.mu.Unlock()
	var wg sync.WaitGroup
	for range lanes {
		wg.Go(func() {
			for range each {
				l.note(p)
			}
		})
	}
	wg.Wait()
	if total, most := l.take(); total != 1+lanes*each || most.prefix != p || most.count == 0 || most.count >= total {
		t.Errorf("%d counted, %d of them for %v", total, most.count, most.prefix)
	}
	if total, most := l.take(); total != 0 || most.count != 0 {
		t.Errorf("counted twice: %d, %v", total, most)
	}
}

// A reload that keeps the table makes no other one beside it, not even for a
// moment: the largest has 128 MiB.
func TestLimiter_ReloadAllocates(t *testing.T) {
	c := rrl()
	c.TableSize = 1 << 20 // 8 MiB
	now := time.Now()
	l := newLimiter(&c, nil, now)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	kept := newLimiter(&c, l, now)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; kept.loads != l.loads || n > 1<<20 {
		t.Errorf("a reload allocates %d bytes, the table is kept: %v", n, kept.loads == l.loads)
	}
}
