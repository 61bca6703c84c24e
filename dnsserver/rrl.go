package dnsserver

import (
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// limiter is response rate limiting as a configuration wants it. A source is
// over its limit if any of the prefixes around it is. A reply that is sent is
// put on the load of all of them; one that is not sent, on none, so that a
// prefix that asks too much does not use up what its neighbours in the wider
// prefix have.
type limiter struct {
	v4, v6 []loadRule
	most   uint64 // ticks: the load that a whole burst makes, in any prefix
	slip   int
	dry    bool
	exempt *prefixMap
	loads  *loads
}

// loadRule is one length of prefix.
type loadRule struct {
	bits int
	cost uint64 // ticks that one reply takes to drain
}

// maxLoadRules bounds the lengths of prefix of a family.
const maxLoadRules = 8

// newLimiter gives nil if nothing is to be limited. What the limiter before has
// counted is taken over if the table has the same size.
func newLimiter(c *config.RRL, before *limiter, now time.Time) *limiter {
	if c.Rate <= 0 {
		return nil
	}
	l := &limiter{slip: c.Slip, dry: c.DryRun, exempt: newPrefixMap(c.Exempt), most: uint64(max(c.Burst, 1)) * costOf(c.Rate)}
	l.v4, l.v6 = loadRules(c.V4, c.Rate), loadRules(c.V6, c.Rate)
	if before != nil && before.loads.size() == loadBuckets(c.TableSize)*loadWays {
		l.loads = before.loads
		return l
	}
	l.loads = newLoads(c.TableSize, now)
	return l
}

func costOf(rate int) uint64 { return max(uint64(time.Second/tick)/uint64(rate), 1) }

func loadRules(list []*config.RRLPrefix, rate int) []loadRule {
	rules := make([]loadRule, 0, maxLoadRules)
	for _, p := range list[:min(len(list), maxLoadRules)] {
		rules = append(rules, loadRule{bits: p.Bits, cost: costOf(rate * p.Factor)})
	}
	return rules
}

// limit counts one reply to a source, an unmapped address, and says whether it
// is over the limit: then it is not counted, and over is the prefix that has
// had enough. It may be called by any number of goroutines; n of them at the
// same moment may let n-1 replies too many through.
func (l *limiter) limit(source netip.Addr, now time.Time) (over netip.Prefix, limited bool) {
	if source.IsLoopback() || l.exempt.has(source) {
		return over, false
	}
	rules := l.v4
	if source.Is6() {
		rules = l.v6
	}
	t := l.loads.ticks(now)
	var hashes [maxLoadRules]uint64
	for i, r := range rules {
		hashes[i] = l.loads.hash(keyOf(source, r.bits))
		if l.loads.load(hashes[i], t)+r.cost > l.most {
			over, _ = source.Prefix(r.bits)
			return over, true
		}
	}
	for i, r := range rules {
		l.loads.add(hashes[i], t, r.cost)
	}
	return over, false
}

// slips says whether a limited reply is one of those that ask the client to
// prove itself. It is drawn by lot: in turn, who asks between the queries of
// another could see that the other's turns are all that come up.
func (l *limiter) slips() bool {
	return l.slip == 1 || l.slip > 1 && rand.IntN(l.slip) == 0
}
