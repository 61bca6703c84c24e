package proximity

import (
	"context"
	"errors"
	"os"
	"sync/atomic"

	"github.com/portolan-lb/portolan/probe"
)

// MethodStats counts what became of one method since the start.
type MethodStats struct {
	Answered uint64 `json:"answered"` // yielded a distance
	Silent   uint64 `json:"silent"`   // nobody near enough answered in time
	Failed   uint64 `json:"failed"`   // the network said no: unreachable, refused by a router
	Void     uint64 `json:"void"`     // our own lack of something: a capability, descriptors
	Packets  uint64 `json:"packets"`  // that it was allowed to send
}

// ProbeStats is a prober's counters since NewProber, and its size now.
type ProbeStats struct {
	Methods map[string]MethodStats `json:"methods"` // every method is there
	Refused map[string]uint64      `json:"refused"` // wants, and links of wants, by reason; every reason is there
	Waiting int                    `json:"waiting"` // networks in the queue
	Out     int                    `json:"out"`     // networks being measured
}

// reasons gives the counters of refusals their names.
var reasons = []struct {
	err  error
	name string
}{
	{ErrOff, "off"}, {ErrExcluded, "excluded"}, {ErrAsked, "asked"}, {ErrTooSoon, "too-soon"}, {ErrFull, "full"}, {ErrWaited, "waited"},
	{ErrNotOurs, "not-ours"}, {ErrDown, "link-down"}, {ErrBusy, "link-busy"}, {ErrFamily, "family"}, {ErrOwn, "own-address"},
}

type methodCounters struct{ answered, silent, failed, void, packets atomic.Uint64 }

// counters are plain atomics; the keys of the maps never change.
type counters struct {
	methods map[string]*methodCounters
	reasons map[error]*atomic.Uint64
}

func newCounters() counters {
	c := counters{methods: map[string]*methodCounters{}, reasons: map[error]*atomic.Uint64{}}
	for name := range methods {
		c.methods[name] = &methodCounters{}
	}
	for _, r := range reasons {
		c.reasons[r.err] = &atomic.Uint64{}
	}
	return c
}

func (c *counters) refused(err error) {
	if n := c.reasons[err]; n != nil {
		n.Add(1)
	}
}

func (c *counters) sent(method string, n int) {
	if m := c.methods[method]; m != nil {
		m.packets.Add(uint64(n))
	}
}

func (c *counters) count(method string, err error) {
	m := c.methods[method]
	switch {
	case m == nil:
	case err == nil:
		m.answered.Add(1)
	case errors.Is(err, errSilent), errors.Is(err, errFar), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		m.silent.Add(1)
	case probe.Ours(err):
		m.void.Add(1)
	default:
		m.failed.Add(1)
	}
}

// Stats reads the counters.
func (p *Prober) Stats() ProbeStats {
	s := ProbeStats{Methods: map[string]MethodStats{}, Refused: map[string]uint64{}}
	for name, m := range p.stats.methods {
		s.Methods[name] = MethodStats{m.answered.Load(), m.silent.Load(), m.failed.Load(), m.void.Load(), m.packets.Load()}
	}
	for _, r := range reasons {
		s.Refused[r.name] = p.stats.reasons[r.err].Load()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Waiting = len(p.queue.lanes[knownLane]) + len(p.queue.lanes[newLane])
	s.Out = len(p.queue.held) - s.Waiting
	return s
}
