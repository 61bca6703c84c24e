package pick

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
)

// The algorithms here look at live numbers. What is not known is NaN, and is
// not taken for 0 (T28): where nothing is known they decline.
//
//	                a member that is not known        all at their limit
//	bandwidth       counts with the mean of the rest  the limit lapses: by weight
//	max-bandwidth   is left out                       the limit lapses: the least over it
//	least-...       is left out                       -

// liveBits bounds shares that come of live numbers, to a millionth or two of the
// largest. Few then have a turn at the same step of a round, and the draw is
// quick.
const liveBits = 20

// live is an algorithm that reads gauges.
type live struct{ Algorithm }

// Live marks an algorithm that reads gauges, or whatever else changes with
// them: what it gave for one block of gauges says nothing of the next.
func Live(a Algorithm) Algorithm { return live{a} }

func isLive(a Algorithm) bool {
	_, ok := a.(live)
	return ok
}

// liveAs marks a if one of the algorithms that it is made of is live.
func liveAs(a Algorithm, of ...Algorithm) Algorithm {
	if slices.ContainsFunc(of, isLive) {
		return Live(a)
	}
	return a
}

// Else asks a, and where it declines b: for a tie, which must not.
func Else(a, b Algorithm) Algorithm {
	return liveAs(Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		first, ok := a.Shares(in, active, into)
		if ok {
			return first, true
		}
		d, ok := b.Shares(in, active, into)
		d.heed(first)
		return d, ok
	}), a, b)
}

// Bandwidth gives shares by weight times what remains of the member's link
// below its rate limit, in one direction (FAQ 1.2.15, T27), or by what remains
// alone if not weighted. A link with nothing left gets nothing, unless none has
// anything left: the limit never empties a name. A nested group has what its
// links have together.
func Bandwidth(d busy.Direction, weighted bool) Algorithm {
	return Live(Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		left, ok := remains(&in, active, d)
		if !ok {
			return Distribution{Shares: into}, false
		}
		// A product of a weight and so many bits leaves reduce room.
		shift := max(bits.Len64(uint64(slices.Max(left)))-40, 0)
		dist := Distribution{Shares: into}
		for i, m := range active {
			if w := uint64(left[i]) >> shift; w > 0 {
				dist.add(m, w, weighted)
			}
		}
		if len(dist.Shares) == len(into) {
			for _, m := range active {
				dist.add(m, 1, weighted)
			}
		}
		dist.reduceTo(liveBits)
		return dist, true
	}))
}

func (d *Distribution) add(m *Member, w uint64, weighted bool) {
	if weighted {
		w *= m.share()
	}
	d.Shares = append(d.Shares, Share{m, w})
}

// remains gives what remains for each member, none of it negative or NaN, and
// whether anything is known. What is not known counts with the mean of the
// rest. The slice is in.scratch's.
func remains(in *Input, active []*Member, d busy.Direction) (left []float64, ok bool) {
	left = in.scratch.values[:0]
	sum, known := 0.0, 0
	for _, m := range active {
		v := capacity(in, m, d)
		if !math.IsNaN(v) {
			sum, known = sum+v, known+1
		}
		left = append(left, v)
	}
	in.scratch.values = left
	mean := sum / float64(known) // unused where nothing is known
	for i, m := range active {
		if in.trace != nil {
			in.Tell(m, known > 0, tellCapacity(m, left[i], mean, d))
		}
		if math.IsNaN(left[i]) {
			left[i] = mean
		}
	}
	return left, known > 0
}

// capacity is what remains of a member's link, 0 if it is over its limit, or of
// the links of a nested group together, each counted once; NaN if it is not
// known.
func capacity(in *Input, m *Member, d busy.Direction) float64 {
	if m.Group == nil {
		return atLeast0(remaining(in, m, d))
	}
	links := appendLinks(in.scratch.links[:0], in, m.Group)
	in.scratch.links = links
	sum, known := 0.0, 0
	for _, id := range links {
		g, _ := in.Gauges.Get(id)
		if v := atLeast0(g.Remaining[d]); !math.IsNaN(v) {
			sum, known = sum+v, known+1
		}
	}
	if known == len(links) {
		return sum
	}
	return sum / float64(known) * float64(len(links)) // 0/0 is NaN
}

// atLeast0 keeps NaN.
func atLeast0(v float64) float64 {
	if v < 0 {
		return 0
	}
	return min(v, 1<<60)
}

// appendLinks appends the links of a group's leaves that take part, each once.
func appendLinks(links []status.ID, in *Input, g *Group) []status.ID {
	for _, m := range g.activeFor(in).members {
		switch {
		case m.Group != nil:
			links = appendLinks(links, in, m.Group)
		case m.Link != "" && !slices.Contains(links, m.Link):
			links = append(links, m.Link)
		}
	}
	return links
}

// remaining is what remains of a leaf's link; it is negative over the limit.
func remaining(in *Input, m *Member, d busy.Direction) float64 {
	g, _ := in.Gauges.Get(m.Link)
	return g.Remaining[d]
}

// MaxBandwidth gives everything to the member of whose link most remains below
// its rate limit, in one direction; the earlier one where as much remains of
// two (FAQ 1.2.15, T26). So all clients between two measurements go to one
// member, which is the vendor's behaviour. A nested group is as good as its
// best leaf.
//
// A debit above 0 is the load that is expected to come until the next
// measurement, in bits a second. It is poured over the members like water into
// a vessel of uneven ground, so that what then remains of those that got any is
// equal, and each has as much of the answers as it got:
//
//	remains   300 ┐              ┌ 300
//	              │ gets 125     │           debit 150: down to 175,
//	          200 │      ┐ gets  │           shares 125 and 25
//	level ────175─┴──────┴─25────┴────────
//	          100                        ┐ gets nothing
func MaxBandwidth(d busy.Direction, debit float64) Algorithm {
	if debit > 0 {
		return Live(levelling(d, debit))
	}
	return Live(BestSaid(bestLeaf(func(in Input, m *Member) (int64, bool) {
		v := remaining(&in, m, d)
		return whole(v), !math.IsNaN(v)
	}), func(in Input, m *Member) string { return tellRemaining(&in, m, d) }, First()))
}

// whole cuts off the fraction and bounds the size; of NaN it makes what the
// caller does not use.
func whole(v float64) int64 { return int64(max(min(v, 1<<60), -1<<60)) }

func levelling(d busy.Direction, debit float64) Algorithm {
	return Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		left, high := in.scratch.values[:0], math.Inf(-1)
		for _, m := range active {
			v := leafMost(&in, m, d)
			left, high = append(left, v), math.Max(high, orLeast(v))
			if in.trace != nil {
				in.Tell(m, !math.IsNaN(v), tellRemaining(&in, m, d))
			}
		}
		in.scratch.values = left
		if math.IsInf(high, -1) {
			return Distribution{Shares: into}, false
		}
		for i, v := range left { // a link at its limit gets nothing, unless all are
			if math.IsNaN(v) || v < 1 && high >= 1 {
				left[i] = math.Inf(-1)
			}
		}
		low := level(left, high, debit)
		scale := math.Exp2(float64(40 - math.Ilogb(max(high-low, 1)))) // whole numbers of 40 bits
		dist := Distribution{Shares: into}
		for i, m := range active {
			if v := left[i] - low; v > 0 {
				dist.Shares = append(dist.Shares, Share{m, max(uint64(v*scale), 1)})
			}
		}
		dist.reduceTo(liveBits)
		return dist, true
	})
}

// level gives down to where a debit reduces what is left: the sum of what is
// above it is the debit. high is the most that is left, and stays above it
// however small the debit. Minus infinity takes no part.
func level(left []float64, high, debit float64) float64 {
	low := math.Inf(-1)
	for {
		sum, n := 0.0, 0
		for _, v := range left {
			if v > low {
				sum, n = sum+v, n+1
			}
		}
		next := min((sum-debit)/float64(n), math.Nextafter(high, low))
		if next <= low { // those above it are the same as before
			return next
		}
		low = next
	}
}

func orLeast(v float64) float64 {
	if math.IsNaN(v) {
		return math.Inf(-1)
	}
	return v
}

// leafMost is what remains of a member's link, of a nested group's best one;
// NaN if that is not known.
func leafMost(in *Input, m *Member, d busy.Direction) float64 {
	if m.Group == nil {
		return max(min(remaining(in, m, d), 1<<60), -1<<60)
	}
	most := math.NaN()
	for _, inner := range m.Group.activeFor(in).members {
		if v := leafMost(in, inner, d); math.IsNaN(most) || v > most {
			most = v
		}
	}
	return most
}

// LeastConnections gives the client to the member that reports the fewest open
// connections, or if weighted the fewest for its weight (FAQ 1.1.15); tie
// shares out among equals. Those that report nothing are left out. A nested
// group is as good as its best leaf, for its own weight.
func LeastConnections(weighted bool, tie Algorithm) Algorithm {
	fewest := func(in Input, m *Member) (int64, bool) {
		g, _ := in.Gauges.Get(m.Self)
		c := g.Connections
		// 31 bits of connections, and 32 of fraction: quotients by two weights
		// of 16 bits that differ do so by more than that.
		return -int64(max(min(c, 1<<31-1), 0)) << 32, !math.IsNaN(c)
	}
	return Live(BestSaid(func(in Input, m *Member) (int64, bool) {
		score, ok := bestLeaf(fewest)(in, m)
		if weighted {
			score /= int64(m.share())
		}
		return score, ok
	}, func(in Input, m *Member) string {
		score, ok := bestLeaf(fewest)(in, m)
		return tellConnections(m, -score>>32, ok, weighted)
	}, tie))
}

// LeastTime gives the client to the member that reports the shortest time to a
// first byte; tie shares out among equals. Those that report nothing are left
// out. A nested group is as good as its best leaf.
func LeastTime(tie Algorithm) Algorithm {
	quickest := bestLeaf(func(in Input, m *Member) (int64, bool) {
		g, _ := in.Gauges.Get(m.Self)
		return -whole(g.Latency * 1e9), !math.IsNaN(g.Latency)
	})
	return Live(BestSaid(quickest, func(in Input, m *Member) string {
		score, ok := quickest(in, m)
		return tellTime(-score, ok)
	}, tie))
}

// bestLeaf rates a nested group by the best of its leaves that take part.
func bestLeaf(leaf Score) Score {
	var rate Score
	rate = func(in Input, m *Member) (best int64, found bool) {
		if m.Group == nil {
			return leaf(in, m)
		}
		for _, inner := range m.Group.activeFor(&in).members {
			if s, ok := rate(in, inner); ok && (!found || s > best) {
				best, found = s, true
			}
		}
		return best, found
	}
	return rate
}

// What explain prints of a member. These run only when somebody asks.

func tellCapacity(m *Member, v, mean float64, d busy.Direction) string {
	of := linkText(m)
	switch {
	case math.IsNaN(v) && math.IsNaN(mean):
		return of + ": what remains is not known"
	case math.IsNaN(v):
		return fmt.Sprintf("%s: what remains is not known, counts as the mean of the others, %s", of, bps(mean))
	case v < 1:
		return fmt.Sprintf("%s: nothing remains (%s)", of, d)
	}
	return fmt.Sprintf("%s: %s remain (%s)", of, bps(v), d)
}

func tellRemaining(in *Input, m *Member, d busy.Direction) string {
	v := leafMost(in, m, d)
	switch of := linkText(m); {
	case math.IsNaN(v):
		return of + ": what remains is not known"
	case v < 0:
		return fmt.Sprintf("%s: %s over its limit (%s)", of, bps(-v), d)
	default:
		return fmt.Sprintf("%s: %s remain (%s)", of, bps(v), d)
	}
}

func linkText(m *Member) string {
	switch {
	case m.Group != nil:
		return "its links"
	case m.Link == "":
		return "no link"
	}
	return string(m.Link)
}

func tellConnections(m *Member, n int64, ok, weighted bool) string {
	switch {
	case !ok:
		return "reports no connections"
	case weighted:
		return fmt.Sprintf("%d connections, weight %d: %.4g", n, m.share(), float64(n)/float64(m.share()))
	}
	return fmt.Sprintf("%d connections", n)
}

func tellTime(ns int64, ok bool) string {
	if !ok {
		return "reports no time"
	}
	return strconv.FormatFloat(float64(ns)/1e6, 'g', 4, 64) + " ms to a first byte"
}

// bps prints a bandwidth for people, to three places.
func bps(v float64) string {
	for _, u := range []struct {
		name string
		bits float64
	}{{"Tbps", 1e12}, {"Gbps", 1e9}, {"Mbps", 1e6}, {"kbps", 1e3}} {
		if v >= 0.9995*u.bits {
			s := strconv.FormatFloat(v/u.bits, 'f', 2, 64)
			return strings.TrimSuffix(strings.TrimRight(s, "0"), ".") + u.name
		}
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + "bps"
}
