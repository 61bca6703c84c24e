package outbound

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
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

// word gives a name of the configuration as nftables takes it in names of its
// own: as it is if it has nothing but letters of ASCII, digits, dots, dashes and
// underscores, else a hash of it.
func word(name string) string {
	if strings.IndexFunc(name, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-", r)
	}) < 0 {
		return name
	}
	h := fnv.New64a()
	h.Write([]byte(name)) // never fails
	return fmt.Sprintf("x%016x", h.Sum64())
}
