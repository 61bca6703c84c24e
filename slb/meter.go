package slb

import (
	"fmt"
	"math"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// meter makes rates of what flows to a server and from it, and says whether it is
// busy. Rates are known once readings span a second, and no more after a gap or
// when the counters begin anew (T28).
type meter struct {
	rule   busy.Rule // zero: it is never busy
	spec   *config.RealServer
	limit  [busy.Directions]float64 // rateLimit; 0: none
	window time.Duration

	ring []readingAt // oldest first
	busy bool
	by   busy.Direction // for which it became so
}

type readingAt struct {
	at     time.Time
	octets [2]uint64 // to the server, from it
}

// newMeter gives the meter of a server; nil: nobody looks at its rates.
func newMeter(m *member) *meter {
	b := m.MaxBandwidth
	judged := m.farm.BusyProtection && b != (config.Bandwidths{})
	if !judged && !m.farm.Algorithm.Looks() && m.RateLimit == (config.Bandwidths{}) {
		return nil
	}
	made := &meter{spec: m.RealServer, limit: slots.ByDirection(m.RateLimit), window: max(time.Duration(m.Busy.Window), tickEvery)}
	if judged {
		for d, most := range [busy.Directions]config.Bandwidth{busy.Total: b.Total, busy.In: b.In, busy.Out: b.Out} {
			made.rule[d] = busy.LimitOf(uint64(most), int(m.Busy.Rate), int(m.Busy.Recovery))
		}
	}
	return made
}

// succeed takes over what the meter before knew.
func (m *meter) succeed(old *meter) {
	m.ring, m.busy, m.by = old.ring, old.busy, old.by
}

// longestGap is how long rates are known without a reading.
const longestGap = 3 * time.Second

// count takes a reading of the counters.
func (m *meter) count(now time.Time, n [2]uint64) {
	if k := len(m.ring); k > 0 {
		last := &m.ring[k-1]
		if now.Sub(last.at) > longestGap || n[0] < last.octets[0] || n[1] < last.octets[1] {
			m.ring = m.ring[:0]
		}
	}
	m.ring = append(m.ring, readingAt{now, n})
	drop := 0
	for drop+2 < len(m.ring) && now.Sub(m.ring[drop+1].at) >= m.window {
		drop++
	}
	m.ring = append(m.ring[:0], m.ring[drop:]...)
}

// leastSpan is the least time of which a rate is told: a second, but for a reading
// that came early.
const leastSpan = 900 * time.Millisecond

// gauge fills in the rates, and what remains of limits.
func (m *meter) gauge(now time.Time, g *status.Gauge) {
	if k := len(m.ring); k > 1 && now.Sub(m.ring[k-1].at) <= longestGap {
		first, last := &m.ring[0], &m.ring[k-1]
		if took := last.at.Sub(first.at); took >= leastSpan {
			in := 8 * float64(last.octets[0]-first.octets[0]) / took.Seconds()
			out := 8 * float64(last.octets[1]-first.octets[1]) / took.Seconds()
			g.Rate = [3]float64{busy.Total: in + out, busy.In: in, busy.Out: out}
		}
	}
	for d, limit := range m.limit {
		if limit > 0 {
			g.Remaining[d] = limit - g.Rate[d]
		}
	}
}

// judge says whether the server is busy by its rates, and whether that is news.
func (m *meter) judge(rates [busy.Directions]float64) (load status.Load, changed bool) {
	c := m.rule.Next(m.busy, rates)
	if !c.Changed {
		return load, false
	}
	m.busy = c.Busy
	if c.Busy {
		m.by = c.Direction
	}
	return status.Load{Busy: c.Busy, Why: m.sentence(c, rates), By: Owner}, true
}

// sentence tells a change with the rate, the bound and the direction: "in 812Mbps
// is over 700Mbps (70% of 1Gbps)". A server that is free again is told by the
// direction for which it was busy.
func (m *meter) sentence(c busy.Change, rates busy.Rates) string {
	if c.Bound == 0 {
		return "it has no maxBandwidth any more"
	}
	b := m.spec.MaxBandwidth
	most := [busy.Directions]config.Bandwidth{busy.Total: b.Total, busy.In: b.In, busy.Out: b.Out}
	if c.Busy {
		return fmt.Sprintf("%s %s is over %s (%v of %v)", c.Direction, busy.Show(c.Rate), busy.Show(c.Bound), m.spec.Busy.Rate, most[c.Direction])
	}
	if bounds := m.rule[m.by]; bounds.Threshold > 0 && !math.IsNaN(rates[m.by]) {
		c.Direction, c.Rate, c.Bound = m.by, rates[m.by], bounds.Recovery
	}
	return fmt.Sprintf("%s %s is under %s (%v of %v)", c.Direction, busy.Show(c.Rate), busy.Show(c.Bound), m.spec.Busy.Recovery, most[c.Direction])
}
