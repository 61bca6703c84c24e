package slots

import (
	"slices"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Obey has an operator's word on the group itself count, beyond what its members
// say, and gives what the kernel is to be told; nil is no word:
//
//	down   nobody new gets a member of the group: not available, so that its backup
//	       goes before it; without one the owner's action finds nobody
//	drain  the same, but who has a member by persistence with overrideLimit keeps it
//	up     it is available, whatever its thresholds say
//
// Connections that there are stay in any case: r.Alive, by which those of
// failed members are ended, is what it was.
func (r *Result) Obey(hold *status.Hold) (told Result) {
	switch {
	case hold == nil:
	case hold.State == status.HoldUp:
		r.Up, r.Why = true, "held up: "+hold.Reason
	default:
		r.Up, r.Why, r.Reason = false, "held "+hold.State.String()+": "+hold.Reason, pick.Held
		if r.Slots = make(Slots, len(r.Slots)); r.Forced != nil {
			r.Forced = r.Slots
		}
		if hold.State == status.HoldDrain {
			r.Draining = slices.Sorted(slices.Values(slices.Concat(r.Draining, r.Available))) // nobody is in both
		} else {
			r.Draining = nil
		}
		r.Available, r.AvailableOrBusy, r.Lapsed = nil, nil, nil
		for i := range r.Members {
			r.Members[i].Active, r.Members[i].Slots, r.Members[i].Share = false, 0, 0
		}
	}
	told = *r
	if hold != nil && hold.State == status.HoldDown {
		told.Alive = nil
	}
	return told
}
