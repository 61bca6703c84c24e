package traffic

import (
	"fmt"
	"time"

	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/slots"
)

// GroupOf tells how a group stands that connections come to, with what its last
// tick found, and who takes part and why others do not.
func GroupOf(name string, g *slots.Group, r *slots.Result, who *pick.Trace) *flow.Group {
	sp := g.Spec()
	made := &flow.Group{Name: name, Algorithm: string(sp.Algorithm), Available: r.Up, Why: r.Why, Members: who}
	for i := range r.Members {
		if s := &r.Members[i]; s.Phase == slots.Ramping || s.Phase == slots.StandingBy {
			made.Notes = append(made.Notes, fmt.Sprintf("%s comes back slowly (%s): %d of %d slots, until %s", s.Name, s.Phase, s.Slots, sp.Size, s.Until.Format(time.TimeOnly)))
		}
	}
	if len(r.Lapsed) > 0 {
		made.Notes = append(made.Notes, "all who take part are busy: busy protection has lapsed")
	}
	return made
}
