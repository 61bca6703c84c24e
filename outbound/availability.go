package outbound

import (
	"cmp"
	"fmt"
	"slices"
)

// activation is when a group is available, by the share of its links that are
// usable, in percent: no longer below lower, again from upper on, and between
// them as before (T30). The zero value: while one is.
//
//	share  100 ┤ ╲             ╱
//	     upper ┤- ╲ - - - - - ╱┬─ available again
//	     lower ┤- -╲┬- - - - ╱ │
//	         0 ┤    ╲┴──────╱  │
//
// Who is down, held, drains or stands by is not usable; who is busy or full is,
// for that is no failure (FAQ 1.2.13).
type activation struct{ lower, upper int }

// next says whether a group is available of whose links so many are usable.
func (a activation) next(was State, usable, all int) (up bool, why string) {
	lower, upper := cmp.Or(a.lower, a.upper), cmp.Or(a.upper, a.lower)
	said := fmt.Sprintf("%d of %d links are usable", usable, all)
	switch {
	case usable == 0:
		return false, fmt.Sprintf("none of %d links is usable", all)
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

// IDs is a set of numbers of links, in rising order.
type IDs []uint16

// Has says whether a link is in the set.
func (s IDs) Has(id uint16) bool {
	_, found := slices.BinarySearch(s, id)
	return found
}

// Equal says whether two sets are the same.
func (s IDs) Equal(o IDs) bool { return slices.Equal(s, o) }
