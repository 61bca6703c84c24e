package proximity

import (
	"context"
	"sync"
	"time"
)

// bucket is a token bucket of packets. In any span of time t no more than
// burst + rate*t tokens are given out, in the order in which they are asked for.
type bucket struct {
	mu          sync.Mutex
	rate, burst float64 // tokens a second, and at once
	tokens      float64 // below 0: promised, to those who wait
	claimed     float64 // that somebody will ask for soon
	at          time.Time
}

// setRate changes the rate; what is promised stays promised. The burst is a
// tenth of a second's tokens, and no less than one step of a method needs.
func (b *bucket) setRate(perSecond float64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	first := b.rate == 0
	b.rate, b.burst = perSecond, max(perSecond/10, float64(len(ladder)))
	if b.tokens = min(b.tokens, b.burst); first {
		b.tokens = b.burst
	}
}

func (b *bucket) fill(now time.Time) {
	if d := now.Sub(b.at); d > 0 {
		b.tokens = min(b.tokens+b.rate*d.Seconds(), b.burst)
		b.at = now
	}
}

// reserve promises n tokens and tells how long it is until they are there.
func (b *bucket) reserve(n int, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fill(now)
	b.tokens -= float64(n)
	return b.until(0)
}

// until tells how long it is until there are n tokens more than promised.
func (b *bucket) until(n float64) time.Duration {
	if b.tokens >= n {
		return 0
	}
	return time.Duration((n-b.tokens)/b.rate*float64(time.Second)) + 1 // never early by rounding
}

// spend returns when n tokens are there, and takes them. If ctx ends before,
// they are lost: a budget is a bound, not a debt to us.
func (b *bucket) spend(ctx context.Context, n int) error {
	return pause(ctx, b.reserve(n, time.Now()))
}

// claim announces n spends; each is taken back by claim(-1) when it comes, or
// when it turns out that it does not.
func (b *bucket) claim(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claimed += float64(n)
}

// idle returns when a token is there that is neither promised nor claimed, and
// does not take it.
func (b *bucket) idle(ctx context.Context) error {
	for {
		now := time.Now()
		b.mu.Lock()
		b.fill(now)
		d := b.until(1 + b.claimed)
		b.mu.Unlock()
		if d == 0 {
			return ctx.Err()
		}
		if err := pause(ctx, d); err != nil {
			return err
		}
	}
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
