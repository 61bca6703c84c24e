package dnsserver

import (
	"hash/fnv"
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
)

// memo remembers the last clients and the draw number each was given, so that
// a client that asks for another type of a name is answered by the same draw:
// A, AAAA and HTTPS agree. A repeated type draws anew, so that repeated queries
// rotate by weight.
//
// Its size is fixed: a client that was pushed out draws anew, and may then see
// another member for its second type.
type memo struct {
	seed maphash.Seed
	sets [memoSets]memoSet
}

// The memo holds 65,536 clients, in sets of four: about 2 MiB.
const (
	memoSets = 1 << 14
	memoWays = 4
)

type memoSet struct {
	mu     sync.Mutex
	victim int // the way that gives way next
	ways   [memoWays]memoSlot
}

type memoSlot struct {
	key   uint64
	draw  uint64
	asked uint64 // a bit for each (name of the group, type)
}

func newMemo() *memo { return &memo{seed: maphash.MakeSeed()} }

// newCount gives the counter of a new group of names. It starts at a place that
// depends on the group, so that many names do not all begin with the same
// member.
func newCount(group string) *atomic.Uint64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(group)) // never fails
	c := &atomic.Uint64{}
	c.Store(uint64(h.Sum32()))
	return c
}

// drawingTypes are the types whose answers are the decision itself. Others
// (additional records of MX, types that are not there) show it at most, and
// move nothing on.
var drawingTypes = [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeHTTPS, dns.TypeSVCB, dns.TypeANY}

// askedBit is the place of a question in memoSlot.asked, or 0 for a type that
// does not draw. Beyond twelve names, those of a group share places and may
// draw sooner than they need.
func askedBit(member int, qtype uint16) uint64 {
	for i, t := range drawingTypes {
		if t == qtype {
			return 1 << ((member*len(drawingTypes) + i) % 60)
		}
	}
	return 0
}

type memoKey struct {
	client netip.Prefix
	group  string
}

// draw gives the draw number for a client and a question about a name, and
// unless peek is set, remembers it.
func (m *memo) draw(c *client, b *binding, qtype uint16, peek bool) uint64 {
	key := maphash.Comparable(m.seed, memoKey{drawer(c), b.group})
	bit := askedBit(b.member, qtype)
	set := &m.sets[key%memoSets]
	set.mu.Lock()
	defer set.mu.Unlock()
	slot := set.find(key)
	switch {
	case slot != nil && slot.asked&bit == 0:
		if !peek {
			slot.asked |= bit
		}
		return slot.draw
	case peek || bit == 0:
		return b.count.Load()
	case slot == nil:
		slot = &set.ways[set.victim]
		set.victim = (set.victim + 1) % memoWays
	}
	*slot = memoSlot{key: key, asked: bit, draw: b.count.Add(1) - 1}
	return slot.draw
}

func (s *memoSet) find(key uint64) *memoSlot {
	for i := range s.ways {
		if s.ways[i].key == key {
			return &s.ways[i]
		}
	}
	return nil
}

// drawer is whom a draw belongs to: the Client Subnet where it is used, else
// the source itself, in IPv6 its /64.
func drawer(c *client) netip.Prefix {
	bits := c.bits
	if !c.ecs {
		bits = min(c.addr.BitLen(), 64)
	}
	p, _ := c.addr.Prefix(bits) // zero for the zero address, which is a client too
	return p
}
