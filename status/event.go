package status

import (
	"sync"
	"time"
)

// Event is one change of a row or of a hold.
type Event struct {
	Seq  uint64    `json:"seq"` // rises by one with each event of a board
	Time time.Time `json:"time"`
	ID   ID        `json:"id"`
	Old  string    `json:"old,omitempty"`
	New  string    `json:"new"`
	Why  string    `json:"why,omitempty"`
	By   string    `json:"by,omitempty"`
}

// ring keeps the last events; the oldest give way.
type ring struct {
	mu   sync.Mutex
	buf  []Event
	next uint64 // seq of the next event; seqs start at 1
}

func newRing(size int) *ring { return &ring{buf: make([]Event, max(size, 1)), next: 1} }

func (r *ring) add(e Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Seq = r.next
	r.buf[r.next%uint64(len(r.buf))] = e
	r.next++
}

func (r *ring) list(after uint64) []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	if after >= r.next {
		return nil // nothing came after it; also keeps after+1 from wrapping
	}
	first := uint64(1)
	if n := uint64(len(r.buf)); r.next > n {
		first = r.next - n
	}
	var events []Event
	for seq := max(first, after+1); seq < r.next; seq++ {
		events = append(events, r.buf[seq%uint64(len(r.buf))])
	}
	return events
}

// Record adds an event that is not a change of a row: a reload, a bad zone
// file, a start from the last good configuration.
func (b *Board) Record(e Event) {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	b.events.add(e)
}
