package slots

import (
	"slices"
	"time"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Input is what a tick of any group looks at.
type Input struct {
	Table  *status.Table
	Gauges *status.Gauges // rates, and what remains of their limits, of the last measurement (T28); nil: none are known
	Now    time.Time
	Every  time.Duration // until the next tick
}

// Load is what is counted for one group. The lists are by the place of the
// member; NaN, or a member beyond a list: not known, and then limits are left
// to the kernel.
type Load struct {
	Arrivals   Arrivals  // new connections of the group
	Members    []float64 // connections that each has now of this group
	Everywhere []float64 // connections that each link or real server has now, of whatever group
}

// State is what a group keeps from one tick to the next, and over a reload: of
// members that it knows nothing of it takes that they have always been there.
// The zero State is that of a group that has just been made. It is a value: a
// tick gives the next one and leaves the one before as it was.
type State struct {
	Ran     bool          // there has been a tick
	Up      bool          // the group was available
	Slots   Slots         // not changed by anybody
	Forced  Slots         // the same; nil if nobody wants it
	Members []MemberState // in no order that matters
}

// MemberState is what is kept of a member.
type MemberState struct {
	ID     ID
	Down   bool      // it was down, or held down
	Back   time.Time // since when it is back, as long as it comes back slowly; zero: it does not
	Capped bool      // it is at its rate limit
}

// Result is what a group is to be until the next tick. Its lists are not changed
// by anybody.
type Result struct {
	// Slots is whom the kernel gives new connections; as long as the group's size,
	// all 0 if all that take part are at their limits, or nobody is usable
	// (FAQ 1.2.10, 1.2.13): Reason says which. It does not look at Up: an owner
	// without a backup group uses what members there are.
	Slots Slots
	// Forced is Slots as they would be if nobody were at a limit of connections:
	// whom a busy action "force" gives them. Nil unless [Spec.Force].
	Forced Slots

	// Alive is who has not failed and is not held down, of every priority: what
	// persistence with overrideLimit goes by, and whose sessions go on. A member that
	// drains or stands by is alive.
	Alive IDs
	// Available is who takes new connections: what persistence and proximity go by
	// (FAQ 1.2.16, 1.2.19, C2). Whoever has a slot is available. A member that stands
	// by is not available, so an entry of persistence that outlived its failure is
	// made anew elsewhere; one that ramps is.
	Available IDs
	// AvailableOrBusy is Available and who only is not for he is busy: what
	// persistence with overrideBusy goes by (C2).
	AvailableOrBusy IDs
	// Draining is who drains and is below his limits: he has no slot. An owner whose
	// persistence outlasts a drain takes these for available too.
	Draining IDs

	Up     bool        // the group is available: activate (T30)
	Why    string      // why it is, or is not
	Reason pick.Reason // Chosen, or why Slots is empty
	Lapsed []status.ID // the busy rows, if all that take part are busy, so that busy protection lapsed (FAQ 1.2.26); else nil

	Members []Standing // in the order of the group
	Next    time.Time  // when the group next changes by itself: a standby ends, or a share rises by a slot; zero: never
}

// Standing is how a member of a group stands.
type Standing struct {
	Name   string    `json:"name"`
	ID     ID        `json:"id"`
	Phase  Phase     `json:"phase"`
	Until  time.Time `json:"until,omitzero"` // of StandingBy and Ramping: when it ends
	Ramp   float64   `json:"ramp"`           // how much of its own share it may have, 0 to 1
	Active bool      `json:"active"`         // it takes part
	Busy   bool      `json:"busy,omitempty"`
	Full   bool      `json:"full,omitempty"`   // at a limit of connections
	Capped bool      `json:"capped,omitempty"` // at its rate limit
	Slots  int       `json:"slots"`            // of the group's size
	Share  float64   `json:"share"`            // the part of new connections that it gets, 0 to 1, if neither persistence nor proximity speaks
}

// Phase is where a member stands in its life.
type Phase uint8

// The phases.
const (
	Serving    Phase = iota
	Ramping          // it comes back, with a part of its share
	StandingBy       // it has come back, and has to prove itself
	Draining         // no new connections: an operator's word
	Out              // down, or held down
)

var phaseNames = [...]string{"serving", "ramp", "standby", "drain", "out"}

func (p Phase) String() string { return phaseNames[p] }

// MarshalText writes the phase's name.
func (p Phase) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// IDs is a set of numbers, in rising order.
type IDs []ID

// Has says whether a member is in the set.
func (s IDs) Has(id ID) bool {
	_, found := slices.BinarySearch(s, id)
	return found
}

// Equal says whether two sets are the same.
func (s IDs) Equal(o IDs) bool { return slices.Equal(s, o) }
