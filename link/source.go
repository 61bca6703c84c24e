package link

import (
	"context"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// Sample is what the counters of a link said at one moment.
type Sample struct {
	At    time.Time     // when they were read, with the monotonic clock: a step of the other is no rate
	Every time.Duration // the next is due after so long; three that are missing are a gap (T28)
	In    uint64        // octets received from the line since some beginning
	Out   uint64        // octets sent into the line since then
	Bits  int           // what both wrap at: 64, 32, or 0 for not known, as old drivers have 32 in fields of 64

	// Series names the beginning: samples of two series are not compared. For
	// an interface of this machine it is its index, for a router's the index and
	// ifCounterDiscontinuityTime, say.
	Series uint64

	Speed uint64 // bits a second that the line can carry; 0: not known
}

// Source reads a link's counters until ctx ends. Each time it gives a sample as
// soon as it has one, or the error with which reading failed, which is shown
// to the operator in one line. give is quick; it is not called after the source
// has returned.
type Source func(ctx context.Context, give func(Sample, error))

// sources makes the source of a link by the word of meter.from. Meters that are
// not here need none: the counters of interfaces are read for all at once, and
// pushed values come by [Links.Push].
var sources = map[string]func(*config.Link) Source{
	config.MeterSNMP: snmpSource,
}
