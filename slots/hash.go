package slots

import (
	"cmp"
	"hash/fnv"
	"math/bits"
	"slices"
	"sync"
)

// preferences is, for each slot, the members in the order in which they would
// have it: the first of them that may be chosen has the slot. So a member that
// is lost moves only its own slots, and takes back only these (T32). It depends
// on nothing but the names of the members and which of them there are.
//
// Plain rendezvous hashing does that too, but gives one of ten members 26 slots
// of 256 only in the mean, and often 18 or 34. Here the first places are shared
// evenly, and so are the second places of the slots that have the same first
// one, and so on: whoever is lost, his slots are spread evenly over the rest.
//
// The slots that a prefix of places has in common are given out by falling
// score of slot and member, each member taking as many as its turn is. So a
// member that is added or removed moves little more than its own part.
//
// As members are seldom lost, the places of a slot are found when they are
// looked for: the memory that they need is that of the failures that there have
// been.
type preferences struct {
	seeds []uint64 // of members, by rank
	place []uint16 // of the members in the group, by rank: the order of the file says nothing

	mu    sync.Mutex
	lists [][]uint16 // by slot: ranks of members, as far as they are known
}

func preferencesOf(members []Member, size int) *preferences {
	n := len(members)
	p := &preferences{seeds: make([]uint64, n), place: make([]uint16, n), lists: make([][]uint16, size)}
	byPlace := make([]uint64, n)
	for i := range members {
		h := fnv.New64a()
		_, _ = h.Write([]byte(members[i].Name)) // writes to a hash do not fail
		byPlace[i], p.place[i] = mix(h.Sum64()), uint16(i)
	}
	slices.SortFunc(p.place, func(a, b uint16) int { return cmp.Compare(byPlace[a], byPlace[b]) })
	for rank, i := range p.place {
		p.seeds[rank] = byPlace[i]
	}
	return p
}

// first gives the place of the first member of a slot that is among active, or
// -1.
func (p *preferences) first(slot int, active []bool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.seeds {
		if k == len(p.lists[slot]) {
			p.extend(slot)
		}
		if i := int(p.place[p.lists[slot][k]]); active[i] {
			return i
		}
	}
	return -1
}

// extend finds the next place of a slot, and of all slots that have had the same
// members so far.
func (p *preferences) extend(slot int) {
	known := p.lists[slot]
	var alike []int
	for s, list := range p.lists {
		if slices.Equal(list, known) {
			alike = append(alike, s)
		}
	}
	rest := make([]uint16, 0, len(p.seeds)-len(known))
	for rank := range p.seeds {
		if !slices.Contains(known, uint16(rank)) {
			rest = append(rest, uint16(rank))
		}
	}
	if len(alike) == 1 { // nobody left to share with: by score
		slices.SortFunc(rest, func(x, y uint16) int { return cmp.Compare(p.score(slot, y), p.score(slot, x)) })
		p.lists[slot] = append(slices.Clip(known), rest...)
		return
	}
	p.give(alike, rest)
}

// give appends to each of the slots one of the members.
func (p *preferences) give(slots []int, members []uint16) {
	// A claim is a member's to a slot: its score, and in the low bits which it is.
	claims := make([]uint64, 0, len(slots)*len(members))
	low := uint64(1)<<bits.Len(uint(cap(claims)-1)) - 1
	for _, s := range slots {
		for _, m := range members {
			claims = append(claims, p.score(s, m)&^low|uint64(len(claims)))
		}
	}
	slices.Sort(claims)
	each, more := len(slots)/len(members), len(slots)%len(members) // more members have one more
	won, given := make([]int, len(members)), 0
	done := make([]bool, len(slots))
	for k := len(claims) - 1; given < len(slots); k-- {
		at, m := int(claims[k]&low)/len(members), int(claims[k]&low)%len(members)
		if done[at] || won[m] > each || won[m] == each && more == 0 {
			continue
		}
		if won[m] == each {
			more--
		}
		won[m]++
		done[at] = true
		given++
		p.lists[slots[at]] = append(p.lists[slots[at]], members[m])
	}
}

func (p *preferences) score(slot int, rank uint16) uint64 {
	return mix(p.seeds[rank] ^ mix(uint64(slot)))
}

// moment gives when a slot of size, a power of two, has its turn in what happens
// by and by, such as a ramp: evenly between 0 and 1, neighbours far apart.
func moment(slot, size int) float64 {
	turn := bits.Reverse16(uint16(slot)) >> (16 - bits.Len(uint(size-1)))
	return (float64(turn) + 0.5) / float64(size)
}

// mix spreads the bits of x: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
