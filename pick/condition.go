package pick

import (
	"slices"

	"github.com/portolan-lb/portolan/status"
)

// Condition is what the owner of a group knows of a member at the moment, and
// no row says: limits of the membership, a member that comes back slowly.
type Condition struct {
	Full      bool   // at a limit of its own: as a row that is full
	Unbounded bool   // not full, whatever its rows and Full say
	Busy      bool   // left out unless all are, as one whose row is busy, whether the group heeds rows that are or not
	Aside     bool   // usable, but not to be chosen yet: as if it were down
	Why       string // for explain; may be empty
}

// told adds the owner's reason.
func (c Condition) told(what string) string {
	if c.Why == "" {
		return what
	}
	return what + ": " + c.Why
}

// activeAs gives the set in which the rows of shed count as busy, and members
// are as the owner says.
func (g *Group) activeAs(t *status.Table, shed []*status.Row, own []Condition) *activeSet {
	if slices.ContainsFunc(own, func(c Condition) bool { return c.Full || c.Unbounded || c.Busy || c.Aside }) {
		return g.evaluate(t, shed, own, nil)
	}
	a := g.active(t)
	return g.without(a, t, a.maskOf(shed))
}
