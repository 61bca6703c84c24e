package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Live counts the sessions there are by the bits of a mask of their marks, and
// how many have come, by what the kernel tells of each that begins and ends; if
// it was opened so, by the servers that answer them too (liveserver.go).
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
	known  map[uint64]known     // by key: what is told twice counts once
	untold int                  // of known
	next   time.Time            // when the table is read again
	cost   time.Duration        // of reading it
	most   int                  // rows from which on idle ones are forgotten
	waits  map[uint64]time.Time // since when TCP is not answered, if somebody asks (livesilent.go)
	look   time.Time            // when that is read again

	await   atomic.Int64 // see Await; a time.Duration
	stirred atomic.Bool  // it has changed

	mu       sync.Mutex // guards the rest, which only Run changes
	rows     []liveRow
	byMark   map[uint32]uint32 // places in rows; of one that does not count by servers
	byServer map[rowKey]uint32 // the same of one that does, else nil
	counts   map[uint32]*Tally
	servers  map[Served]*servedTally
	loans    map[Lent]*int
	moved    []*servedTally // since Moved was called
	recounts uint64
	overrun  uint64
}

// known is a session that is counted. It holds no pointers, for there may be a
// million of them.
type known struct {
	row    uint32
	told   bool // by an event: its end will be told too
	silent bool // counted as unanswered already
	over   bool // not counted as live any more (liveover.go)
}

// Tally is how many sessions there are of one mark or server, and how many there
// have been since the count began. Those that came and went while events were
// lost are missing from Opened, those that went meanwhile from Unanswered.
//
// A TCP connection that is refused is unanswered at once. One of which nothing is
// heard is so when Linux gives it up: after nf_conntrack_tcp_timeout_syn_sent (120 s)
// or nf_conntrack_udp_timeout (30 s), and up to a minute later, when Linux
// looks for such ones; of TCP sooner with [Live.Await].
type Tally struct {
	Live       int // without those of TCP that are over: closed by both ends, or reset
	Opened     uint64
	Unanswered uint64 // no packet of the reply direction came before the end, or in time; not of those that somebody ended by command before
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
func OpenLive(mask uint32) (*Live, error) { return openLive(mask, false, liveBuffer) }

func openLive(mask uint32, servers bool, buffer int) (*Live, error) {
	table, err := OpenConntrack()
	if err != nil {
		return nil, err
	}
	events, err := openSocket(unix.NETLINK_NETFILTER, eventsNew|eventsDestroy, buffer)
	if err != nil {
		table.Close()
		return nil, fmt.Errorf("events of sessions: %w", err)
	}
	if err := events.hearEnds(); err != nil {
		events.close()
		table.Close()
		return nil, fmt.Errorf("events of sessions: %w", err)
	}
	l := newLive(mask, servers)
	l.events, l.table = events, table
	if b, err := os.ReadFile(sleepyEvents); err == nil && len(b) > 0 && b[0] == '0' {
		l.asleep = true
	}
	return l, nil
}

// newLive gives one that hears nothing yet.
func newLive(mask uint32, servers bool) *Live {
	l := &Live{mask: mask, most: rowsMost, known: map[uint64]known{}, byMark: map[uint32]uint32{}, counts: map[uint32]*Tally{}}
	if servers {
		l.byServer, l.servers, l.loans = map[rowKey]uint32{}, map[Served]*servedTally{}, map[Lent]*int{}
	}
	return l
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
		into[mark] = *c
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
		if l.awaits() > 0 && !time.Now().Before(l.look) {
			if err := l.readSilent(ctx); err != nil {
				if ctx.Err() != nil {
					break
				}
				return err
			}
		}
		if err := l.hear(ctx, l.due()); err != nil && ctx.Err() == nil {
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
	if ctx.Err() != nil || l.stirred.Swap(false) {
		return nil // that deadline may have been the one before ours
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
			// Those that somebody ends are told with the number of his socket.
			l.gone(s.key(), m.port == 0 && s.Status&StatusSeenReply == 0)
		} else if s.over() {
			l.finish(s.key())
		} else {
			l.come(&s)
		}
	}
}

func (l *Live) come(s *Session) {
	key := s.key()
	switch k, is := l.known[key]; {
	case is && !k.told: // the table had it first
		k.told = true
		l.known[key] = k
		l.untold--
		return
	case is || s.Mark&l.mask == 0:
		return
	}
	row, is := l.rowOf(s)
	if !is {
		row = l.newRow(s)
	}
	l.known[key] = known{row: row, told: true}
	l.count(row, change{live: 1, kept: 1, opened: 1})
}

func (l *Live) gone(key uint64, unanswered bool) {
	k, is := l.known[key]
	if !is {
		return
	}
	delete(l.known, key)
	if !k.told {
		l.untold--
	}
	c := change{kept: -1}
	if !k.over {
		c.live = -1
	}
	if unanswered && !k.silent {
		c.unanswered = 1
	}
	l.count(k.row, c)
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
		if ok && kind == ctNew && s.Mark&l.mask != 0 && s.Status&statusDying == 0 {
			l.find(found, &s)
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

// find notes a session of the table.
func (l *Live) find(found map[uint64]known, s *Session) {
	row, is := l.rowOf(s)
	if !is {
		l.mu.Lock()
		row = l.newRow(s)
		l.mu.Unlock()
	}
	key := s.key()
	was := l.known[key]
	found[key] = known{row: row, told: was.told, silent: was.silent, over: s.over()}
}

// replace makes found what is known.
func (l *Live) replace(found map[uint64]known) {
	changes := make([]change, len(l.rows)) // only Run changes them
	for at := range l.rows {
		changes[at] = change{live: -l.rows[at].live, kept: -l.rows[at].kept}
	}
	l.untold = 0
	for key, k := range found {
		c := &changes[k.row]
		c.kept++
		if !k.over {
			c.live++
		}
		if _, is := l.known[key]; !is && l.recounts > 0 {
			c.opened++
		}
		if !k.told {
			l.untold++
		}
	}
	l.known = found
	l.mu.Lock()
	defer l.mu.Unlock()
	for at, c := range changes {
		if c != (change{}) {
			l.count(uint32(at), c)
		}
	}
	l.recounts++
	if places := l.forget(); places != nil {
		for key, k := range l.known {
			k.row = places[k.row]
			l.known[key] = k
		}
	}
}
