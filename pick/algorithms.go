package pick

import (
	"encoding/binary"
	"math"
	"net/netip"
)

// Algorithm gives each active member its share for the client, appended to
// into, or declines. It is pure: all that it may depend on is in the Input and
// in what it was compiled with. Members with no share are left out. One that
// declines still says in Width, Next and Wants what that rests on.
type Algorithm interface {
	Shares(in Input, active []*Member, into []Share) (d Distribution, ok bool)
}

// Func makes an Algorithm of a function.
type Func func(in Input, active []*Member, into []Share) (Distribution, bool)

// Shares calls f.
func (f Func) Shares(in Input, active []*Member, into []Share) (Distribution, bool) {
	return f(in, active, into)
}

// RoundRobin gives shares by weight, or equal ones if not weighted, evenly
// spread over the draws (FAQ 1.1.15: by default weights count).
func RoundRobin(weighted bool) Algorithm { return spread(weighted, Smooth) }

// Random gives each draw to a random member, by weight if weighted
// (FAQ 1.1.15: by default weights do not count).
func Random(weighted bool) Algorithm { return spread(weighted, Scatter) }

func spread(weighted bool, mode Mode) Algorithm {
	return Func(func(_ Input, active []*Member, into []Share) (Distribution, bool) {
		if weighted {
			return byWeight(active, into, mode)
		}
		for _, m := range active {
			into = append(into, Share{m, 1})
		}
		return Distribution{Shares: into, Mode: mode}, len(active) > 0
	})
}

func byWeight(active []*Member, into []Share, mode Mode) (Distribution, bool) {
	for _, m := range active {
		into = append(into, Share{m, m.share()})
	}
	return Distribution{Shares: into, Mode: mode}, len(active) > 0
}

// First gives all to the first active member: by priority, then by the
// owner's order.
func First() Algorithm {
	return Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		for _, m := range active[:min(in.answers(), len(active))] {
			into = append(into, Share{m, 1})
		}
		return Distribution{Shares: into, Mode: Ordered}, len(active) > 0
	})
}

// SourceHash gives each client network to one member by weighted rendezvous
// hashing: losing a member moves only its own clients (T32). mask4 and mask6
// are the leading bits of the client's address that count, 0 to 32 and 0 to
// 128. It declines a client without an address.
func SourceHash(weighted bool, mask4, mask6 int) Algorithm {
	return Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		width := mask4
		if in.Client.Addr.Is6() {
			width = mask6
		}
		prefix, err := in.Client.Addr.Prefix(width)
		if err != nil || len(active) == 0 {
			return Distribution{Shares: into}, false
		}
		seed := hashAddr(prefix.Addr())
		start := len(into)
		for len(into)-start < min(in.answers(), len(active)) {
			into = append(into, Share{highest(active, into[start:], seed, weighted), 1})
		}
		if len(active) == 1 {
			width = 0
		}
		return Distribution{Shares: into, Mode: Ordered, Width: width}, true
	})
}

// highest gives the member that ranks first for a seed among those not taken.
func highest(active []*Member, taken []Share, seed uint64, weighted bool) *Member {
	var best *Member
	var bestScore float64
	for _, m := range active {
		if has(taken, m) {
			continue
		}
		// -w/ln(u) with u uniform in (0,1): the largest is m with chance w/sum.
		u := (float64(mix(seed^m.hash)>>11) + 0.5) / (1 << 53)
		score := -1 / math.Log(u)
		if weighted {
			score *= float64(m.share())
		}
		if best == nil || score > bestScore {
			best, bestScore = m, score
		}
	}
	return best
}

func has(shares []Share, m *Member) bool {
	for _, s := range shares {
		if s.Member == m {
			return true
		}
	}
	return false
}

func hashAddr(a netip.Addr) uint64 {
	b := a.As16()
	return mix(mix(binary.BigEndian.Uint64(b[:8])) ^ binary.BigEndian.Uint64(b[8:]))
}

// Score rates a member for a client, higher is better. ok false leaves the
// member out. It must depend on nothing of the client but its Class.
type Score func(in Input, m *Member) (score int64, ok bool)

// Best gives the client to the member with the highest score; tie shares out
// among equals, and had better not decline. It declines when no member has a
// score (FAQ 1.4.4).
func Best(score Score, tie Algorithm) Algorithm { return BestSaid(score, nil, tie) }

// BestSaid is Best where say tells in words what a score was made of. It is
// called only when somebody asks; nil: explain shows the score itself.
func BestSaid(score Score, say func(Input, *Member) string, tie Algorithm) Algorithm {
	return liveAs(Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		equals := in.scratch.equals[:0] // may be what active stands in: a tie's turn
		var high int64
		for _, m := range active {
			s, ok := score(in, m)
			if in.trace != nil {
				in.trace.score(in, m, s, ok, say)
			}
			switch {
			case !ok || len(equals) > 0 && s < high:
			case len(equals) > 0 && s == high:
				equals = append(equals, m)
			default:
				equals, high = append(equals[:0], m), s
			}
		}
		in.scratch.equals = equals
		if len(equals) == 0 {
			return Distribution{Shares: into}, false
		}
		return tie.Shares(in, equals, into)
	}), tie)
}
