package dnsproxy

import (
	"net/netip"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// sticky remembers which DNS server clients were given (FAQ 1.2.8, semantics
// B.5: by source alone). It is bounded: when it is full of entries in force, no
// new ones are made. It is safe for concurrent use; nil remembers nothing.
type sticky struct {
	conf    config.Persistence
	mu      sync.Mutex
	entries map[stickyKey]stickyEntry
}

type stickyKey struct {
	pool   string
	client netip.Prefix
}

type stickyEntry struct {
	server string
	until  time.Time
}

// swept is how many entries are looked at for one that is over, when there is
// no room.
const swept = 32

func newSticky(conf *config.Persistence) *sticky {
	if conf == nil {
		return nil
	}
	return &sticky{conf: *conf, entries: map[stickyKey]stickyEntry{}}
}

func (s *sticky) key(pool string, client netip.Addr) stickyKey {
	bits := s.conf.Mask.V4
	if client.Is6() {
		bits = s.conf.Mask.V6
	}
	p, _ := client.WithZone("").Prefix(bits) // cannot fail: config has the mask fit
	return stickyKey{pool, p}
}

// get gives the server that a client has; empty: none.
func (s *sticky) get(pool string, client netip.Addr, now time.Time) string {
	if s == nil {
		return ""
	}
	k := s.key(pool, client)
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[k]
	if !ok || !now.Before(e.until) {
		return ""
	}
	return e.server
}

// put notes which server answered a client, and renews the entry.
func (s *sticky) put(pool string, client netip.Addr, server string, now time.Time) {
	if s == nil {
		return
	}
	k := s.key(pool, client)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.entries[k]; !ok && len(s.entries) >= 2*s.conf.MaxEntries && !s.sweep(now) {
		return
	}
	s.entries[k] = stickyEntry{server, now.Add(time.Duration(s.conf.Timeout))}
}

// sweep makes room for one entry if some that are looked at are over.
func (s *sticky) sweep(now time.Time) bool {
	n, room := 0, false
	for k, e := range s.entries {
		if !now.Before(e.until) {
			delete(s.entries, k)
			room = true
		}
		if n++; n == swept {
			break
		}
	}
	return room
}

func (s *sticky) len() int {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// overrides says whether an entry is honoured though its server's link is busy,
// or at a limit (C2).
func (s *sticky) overrides() (busy, full bool) {
	return s.conf.OverrideBusy || s.conf.OverrideLimit, s.conf.OverrideLimit
}
