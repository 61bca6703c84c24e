package dnsserver

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// limitedLog remembers who is limited most, for a line in the log once a
// minute. It is asked only about what is limited anyway, and costs those
// queries little: who finds it taken is in the total, and passes on. So of what
// a prefix has, the log may tell too little.
type limitedLog struct {
	wake  chan struct{} // something was limited; one place
	armed atomic.Bool   // the log wants to be woken
	total atomic.Uint64 // every query over the limit

	mu  sync.Mutex
	top [limitedTop]limitedCount
}

type limitedCount struct {
	prefix    netip.Prefix
	count     uint64
	inherited uint64 // of count, what the prefix that gave way had
}

// limitedTop is how many prefixes are counted at once. A prefix that makes up
// more than 1/limitedTop of what is noted with its prefix is among them.
const limitedTop = 16

// logEvery is how far apart the lines are.
const logEvery = time.Minute

func (l *limitedLog) init() {
	l.wake = make(chan struct{}, 1)
	l.armed.Store(true)
}

// note counts one query over the limit.
func (l *limitedLog) note(p netip.Prefix) {
	if l.armed.CompareAndSwap(true, false) {
		l.wake <- struct{}{} // never waits: only who disarms sends, and the reader has emptied it before it arms
	}
	l.total.Add(1)
	if !l.mu.TryLock() {
		return
	}
	defer l.mu.Unlock()
	least := &l.top[0]
	for i := range l.top {
		e := &l.top[i]
		if e.prefix == p {
			e.count++
			return
		}
		if e.count < least.count {
			least = e
		}
	}
	*least = limitedCount{prefix: p, count: least.count + 1, inherited: least.count}
}

// take gives what was noted since it was called last: all together, and the
// prefix with most.
func (l *limitedLog) take() (total uint64, most limitedCount) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.top {
		if e.count > most.count {
			most = e
		}
	}
	l.top = [limitedTop]limitedCount{}
	return l.total.Swap(0), most
}

// tellLimited logs who is limited most: a second after it begins, then once a
// minute until a minute was quiet. It also keeps the table of loads clean.
func (s *Server) tellLimited(ctx context.Context) {
	sweep, line := time.NewTicker(time.Hour), time.NewTimer(time.Hour) // stamps repeat after 4.9 hours
	defer sweep.Stop()
	defer line.Stop()
	line.Stop()
	var window time.Duration
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-sweep.C:
			if l := s.table.Load().limiter; l != nil {
				l.loads.sweep(now)
			}
		case <-s.limited.wake:
			window = time.Second
			line.Reset(window)
		case <-line.C:
			if !s.logLimited(window) {
				s.limited.armed.Store(true)
				continue
			}
			window = logEvery
			line.Reset(window)
		}
	}
}

// logLimited writes the line about the time that has passed, unless nothing was
// limited in it.
func (s *Server) logLimited(window time.Duration) bool {
	total, most := s.limited.take()
	if total == 0 {
		return false
	}
	perSecond := func(n uint64) float64 { return float64(n) / window.Seconds() }
	dry := false
	if l := s.table.Load().limiter; l != nil {
		dry = l.dry
	}
	s.opts.Log.Warn("sources ask for more than dns.rrl allows", "limited_per_second", perSecond(total),
		"most", most.prefix, "most_per_second", perSecond(most.count-most.inherited), "window", window, "dry_run", dry)
	return true
}
