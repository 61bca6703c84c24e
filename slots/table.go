package slots

import (
	"cmp"
	"math"
	"slices"
)

// Slots is the table of a group: the numbers of members, 0 where there is
// nobody. The kernel draws a slot for a new connection and looks up who stands in
// it.
type Slots []ID

// Empty says whether nobody stands in any slot.
func (s Slots) Empty() bool {
	return !slices.ContainsFunc(s, func(id ID) bool { return id != 0 })
}

// Equal says whether two tables are the same.
func (s Slots) Equal(o Slots) bool { return slices.Equal(s, o) }

// Changed gives the slots in which s differs from before, in order: what the
// kernel has to be told. A slot that a table does not have is as one in which
// nobody stands.
func (s Slots) Changed(before Slots) (changed []int) {
	for i := range max(len(s), len(before)) {
		if s.at(i) != before.at(i) {
			changed = append(changed, i)
		}
	}
	return changed
}

func (s Slots) at(i int) ID {
	if i < len(s) {
		return s[i]
	}
	return 0
}

// Count gives how many slots a member has.
func (s Slots) Count(id ID) (n int) {
	for _, o := range s {
		if o == id {
			n++
		}
	}
	return n
}

// counts gives how many slots each member has.
func (s Slots) counts(place *places, into []int) {
	clear(into)
	for _, id := range s {
		if p := place.of(id); p >= 0 {
			into[p]++
		}
	}
}

// apportion gives parts, which are none of them negative or NaN, whole numbers
// of slots that sum up to size: by the largest remainder, of equal ones to the
// earlier. Whoever has a part has a slot, as long as there are enough. With
// no part above 0 nobody gets any. counts is as long as parts.
func apportion(parts []float64, counts []int, size int) {
	whole, some := 0.0, 0
	for _, p := range parts {
		whole += p
		if p > 0 {
			some++
		}
	}
	clear(counts)
	if some == 0 {
		return
	}
	floor := 0 // what a part is worth at least
	if some <= size {
		floor = 1
	}
	left := size
	for i, p := range parts {
		if p > 0 {
			counts[i] = max(int(p/whole*float64(size)), floor)
			left -= counts[i]
		}
	}
	for ; left != 0; left -= sign(left) {
		at, most := -1, math.Inf(-1)
		for i, p := range parts {
			// Who is furthest from his due: below it where slots are left, above it
			// where the least ones took too many.
			due := (p/whole*float64(size) - float64(counts[i])) * float64(sign(left))
			if p > 0 && due > most && (left > 0 || counts[i] > floor) {
				at, most = i, due
			}
		}
		counts[at] += sign(left)
	}
}

func sum(counts []int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

func sign(n int) int { return cmp.Compare(n, 0) }

// layOut lays counts, which sum up to size or less, out by smooth weighted round
// robin: each turn every member earns its count, and the one that has most saved
// up takes the slot and pays for all; of equals the earlier one. So a run of any
// length, from anywhere, is shared as the whole is, and members with few slots do
// not come in a row either.
func layOut(ids []ID, counts []int, size int) Slots {
	s := make(Slots, size)
	total := sum(counts)
	saved := make([]int, len(counts))
	for slot := range total {
		most := 0
		for i, c := range counts {
			saved[i] += c
			if saved[i] > saved[most] {
				most = i
			}
		}
		saved[most] -= total
		s[slot] = ids[most]
	}
	return s
}

// toward gives a table of len(s) slots with the given counts, which sum up to
// that or to 0, that differs from s in as few slots as can be: each slot that one
// member gains is one that another has too many. Both are taken evenly from the
// table. Where many such steps have made lumps it is laid out anew. s stays as it
// was.
func (s Slots) toward(ids []ID, place *places, counts []int) Slots {
	if s.Empty() {
		return layOut(ids, counts, len(s))
	}
	have := make([]int, 2*len(ids))
	have, seen := have[:len(ids)], have[len(ids):]
	s.counts(place, have)
	if slices.Equal(have, counts) && sum(counts) == len(s) {
		return s
	}
	next := slices.Clone(s)
	for i, id := range s {
		if p := place.of(id); p >= 0 {
			seen[p]++
			if !released(seen[p]-1, have[p], have[p]-counts[p]) {
				continue
			}
		}
		next[i] = 0
	}
	for i := range counts {
		have[i] = max(counts[i]-have[i], 0)
	}
	next.fill(layOut(ids, have, len(s)))
	if next.lumps(place, counts) > lumpsMost {
		return layOut(ids, counts, len(s))
	}
	return next
}

// places is where members stand in a list, by their numbers.
type places struct {
	base   ID
	direct []uint16 // by number from base on, counted from 1; nil where numbers are far apart
	sorted []ID     // then these, and
	rising []int    // their places
}

// placesOf takes the numbers and their places by rising number.
func placesOf(ids []ID, rising []int) (p places) {
	if len(ids) == 0 {
		return p
	}
	p.base = ids[rising[0]]
	if span := ids[rising[len(rising)-1]] - p.base; span <= ID(16*len(ids)+64) {
		p.direct = make([]uint16, span+1)
		for i, id := range ids {
			p.direct[id-p.base] = uint16(i + 1)
		}
		return p
	}
	p.rising = rising
	for _, i := range rising {
		p.sorted = append(p.sorted, ids[i])
	}
	return p
}

// of gives where a member stands, from 0 on, or -1. A table that was read back
// may have any number in it.
func (p *places) of(id ID) int {
	if p.direct != nil {
		if k := id - p.base; k < ID(len(p.direct)) { // below base it is far beyond
			return int(p.direct[k]) - 1
		}
		return -1
	}
	if k, found := slices.BinarySearch(p.sorted, id); found {
		return p.rising[k]
	}
	return -1
}

// released says whether the k-th of a member's slots is one of those that it
// gives up, n of all that it has, evenly.
func released(k, has, n int) bool {
	return n > 0 && (k+1)*n/has > k*n/has
}

// fill puts the members of a layout, in their order, into the slots in which
// nobody stands.
func (s Slots) fill(with Slots) {
	k := 0
	for i := range s {
		if s[i] == 0 {
			s[i] = with[k]
			k++
		}
	}
}

// lumpsMost is how far a table may be from an even one before it is laid out
// anew. One that is laid out has less than 3 (a test holds it to that).
const lumpsMost = 4

// lumps gives how many connections a run of any length, from anywhere, may
// bring a member more or fewer than its share: the most of all members.
func (s Slots) lumps(place *places, counts []int) (most float64) {
	const wide = 16 // members without memory of their own
	var a [3 * wide]float64
	m := a[:]
	if len(counts) > wide {
		m = make([]float64, 3*len(counts))
	}
	n := len(counts)
	low, high, had := m[:n], m[n:2*n], m[2*n:3*n]
	for i, id := range s {
		p := place.of(id)
		if p < 0 {
			continue
		}
		// A member strays furthest right before and right after its own turns.
		due := float64(i) * float64(counts[p]) / float64(len(s))
		low[p] = min(low[p], had[p]-due)
		had[p]++
		due = float64(i+1) * float64(counts[p]) / float64(len(s))
		high[p] = max(high[p], had[p]-due)
		most = max(most, high[p]-low[p])
	}
	return most
}
