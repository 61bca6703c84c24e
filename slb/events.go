package slb

import (
	"time"

	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// narrate records what changed with a tick of a farm, beside what rows tell by
// themselves. The lock is held, and the result not yet noted.
func (s *SLB) narrate(f *farm, result *slots.Result, now time.Time) {
	for _, e := range f.group.Events(&f.last, result, Owner, "") {
		s.opts.Board.Record(e)
	}
	for i := range result.Members {
		m := &result.Members[i]
		if m.Full && m.Phase != slots.Out {
			s.spells.Seen(traffic.Spell{ID: status.MakeID(status.KindRealServer, f.Name, m.Name), What: "limit reached", Over: "below its limit",
				Why: "it has as many connections as it may"}, Owner, now, s.opts.Board.Record)
		}
	}
}
