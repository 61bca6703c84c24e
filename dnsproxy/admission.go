package dnsproxy

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// admission bounds what waits for DNS servers: in all, and of one client, so
// that none can hoard answers that come all at once (DNSBomb) or take the
// others' places.
type admission struct {
	total  atomic.Int64
	shards [16]struct {
		mu sync.Mutex
		of map[netip.Prefix]int
	}
}

// one gives what counts as one client: an IPv4 address, or an IPv6 /64.
func one(addr netip.Addr) netip.Prefix {
	addr = addr.Unmap().WithZone("")
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, _ := addr.Prefix(bits) // cannot fail: the bits fit the family
	return p
}

func (a *admission) shard(p netip.Prefix) int {
	b := p.Addr().As16()
	return int((b[15] ^ b[13] ^ b[7] ^ b[6] ^ b[5]) & 15)
}

// enter admits a query, or says why not. Each that is admitted must leave.
func (a *admission) enter(client netip.Prefix, most, perClient int) (why drop, ok bool) {
	if a.total.Add(1) > int64(most) {
		a.total.Add(-1)
		return dropOutstanding, false
	}
	s := &a.shards[a.shard(client)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[netip.Prefix]int{}
	}
	if s.of[client] >= perClient {
		a.total.Add(-1)
		return dropClient, false
	}
	s.of[client]++
	return 0, true
}

func (a *admission) leave(client netip.Prefix) {
	a.total.Add(-1)
	s := &a.shards[a.shard(client)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of[client]--; s.of[client] <= 0 {
		delete(s.of, client)
	}
}
