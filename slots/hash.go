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
// As members are seldom lost, the places of a slot after the first are found when
// they are looked for: the memory that they need is that of the failures that
// there have been.
type preferences struct {
	seeds []uint64 // of members, by rank
	place []uint16 // of the members in the group, by rank: the order of the file says nothing

	mu   sync.Mutex // guards the rest
	lead []uint16   // by slot: the rank of the first member; nil until somebody asks
	rest [][]uint16 // by slot: the ranks of those after it, as far as they are known
}

func preferencesOf(members []Member) *preferences {
	n := len(members)
	p := &preferences{seeds: make([]uint64, n), place: make([]uint16, n)}
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

// assign fills into with the place of the first member of each slot that is among
// those that are active there, -1 where there is none.
func (p *preferences) assign(into []int, active func(slot int) []bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lead == nil && len(p.seeds) > 0 {
		p.begin(len(into))
	}
	for slot := range into {
		into[slot] = p.first(slot, active(slot))
	}
}

func (p *preferences) first(slot int, active []bool) int {
	for k := range p.seeds {
		if k > len(p.rest[slot]) {
			p.extend(slot)
		}
		rank := p.lead[slot]
		if k > 0 {
			rank = p.rest[slot][k-1]
		}
		if i := p.place[rank]; active[i] {
			return int(i)
		}
	}
	return -1
}

// begin finds the first place of all slots.
func (p *preferences) begin(size int) {
	p.lead, p.rest = make([]uint16, size), make([][]uint16, size)
	all, members := make([]int, size), make([]uint16, len(p.seeds))
	for slot := range all {
		all[slot] = slot
	}
	for rank := range members {
		members[rank] = uint16(rank)
	}
	p.give(all, members, func(slot int, rank uint16) { p.lead[slot] = rank })
}

// extend finds the next place of a slot, and of all slots that have had the same
// members so far.
func (p *preferences) extend(slot int) {
	first, known := p.lead[slot], p.rest[slot]
	var alike []int
	for s := range p.rest {
		if p.lead[s] == first && slices.Equal(p.rest[s], known) {
			alike = append(alike, s)
		}
	}
	others := make([]uint16, 0, len(p.seeds)-1)
	for rank := range p.seeds {
		if r := uint16(rank); r != first && !slices.Contains(known, r) {
			others = append(others, r)
		}
	}
	if len(alike) == 1 { // nobody left to share with: by score
		slices.SortFunc(others, func(x, y uint16) int { return cmp.Compare(p.score(slot, y), p.score(slot, x)) })
		p.rest[slot] = append(slices.Clip(known), others...)
		return
	}
	p.give(alike, others, func(slot int, rank uint16) { p.rest[slot] = append(p.rest[slot], rank) })
}

// give gives each of the slots to one of the members.
func (p *preferences) give(slots []int, members []uint16, to func(slot int, rank uint16)) {
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
	won, given := make([]int, len(members)), make([]bool, len(slots))
	for k, left := len(claims)-1, len(slots); left > 0; k-- {
		at, m := int(claims[k]&low)/len(members), int(claims[k]&low)%len(members)
		if given[at] || won[m] > each || won[m] == each && more == 0 {
			continue
		}
		if won[m] == each {
			more--
		}
		won[m]++
		given[at] = true
		left--
		to(slots[at], members[m])
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
