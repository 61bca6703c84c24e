package link

import (
	"math"
	"time"

	"github.com/portolan-lb/portolan/busy"
)

// meter makes rates of counters: the mean over a window that ends at the last
// sample. It knows them once samples span a second, and no more after a gap, when
// the counters start a new series, or when they go backwards without a plausible
// wrap (T28):
//
//	samples   x--x--x--x--x--x--x             x--x--x     y  another series
//	rates     ?  =  =  =  =  =  =  =  =  ?    ?  =  =     ?
//	                      [window]       gap
//
// It is not safe for use by several goroutines.
type meter struct {
	window   time.Duration
	capacity float64 // bits a second that the line can carry, by configuration; 0: not known

	// ring holds the samples of the window, oldest first. The oldest is the one
	// whose distance from the last is nearest to the window.
	ring []Sample

	pushed busy.Rates // rates that were pushed
	toldAt time.Time
	maxAge time.Duration // they count so long
}

// leastGap is the least time without a sample after which rates are not known.
const leastGap = 3 * time.Second

// leastSpan is the least time of which a rate is told: a second, but for a tick
// that came early. A burst of less says nothing of what a link carries.
const leastSpan = 900 * time.Millisecond

// gap is how long after s rates are known without another sample.
func (s *Sample) gap() time.Duration { return max(3*s.Every, leastGap) }

// unknown is the rates of a link of which nothing is known.
func unknown() busy.Rates {
	return busy.Rates{math.NaN(), math.NaN(), math.NaN()}
}

// count takes a sample of counters.
func (m *meter) count(s Sample) {
	if len(m.ring) > 0 && !m.follows(&s) {
		m.ring = m.ring[:0]
	}
	m.ring = append(m.ring, s)
	m.trim()
}

// forget makes the rates unknown, until there are samples again.
func (m *meter) forget() { m.ring = m.ring[:0] }

// push takes rates that somebody else has made, and which count for maxAge.
func (m *meter) push(r busy.Rates, at time.Time, maxAge time.Duration) {
	m.pushed, m.toldAt, m.maxAge = r, at, maxAge
}

// told is when what rates gives was reported or read; zero: never.
func (m *meter) told() time.Time {
	if m.maxAge > 0 || len(m.ring) == 0 {
		return m.toldAt
	}
	return m.ring[len(m.ring)-1].At
}

// trim drops samples from before the window. Of two on either side of its edge
// it keeps the nearer one, so that a tick that comes a little early or late
// does not make the window a whole tick longer. But two ticks in a row, after
// a late one, are not taken for a window: what is left spans half of it.
func (m *meter) trim() {
	last := m.ring[len(m.ring)-1].At
	age := func(i int) time.Duration { return last.Sub(m.ring[i].At) }
	drop := 0
	for drop+2 < len(m.ring) && 2*age(drop+1) >= m.window && off(age(drop+1), m.window) <= off(age(drop), m.window) {
		drop++
	}
	m.ring = m.ring[drop:]
}

func off(a, b time.Duration) time.Duration { return (a - b).Abs() }

// follows says whether s can be compared with the last sample. Where a 32-bit
// counter has wrapped, it moves the earlier samples below it.
func (m *meter) follows(s *Sample) bool {
	last := &m.ring[len(m.ring)-1]
	took := s.At.Sub(last.At)
	if s.Series != last.Series || took <= 0 || took > last.gap() {
		return false
	}
	most := m.plausible(s) * took.Seconds() / 8
	in, inOK := wrapped(last.In, s.In, s.Bits, most)
	out, outOK := wrapped(last.Out, s.Out, s.Bits, most)
	if !inOK || !outOK {
		return false
	}
	if in != 0 || out != 0 {
		for i := range m.ring {
			m.ring[i].In -= in // below zero, modulo 2^64, as are all differences
			m.ring[i].Out -= out
		}
	}
	return true
}

// plausible is the most that a line carries, in bits a second: what it can, by
// its own word or by the configuration, or else twice what it did.
func (m *meter) plausible(s *Sample) float64 {
	if most := max(float64(s.Speed), m.capacity); most > 0 {
		return most * 1.05 // clocks differ, and there are octets that speeds do not count
	}
	if rates := m.mean(); !math.IsNaN(rates[busy.Total]) {
		return 2 * max(rates[busy.In], rates[busy.Out])
	}
	return 0
}

const size32 = 1 << 32

// wrapped says how a counter came from was to is: what has to be taken off was
// for the difference to be right modulo 2^64. Not ok is a counter that was set
// back: one wrap would make more octets than most. A counter of 0 bits has an
// unknown width; below 2^32 it may be one of 32.
func wrapped(was, is uint64, bits int, most float64) (less uint64, ok bool) {
	switch {
	case is >= was:
		return 0, true
	case was < size32 && bits != 64:
		return size32, float64(is+size32-was) <= most
	default:
		return 0, float64(is-was) <= most // by itself modulo 2^64
	}
}

// rates gives what flows at a time after all samples.
func (m *meter) rates(now time.Time) busy.Rates {
	if m.maxAge > 0 {
		if now.Sub(m.toldAt) > m.maxAge {
			return unknown()
		}
		return m.pushed
	}
	if len(m.ring) == 0 || now.Sub(m.ring[len(m.ring)-1].At) > m.ring[len(m.ring)-1].gap() {
		return unknown()
	}
	return m.mean()
}

// mean gives the rates from the oldest sample to the last.
func (m *meter) mean() busy.Rates {
	if len(m.ring) < 2 {
		return unknown()
	}
	first, last := &m.ring[0], &m.ring[len(m.ring)-1]
	took := last.At.Sub(first.At)
	if took < leastSpan {
		return unknown()
	}
	seconds := took.Seconds()
	in, out := 8*float64(last.In-first.In)/seconds, 8*float64(last.Out-first.Out)/seconds
	return busy.Rates{busy.Total: in + out, busy.In: in, busy.Out: out}
}
