package dnsproxy

import (
	"errors"
	"math/bits"
	"runtime/debug"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/pick"
)

// staleWait is how long a client waits for a server before it is given what is
// stale; the answer that comes later is kept (RFC 8767 5).
const staleWait = 1800 * time.Millisecond

// send gives a reply to a client. It may be called from any goroutine; the reply
// is the caller's again afterwards.
type send func(q *query, reply []byte)

// scratch is memory of one reader.
type scratch struct {
	query query
	key   []byte
	out   []byte
}

func newScratch() *scratch { return &scratch{key: make([]byte, 0, 512), out: make([]byte, 0, 2048)} }

// handle takes one message of a client. What needs no server is answered at
// once; else a goroutine is started, if there is room for another, and later
// is called when it has ended. q has client, asked, device and tcp set.
func (p *Proxy) handle(s *scratch, msg []byte, answer send, later func(started bool)) {
	q := &s.query
	defer func() {
		if r := recover(); r != nil {
			p.alarm(r)
		}
	}()
	switch v := q.parse(msg); {
	case v == isWaste:
		p.count.drops[dropMalformed].Add(1)
		return
	case v != isQuery:
		p.give(q, q.appendRcode(s.out[:0], int(v)), answer)
		return
	}
	plan, now := p.plan.Load(), time.Now()
	if !plan.Enabled() {
		return // it was switched off as the query came in
	}
	at := plan.match(q, 0)
	r := plan.rules[at]
	r.taken.Add(1)
	if r.action == toNobody {
		p.count.drops[dropPolicy].Add(1)
		return
	}
	if r.action == toPool && plan.cache != nil && q.ecs == nil {
		s.key = cacheKey(s.key[:0], r.pool.view, q.folded, q.qtype, q.flags&flagRD != 0, q.do, q.cd())
		if f := plan.cache.get(s.key, now); f.answer != nil && (!f.stale || f.recent) {
			p.count.hits.Add(1)
			p.giveAnswer(q, f.answer, served{age: f.age, stale: f.stale, hit: true}, s.out, answer)
			return
		}
	}
	p.start(&job{p: p, plan: plan, now: now, at: at, answer: answer}, q, later)
}

// start asks servers for a query, if there is room for another that waits.
func (p *Proxy) start(j *job, q *query, later func(started bool)) {
	client, limits := one(q.client.Addr()), &j.plan.conf.Limits
	if why, ok := p.admitted.enter(client, limits.Outstanding, limits.OutstandingPerClient); !ok {
		p.count.drops[why].Add(1)
		return
	}
	j.q = q.clone()
	if later != nil {
		later(true)
	}
	p.work.Go(func() {
		defer func() {
			p.admitted.leave(client)
			if later != nil {
				later(false)
			}
		}()
		j.run()
	})
}

// clone gives a query of its own memory.
func (q *query) clone() *query {
	c := *q
	c.keep()
	c.folded = appendFolded(c.foldBuf[:0], c.name)
	return &c
}

// give sends a reply.
func (p *Proxy) give(q *query, reply []byte, answer send) {
	p.count.rcodes[reply[3]&rcodeMask].Add(1)
	if reply[2]&(flagTC>>8) != 0 {
		p.count.cut.Add(1)
	}
	answer(q, reply)
}

func (p *Proxy) giveAnswer(q *query, a *answer, how served, buf []byte, answer send) {
	if how.stale {
		p.count.stale.Add(1)
	}
	p.give(q, q.appendReply(buf[:0], a, how), answer)
}

// alarm counts what must not happen, and logs the 1st, 2nd, 4th, 8th, ... of it.
func (p *Proxy) alarm(what any) {
	if n := p.count.panics.Add(1); bits.OnesCount64(n) == 1 {
		p.opts.Log.Error("dns proxy: cannot answer a query", "panic", what, "count", n, "stack", string(debug.Stack()))
	}
}

// job is the work for one query that needs a server.
type job struct {
	p      *Proxy
	plan   *Plan
	q      *query
	a      asking
	at     int // the rule that took it
	now    time.Time
	answer send

	key   []byte // of the cache; nil: it is not kept
	stale found

	mu   sync.Mutex
	done bool // it has its reply
}

// run gets the answer and gives it.
func (j *job) run() {
	defer func() {
		if r := recover(); r != nil {
			j.p.alarm(r)
			j.reply(bareAnswer(&j.a, dns.RcodeServerFailure), served{})
		}
	}()
	q := j.q
	j.a = asking{name: string(q.folded), qtype: q.qtype, rd: q.flags&flagRD != 0, do: q.do, cd: q.cd()}
	if j.plan.conf.ECS {
		j.a.ecs = subnetOf(q.ecs)
	}
	d := decider{p: j.p, plan: j.plan, now: j.now, draw: func(p *pool) uint64 { return p.draws.Add(1) - 1 },
		another: func(r *rule) { r.taken.Add(1) }}
	switch r, c := d.decide(q, j.at); r.action {
	case toNobody:
		j.p.count.drops[dropPolicy].Add(1)
	case toAnswer:
		j.own(r)
	case toAsked:
		j.pass()
	default:
		j.ask(r.pool, c)
	}
}

// decider finds the rule for a query and begins the choosing of servers: for
// queries, and for explain, which has other ways to draw and to count.
type decider struct {
	p       *Proxy
	plan    *Plan
	now     time.Time
	draw    func(*pool) uint64
	another func(*rule)        // is told of each rule beyond the first
	trace   func() *pick.Trace // nil: nobody asks why
	passed  func(*rule)        // is told of a rule whose pool had nobody; may be nil
}

// decide gives the rule that takes a query, from rule at on, which does, and for
// a pool the choice of its servers. A rule that goes on where nobody of its pool
// is usable gives way to the next that matches.
func (d *decider) decide(q *query, at int) (*rule, *choice) {
	for {
		r := d.plan.rules[at]
		if r.action != toPool {
			return r, nil
		}
		var tr *pick.Trace
		if d.trace != nil {
			tr = d.trace()
		}
		c := d.plan.choose(r.pool, d.p.input(q.client.Addr(), d.draw(r.pool), d.now), tr)
		if c.usable || !r.goesOn {
			return r, c
		}
		if d.passed != nil {
			d.passed(r)
		}
		at = d.plan.match(q, at+1)
		d.another(d.plan.rules[at])
	}
}

// reply gives the client its reply, the first time that it is called.
func (j *job) reply(a *answer, how served) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.done {
		return
	}
	j.done = true
	if how.hit {
		j.p.count.hits.Add(1)
	}
	j.p.giveAnswer(j.q, a, how, make([]byte, 0, len(a.wire)+64), j.answer)
}

func (j *job) own(r *rule) {
	a, err := own(&j.a, r.answer)
	if err != nil { // the name was packed once already
		a = bareAnswer(&j.a, dns.RcodeServerFailure)
	}
	j.reply(a, served{})
}

// choose asks persistence, then the pool.
func (plan *Plan) choose(p *pool, in pick.Input, tr *pick.Trace) *choice {
	if plan.sticky == nil {
		return p.choose(in, "", false, false, tr)
	}
	busy, full := plan.sticky.overrides()
	return p.choose(in, plan.sticky.get(p.name, in.Client.Addr, in.Now), busy, full, tr)
}

// ask asks the servers of a pool, and keeps what they say.
func (j *job) ask(p *pool, c *choice) {
	if j.plan.cache != nil && j.q.ecs == nil {
		j.key = cacheKey(nil, p.view, j.q.folded, j.q.qtype, j.a.rd, j.a.do, j.a.cd)
		j.stale = j.plan.cache.get(j.key, j.now)
	}
	if f := j.stale; f.answer != nil {
		if !f.stale || f.recent { // kept since, or under the pool of a later rule
			j.reply(f.answer, served{age: f.age, stale: f.stale, hit: true})
			return
		}
		j.p.work.Add(1)
		late := time.AfterFunc(staleWait, func() { defer j.p.work.Done(); j.giveStale() })
		defer func() {
			if late.Stop() {
				j.p.work.Done()
			}
		}()
	}
	a, fail := j.fromServers(p, c)
	if fail == nil {
		if j.key != nil {
			j.plan.cache.put(j.key, a, time.Now())
		}
		j.reply(a, served{})
		return
	}
	j.p.count.failed.Add(1)
	if j.stale.answer != nil {
		j.giveStale()
		return
	}
	failed := j.failure(fail)
	if j.key != nil && failed.rcode == dns.RcodeServerFailure {
		j.plan.cache.put(j.key, failed, time.Now())
	}
	j.reply(failed, served{})
}

// giveStale gives what is past its time, and has it given at once for a while.
func (j *job) giveStale() {
	j.plan.cache.renewing(j.key, time.Now())
	j.reply(j.stale.answer, served{age: j.stale.age, stale: true, hit: true})
}

// fromServers asks the chosen server, and others when it fails, within the
// budget.
func (j *job) fromServers(p *pool, c *choice) (*answer, *exchangeError) {
	b := &budget{left: 1 + j.plan.conf.Retries}
	last := &exchangeError{failure: failNoWay, cause: errors.New("no DNS server is there to be asked")}
	again := false
	for try := 0; b.left > 0; try++ {
		s := c.next(again)
		if s == nil {
			break
		}
		w, ok := j.p.wayTo(s, try)
		if !ok {
			s.stats.failed[failNoWay].Add(1)
			again = false
			continue // it costs nothing, and each server comes once
		}
		b.take()
		if try > 0 {
			j.p.count.retries.Add(1)
		}
		a, fail := j.exchange(s, w, b)
		if fail == nil {
			j.plan.sticky.put(p.name, j.q.client.Addr(), s.name, time.Now())
			return a, nil
		}
		if last.answer == nil || fail.answer != nil {
			last = fail
		}
		again = fail.failure == failTimeout || fail.failure == failNetwork
	}
	return nil, last
}

// exchange puts the question to one server, or waits for the same question of
// somebody else.
func (j *job) exchange(s *server, w way, b *budget) (*answer, *exchangeError) {
	timeout := time.Duration(j.plan.conf.Timeout)
	key := flightKey{s.learnt, string(cacheKey(nil, 0, j.q.folded, j.q.qtype, j.a.rd, j.a.do, j.a.cd)) + j.a.ecs}
	a, fail, joined := j.p.flights.do(key, timeout, func() (*answer, *exchangeError) {
		return j.p.asker.ask(s, w, &j.a, time.Now().Add(timeout), b)
	})
	if joined {
		j.p.count.shared.Add(1)
	}
	return a, fail
}

// pass asks whom the client asked, by the routing table.
func (j *job) pass() {
	s := j.plan.passing.server(j.q.asked)
	b := &budget{left: 1 + j.plan.conf.Retries}
	var fail *exchangeError
	for b.take() {
		var a *answer
		if a, fail = j.exchange(s, way{to: j.q.asked}, b); fail == nil {
			j.reply(a, served{})
			return
		}
		if fail.answer != nil { // it did answer
			break
		}
	}
	j.p.count.failed.Add(1)
	j.reply(j.failure(fail), served{})
}

// failure is what a client gets when no server answered well: the servers' own
// word if they said one, else SERVFAIL.
func (j *job) failure(e *exchangeError) *answer {
	if e.answer != nil && e.answer.rcode <= rcodeMask {
		return bareAnswer(&j.a, e.answer.rcode, e.answer.errs...)
	}
	return bareAnswer(&j.a, dns.RcodeServerFailure, extended{code: edeNoReach, text: e.failure.String()})
}
