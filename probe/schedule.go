package probe

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// runner is one check at run time. Its goroutine is [Prober.loop].
type runner struct {
	check             *Check
	interval, timeout time.Duration

	// Guarded by Prober.mu.
	tally
	cancel   context.CancelFunc // ends the goroutine; nil until it is started
	done     chan struct{}      // closed when the goroutine has ended
	after    <-chan struct{}    // done of the runner whose place this one takes; may be nil
	waiting  bool               // no result yet since start, and nothing kept from before
	running  bool               // a probe is out now
	by, saw  string
	since    time.Time // when health took its value; zero while unknown
	seen     time.Time // when the evidence was gathered
	next     time.Time // start of the next probe
	recent   []Record
	failures []Record
}

// newRunner keeps to the least that config allows, whatever the plan says:
// an interval of zero would spin.
func newRunner(c *Check) *runner {
	r := &runner{
		check:    c,
		interval: max(time.Duration(c.Probe.Interval), 100*time.Millisecond),
		timeout:  max(time.Duration(c.Probe.Timeout), time.Millisecond),
		done:     make(chan struct{}),
		by:       byProbe,
		saw:      "no result yet",
	}
	r.rise, r.fall = max(c.Probe.Rise, 1), max(c.Probe.Fall, 1)
	return r
}

const earlier = " (before its definition changed)"

// succeed takes over from a runner whose definition was changed: a reload
// forgets no health, and a single result after it takes down no target that
// was up. If only timing, rise or fall changed, counts and history go on as
// well; otherwise they start again. Either way the schedule does, and no probe
// starts before the old one has ended.
func (r *runner) succeed(old *runner) {
	rise, fall := r.rise, r.fall
	r.tally = old.tally
	r.rise, r.fall = rise, fall
	r.since, r.seen, r.by, r.saw = old.since, old.seen, old.by, old.saw
	r.waiting = old.waiting
	if r.check.sameQuestion(old.check) {
		r.recent, r.failures = old.recent, old.failures // old records nothing any more
	} else {
		r.startAgain()
		r.saw = strings.TrimSuffix(old.saw, earlier) + earlier
	}
	if old.cancel != nil {
		r.after = old.done
	} else {
		r.after = old.after
	}
	old.stop()
}

func (r *runner) stop() {
	if r.cancel != nil {
		r.cancel()
	}
}

// start gives each new runner its goroutine and its first points. The caller
// holds p.mu.
func (p *Prober) start(ctx context.Context, fresh []*runner, spawn func(func())) {
	now := time.Now()
	for i, r := range fresh {
		if r.cancel != nil {
			continue // Run and Want met; one of them has started it
		}
		first, second := points(i, len(fresh), r.interval, r.timeout)
		ctx, cancel := context.WithCancel(ctx)
		r.cancel, r.next = cancel, now.Add(first)
		spawn(func() {
			defer close(r.done)
			defer cancel()
			p.loop(ctx, r, now.Add(first), now.Add(second))
		})
	}
}

// loop runs one check: probe at first, then at the points of its grid, of which
// second is the first. One goroutine a check is what keeps two probes of it
// from running at once.
func (p *Prober) loop(ctx context.Context, r *runner, first, second time.Time) {
	if r.after != nil {
		<-r.after // its context has ended, so this is short
	}
	next, grid := first, second.Add(-r.interval)
	for sleepUntil(ctx, next) {
		p.attempt(ctx, r)
		var skipped int
		grid, skipped = nextPoint(grid, r.interval, time.Now())
		next = grid
		p.stats.overruns.Add(uint64(skipped))
		p.mu.Lock()
		r.next = next
		p.mu.Unlock()
	}
}

// sleepUntil reports false when ctx ended first.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// attempt makes one probe, when there is a slot, and records it. The timeout
// counts from the probe's start.
func (p *Prober) attempt(ctx context.Context, r *runner) {
	release, ok := p.slots.acquire(ctx, r.check.Probe.Kind)
	if !ok {
		return
	}
	defer release()
	p.setRunning(r)
	start := time.Now()
	limited, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	result := p.try(limited, r.check)
	if ctx.Err() != nil {
		return // stopped midway: what it saw is worth nothing
	}
	p.stats.count(r.check.Probe.Kind, result.Outcome)
	p.record(r, Record{At: start, Took: time.Since(start), Outcome: result.Outcome, Saw: clean(result.Saw)})
}

func (p *Prober) setRunning(r *runner) {
	p.mu.Lock()
	r.running = true
	p.mu.Unlock()
}

// try calls the kind's function. A panic in it is our fault, not the target's,
// so it is void; it must not end the process.
func (p *Prober) try(ctx context.Context, c *Check) (result Result) {
	defer func() {
		if v := recover(); v != nil {
			p.stats.panics.Add(1)
			p.opts.Log.Error("probe panicked", "probe", c.ID, "panic", v, "stack", string(debug.Stack()))
			result = Result{Void, fmt.Sprintf("the probe itself failed: panic: %v", v)}
		}
	}()
	run := kinds[c.Probe.Kind].run
	if f := p.opts.Kinds[c.Probe.Kind]; f != nil {
		run = f
	}
	if run == nil {
		return Result{Void, fmt.Sprintf("kind %q is not one of %s", c.Probe.Kind, strings.Join(Kinds(), ", "))}
	}
	t := &Task{Target: c.Target, Pin: c.Pin, Probe: &c.Probe, Transport: c.Transport, readFile: p.opts.ReadFile}
	if control := p.opts.Control; control != nil {
		t.control = func(raw syscall.RawConn) error { return control(c, raw) }
	}
	return run(ctx, t)
}

// record counts a result and has the rows published that it changes. Results
// that change no row cost no new table.
func (p *Prober) record(r *runner, rec Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runners[r.check.ID] != r {
		return // it left the plan while its probe was out
	}
	if !r.take(rec) {
		return
	}
	p.dirty[r.check.ID] = true
	select {
	case p.wake <- struct{}{}:
	default: // the publisher knows already
	}
}

// take adds a result to what is known and reports whether the row changes.
func (r *runner) take(rec Record) bool {
	r.recent = keep(r.recent, rec, keepLast)
	first := len(r.recent) == 1
	if rec.Outcome == Fail {
		r.failures = keep(r.failures, rec, keepFailures)
	}
	changed := r.add(rec.Outcome)
	if changed {
		r.since = rec.At.Add(rec.Took)
	}
	if rec.Outcome != Void || r.seen.IsZero() {
		r.saw = rec.Saw
	}
	if rec.Outcome != Void {
		r.seen, r.by = rec.At.Add(rec.Took), byProbe
	}
	r.waiting, r.running = false, false
	return changed || first
}
