package status

import (
	"maps"
	"math"
	"time"
)

// Gauge is the live numbers of one thing. What is not known is NaN: unknown is
// not zero (T28). Rate and Remaining are by direction: total, in, out, as in
// package busy.
type Gauge struct {
	Rate        [3]float64 // bits a second that flow
	Remaining   [3]float64 // bits a second below the rate limit; 0 and less: none is left
	Connections float64    // open now, as its owner reports
	Latency     float64    // seconds to a first byte, as its owner reports
	At          time.Time  // when they were measured
}

// NoGauge is the gauge of which nothing is known.
func NoGauge() Gauge {
	unknown := math.NaN()
	all := [3]float64{unknown, unknown, unknown}
	return Gauge{Rate: all, Remaining: all, Connections: unknown, Latency: unknown}
}

// Gauges is all live numbers at one moment, beside the rows: they change each
// second and make no new [Table]. A Gauges is never changed and safe for any
// number of readers; nil holds nothing.
type Gauges struct {
	index  map[ID]int // shared between blocks until an id comes or goes
	values []Gauge
}

// Get gives the gauge of id, and whether anybody measures it.
func (g *Gauges) Get(id ID) (Gauge, bool) {
	if g != nil {
		if i, ok := g.index[id]; ok {
			return g.values[i], true
		}
	}
	return NoGauge(), false
}

// Gauges gives the live numbers as they stand: one atomic load.
func (b *Board) Gauges() *Gauges { return b.gauges.Load() }

// Measure writes gauges, each in the place of the one before; others stay. It
// publishes one new block.
func (b *Board) Measure(now map[ID]Gauge) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cur := b.gauges.Load()
	if cur == nil {
		cur = &Gauges{}
	}
	next := &Gauges{index: cur.index, values: append(make([]Gauge, 0, len(cur.values)+len(now)), cur.values...)}
	grown := false
	for id, v := range now {
		i, ok := next.index[id]
		if ok {
			next.values[i] = v
			continue
		}
		if !grown {
			next.index, grown = maps.Clone(next.index), true
			if next.index == nil {
				next.index = map[ID]int{}
			}
		}
		next.index[id] = len(next.values)
		next.values = append(next.values, v)
	}
	b.gauges.Store(next)
}

// Unmeasure removes the gauges of things that nobody measures any more.
func (b *Board) Unmeasure(ids ...ID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	cur := b.gauges.Load()
	if cur == nil {
		return
	}
	gone := make(map[ID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	next := &Gauges{index: make(map[ID]int, len(cur.index))}
	for id, i := range cur.index {
		if !gone[id] {
			next.index[id] = len(next.values)
			next.values = append(next.values, cur.values[i])
		}
	}
	b.gauges.Store(next)
}
