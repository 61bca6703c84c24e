package proximity

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// TableOptions is what a [Table] is made of.
type TableOptions struct {
	// Ask has a network measured; the results come by [Table.Deliver].
	Ask func(Want) error

	// Forget lets networks inside a prefix, or all with the zero Prefix, be
	// measured again at once: the table has cleared them, and what it asked for
	// before is not for it any more. May be nil.
	Forget func(netip.Prefix)

	// Record is told what operators should know; may be nil.
	Record func(status.Event)
}

// Table is the one table of measured distances (FAQ 1.2.23). Its methods may be
// called from any goroutine.
//
//	       first query that a slot for proximity saw
//	absent ─────────────────────────────────────────→ warming
//	   ↑                                                │ warmUp after that query
//	   │ nobody asked for timeout, or cleared           ↓
//	   └───────────────────────────────────────────── ready ⟲ measured again, ranked anew
type Table struct {
	opts  TableOptions
	clock clock

	shards atomic.Pointer[shards]
	plan   atomic.Pointer[Plan] // nil: none is in force yet
	fresh  ration               // of new entries
	proven ration               // as many for clients that have proved their address
	counts tableCounters

	mu      sync.Mutex // one Use, Clear or sweep at a time; guards what follows
	ids     ids
	methods []string // the last that there were
	lap     lap
	full    atomic.Bool // as Record was told
}

// NewTable gives an empty table that makes no entries before [Table.Use].
func NewTable(o TableOptions) *Table {
	if o.Record == nil {
		o.Record = func(status.Event) {}
	}
	if o.Forget == nil {
		o.Forget = func(netip.Prefix) {}
	}
	t := &Table{opts: o, clock: clock{time.Now()}, ids: newIDs()}
	t.shards.Store(newShards(config.Mask{}, 0))
	return t
}

// Use puts a plan into force. What it no longer goes with is forgotten at once:
//
//	methods, port, a link's cost        all entries (FAQ 1.2.4, 1.2.5, T10, C4);
//	                                    no methods: nothing, as enabled (FAQ 1.2.23)
//	mask                                all entries: they are of other networks
//	a link's interface, source, mark    what was measured over it: the way is another
//	or next hop, or the link is gone
//	weights, margin                     who was best: the next answer finds out anew
//	rateLimit, enabled, pools, the rest nothing (FAQ 1.2.5, 1.2.23)
func (t *Table) Use(p *Plan) {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.plan.Load()
	// Links that no pool asks for keep their numbers, and so what was measured.
	ids := t.ids.use(slices.Concat(p.Links, p.others))[:len(p.Links)]
	use := &inUse{table: t, ids: ids, of: map[string]uint16{}}
	for i, l := range p.Links {
		if ids[i] != 0 {
			use.of[l.Name] = ids[i]
		}
	}
	p.inUse.Store(use)
	t.fresh.set(p.Config.NewPerSecond)
	t.proven.set(p.Config.NewPerSecond)
	why := t.changed(before, p)
	if why != "" {
		t.clear(p.Config.Mask)
	}
	if before == nil || len(p.Config.Methods) > 0 {
		t.methods = p.Config.Methods
	}
	t.plan.Store(p)
	if before != nil && why != "" {
		t.opts.Record(status.Event{ID: eventID, Time: time.Now(), New: "cleared", Why: why, By: "config"})
	}
}

// eventID is what events of the table are about.
const eventID = "proximity"

// changed says why the entries made under one plan do not count under another;
// empty: they do. No methods is no other way to measure, only none: entries stay
// until they age, and methods are compared with the last that there were.
func (t *Table) changed(before, p *Plan) string {
	if before == nil {
		return "start"
	}
	a, b := before.Config, p.Config
	switch {
	case len(b.Methods) > 0 && !slices.Equal(t.methods, b.Methods):
		return fmt.Sprintf("methods were %v and are %v now", t.methods, b.Methods)
	case a.Port != b.Port:
		return fmt.Sprintf("port was %d and is %d now", a.Port, b.Port)
	case a.Mask != b.Mask:
		return fmt.Sprintf("mask was %d and %d and is %d and %d now", a.Mask.V4, a.Mask.V6, b.Mask.V4, b.Mask.V6)
	}
	for _, l := range p.Links {
		if i, ok := before.index[l.Name]; ok && before.Links[i].Cost != l.Cost {
			return fmt.Sprintf("the cost of link %s was %d and is %d now", l.Name, before.Links[i].Cost, l.Cost)
		}
	}
	return ""
}

// clear forgets every entry, in no time: the next query finds none. Results that
// were asked for before are not of this era and are dropped.
func (t *Table) clear(mask config.Mask) {
	t.shards.Store(newShards(mask, t.shards.Load().era+1))
	t.opts.Forget(netip.Prefix{})
	t.lap = lap{}
	t.full.Store(false)
}

// Asked is a query that a slot for proximity had a word in.
type Asked struct {
	Client netip.Addr // whose network it was answered for
	Target netip.Addr // a host in it, to be measured
	Proven bool       // the client has shown that it is there: by TCP, or a cookie
	Now    time.Time
	Chose  []Chosen
}

// Chosen is the link that was chosen.
type Chosen struct {
	Circle uint16 // among whom, as [View.Rank] says
	Link   int    // number in the plan
}

// Want has the network of a query measured or kept fresh, after the answer. It
// waits for nothing, and is not called for questions that nobody asked
// (explain).
func (p *Plan) Want(a Asked) {
	in := p.inUse.Load()
	if in == nil {
		return
	}
	in.table.want(a, func(e *entry) {
		for _, c := range a.Chose {
			if id := in.ids[c.Link]; id != 0 {
				e.settle(c.Circle, id)
			}
		}
	})
}

func (t *Table) want(a Asked, settle func(*entry)) {
	p, s, now := t.plan.Load(), t.shards.Load(), t.clock.stamp(a.Now)
	if !p.Measures() || s.mask != p.Config.Mask {
		return
	}
	k, ok := keyOf(a.Client, s.mask)
	if !ok {
		return
	}
	e := s.find(k)
	if e != nil && e.aged(now, p.timeout) {
		s.remove(k, func(e *entry) bool { return e.aged(now, p.timeout) })
		e = nil
	}
	if e == nil {
		if e = t.make(p, s, k, a.Proven, a.Now); e == nil {
			return
		}
	}
	if e.asked.Load() < now {
		e.asked.Store(now)
	}
	settle(e)
	t.measure(p, s, e, a, now)
}

// make makes the entry of a network, if there may be one more. Of several who
// ask at once one makes it. Clients that have proved their address do not share
// their part of a second with those that may be forged.
func (t *Table) make(p *Plan, s *shards, k key, proven bool, now time.Time) *entry {
	part := &t.fresh
	if proven {
		part = &t.proven
	}
	if !part.take(now) {
		t.counts.rate.Add(1)
		return nil
	}
	at := t.clock.stamp(now)
	e := &entry{key: k, made: t.clock.nano(now), proven: proven}
	e.asked.Store(at)
	there, added := s.insert(e, p.Config.MaxEntries, func(e *entry) bool { return e.aged(at, p.timeout) || t.passing(e, at, proven) })
	switch {
	case added:
		t.counts.made.Add(1)
	case there == nil:
		t.counts.full.Add(1)
		if !t.full.Swap(true) {
			t.opts.Record(status.Event{ID: eventID, Time: now, New: "full", By: "proximity",
				Why: fmt.Sprintf("%d networks are the most (proximity.maxEntries): no new one is measured until others age", p.Config.MaxEntries)})
		}
	}
	return there
}

// passing says whether an entry gives way to a new one when the table is full,
// though it has not aged: nobody has asked again since the moment it was made,
// and nothing shows that who asked then was there. A flood of forged sources
// makes only such ones, and so keeps others out for no longer than passes, and
// clients that have proved their address not at all.
func (t *Table) passing(e *entry, now stamp, toProven bool) bool {
	made := t.clock.ofNano(e.made)
	return !e.proven && e.asked.Load() == made && (toProven || age(made, now) > passes)
}

// passes is in seconds: longer than most TTLs of names that follow distance.
const passes = 60

// measure asks for the links that are due, one asker at a time.
func (t *Table) measure(p *Plan, s *shards, e *entry, a Asked, now stamp) {
	tried := e.tried.Load()
	if tried != 0 && age(tried, now) < secondsOf(time.Duration(p.Config.PerTarget)) {
		return
	}
	known, due := e.due(p, now)
	if len(due) == 0 || !e.tried.CompareAndSwap(tried, now) {
		return
	}
	w := Want{Prefix: e.key.prefix(s.mask), Target: a.Target, Links: due, Known: known || a.Proven, Tag: s.era}
	if err := t.opts.Ask(w); err == ErrFull || err == ErrAsked || err == ErrTooSoon {
		e.tried.CompareAndSwap(now, now-secondsOf(time.Duration(p.Config.PerTarget))+1) // again in a second
	}
}

// due gives the links that are to be measured: those that never were, of which
// the last round was none or found something else than those before, and those
// that were measured too long ago to be left alone. known says that some
// distance counts.
func (e *entry) due(p *Plan, now stamp) (known bool, links []string) {
	found, refresh, in := e.distances(), p.refresh(), p.inUse.Load()
	for i, id := range in.ids {
		fresh := id == 0
		for j := range found {
			if d := &found[j]; d.link == id {
				known = known || d.counts(now, p.maxAge)
				again := d.missed > 0 && d.missed < maxMissed || d.hitch != 0 || d.active.unsettled()
				fresh = !again && age(d.triedAt, now) < refresh
			}
		}
		if !fresh {
			links = append(links, p.Links[i].Name)
		}
	}
	return known, links
}

// Deliver takes a result of a [Prober]. What was asked for before the table was
// cleared, or over a link that is gone, is dropped.
func (t *Table) Deliver(r Result) {
	p, s := t.plan.Load(), t.shards.Load()
	if p == nil || r.Tag != s.era {
		t.counts.late.Add(1)
		return
	}
	now := t.clock.stamp(time.Now())
	if r.Err == nil {
		now = t.clock.stamp(r.Sample.At)
	}
	t.update(p, s, r.Prefix.Addr(), r.Link, func(d *distance) { d.result(r, now, p.refresh()) })
}

// Observe takes what was seen on a client's own connection. It is false, and
// nothing is kept, where the client's network has no entry: only queries make
// entries.
func (t *Table) Observe(client netip.Addr, seen Sample) bool {
	p, s := t.plan.Load(), t.shards.Load()
	if p == nil || !p.Measures() {
		return false
	}
	at := t.clock.stamp(seen.At)
	ok := t.update(p, s, client, seen.Link, func(d *distance) { d.heardOf(seen, at, p.refresh()) })
	if ok {
		t.counts.heard.Add(1)
	}
	return ok
}

func (t *Table) update(p *Plan, s *shards, a netip.Addr, link string, f func(*distance)) bool {
	k, ok := keyOf(a, s.mask)
	id := p.inUse.Load().of[link]
	return ok && id != 0 && s.change(k, func(e *entry) { e.update(id, f) })
}

// Run lets entries age until ctx ends, in small steps.
func (t *Table) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			t.sweep(time.Now())
		}
	}
}
