package slots

import (
	"cmp"
	"fmt"
)

// next says whether a group is available of whose members so many are usable.
func (a Activation) next(was State, usable, all int, members string) (up bool, why string) {
	lower, upper := cmp.Or(a.Lower, a.Upper), cmp.Or(a.Upper, a.Lower)
	said := fmt.Sprintf("%d of %d %s are usable", usable, all, members)
	switch {
	case all == 0:
		return false, "it has no " + members
	case usable == 0:
		return false, fmt.Sprintf("none of %d %s is usable", all, members)
	case lower == 0:
		return true, said
	case usable*100 < lower*all:
		return false, fmt.Sprintf("%s, which is below %d%%", said, lower)
	case usable*100 >= upper*all:
		return true, said
	case !was.Ran: // nothing is known of before: fail open
		return true, said
	case was.Up:
		return true, fmt.Sprintf("%s, which is not below %d%%", said, lower)
	default:
		return false, fmt.Sprintf("%s: available again from %d%% on", said, upper)
	}
}
