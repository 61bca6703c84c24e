package slb

import "github.com/portolan-lb/portolan/kernel"

// Shower gives who shows connections as they are found; it is not ok if one is
// none of ours, or not meant by the query. What it knows is of this moment.
func (s *SLB) Shower(q SessionQuery) func(c *kernel.Session) (shown Session, ok bool) {
	s.mu.Lock()
	b := browser{virtuals: s.byMark, q: q}
	s.mu.Unlock()
	return b.show
}

// Mark gives what stands in conntrack marks of a virtual server's connections, in
// the bits of [kernel.ServerMask]; 0: it is not served.
func (s *SLB) Mark(virtualServer string) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.virtuals[virtualServer]; v != nil {
		return v.mark
	}
	return 0
}
