package pick

import "math/bits"

// drawRandom gives the member that the random number r falls on.
func drawRandom(shares []Share, r uint64) int {
	r, _ = bits.Mul64(r, total(shares)) // 0 <= r < total, without the bias of %
	for i, s := range shares {
		if r < s.Weight {
			return i
		}
		r -= s.Weight
	}
	return len(shares) - 1
}

// drawSmooth gives the member at place draw of an evenly spread order. A round
// has as many places as the weights sum up to; a member of weight w has w
// turns, the j-th at moment (2j+1)/2w of the round, ties to the earlier
// member. Weights 3 and 1 give a a b a; equal weights a plain rotation.
//
// The order is a function of draw alone: nothing is kept between draws, and
// explain can look ahead. The moment of a place is found by halving in fine
// steps, then exactly among the turns within one step.
func drawSmooth(shares []Share, draw uint64) int {
	if equal(shares) {
		return int(draw % uint64(len(shares)))
	}
	sum, k := total(shares), uint64(len(shares))
	place := draw % sum
	lo, hi := uint64(0), uint64(steps) // turnsOf(lo) <= place < turnsOf(hi)
	if place > k {
		lo = inSteps(place-k, sum)
	}
	if place+k+1 < sum {
		hi = inSteps(place+k+1, sum) + 1
	}
	for hi-lo > 1 {
		if mid := lo + (hi-lo)/2; turnsOf(shares, mid) <= place {
			lo = mid
		} else {
			hi = mid
		}
	}
	return turnWithin(shares, lo, place-turnsOf(shares, lo))
}

// A round is divided into so many steps. Up to this weight, which reduce keeps,
// a member has at most one turn in a step, and so the order is exact.
const (
	stepBits = 24
	steps    = 1 << stepBits
)

// inSteps is place/sum of a round, in whole steps. place is less than sum.
func inSteps(place, sum uint64) uint64 {
	q, _ := bits.Div64(place>>(64-stepBits), place<<stepBits, sum)
	return q
}

// turnsOf counts the turns that all had up to a moment.
func turnsOf(shares []Share, moment uint64) (n uint64) {
	for _, s := range shares {
		n += turns(s.Weight, moment)
	}
	return n
}

// turns counts a member's turns up to a moment: floor(w*moment + 1/2).
func turns(w, moment uint64) uint64 {
	hi, lo := bits.Mul64(w, moment)
	lo, carry := bits.Add64(lo, steps/2, 0)
	return (hi+carry)<<(64-stepBits) | lo>>stepBits
}

// turnWithin gives the member whose turn comes after skip others within the
// step that begins at moment.
func turnWithin(shares []Share, moment, skip uint64) int {
	for i, s := range shares {
		if !hasTurn(s, moment) {
			continue
		}
		before := uint64(0)
		for j, o := range shares {
			if j != i && hasTurn(o, moment) && earlier(o, s, moment, j < i) {
				before++
			}
		}
		if before == skip {
			return i
		}
	}
	panic("pick: a weight beyond the exact range") // reduce sees to it
}

func hasTurn(s Share, moment uint64) bool {
	return turns(s.Weight, moment+1) > turns(s.Weight, moment)
}

// earlier compares the next turns of two members after a moment, as fractions
// (2j+1)/2w.
func earlier(a, b Share, moment uint64, ifEqual bool) bool {
	ah, al := bits.Mul64(2*turns(a.Weight, moment)+1, b.Weight)
	bh, bl := bits.Mul64(2*turns(b.Weight, moment)+1, a.Weight)
	if ah == bh && al == bl {
		return ifEqual
	}
	return ah < bh || ah == bh && al < bl
}

func equal(shares []Share) bool {
	for _, s := range shares {
		if s.Weight != shares[0].Weight {
			return false
		}
	}
	return true
}

// mix spreads the bits of x: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hashString is FNV-1a, finished by mix. It is part of what source-hash
// answers: nodes of different versions must agree on it.
func hashString(s string) uint64 {
	h := uint64(0xcbf29ce484222325)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 0x100000001b3
	}
	return mix(h)
}
