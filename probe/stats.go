package probe

import (
	"sync/atomic"
)

// counters are what Stats reads; plain atomics, so that probing never waits
// for a scrape.
type counters struct {
	results  map[string]*[3]atomic.Uint64 // by kind, then outcome; its keys never change
	overruns atomic.Uint64
	panics   atomic.Uint64
}

func newCounters() *counters {
	c := &counters{results: map[string]*[3]atomic.Uint64{}}
	for name := range kinds {
		c.results[name] = new([3]atomic.Uint64)
	}
	return c
}

func (c *counters) count(kind string, o Outcome) {
	if n := c.results[kind]; n != nil {
		n[o].Add(1)
	}
}

// Stats is a prober's counters since New, and its size now.
type Stats struct {
	Results  map[string]Results `json:"results"`  // by kind; every kind is there
	Checks   int                `json:"checks"`   // in the plan
	Running  int                `json:"running"`  // probes out now
	Slots    int                `json:"slots"`    // descriptors that probes may hold at once: Options.MaxRunning
	Needed   int                `json:"needed"`   // what the plan takes with every check out at once; above Slots probes may wait
	Overruns uint64             `json:"overruns"` // grid points skipped because the probe before was still out
	Waited   uint64             `json:"waited"`   // probes that had to wait for a slot
	Panics   uint64             `json:"panics"`   // of a kind; each is a void result as well
}

// Results counts finished probes by outcome.
type Results struct {
	Pass uint64 `json:"pass"`
	Fail uint64 `json:"fail"`
	Void uint64 `json:"void"`
}

// Stats reads the counters.
func (p *Prober) Stats() Stats {
	p.mu.Lock()
	checks, needed := len(p.runners), p.needed
	p.mu.Unlock()
	s := Stats{
		Results: make(map[string]Results, len(kinds)), Checks: checks,
		Running: int(p.slots.running.Load()), Slots: p.slots.limit, Needed: needed,
		Overruns: p.stats.overruns.Load(), Waited: p.slots.waited.Load(), Panics: p.stats.panics.Load(),
	}
	for kind, n := range p.stats.results {
		s.Results[kind] = Results{Pass: n[Pass].Load(), Fail: n[Fail].Load(), Void: n[Void].Load()}
	}
	return s
}
