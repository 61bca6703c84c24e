package proximity

import (
	"errors"
	"math"
	"time"
)

// result takes what a round of a [Prober] came to. Half is the half-life of
// samples in seconds: that of proximity.refresh.
func (d *distance) result(r Result, at stamp, half uint32) {
	d.triedAt = at
	if r.Err == nil {
		d.measured(r.Sample, at, half)
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
func (d *distance) measured(s Sample, at stamp, half uint32) {
	d.active.add(microseconds(s.RTT), at, spanActive, half)
	d.method, d.missed, d.hitch = methodNumber(s.Method), 0, 0
	d.hops = uint8(min(max(s.Hops, 0), 255))
	d.via = [16]byte{}
	if s.Via.IsValid() {
		d.via = s.Via.As16()
	}
	d.rtt = merge(&d.active, &d.passive, half)
}

// heardOf takes what was seen on a connection of a client: the way works.
func (d *distance) heardOf(s Sample, at stamp, half uint32) {
	d.passive.add(microseconds(s.RTT), at, spanPassive, half)
	if s.Hops > 0 {
		d.hops = uint8(min(s.Hops, 255))
	}
	d.heard, d.missed = uint16(min(int(d.heard)+1, math.MaxUint16)), 0
	d.rtt = merge(&d.active, &d.passive, half)
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
