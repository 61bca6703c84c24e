package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Live counts the sessions there are by the bits of a mask of their marks, and
// how many have come, by what the kernel tells of each that begins and ends.
// Sessions with none of the bits are not counted.
//
// What the kernel tells can be lost when there is too much of it, and does not
// reach back to sessions that were there before anybody listened. So the whole
// table is read at the start, as soon as something was lost, and now and then.
// After that the counts are exact: see [Live.recount].
type Live struct {
	mask   uint32
	events *socket    // what begins and ends
	table  *Conntrack // asked on a socket of its own
	asleep bool       // the kernel tells nothing

	// Of Run alone.
	known  map[uint64]known // by key: what is told twice counts once
	untold int              // of known
	next   time.Time        // when the table is read again
	cost   time.Duration    // of reading it

	mu       sync.Mutex // guards the rest, which only Run changes
	counts   map[uint32]Tally
	recounts uint64
	overrun  uint64
}

// known is a session that is counted.
type known struct {
	mark uint32
	told bool // by an event: its end will be told too
}

// Tally is how many sessions there are of one mark or server, and how many there
// have been since the count began. Those that came and went while events were
// lost are missing from Opened, those that went meanwhile from Unanswered.
type Tally struct {
	Live       int
	Opened     uint64
	Unanswered uint64 // ended without a packet of the reply direction; not those that somebody ended by command
}

// The groups of events, a bit each.
const (
	eventsNew     = 1 << (unix.NFNLGRP_CONNTRACK_NEW - 1)
	eventsDestroy = 1 << (unix.NFNLGRP_CONNTRACK_DESTROY - 1)
)

const (
	liveBuffer = 8 << 20 // no overrun was seen at 100,000 new sessions in 0.9 s
	liveBatch  = 256     // datagrams

	// The table is read again after so long, or later, so that it takes at most a
	// hundredth of the time. Sooner as long as there are sessions from before
	// anybody listened, whose end the kernel may not tell
	// (net.netfilter.nf_conntrack_events=2), or when it tells of none (=0); and at
	// once when something was lost, but no more than a quarter of the time.
	liveAgain   = 30 * time.Second
	untoldAgain = 5 * time.Second
	asleepAgain = time.Second
	lostSoonest = 100 * time.Millisecond
	liveShare   = 100
	asleepShare = 10
	lostShare   = 4

	sleepyEvents = "/proc/sys/net/netfilter/nf_conntrack_events"
)

// OpenLive begins to listen in the calling thread's namespace; [Live.Run] does
// the counting. mask has the bits to count by. The caller closes it.
func OpenLive(mask uint32) (*Live, error) { return openLive(mask, liveBuffer) }

func openLive(mask uint32, buffer int) (*Live, error) {
	table, err := OpenConntrack()
	if err != nil {
		return nil, err
	}
	events, err := openSocket(unix.NETLINK_NETFILTER, eventsNew|eventsDestroy, buffer)
	if err != nil {
		table.Close()
		return nil, fmt.Errorf("events of sessions: %w", err)
	}
	l := &Live{mask: mask, events: events, table: table, counts: map[uint32]Tally{}, known: map[uint64]known{}}
	if b, err := os.ReadFile(sleepyEvents); err == nil && len(b) > 0 && b[0] == '0' {
		l.asleep = true
	}
	return l, nil
}

// Close ends it, and Run if that still goes on.
func (l *Live) Close() {
	l.events.close()
	l.table.Close()
}

// Counts puts the counts by masked mark into a map, which is cleared before,
// and tells how often events were lost so far. It waits for nothing.
func (l *Live) Counts(into map[uint32]Tally) (lost uint64) {
	clear(into)
	l.mu.Lock()
	defer l.mu.Unlock()
	for mark, c := range l.counts {
		into[mark] = c
	}
	return l.overrun
}

// Recounted tells how often the whole table was read.
func (l *Live) Recounted() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.recounts
}

// Run counts until ctx ends, and then returns nil. It is called once.
func (l *Live) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = l.events.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	l.next = time.Now()
	for ctx.Err() == nil {
		if !time.Now().Before(l.next) {
			if err := l.readTable(ctx); err != nil {
				if ctx.Err() != nil {
					break
				}
				return err
			}
		}
		if err := l.hear(ctx, l.next); err != nil && ctx.Err() == nil {
			return fmt.Errorf("events of sessions: %w", err)
		}
	}
	return nil
}

// hear counts events until it is time to read the table.
func (l *Live) hear(ctx context.Context, until time.Time) error {
	if err := l.events.file.SetReadDeadline(until); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return nil // its deadline may have been the one before ours
	}
	_, err := l.read(liveBatch, true)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// read counts the events of at most so many datagrams. It waits for the first
// if wait says so, and takes no more than there are. When the kernel says that
// it lost some the table is due soon.
func (l *Live) read(most int, wait bool) (n int, err error) {
	for ; n < most; n++ { // an endless overrun must not keep us here
		size, from, err := l.one(wait && n == 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return n, nil
		case errors.Is(err, unix.ENOBUFS):
			l.later(lostShare*l.cost, lostSoonest)
		case err != nil:
			return n, err
		}
		l.mu.Lock()
		if err != nil {
			l.overrun++
		} else if from == 0 {
			l.take(l.events.buf[:size])
		}
		l.mu.Unlock()
	}
	return n, nil
}

// one reads a datagram.
func (l *Live) one(wait bool) (size int, from uint32, err error) {
	if wait {
		return receive(l.events.conn.Read, l.events.buf)
	}
	return receiveNow(l.events)
}

// later has the table read after so long, unless it is due before.
func (l *Live) later(wait, least time.Duration) {
	if at := time.Now().Add(max(wait, least)); at.Before(l.next) {
		l.next = at
	}
}

// take counts what one datagram tells. Who calls it holds l.mu.
func (l *Live) take(b []byte) {
	for m := range messages(b) {
		if m.kind != ctNew && m.kind != ctDelete {
			continue
		}
		s, ok := parseSession(m.body)
		if !ok {
			continue
		}
		if m.kind == ctDelete {
			l.gone(s.key())
		} else {
			l.come(s.key(), s.Mark&l.mask)
		}
	}
}

func (l *Live) come(key uint64, mark uint32) {
	if _, is := l.known[key]; is || mark == 0 {
		return
	}
	l.known[key] = known{mark: mark, told: true}
	c := l.counts[mark]
	c.Live++
	c.Opened++
	l.counts[mark] = c
}

func (l *Live) gone(key uint64) {
	k, is := l.known[key]
	if !is {
		return
	}
	delete(l.known, key)
	if !k.told {
		l.untold--
	}
	c := l.counts[k.mark]
	c.Live--
	l.counts[k.mark] = c
}

// readTable reads the whole table and makes it the truth:
//
//  1. events that wait are read, to the last: of those before a loss only one
//     half may be left, and who has lost some hears nothing until he has read
//     the rest
//  2. the table is read; what it says takes the place of what was known
//  3. events that came meanwhile are still in their socket, and are counted
//     next. One that tells of what the table had already changes nothing, for
//     sessions are known by their keys
//
// A session that ends is told before it leaves the table, and is marked as dying
// from then on: those are not counted. So no order of the two makes a count
// wrong.
func (l *Live) readTable(ctx context.Context) error {
	start := time.Now()
	l.next = start.Add(liveAgain)
	for more := true; more && ctx.Err() == nil; {
		n, err := l.read(liveBatch, false)
		if err != nil {
			return fmt.Errorf("events of sessions: %w", err)
		}
		more = n == liveBatch && time.Since(start) < time.Second
	}
	found := make(map[uint64]known, len(l.known))
	before := time.Now()
	err := l.table.socket.ask(ctGet, unix.NLM_F_DUMP, []byte{unix.AF_UNSPEC, 1, 0, 0}, func(kind uint16, b []byte) {
		s, ok := parseSession(b)
		if mark := s.Mark & l.mask; ok && kind == ctNew && mark != 0 && s.Status&statusDying == 0 {
			key := s.key()
			found[key] = known{mark: mark, told: l.known[key].told}
		}
	})
	if err != nil && !errors.Is(err, errInterrupted) {
		return wrapped("the table of sessions", err)
	}
	l.replace(found)
	l.cost = time.Since(before)
	switch {
	case l.asleep:
		l.later(asleepShare*l.cost, asleepAgain)
	case l.untold > 0:
		l.later(liveShare*l.cost, untoldAgain)
	case liveShare*l.cost > liveAgain:
		l.next = start.Add(liveShare * l.cost)
	}
	return nil
}

// replace makes found what is known.
func (l *Live) replace(found map[uint64]known) {
	counts := make(map[uint32]Tally, len(l.counts))
	for mark, c := range l.counts { // only Run changes it
		counts[mark] = Tally{Opened: c.Opened}
	}
	l.untold = 0
	for key, k := range found {
		c := counts[k.mark]
		c.Live++
		if _, is := l.known[key]; !is && l.recounts > 0 {
			c.Opened++
		}
		if !k.told {
			l.untold++
		}
		counts[k.mark] = c
	}
	l.known = found
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts = counts
	l.recounts++
}
