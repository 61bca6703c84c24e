package slots

import (
	"fmt"
	"strings"

	"github.com/portolan-lb/portolan/status"
)

// Events gives what a tick changed that no row tells: that busy protection lapsed
// or works again, and the phases of a member that comes back. They are named by
// the group's row, those of a member by that and its name. by is who tells; whom,
// which may be empty, for whom the group is so.
func (g *Group) Events(was, is *Result, by, whom string) (list []status.Event) {
	if lapsed := len(is.Lapsed) > 0; lapsed != (len(was.Lapsed) > 0) {
		e := status.Event{ID: g.spec.Row, Old: "busy protection lapsed", New: "busy protection works", Why: "not all are busy any more" + whom, By: by}
		if lapsed {
			e.Old, e.New = "", "busy protection lapsed"
			e.Why = "all that take part are busy: " + rowNames(is.Lapsed) + whom
		}
		list = append(list, e)
	}
	for i := range is.Members {
		s := &is.Members[i]
		if len(was.Members) != len(is.Members) || was.Members[i].Name != s.Name {
			continue // it has just begun, or was made anew
		}
		before := was.Members[i].Phase
		if why := g.came(before, s.Phase); why != "" {
			list = append(list, status.Event{ID: g.spec.Row + status.ID("/"+s.Name), Old: before.String(), New: s.Phase.String(), Why: why, By: by})
		}
	}
	return list
}

// came says what a phase means that a member came to while it comes back; "" if
// its row or an operator's hold tells all there is.
func (g *Group) came(was, is Phase) string {
	switch {
	case was == is:
	case is == StandingBy:
		return fmt.Sprintf("it is back, and gets nothing new for %v", g.spec.Slow.Standby)
	case is == Ramping:
		return fmt.Sprintf("its share grows for %v", g.spec.Slow.Ramp)
	case is == Serving && (was == StandingBy || was == Ramping):
		return "it has its whole share again"
	}
	return ""
}

// rowNames lists rows for people, the first eight of them.
func rowNames(ids []status.ID) string {
	const most = 8
	var list []string
	for _, id := range ids[:min(len(ids), most)] {
		list = append(list, string(id))
	}
	if more := len(ids) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}
