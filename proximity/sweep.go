package proximity

import (
	"sync"
	"sync/atomic"
	"time"
)

// The sweep goes through all shards once a lap, a little at each tick, whatever
// happens in the table: constant work.
const (
	sweepEvery = 100 * time.Millisecond
	lapTicks   = 300 // 30 s, in a table that is half full; some minutes where many entries went at once
	minSweep   = 64  // slots a tick
)

// lap is how far the sweep is.
type lap struct {
	shard, slot int
	freed       []uint16 // numbers of links that were taken back before this lap began
	states      [len(stateNames)]int
	last        [len(stateNames)]int // of the lap before
	whole       bool                 // last is there
}

// sweep does one tick's work.
func (t *Table) sweep(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p, s := t.plan.Load(), t.shards.Load()
	if p == nil {
		return
	}
	l := &t.lap
	for left := max(int(s.count.Load())*2/lapTicks, minSweep); left > 0; {
		if l.shard == 0 && l.slot == 0 {
			l.freed = l.freed[:0]
			for id := range t.ids.gone {
				l.freed = append(l.freed, id)
			}
		}
		n := min(left, len(*s.all[l.shard].slots.Load())-l.slot)
		l.slot = s.sweep(l.shard, l.slot, max(n, 1), t.visitor(p, now))
		left -= max(n, 1)
		if l.slot == 0 {
			if l.shard++; l.shard == numShards {
				l.shard = 0
				l.last, l.states, l.whole = l.states, [len(stateNames)]int{}, true
				t.ids.freed(l.freed)
				if s.count.Load() < int64(p.Config.MaxEntries)*9/10 {
					t.full.Store(false)
				}
				return
			}
		}
	}
}

// visitor says of each entry whether it has aged.
func (t *Table) visitor(p *Plan, now time.Time) func(*entry) bool {
	at, nano := t.clock.stamp(now), t.clock.nano(now)
	return func(e *entry) bool {
		if e.aged(at, p.timeout) {
			t.counts.aged.Add(1)
			return true
		}
		if len(t.ids.gone) > 0 {
			e.forget(func(id uint16) bool { return t.ids.gone[id] })
		}
		t.lap.states[e.state(p, nano)]++
		return false
	}
}

// state is what an entry is worth under a plan.
func (e *entry) state(p *Plan, nano int64) State {
	switch {
	case !p.Config.Enabled:
		return Off
	case !p.asked:
		return Unasked
	case !p.Measures():
		return NoMethods
	case nano < e.made+int64(p.Config.WarmUp):
		return Warming
	default:
		return Ready
	}
}

// ration is a token bucket of a second's tokens.
type ration struct {
	mu     sync.Mutex
	rate   float64
	tokens float64
	at     time.Time
}

func (r *ration) set(perSecond int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rate == 0 {
		r.tokens = float64(perSecond)
	}
	r.rate = float64(perSecond)
	r.tokens = min(r.tokens, r.rate)
}

// take takes a token, if there is one.
func (r *ration) take(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fill(now); r.tokens < 1 {
		return false
	}
	r.tokens--
	return true
}

// has says whether there is a token.
func (r *ration) has(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fill(now)
	return r.tokens >= 1
}

func (r *ration) fill(now time.Time) {
	if d := now.Sub(r.at); d > 0 {
		if r.at.IsZero() {
			d = time.Second
		}
		r.tokens, r.at = min(r.tokens+d.Seconds()*r.rate, r.rate), now
	}
}

// tableCounters count since the start.
type tableCounters struct {
	made, full, rate, aged, cleared, late, heard, restored atomic.Uint64
}
