package slots

import (
	"errors"
	"time"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Group is a compiled [Spec]. It keeps no state of its own and is safe for
// concurrent use; whoever reloads may keep it as long as its Spec is the same.
type Group struct{ spec Spec }

// New compiles a group.
func New(s Spec) (*Group, error) {
	if len(s.Members) == 0 {
		return nil, errors.New("no members")
	}
	return &Group{s}, nil
}

// Spec gives what the group was made from, which nobody changes.
func (g *Group) Spec() *Spec { return &g.spec }

// Needs gives the rows that a tick looks at: when one of them changes, a tick is
// due at once.
func (g *Group) Needs() []status.ID { return nil }

// Pace says how often the group wants ticks.
func (g *Group) Pace() Pace { return Static }

// Same says that a tick with the one load gives what one with the other gave,
// as far as the loads go.
func (g *Group) Same(before, now Load, every time.Duration) bool { return false }

// Tick says what the group is to be from now on.
func (g *Group) Tick(in Input, load Load, was State) (State, Result) { return State{}, Result{} }

// Explain is Tick with the reasons: who takes part, and why others do not.
func (g *Group) Explain(in Input, load Load, was State) (Result, *pick.Trace) {
	return Result{}, &pick.Trace{}
}

// Arrivals is how many new connections come, from a counter that is read each
// tick. The zero value has read nothing yet. It is a value: reading gives the
// next one.
type Arrivals struct {
	Total uint64    // the counter, as read last
	At    time.Time // when that was; zero: never
	Mean  float64   // connections a second, the last few seconds weighing most
	Last  float64   // connections a second between the last two readings
	Known bool      // there have been two readings
}

// Obey has an operator's word on the group itself count.
func Obey(hold *status.Hold, result *Result) (told Result) { return *result }
