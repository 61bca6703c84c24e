package proximity

import (
	"net/netip"
	"slices"
	"time"
)

// Bounds of the queue.
const (
	maxQueued  = 1024             // wants in either lane
	maxRecent  = 1 << 16          // networks that are remembered as just measured; a quarter is for known ones
	maxWaiting = 15 * time.Second // a want that waited longer is dropped: whoever still cares asks again
)

// queue holds what is to be measured, in two lanes: known networks and new ones.
// Each network stands in it once, or is out being measured (T1), or has been
// measured just now. Its memory is bounded.
type queue struct {
	lanes  [2][]waiting          // by laneOf; the first is the next
	held   map[netip.Prefix]bool // in a lane or out
	recent recent
}

type waiting struct {
	Want
	since time.Time
}

// The lanes.
const (
	knownLane = iota
	newLane
)

func laneOf(w Want) int {
	if w.Known {
		return knownLane
	}
	return newLane
}

func newQueue() queue {
	return queue{held: map[netip.Prefix]bool{}, recent: recent{until: map[netip.Prefix]time.Time{}}}
}

// push adds a want, or says why not.
func (q *queue) push(w Want, now time.Time) error {
	q.recent.expire(now)
	lane := &q.lanes[laneOf(w)]
	switch n := len(q.recent.until); {
	case q.held[w.Prefix]:
		return ErrAsked
	case q.recent.has(w.Prefix):
		return ErrTooSoon
	case len(*lane) >= maxQueued, n >= maxRecent, !w.Known && n >= maxRecent/4*3:
		return ErrFull
	}
	q.held[w.Prefix] = true
	*lane = append(*lane, waiting{w, now})
	return nil
}

// pop takes the next want of a lane out; it stays held until done, and is left
// alone for perTarget. stale are those that waited too long; they are held no
// more.
func (q *queue) pop(lane int, now time.Time, perTarget time.Duration) (w Want, stale []Want, ok bool) {
	for !ok && len(q.lanes[lane]) > 0 {
		first := q.lanes[lane][0]
		q.lanes[lane][0] = waiting{} // it holds on to nothing
		q.lanes[lane] = q.lanes[lane][1:]
		if now.Sub(first.since) > maxWaiting {
			delete(q.held, first.Prefix)
			stale = append(stale, first.Want)
			continue
		}
		w, ok = first.Want, true
		q.recent.expire(now)
		q.recent.add(w.Prefix, now.Add(perTarget))
	}
	return w, stale, ok
}

// done lets a network that is out be asked for again.
func (q *queue) done(p netip.Prefix) { delete(q.held, p) }

// clear drops both lanes and gives what stood in them.
func (q *queue) clear() (dropped []Want) {
	for i := range q.lanes {
		for _, w := range q.lanes[i] {
			delete(q.held, w.Prefix)
			dropped = append(dropped, w.Want)
		}
		q.lanes[i] = nil
	}
	return dropped
}

// recent is the networks that were measured just now, in the order in which
// they began. When perTarget was changed, those from before keep theirs, and may
// keep the ones behind them a little longer.
type recent struct {
	order []netip.Prefix
	until map[netip.Prefix]time.Time
}

func (r *recent) has(p netip.Prefix) bool { _, ok := r.until[p]; return ok }

// add notes a network that is not in it.
func (r *recent) add(p netip.Prefix, until time.Time) {
	r.order = append(r.order, p)
	r.until[p] = until
}

// forget drops those inside a prefix, or all with the zero Prefix.
func (r *recent) forget(prefix netip.Prefix) {
	r.order = slices.DeleteFunc(r.order, func(p netip.Prefix) bool {
		gone := !prefix.IsValid() || prefix.Overlaps(p)
		if gone {
			delete(r.until, p)
		}
		return gone
	})
}

func (r *recent) expire(now time.Time) {
	for len(r.order) > 0 && !r.until[r.order[0]].After(now) {
		delete(r.until, r.order[0])
		r.order = r.order[1:]
	}
}
