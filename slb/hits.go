package slb

import (
	"time"

	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/traffic"
)

// Hits gives what is counted, in the order of the configuration, with what is at
// 0: that nothing came is news too. nil: nothing is served. Of many servers it is
// not cheap: 100,000 take some 100 ms.
func (s *SLB) Hits() ([]traffic.Hit, error) {
	p := s.Plan()
	if p == nil {
		return nil, nil
	}
	list := p.Hits()
	if err := s.hits.Read(s.opts.Kernel, l4.Table, list, time.Now()); err != nil {
		return nil, err
	}
	return list, nil
}
