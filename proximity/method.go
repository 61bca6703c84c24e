package proximity

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/probe"
)

// Method measures the distance to a target by one link: it returns a sample
// when somebody near enough answers, and an error when it knows that nobody
// will or ctx ends. It sets RTT, Hops and Via.
type Method func(ctx context.Context, p Path, target netip.Addr) (Sample, error)

// methods is every method there is: one line each.
var methods = map[string]Method{
	"icmp": measureICMP,
	"tcp":  measureTCP,
	"dns":  measureDNS,
	"udp":  measureUDP,
}

// Sample is one measured distance.
type Sample struct {
	Link    string        // the way that was measured
	RTT     time.Duration // there and back
	Hops    int           // how far, in hops: 1 is a neighbour, 0 is not known
	Method  string        // which one yielded it
	Via     netip.Addr    // who answered: the target, or a router near it
	At      time.Time     // when
	Passive bool          // seen on a client's own connection; nothing was sent
}

// Path is the way by one link to one client network.
type Path struct {
	Link   string
	Pin    probe.Pin
	Prefix netip.Prefix  // the client network: a router in it is near enough
	Port   uint16        // that method tcp connects to
	Wait   time.Duration // for the answer to a packet

	// Spend returns when n packets more may be sent, or fails when ctx ends
	// before. Every packet of a method is asked for, before it is sent.
	Spend func(ctx context.Context, n int) error
}

// Errors of methods.
var (
	errSilent = errors.New("no answer in time")
	errFar    = errors.New("nobody near the target answered")
)

// again is how often a method that sends one packet sends it: once more where
// the first is lost.
const again = 2

// exchange makes one exchange of one packet after another until one of them is
// answered, each within p.Wait.
func (p Path) exchange(ctx context.Context, once func(ctx context.Context) (probe.Reply, error)) (probe.Reply, error) {
	for range again {
		if err := p.Spend(ctx, 1); err != nil {
			return probe.Reply{}, err
		}
		within, cancel := context.WithTimeout(ctx, p.Wait)
		r, err := once(within)
		cancel()
		if err == nil || !isTimeout(err) {
			return r, err
		}
	}
	return probe.Reply{}, errSilent
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// hopsOf guesses from the TTL that a packet arrived with how many hops it came
// by: systems begin with 64, 128 or 255, and each router takes one. 0 for the
// TTL 0, which is not known.
func hopsOf(ttl int) int {
	switch {
	case ttl <= 0:
		return 0
	case ttl <= 64:
		return 64 - ttl + 1
	case ttl <= 128:
		return 128 - ttl + 1
	default:
		return 255 - ttl + 1
	}
}
