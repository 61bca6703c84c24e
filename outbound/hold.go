package outbound

import (
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// obey has an operator's word on the group itself count, beyond what its links
// say, and gives what the kernel is to be told:
//
//	down   nobody new gets a link of the group: not available, so that its backup
//	       goes before it; without one the action finds no link
//	drain  the same, but who has a link by persistence with overrideLimit keeps it
//	up     it is available, whatever its thresholds say
//
// Connections that there are stay in any case: result.Alive, by which those of
// failed links are ended, is what it was.
func obey(hold *status.Hold, result *Result) (told Result) {
	switch {
	case hold == nil:
	case hold.State == status.HoldUp:
		result.Up, result.Why = true, "held up: "+hold.Reason
	default:
		result.Up, result.Why, result.Reason = false, "held "+hold.State.String()+": "+hold.Reason, pick.Held
		result.Slots, result.Available, result.AvailableOrBusy, result.Lapsed = Slots{}, nil, nil, nil
		for i := range result.Members {
			result.Members[i].Active, result.Members[i].Slots = false, 0
		}
	}
	told = *result
	if hold != nil && hold.State == status.HoldDown {
		told.Alive = nil
	}
	return told
}
