package traffic

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Counting keeps something that counts connections open while somebody needs to
// know how many there are: each connection costs the kernel and us a message when
// it begins and ends. C is a [kernel.Live] as its owner sees it. Its methods may
// be called from any goroutine.
type Counting[C interface {
	Run(ctx context.Context) error
	Close()
}] struct {
	wants   atomic.Bool
	mu      sync.Mutex
	counter C
	opened  uint64 // how often one was; 0: never
	cancel  func()
	ended   chan struct{} // nil: nobody counts
	retry   time.Time
}

// countAgain is how long after a failure it is tried again.
const countAgain = 10 * time.Second

// Want says whether somebody needs to know.
func (c *Counting[C]) Want(yes bool) { c.wants.Store(yes) }

// Wanted says whether somebody does.
func (c *Counting[C]) Wanted() bool { return c.wants.Load() }

// Run begins to count, or ends it, as it is wanted. What it starts ends with ctx
// or with [Counting.End]. A nil open counts nothing.
func (c *Counting[C]) Run(ctx context.Context, open func() (C, error), log *slog.Logger) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended != nil {
		select {
		case <-c.ended: // by itself
			c.close()
		default:
		}
	}
	switch now := time.Now(); {
	case !c.wants.Load():
		c.close()
	case c.ended == nil && open != nil && !now.Before(c.retry):
		c.retry = now.Add(countAgain)
		counter, err := open()
		if err != nil {
			log.Warn("connections cannot be counted; what goes by their number shares out evenly", "err", err)
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		c.counter, c.cancel, c.ended = counter, cancel, ended
		c.opened++
		go func() {
			defer close(ended)
			if err := counter.Run(ctx); err != nil {
				log.Warn("connections are not counted any more; trying again", "err", err)
			}
		}()
	}
}

// close ends a count. The lock is held.
func (c *Counting[C]) close() {
	if c.ended == nil {
		return
	}
	c.cancel()
	<-c.ended
	c.counter.Close()
	c.ended = nil
}

// End ends the count, and returns when it has ended.
func (c *Counting[C]) End() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.close()
}

// With calls f with what counts, which goes on as long as f does, and with the
// how manieth it is: another one knows nothing of what the one before counted. It
// is false if nobody counts.
func (c *Counting[C]) With(f func(counter C, series uint64)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended == nil {
		return false
	}
	f(c.counter, c.opened)
	return true
}
