package outbound

import (
	"cmp"
	"hash/fnv"
	"math/bits"
	"slices"
)

// preferences is, for each slot, the members in the order in which they would
// have it: the first of them that may be chosen has the slot. So a member that
// is lost moves only its own slots, and takes back only these (T32). It depends
// on nothing but the names of the members and which of them there are.
//
// Plain rendezvous hashing does that too, but gives one of ten links 26 slots of
// 256 only in the mean, and often 18 or 34. Here the first places are shared
// evenly, and so are the second places of the slots that have the same first
// one, and so on: whoever is lost, his slots are spread evenly over the rest.
//
// The slots that a prefix of places has in common are given out by falling
// score of slot and member, each member taking as many as its turn is. So a
// member that is added or removed moves little more than its own part.
type preferences [SlotCount][]uint16 // places of members in the group

func preferencesOf(names []string) *preferences {
	p := &preferences{}
	b := giver{preferences: p, seeds: make([]uint64, len(names))}
	for i, name := range names {
		h := fnv.New64a()
		_, _ = h.Write([]byte(name)) // writes to a hash do not fail
		b.seeds[i] = mix(h.Sum64())
	}
	slots, members := make([]int, SlotCount), make([]uint16, len(names))
	for i := range slots {
		slots[i] = i
	}
	for i := range members {
		members[i] = uint16(i)
	}
	b.give(slots, members)
	return p
}

// giver is the work of preferencesOf.
type giver struct {
	*preferences
	seeds []uint64
}

// claim is a member's to a slot.
type claim struct {
	score  uint64
	slot   int
	member uint16
}

// give appends the members to the preferences of the slots, which have had the
// same ones so far.
func (b *giver) give(slots []int, members []uint16) {
	if len(members) == 0 || len(slots) == 0 {
		return
	}
	if len(slots) == 1 { // nobody left to share with: by score
		s := slots[0]
		rest := slices.Clone(members)
		slices.SortFunc(rest, func(x, y uint16) int { return cmp.Compare(b.score(s, y), b.score(s, x)) })
		b.preferences[s] = append(b.preferences[s], rest...)
		return
	}
	claims := make([]claim, 0, len(slots)*len(members))
	for _, s := range slots {
		for _, m := range members {
			claims = append(claims, claim{b.score(s, m), s, m})
		}
	}
	slices.SortFunc(claims, func(x, y claim) int { return cmp.Compare(y.score, x.score) })
	each, more := len(slots)/len(members), len(slots)%len(members) // more members have one more
	won := make(map[uint16][]int, len(members))
	given := make(map[int]bool, len(slots))
	for _, c := range claims {
		n := len(won[c.member])
		if given[c.slot] || n > each || n == each && more == 0 {
			continue
		}
		if n == each {
			more--
		}
		won[c.member], given[c.slot] = append(won[c.member], c.slot), true
	}
	for i, m := range members {
		for _, s := range won[m] {
			b.preferences[s] = append(b.preferences[s], m)
		}
		b.give(won[m], slices.Concat(members[:i], members[i+1:]))
	}
}

func (b *giver) score(slot int, member uint16) uint64 {
	return mix(b.seeds[member] ^ mix(uint64(slot)))
}

// first gives the first member of a slot that is among active, or -1.
func (p *preferences) first(slot int, active []bool) int {
	for _, m := range p[slot] {
		if active[m] {
			return int(m)
		}
	}
	return -1
}

// moment gives when a slot has its turn in what happens by and by, such as a
// ramp: evenly between 0 and 1, neighbours far apart.
func moment(slot int) float64 {
	return (float64(bits.Reverse8(uint8(slot))) + 0.5) / SlotCount
}

// mix spreads the bits of x: the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
