package dnsserver

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
)

// memo remembers, for the client networks that asked last, which draw number
// they were given and for which types of which names. A type that was not yet
// asked since the draw is answered by the same draw, so that A, AAAA and HTTPS
// of one name agree; a repeated type draws anew, so that repeated queries
// rotate by weight.
//
// Its size is fixed: clients that fall on the same place forget each other,
// which costs an extra draw and nothing else.
type memo struct {
	seed  maphash.Seed
	slots [memoSlots]memoSlot
}

const memoSlots = 4096

type memoSlot struct {
	mu    sync.Mutex
	key   uint64
	draw  uint64
	asked uint64 // a bit for each (name, type), by hash
}

func newMemo() *memo { return &memo{seed: maphash.MakeSeed()} }

type memoKey struct {
	network netip.Prefix
	group   string
}

type memoQuestion struct {
	name  string
	qtype uint16
}

// draw gives the draw number for a client and a question of a name group, and
// unless peek is set, remembers it. next is the group's counter.
func (m *memo) draw(c *client, group, name string, qtype uint16, next *atomic.Uint64, peek bool) uint64 {
	key := maphash.Comparable(m.seed, memoKey{clientNetwork(c.addr), group})
	bit := uint64(1) << (maphash.Comparable(m.seed, memoQuestion{name, qtype}) % 64)
	slot := &m.slots[key%memoSlots]
	slot.mu.Lock()
	defer slot.mu.Unlock()
	if slot.key == key && slot.asked&bit == 0 {
		if !peek {
			slot.asked |= bit
		}
		return slot.draw
	}
	if peek {
		return next.Load()
	}
	slot.key, slot.asked, slot.draw = key, bit, next.Add(1)-1
	return slot.draw
}

// clientNetwork is the network whose clients share a draw: /24 and /56, as
// wide as an ECS prefix usually is.
func clientNetwork(a netip.Addr) netip.Prefix {
	bits := 24
	if a.Is6() {
		bits = 56
	}
	p, _ := a.Prefix(bits) // zero for the zero address, which is a network too
	return p
}
