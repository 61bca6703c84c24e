package slots

import (
	"slices"

	"github.com/portolan-lb/portolan/status"
)

// Everyone gives all members. At the start each may have connections from before: who
// does not live may have died while nobody looked, or before what it had was ended. So
// each is taken for one that lived.
func (g *Group) Everyone() IDs {
	ids := make(IDs, 0, len(g.spec.Members))
	for i := range g.spec.Members {
		ids = append(ids, g.spec.Members[i].ID)
	}
	slices.Sort(ids)
	return ids
}

// Unseen says whether all that is known of a member is what was kept before the start:
// it has not failed before somebody has looked.
func (g *Group) Unseen(id ID, rows *status.Table) bool {
	for i := range g.spec.Members {
		if m := &g.spec.Members[i]; m.ID == id {
			return rows.Row(m.Row).By == status.WarmStart
		}
	}
	return false
}
