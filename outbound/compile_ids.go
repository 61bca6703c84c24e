package outbound

import (
	"fmt"
	"slices"
)

// Number gives links their numbers, 1 to [MaxLink]. It is stable: a link keeps
// the number that it has in kept, whatever happens to others; new ones get the
// lowest that are free, in the order given. A number of a link that is gone is
// not given again while carried says that there are connections with it; until
// then it stays in the result, so that whoever keeps the result keeps it, and a
// link that comes back has it again.
func Number(links []string, kept map[string]uint16, carried func(id uint16) bool) (map[string]uint16, error) {
	ids, used := map[string]uint16{}, map[uint16]bool{}
	take := func(name string, id uint16) {
		if id != 0 && id <= MaxLink && !used[id] {
			ids[name], used[id] = id, true
		}
	}
	for _, name := range links {
		take(name, kept[name])
	}
	gone := []string{}
	for name := range kept {
		if !slices.Contains(links, name) {
			gone = append(gone, name)
		}
	}
	slices.Sort(gone)
	for _, name := range gone {
		if carried != nil && carried(kept[name]) {
			take(name, kept[name])
		}
	}
	next := uint16(1)
	for _, name := range links {
		if _, ok := ids[name]; ok {
			continue
		}
		for used[next] || carried != nil && next <= MaxLink && carried(next) {
			next++
		}
		if next > MaxLink {
			return nil, fmt.Errorf("link %s gets no number: at most %d links can be balanced, those included whose connections still live", name, MaxLink)
		}
		take(name, next)
	}
	return ids, nil
}
