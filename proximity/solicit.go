package proximity

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// solicitor chooses the few UDP queries that are answered by nothing but TC, so
// that a client whose network lacks measurements comes over TCP, where the
// kernel measures the way to it (proximity.passive.solicit).
//
//	is the network in the slice?    share of all networks, always the same ones
//	was it asked of late?           once in a refresh, whatever became of it
//	is there a budget?              perSecond
//
// The next query of the network is answered as ever, so that a client without
// TCP waits for one retry in a refresh, if it is in the slice at all.
//
// What was asked is noted in a table of fixed size, by hash. Who finds its place
// taken by another network is not asked: memory is bounded, and a collision asks
// less, never more. The zero solicitor is ready.
type solicitor struct {
	notes   atomic.Pointer[solicited] // made when first needed
	second  atomic.Uint64             // the second before the budget's 32 bits, and what is used of it
	asked   atomic.Uint64             // clients told to come over TCP
	over    atomic.Uint64             // not told, for the budget was spent
	crowded atomic.Uint64             // not told, for another network has the place
}

// solicited tells by place until when nobody of it is asked again: the whole
// hash above 32 bits, below them the moment in seconds.
type solicited [1 << 15]atomic.Uint64

// parts is of how many a share tells the number: percent.
const parts = 100

// solicit says whether a network is to be asked now, and notes that it was.
// Nothing is written for those who are not in the slice.
func (s *solicitor) solicit(network netip.Prefix, c *config.Proximity, now time.Time) bool {
	if !inSlice(network, c) {
		return false
	}
	notes := s.notes.Load()
	if notes == nil {
		s.notes.CompareAndSwap(nil, new(solicited))
		notes = s.notes.Load()
	}
	seconds, refresh := uint32(now.Unix()), uint32(time.Duration(c.Refresh)/time.Second)
	name := uint32(hashNetwork(network) >> 32)
	place := &notes[name%uint32(len(notes))]
	noted := place.Load()
	if left := uint32(noted) - seconds; noted != 0 && left-1 < refresh { // 1 to refresh seconds to go
		if uint32(noted>>32) != name {
			s.crowded.Add(1)
		}
		return false
	}
	if !s.spend(seconds, c.Passive.Solicit.PerSecond) {
		s.over.Add(1)
		return false
	}
	if !place.CompareAndSwap(noted, uint64(name)<<32|uint64(seconds+refresh)) {
		return false // somebody asks this very moment
	}
	s.asked.Add(1)
	return true
}

// inSlice says whether a network is one of those that are asked at all.
func inSlice(network netip.Prefix, c *config.Proximity) bool {
	return c.Passive.Enabled && int(hashNetwork(network)%parts) < int(c.Passive.Solicit.Share)
}

// spend takes one from the budget of a second.
func (s *solicitor) spend(second uint32, most int) bool {
	for {
		old := s.second.Load()
		used := uint32(old)
		if uint32(old>>32) != second {
			used = 0
		}
		if used >= uint32(most) {
			return false
		}
		if s.second.CompareAndSwap(old, uint64(second)<<32|uint64(used+1)) {
			return true
		}
	}
}

// hashNetwork spreads networks evenly (FNV-1a, finished by a multiplication).
// It is the same in every process, so that a network is in the slice or not
// whichever node it asks.
func hashNetwork(n netip.Prefix) uint64 {
	h := uint64(14695981039346656037)
	for _, b := range n.Addr().As16() {
		h = (h ^ uint64(b)) * 1099511628211
	}
	h ^= h >> 32
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}
