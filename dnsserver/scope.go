package dnsserver

import (
	"net/netip"
	"sync"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/topology"
)

// The ECS scope of a dynamic answer is the shortest prefix around the client
// in which everybody has the same answer distribution now (RFC 7871 7.2.1
// leaves the choice to us). It is found by climbing: from the network for
// which the answer was made, the other half of the next shorter prefix is
// compared, until one differs.
//
//	203.0.113.0/24 ─ same as ─ 203.0.112.0/24 ─→ /23 ─ same as ─ ... ─→ scope
//
// A half is compared by the topology classes inside it, not by its addresses.
// Only where a distribution depends on the address beyond its class (hashing)
// is a half opened further.

// maxCompare bounds how many networks one answer may compare. Beyond it the
// scope is longer than need be, which is always correct.
const maxCompare = 256

// scope gives the ECS scope for the outcome of a client whose topology leaf is
// leaf bits long.
func (c *choosing) scope(want outcome, leaf int) int {
	p, addr := c.b.pool, c.in.Client.Addr
	s := scoping{pool: p, topology: c.b.topology, in: c.in, want: want, left: maxCompare}
	s.cache = p.scopeCache(&c.in, c.q.peek)
	bits := max(leaf, s.want.width())
	if s.want.width() == 0 && s.cache.uniform(&s) {
		bits = 0
	}
	// A network that is measured is answered for by itself: a wider answer would
	// keep the queries back that its neighbours are measured by, and what is known
	// of two networks does not age together.
	floor := 0
	if s.want.shares.Wants {
		floor = s.want.width()
	}
	for bits > floor && s.same(sibling(addr, bits)) {
		bits--
	}
	c.trace.scope(bits, leaf, s.want.width())
	return bits
}

// sibling is the other half of the prefix one bit shorter.
func sibling(addr netip.Addr, bits int) netip.Prefix {
	p, _ := addr.Prefix(bits)
	b := p.Addr().AsSlice()
	b[(bits-1)/8] ^= 1 << (7 - (bits-1)%8)
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, bits)
}

// scoping is the work of one climb.
type scoping struct {
	pool     *pool
	topology *topology.Table
	in       pick.Input
	want     outcome
	cache    *scopeCache
	left     int // networks that may still be compared
}

// same says whether everybody inside a network has the wanted outcome. It may
// say no when it has run out of comparisons.
func (s *scoping) same(net netip.Prefix) bool {
	if s.left--; s.left < 0 {
		return false
	}
	classes := s.topology.Within(net)
	open := false
	for _, class := range classes {
		o, byClass := s.cache.outcome(s, class)
		switch {
		case byClass && !o.equal(s.want):
			return false
		case !byClass:
			open = true
		}
	}
	if !open {
		return true
	}
	if len(classes) == 1 {
		o := s.at(classes[0], net.Addr())
		if !o.equal(s.want) {
			return false
		}
		if o.width() <= net.Bits() {
			return true
		}
	}
	if net.Bits() == net.Addr().BitLen() {
		return false
	}
	low := netip.PrefixFrom(net.Addr(), net.Bits()+1)
	return s.same(low) && s.same(sibling(low.Addr(), low.Bits()))
}

func (s *scoping) at(class topology.Class, addr netip.Addr) outcome {
	in := s.in
	in.Client = pick.Client{Addr: addr, Class: uint32(class)}
	return s.pool.outcome(in, nil)
}

// scopeCache remembers, for one state of a pool, the outcome of each class
// that decides alone. It is filled as it is asked.
type scopeCache struct {
	epochs []pick.Epoch // of pool.depends

	mu    sync.Mutex
	known map[topology.Class]classOutcome
	all   bool    // every class was asked
	one   bool    // and all have one outcome, by class alone
	first outcome // that one
}

type classOutcome struct {
	outcome
	byClass bool // the outcome does not depend on the address
}

// scopeCache gives the cache for a table, live numbers and a family: the pool's
// own if nothing that it rests on has moved. A question about another table than
// the serving one (peek) leaves the pool's own where it is.
func (p *pool) scopeCache(in *pick.Input, peek bool) *scopeCache {
	kept := &p.scopes[0]
	if in.Client.Addr.Is6() {
		kept = &p.scopes[1]
	}
	epochs := make([]pick.Epoch, len(p.depends))
	for i, d := range p.depends {
		epochs[i] = d.group.Epoch(in.Table, in.Gauges)
	}
	if c := kept.Load(); c != nil && equalEpochs(c.epochs, epochs) {
		return c
	}
	c := &scopeCache{epochs: epochs, known: map[topology.Class]classOutcome{}}
	if !peek {
		kept.Store(c)
	}
	return c
}

func equalEpochs(a, b []pick.Epoch) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// outcome gives the outcome of a class, and whether the class alone decides.
func (c *scopeCache) outcome(s *scoping, class topology.Class) (outcome, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ask(s, class)
}

func (c *scopeCache) ask(s *scoping, class topology.Class) (outcome, bool) {
	k, ok := c.known[class]
	if !ok {
		o := s.at(class, s.in.Client.Addr)
		k = classOutcome{o, o.width() == 0}
		c.known[class] = k
	}
	return k.outcome, k.byClass
}

// maxUniform bounds the classes that uniform asks. With more, a scope of 0 is
// found by climbing.
const maxUniform = 4096

// uniform says whether every class of clients has the wanted outcome: then the
// scope is 0, as when health leaves one choice.
func (c *scopeCache) uniform(s *scoping) bool {
	if s.topology.Classes() > maxUniform {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.all {
		c.all, c.one = true, true
		for class := range topology.Class(s.topology.Classes()) {
			o, byClass := c.ask(s, class)
			if class == 0 {
				c.first = o
			}
			c.one = c.one && byClass && o.equal(c.first)
		}
	}
	return c.one && c.first.equal(s.want)
}
