package proximity

import (
	"net/netip"
	"time"
)

// Bounds of the queue.
const (
	maxQueued  = 1024             // wants in either line
	maxRecent  = 1 << 16          // networks that are remembered as just measured; a quarter is for known ones
	maxWaiting = 15 * time.Second // a want that waited longer is dropped: whoever still cares asks again
	knownTurns = 3                // of four turns, where both lines have somebody
)

// queue holds what is to be measured: a line for networks that are known and
// one for new ones. While both have somebody the known ones have three turns of
// four: a flood of new networks, whose sources may be forged, takes a quarter of
// the budget from them and no more, and what is known cannot shut out what is
// new. Each network stands in it once, or is out being measured (T1), or has
// been measured just now. Its memory is bounded.
type queue struct {
	lines  [2]line // known, new
	turn   int
	held   map[netip.Prefix]bool // in a line or out
	recent recent
}

type line struct {
	wants []Want // the first is the next
	since []time.Time
}

func newQueue() queue {
	return queue{held: map[netip.Prefix]bool{}, recent: recent{until: map[netip.Prefix]time.Time{}}}
}

// push adds a want, or says why not.
func (q *queue) push(w Want, now time.Time) error {
	q.recent.expire(now)
	l := &q.lines[lineOf(w)]
	switch {
	case q.held[w.Prefix]:
		return ErrAsked
	case q.recent.has(w.Prefix):
		return ErrTooSoon
	case len(l.wants) >= maxQueued, len(q.recent.until) >= maxRecent, !w.Known && len(q.recent.until) >= maxRecent/4*3:
		return ErrFull
	}
	q.held[w.Prefix] = true
	l.wants, l.since = append(l.wants, w), append(l.since, now)
	return nil
}

func lineOf(w Want) int {
	if w.Known {
		return 0
	}
	return 1
}

// pop takes the next want out; it stays held until done. stale are those that
// waited too long; they are held no more.
func (q *queue) pop(now time.Time) (w Want, stale []Want, ok bool) {
	for i := range q.lines {
		l := &q.lines[i]
		for len(l.wants) > 0 && now.Sub(l.since[0]) > maxWaiting {
			delete(q.held, l.wants[0].Prefix)
			stale = append(stale, l.take())
		}
	}
	first := 0
	if q.turn%(knownTurns+1) == knownTurns {
		first = 1
	}
	for _, i := range []int{first, 1 - first} {
		if len(q.lines[i].wants) > 0 {
			q.turn++
			return q.lines[i].take(), stale, true
		}
	}
	return Want{}, stale, false
}

func (l *line) take() Want {
	w := l.wants[0]
	l.wants[0] = Want{}
	l.wants, l.since = l.wants[1:], l.since[1:]
	return w
}

// begun notes that packets are sent to a network, so that it is left alone for
// perTarget after.
func (q *queue) begun(p netip.Prefix, now time.Time, perTarget time.Duration) {
	q.recent.expire(now)
	q.recent.add(p, now.Add(perTarget))
}

// done lets a network that is out be asked for again.
func (q *queue) done(p netip.Prefix) { delete(q.held, p) }

// clear drops both lines and gives what stood in them.
func (q *queue) clear() (dropped []Want) {
	for i := range q.lines {
		for _, w := range q.lines[i].wants {
			delete(q.held, w.Prefix)
			dropped = append(dropped, w)
		}
		q.lines[i] = line{}
	}
	return dropped
}

// recent is the networks that were measured just now, in the order in which
// they may be measured again: perTarget is the same for all, but for a change of
// it, which then counts for new ones late.
type recent struct {
	order []netip.Prefix
	until map[netip.Prefix]time.Time
}

func (r *recent) has(p netip.Prefix) bool { _, ok := r.until[p]; return ok }

func (r *recent) add(p netip.Prefix, until time.Time) {
	if !r.has(p) {
		r.order = append(r.order, p)
	}
	r.until[p] = until
}

func (r *recent) expire(now time.Time) {
	for len(r.order) > 0 && !r.until[r.order[0]].After(now) {
		delete(r.until, r.order[0])
		r.order = r.order[1:]
	}
}
