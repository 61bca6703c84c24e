package kernel

import (
	"context"
	"errors"
)

// End ends the sessions that any of the filters means, and tells how many there
// were. Each is ended by its tuple and number, so one that has taken the place of
// another meanwhile lives on. Sessions that begin while it works may be among
// them or not. A filter that means everything is refused, before anything is
// done. All sessions of one mark go faster with [Conntrack.DeleteByMark], which
// does not count them.
func (c *Conntrack) End(ctx context.Context, filters ...SessionFilter) (n int, err error) {
	for _, f := range filters {
		if f == (SessionFilter{Limit: f.Limit}) {
			return 0, errors.New("ending sessions: the filter means all of them")
		}
	}
	for _, f := range filters {
		var found []Session
		if err := c.Sessions(ctx, f, func(s Session) bool { found = append(found, s); return true }); err != nil {
			return n, err
		}
		for i := range found {
			switch ended, err := c.Delete(&found[i]); {
			case err != nil:
				return n, err
			case ended:
				n++
			}
		}
	}
	return n, nil
}
