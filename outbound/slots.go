package outbound

import (
	"cmp"
	"math"
	"slices"
)

// SlotCount is how many slots a group has. The kernel draws one of them for a
// new connection and looks up the link that stands in it.
const SlotCount = 256

// MaxLink is the highest number of a link; 0 is nobody.
const MaxLink = 1023

// Slots is the table of a group: the numbers of links, 0 where there is nobody.
type Slots [SlotCount]uint16

// Empty says whether nobody stands in any slot.
func (s *Slots) Empty() bool { return *s == Slots{} }

// Changed gives the slots in which s differs from before, in order: what the
// kernel has to be told.
func (s *Slots) Changed(before *Slots) (changed []int) {
	for i := range s {
		if s[i] != before[i] {
			changed = append(changed, i)
		}
	}
	return changed
}

// Count gives how many slots a link has.
func (s *Slots) Count(id uint16) (n int) {
	for _, o := range s {
		if o == id {
			n++
		}
	}
	return n
}

// counts gives how many slots each link of a list has.
func (s *Slots) counts(place *places, into []int) {
	clear(into)
	for _, id := range s {
		if p := place.of(id); p >= 0 {
			into[p]++
		}
	}
}

// apportion gives parts, which are none of them negative or NaN, whole numbers
// of slots that sum up to SlotCount: by the largest remainder, of equal ones to
// the earlier. Whoever has a part has a slot, as long as there are enough. With
// no part above 0 nobody gets any. counts is as long as parts.
func apportion(parts []float64, counts []int) {
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
	if some <= SlotCount {
		floor = 1
	}
	left := SlotCount
	for i, p := range parts {
		if p > 0 {
			counts[i] = max(int(p/whole*SlotCount), floor)
			left -= counts[i]
		}
	}
	for ; left != 0; left -= sign(left) {
		at, most := -1, math.Inf(-1)
		for i, p := range parts {
			// Who is furthest from his due: below it where slots are left, above it
			// where the least ones took too many.
			due := (p/whole*SlotCount - float64(counts[i])) * float64(sign(left))
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

// layOut lays counts out by smooth weighted round robin: each turn every link
// earns its count, and the one that has most saved up takes the slot and pays
// for all; of equals the earlier one. So a run of any length, from anywhere, is
// shared as the whole is, and links with few slots do not come in a row either.
func layOut(ids []uint16, counts []int) (s Slots) {
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

// toward gives a table with the given counts, which sum up to SlotCount or to
// 0, that differs from s in as few slots as can be: each slot that one link
// gains is one that another has too many. Both are taken evenly from the table.
// Where many such steps have made lumps it is laid out anew.
func (s *Slots) toward(ids []uint16, place *places, counts []int) Slots {
	if s.Empty() {
		return layOut(ids, counts)
	}
	have := make([]int, 2*len(ids))
	have, seen := have[:len(ids)], have[len(ids):]
	s.counts(place, have)
	if slices.Equal(have, counts) && sum(counts) == SlotCount {
		return *s
	}
	next, free := *s, 0
	for i, id := range s {
		if p := place.of(id); p >= 0 {
			seen[p]++
			if !released(seen[p]-1, have[p], have[p]-counts[p]) {
				continue
			}
		}
		next[i] = 0
		free++
	}
	for i := range counts {
		have[i] = max(counts[i]-have[i], 0)
	}
	next.fill(layOut(ids, have))
	if next.lumps(place, counts) > lumpsMost {
		return layOut(ids, counts)
	}
	return next
}

// places is where links stand in a list, by their numbers, counted from 1.
type places [MaxLink + 1]int16

func placesOf(ids []uint16) *places {
	p := &places{}
	for i, id := range ids {
		p[id] = int16(i + 1)
	}
	return p
}

// of gives where a link stands, from 0 on, or -1. A table that was read back
// may have any number in it.
func (p *places) of(id uint16) int {
	if id > MaxLink {
		return -1
	}
	return int(p[id]) - 1
}

// released says whether the k-th of a link's slots is one of those that it
// gives up, n of all that it has, evenly.
func released(k, has, n int) bool {
	return n > 0 && (k+1)*n/has > k*n/has
}

// fill puts the links of a layout, in their order, into the slots in which
// nobody stands.
func (s *Slots) fill(with Slots) {
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
// bring a link more or fewer than its share: the most of all links.
func (s *Slots) lumps(place *places, counts []int) (most float64) {
	const wide = 16 // links without memory of their own
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
		// A link strays furthest right before and right after its own turns.
		due := float64(i) * float64(counts[p]) / SlotCount
		low[p] = min(low[p], had[p]-due)
		had[p]++
		due = float64(i+1) * float64(counts[p]) / SlotCount
		high[p] = max(high[p], had[p]-due)
		most = max(most, high[p]-low[p])
	}
	return most
}
