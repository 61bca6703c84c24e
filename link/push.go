package link

import (
	"fmt"
	"math"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
)

// Push gives the meter of a link a rate that somebody else has measured, in bits
// a second; NaN is not known. Total is in and out together where it is not
// given. It counts until the next one, and no longer than the link's
// meter.maxAge.
func (l *Links) Push(name string, rates busy.Rates) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, err := l.pushed(name)
	if err != nil {
		return err
	}
	if math.IsNaN(rates[busy.Total]) {
		rates[busy.Total] = rates[busy.In] + rates[busy.Out]
	}
	k.meter.push(rates, time.Now(), time.Duration(k.spec.Meter.MaxAge))
	return nil
}

// PushOctets gives the meter of a link the counters that somebody else has read
// just now: octets received from and sent into the line, which wrap at 32 or 64
// bits. A rate is known from two reports on, until meter.maxAge after the last.
func (l *Links) PushOctets(name string, in, out uint64, bits int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	k, err := l.pushed(name)
	if err != nil {
		return err
	}
	k.meter.maxAge = 0 // rates that were told before count no more
	k.meter.count(Sample{At: time.Now(), Every: time.Duration(k.spec.Meter.MaxAge) / 3, In: in, Out: out, Bits: bits})
	return nil
}

// pushed gives a link that is metered by push. The caller holds l.mu.
func (l *Links) pushed(name string) (*link, error) {
	switch k := l.byName[name]; {
	case k == nil:
		return nil, fmt.Errorf("%w %q", ErrNoLink, name)
	case k.spec.Meter.From != config.MeterPush:
		return nil, fmt.Errorf("link %q %w", name, ErrNotPushed)
	default:
		return k, nil
	}
}
