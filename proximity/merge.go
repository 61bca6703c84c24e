package proximity

import (
	"errors"
	"math"
	"time"
)

// halfLife is in what time a measurement loses half of its weight beside
// another one.
const halfLife = 5 * time.Minute

// result takes what a round of a [Prober] came to.
func (d *distance) result(r Result, at stamp) {
	d.triedAt = at
	if r.Err == nil {
		d.measured(r.Sample, at)
		return
	}
	if d.hitch = hitchOf(r.Err); d.hitch == 0 && d.missed < math.MaxUint8 {
		d.missed++
	}
}

// hitchOf gives the place in hitches of an error, 0 if it says that nobody
// answered.
func hitchOf(err error) uint8 {
	for i, h := range hitches {
		if i > 0 && errors.Is(err, h.err) {
			return uint8(i)
		}
	}
	return 0
}

// measured takes what a method found.
func (d *distance) measured(s Sample, at stamp) {
	d.active, d.activeAt = microseconds(s.RTT), at
	d.method, d.hops, d.missed, d.hitch = methodNumber(s.Method), uint8(min(max(s.Hops, 0), 255)), 0, 0
	d.via = [16]byte{}
	if s.Via.IsValid() {
		d.via = s.Via.As16()
	}
	d.merge()
}

// heardOf takes what was seen on a connection of a client: an exponential mean,
// so that no single one moves it far.
func (d *distance) heardOf(rtt time.Duration, at stamp) {
	if sample := microseconds(rtt); d.passive == 0 {
		d.passive = sample
	} else {
		d.passive = uint32(max((7*uint64(d.passive)+uint64(sample))/8, 1))
	}
	d.heard, d.passiveAt = uint16(min(int(d.heard)+1, math.MaxUint16)), max(d.passiveAt, at)
	d.missed = 0
	d.merge()
}

// merge sets what counts: the mean of both, the fresher weighing more. How much
// more does not change as both grow old, so it is worked out once.
func (d *distance) merge() {
	switch {
	case d.active == 0 || d.passive == 0:
		d.rtt = max(d.active, d.passive)
	default:
		lead := float64(int64(d.activeAt)-int64(d.passiveAt)) / halfLife.Seconds()
		share := 1 / (1 + math.Exp2(-lead)) // of active
		d.rtt = uint32(max(share*float64(d.active)+(1-share)*float64(d.passive), 1))
	}
}

// microseconds of a round trip time, at least 1: 0 is for not known.
func microseconds(d time.Duration) uint32 {
	return uint32(min(max(d.Microseconds(), 1), math.MaxUint32))
}

func methodNumber(name string) uint8 {
	for i, n := range methodNames {
		if n == name {
			return uint8(i)
		}
	}
	return 0
}
