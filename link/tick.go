package link

import (
	"context"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

const (
	// every is the time between two readings of the counters. Rates are means
	// over a window of a second and more, so this is how late a change of them
	// is noticed, not how short a burst counts.
	every = 250 * time.Millisecond

	// lookEvery is how often interfaces are looked at though nothing was told,
	// and lookLeast is the least time between two looks: a machine on which
	// containers come and go tells of changes all the time.
	lookEvery = 30 * time.Second
	lookLeast = 500 * time.Millisecond

	// On a router with a million routes a look takes most of a second: then no
	// more than a fifth of the time is spent so, and a hundredth if nothing is told.
	restTold, restUntold = 4, 99
)

// Run meters links until ctx ends, and returns when all has ended that it
// started. It may be called once.
func (l *Links) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	l.mu.Lock()
	l.launch = func(k *link) { l.start(ctx, k, wg.Go) }
	for _, k := range l.links {
		l.launch(k)
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.launch = nil // from here on Want starts nothing, so Wait sees all
		l.mu.Unlock()
	}()
	wg.Go(func() { l.watch(ctx) })
	wg.Go(func() { l.follow(ctx) })

	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		l.tick()
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// start starts the source of a link. The caller holds l.mu.
func (l *Links) start(ctx context.Context, k *link, spawn func(func())) {
	if k.source == nil {
		return
	}
	ctx, k.stop = context.WithCancel(ctx)
	source, name := k.source, k.spec.Name
	spawn(func() {
		source(ctx, func(s Sample, err error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			if now := l.byName[name]; ctx.Err() == nil && now != nil {
				l.take(now, s, err)
			}
		})
	})
}

// take takes what a source gave. The caller holds l.mu.
func (l *Links) take(k *link, s Sample, err error) {
	l.fails(meterOf(k), err)
	if err != nil {
		k.failed = err.Error()
		return
	}
	k.failed = ""
	k.meter.count(s)
}

// fails logs what begins to fail, with each new error, and what works again. The
// caller holds l.mu.
func (l *Links) fails(what string, err error) {
	was := l.failing[what]
	switch {
	case err == nil && was != "":
		delete(l.failing, what)
		l.opts.Log.Info("can be read again", "what", what)
	case err != nil && err.Error() != was:
		l.failing[what] = err.Error()
		l.opts.Log.Warn("cannot be read", "what", what, "err", err)
	}
}

// tick reads the counters of interfaces, and judges all links by the rates that
// their meters have now. Nobody waits for the kernel but Run.
func (l *Links) tick() {
	at, asked, err := l.readCounters()
	l.mu.Lock()
	defer l.mu.Unlock()
	if asked {
		l.fails(readingCounters, err)
	}
	if asked && err == nil {
		l.count(at)
	}
	now := time.Now()
	var marks map[status.ID]status.Load
	clear(l.gauges)
	for _, k := range l.links {
		k.rates = k.meter.rates(now)
		k.stale = k.spec.Meter.From == config.MeterPush && k.meter.told().Equal(k.told)
		k.told = k.meter.told()
		l.gauges[k.id] = k.gauge(now)
		if load, changed := k.next(now, k.rates, func() time.Duration { return l.deadTime(k) }); changed {
			if marks == nil {
				marks = map[status.ID]status.Load{}
			}
			marks[k.id] = load
			k.changes++
		}
	}
	if len(l.gauges) > 0 {
		l.board.Measure(l.gauges)
	}
	if marks != nil {
		l.board.Mark(marks)
	}
}

// readCounters reads the counters of interfaces in one go for all, if any link is
// metered by them, and says when that was. Only Run calls it.
func (l *Links) readCounters() (at time.Time, asked bool, err error) {
	l.mu.Lock()
	asked = l.opts.Kernel != nil && l.metersInterfaces()
	l.mu.Unlock()
	if !asked {
		return at, false, nil
	}
	before := time.Now()
	err = l.opts.Kernel.Counters(l.counters)
	return before.Add(time.Since(before) / 2), true, err
}

// count gives the counters that were read to the meters. The caller holds l.mu.
func (l *Links) count(at time.Time) {
	for _, k := range l.links {
		if k.spec.Meter.From != config.MeterInterface {
			continue
		}
		if k.gone != "" {
			k.meter.forget() // nothing flows, or something that nobody sees
			continue
		}
		c, ok := l.counters[k.nic.Index]
		if !ok { // it went, or another has its name: nobody has told us yet
			l.lookSoon()
			continue
		}
		k.meter.count(Sample{At: at, Every: every, In: c.In, Out: c.Out, Series: uint64(k.nic.Index), Speed: k.nic.Speed})
	}
}

func (l *Links) metersInterfaces() bool {
	for _, k := range l.links {
		if k.spec.Meter.From == config.MeterInterface {
			return true
		}
	}
	return false
}

// deadTime is how long after a change of the answers the rates still show the
// ones before: until caches have let go, and the window, or whoever meters, has passed over that.
func (l *Links) deadTime(k *link) time.Duration {
	dead := time.Duration(k.spec.Busy.Window)
	switch k.spec.Meter.From {
	case config.MeterSNMP:
		dead += time.Duration(k.spec.Meter.SNMP.Interval)
	case config.MeterPush: // whoever reports measured over the time since the report before
		dead += time.Duration(k.spec.Meter.MaxAge)
	}
	if l.opts.DeadTime != nil {
		dead += l.opts.DeadTime(k.spec.Name)
	}
	return dead
}

// gauge gives the numbers of the last tick, and what remains of the rate limit
// in each direction that has one.
func (k *link) gauge(now time.Time) status.Gauge {
	g := status.NoGauge()
	g.Rate, g.At = k.rates, now
	limits := k.spec.RateLimit
	for d, limit := range [busy.Directions]config.Bandwidth{busy.Total: limits.Total, busy.In: limits.In, busy.Out: limits.Out} {
		if limit > 0 {
			g.Remaining[d] = float64(limit) - k.rates[d]
		}
	}
	return g
}

// watch has interfaces looked at whenever the kernel tells of a change.
func (l *Links) watch(ctx context.Context) {
	if l.opts.Kernel == nil {
		return
	}
	for ctx.Err() == nil {
		err := l.opts.Kernel.Watch(ctx, l.lookSoon)
		l.mu.Lock()
		if ctx.Err() == nil {
			l.fails("changes of interfaces", err)
		}
		l.mu.Unlock()
		pause(ctx, lookEvery)
	}
}

func (l *Links) lookSoon() {
	select {
	case l.look <- struct{}{}:
	default: // a look is due already
	}
}

// follow looks at interfaces when it is told to, and now and then.
func (l *Links) follow(ctx context.Context) {
	if l.opts.Kernel == nil {
		return
	}
	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.look:
		case <-timer.C:
		}
		begin := time.Now()
		moved := l.lookNow()
		took := time.Since(begin)
		if moved && l.opts.Moved != nil {
			l.opts.Moved()
		}
		pause(ctx, max(lookLeast, restTold*took))
		timer.Reset(max(lookEvery, restUntold*took))
	}
}

// pause waits so long, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// lookNow looks at the interfaces and writes what it found. It reports whether
// what Way tells has changed.
func (l *Links) lookNow() (moved bool) {
	l.looking.Lock()
	defer l.looking.Unlock()
	var list []kernel.Interface
	var err error
	if l.opts.Kernel != nil {
		list, err = l.opts.Kernel.Interfaces()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fails("interfaces", err)
	return l.saw(list, err)
}

// meterOf names the meter of a link in logs.
func meterOf(k *link) string { return "meter of link " + k.spec.Name }

// readingCounters names the reading of the counters of interfaces in logs.
const readingCounters = "counters of interfaces"
