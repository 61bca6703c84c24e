package kernel

import (
	"fmt"
	"slices"
)

// matchCells bounds the work of comparing two lists of rules.
const matchCells = 1 << 20

// match finds for each wished rule the one that is there and stays, or -1: as
// many as can stay in their order (the longest common subsequence).
func match[A, B any](want []A, have []B, same func(A, B) bool) []int {
	found := make([]int, len(want))
	for i := range found {
		found[i] = -1
	}
	start := 0
	for start < len(want) && start < len(have) && same(want[start], have[start]) {
		found[start] = start
		start++
	}
	n, m := len(want), len(have)
	for n > start && m > start && same(want[n-1], have[m-1]) {
		n, m = n-1, m-1
		found[n] = m
	}
	rows, cols := n-start, m-start
	if rows == 0 || cols == 0 || rows*cols > matchCells {
		return found // the middle is made anew
	}
	longest := make([]int32, (rows+1)*(cols+1))
	at := func(i, j int) *int32 { return &longest[i*(cols+1)+j] }
	for i := rows - 1; i >= 0; i-- {
		for j := cols - 1; j >= 0; j-- {
			if same(want[start+i], have[start+j]) {
				*at(i, j) = *at(i+1, j+1) + 1
			} else {
				*at(i, j) = max(*at(i+1, j), *at(i, j+1))
			}
		}
	}
	for i, j := 0, 0; i < rows && j < cols; {
		switch {
		case same(want[start+i], have[start+j]):
			found[start+i] = start + j
			i, j = i+1, j+1
		case *at(i+1, j) >= *at(i, j+1):
			i++
		default:
			j++
		}
	}
	return found
}

func (pl *planner) fits(set *Set, el Element) bool {
	if err := set.checkElement(el); err != nil {
		pl.bad(fmt.Sprintf("set %s: %v", set.Name, err))
		return false
	}
	return true
}

// tell gives a text when it is asked for.
func tell(format string, args ...any) func() string {
	return func() string { return fmt.Sprintf(format, args...) }
}

// transactionSize is how many octets one transaction may have, well below what
// the socket sends at once.
const transactionSize = 6 << 20

// frame makes all of a new table but what packets come in by, and no element:
// for a rule that looks into a map Linux goes through all that is in the map, once
// for each chain that does so. No packet comes to such a chain before the last
// transaction, which makes those with a hook.
func (pl *planner) frame() {
	none := map[string]bool{}
	pl.addTable()
	pl.objects(none)
	for _, name := range pl.want.setNames() {
		if pl.have.sets[name] == nil {
			pl.newSet(pl.want.sets[name])
		}
	}
	pl.chains(none, func(c *chainWish) bool { return c.hook == nil })
	pl.p.cut = true
}

// fill makes a plan for a part of the elements if there are too many for one
// transaction, to be followed by others, and says whether it did: new sets are
// filled before there are rules that use them. A set that takes the place of
// another goes as a whole, in the last transaction.
//
// Packets are looked up all the while. So what is new comes first, and of it what
// they come to last: who asks for a new thing finds the whole of it, and the few
// that change what there is go with the rules in the last transaction. What goes
// goes in the order in which packets come to it.
func (pl *planner) fill(onlyElements bool) bool {
	all := 0
	var parts []func(room int, fresh bool) int
	for _, name := range pl.want.setNames() {
		set, have, what := pl.want.sets[name], pl.have.sets[name], pl.pending[name]
		isNew := have == nil
		switch {
		case what == nil, set.Verdicts, // their chains come later
			isNew && (onlyElements || pl.leftOut(object{kind: "set", name: name})),
			!isNew && have.sum != set.sum():
			continue
		case isNew:
			have = &setHave{elements: newStore(0)}
		}
		pl.compare(set, have, what)
		per := elementSize(set) + 16
		if have.elements.len() > 0 {
			per *= 2
		}
		all += per * len(what.work)
		parts = append(parts, func(room int, fresh bool) int {
			n := len(what.work)
			if fresh {
				n = what.fresh
			}
			if n == 0 || room <= 0 {
				return 0
			}
			if isNew {
				have = pl.newSet(set)
			}
			most := min(room/per+1, n)
			pl.changeElements(set, have, what, most)
			return per * most
		})
	}
	if all <= transactionSize {
		return false
	}
	if !onlyElements && len(pl.have.chains) == 0 && len(pl.left) == 0 {
		pl.frame()
		return true
	}
	if !onlyElements {
		pl.addTable()
	}
	room := transactionSize / 2
	for _, part := range slices.Backward(parts) {
		room -= part(room, true)
	}
	if room == transactionSize/2 {
		for _, part := range parts {
			room -= part(room, false)
		}
	}
	pl.p.cut = true
	return len(pl.p.ops()) > 0
}
