package proximity

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// entry is what is known of one client network. Its fields but the atomic ones
// never change; what is found is one immutable block, swapped whole.
type entry struct {
	key    key
	made   int64 // nanoseconds since the table's start
	proven bool  // who asked first had shown that his address is not forged
	asked  atomic.Uint32
	tried  atomic.Uint32 // when measuring was asked for; 0: never
	found  atomic.Pointer[[]distance]
	best   [numBest]atomic.Uint32 // who was best last, by circle: see settle
}

// numBest is for how many circles of links an entry remembers who was best.
const numBest = 4

// stamp is a moment in seconds, from long before the table's start: ages of
// entries that were kept over a restart are told in it too.
type stamp = uint32

// before is the stamp of the table's start: two years of the past can be told,
// and more than a century of uptime.
const before = 1 << 26

// clock tells time for one table. It goes by the monotonic clock, so that a
// clock that is set moves no warm-up.
type clock struct{ start time.Time }

func (c clock) nano(t time.Time) int64      { return int64(t.Sub(c.start)) }
func (c clock) stamp(t time.Time) stamp     { return c.ofNano(c.nano(t)) }
func (c clock) ofNano(n int64) stamp        { return stamp(before + n/int64(time.Second)) }
func (c clock) time(n int64) time.Time      { return c.start.Add(time.Duration(n)) }
func (c clock) stampTime(s stamp) time.Time { return c.time((int64(s) - before) * int64(time.Second)) }

// age gives the seconds from one stamp to a later one, 0 if it is not later.
func age(from, to stamp) uint32 {
	if from > to {
		return 0
	}
	return to - from
}

func secondsOf(d time.Duration) uint32 { return uint32(d / time.Second) }

// distance is what is known of one link. It is kept small: there is one for
// each link of each entry.
type distance struct {
	link   uint16 // id in links
	method uint8  // of active, by its place in methodNames; 0: none
	hops   uint8  // 0: not known
	missed uint8  // rounds in a row in which nobody answered
	hitch  uint8  // why the last round was none: place in hitches; 0: it was one
	heard  uint16 // how many samples passive rests on, at most 65535

	triedAt stamp    // when the last round ended
	rtt     uint32   // what counts, of active and passive: microseconds; 0: nothing
	active  trail    // as methods found it
	passive trail    // as clients' own connections showed it
	via     [16]byte // who answered
}

// at is when the newest of what counts was found.
func (d *distance) at() stamp { return max(d.active.since, d.passive.since) }

// maxMissed is after how many rounds without an answer what was found before
// does not count any more: the way is broken, not only a packet lost.
const maxMissed = 3

// broken says that who answered before does not any more. Where nobody ever
// did, silence says nothing of the way, and what clients' connections showed
// counts.
func (d *distance) broken() bool { return d.missed >= maxMissed && d.active.known() }

// counts says whether the distance may be used. maxAge is in seconds.
func (d *distance) counts(now stamp, maxAge uint32) bool {
	return d.rtt > 0 && !d.broken() && age(d.at(), now) <= maxAge
}

func (d *distance) viaAddr() netip.Addr {
	a := netip.AddrFrom16(d.via).Unmap()
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// methodNames gives methods their numbers, which are also those of the kept
// form: new ones go to the end.
var methodNames = []string{"", "icmp", "tcp", "dns", "udp"}

// hitches are the reasons for which a link was not measured, with what they
// are called. They are of our side and say nothing of the distance.
var hitches = []struct {
	err  error
	text string
}{
	{},
	{ErrNotOurs, "this node does not own the link"},
	{ErrDown, "the link is down or held"},
	{ErrBusy, "the link is busy"},
	{ErrFamily, "the link has no source address of that family"},
	{ErrOwn, "the address is one of this machine"},
	{ErrWaited, "it waited too long for the budget of packets"},
	{ErrOff, "measuring was switched off"},
	{ErrVoid, "this machine lacks what it takes to measure: a capability, or descriptors"},
}

// distances gives what was found; the slice is not to be changed.
func (e *entry) distances() []distance {
	if d := e.found.Load(); d != nil {
		return *d
	}
	return nil
}

// update swaps in a block in which the distance of one link is changed by f.
// Writers take turns.
func (e *entry) update(link uint16, f func(d *distance)) {
	old := e.distances()
	next := make([]distance, len(old), len(old)+1)
	copy(next, old)
	for i := range next {
		if next[i].link == link {
			f(&next[i])
			e.found.Store(&next)
			return
		}
	}
	next = append(next, distance{link: link})
	f(&next[len(next)-1])
	e.found.Store(&next)
}

// forget drops the distances of links that may says are gone. Writers take
// turns.
func (e *entry) forget(gone func(link uint16) bool) {
	old := e.distances()
	var next []distance
	for _, d := range old {
		if !gone(d.link) {
			next = append(next, d)
		}
	}
	if len(next) != len(old) {
		e.found.Store(&next)
	}
	for i := range e.best {
		if b := e.best[i].Load(); b != 0 && gone(uint16(b)) {
			e.best[i].Store(0)
		}
	}
}

// settled gives the link that was best last in a circle, 0 if none was.
func (e *entry) settled(circle uint16) (link uint16) {
	for i := range e.best {
		if b := e.best[i].Load(); b != 0 && uint16(b>>16) == circle {
			return uint16(b)
		}
	}
	return 0
}

// settle notes the link that is best in a circle now. Of more circles than an
// entry has room for, some are forgotten: there the best has no margin.
func (e *entry) settle(circle, link uint16) {
	word, place := uint32(circle)<<16|uint32(link), int(circle)%numBest
	for i := range e.best {
		switch b := e.best[i].Load(); {
		case b == word:
			return
		case b == 0:
			place = i
		case uint16(b>>16) == circle:
			e.best[i].Store(word)
			return
		}
	}
	e.best[place].Store(word)
}
