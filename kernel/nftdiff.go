package kernel

import (
	"bytes"
	"fmt"
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

// sane takes out elements that make no sense, and of ranges that overlap the
// later one: the kernel would refuse the rest with them.
func (pl *planner) sane(set *Set, all map[string]Element) map[string]Element {
	for key, el := range all {
		if !pl.fits(set, el) {
			delete(all, key)
		}
	}
	if !set.Interval {
		return all
	}
	list := make([]Element, 0, len(all))
	for _, el := range all {
		list = append(list, el)
	}
	list = inOrder(list, keysOf)
	var last *Element
	for i := range list {
		if last != nil && bytes.Compare(list[i].Key, last.last()) <= 0 {
			pl.bad(fmt.Sprintf("set %s: %s overlaps %s", set.Name, set.elementText(list[i]), set.elementText(*last)))
			delete(all, list[i].id())
			continue
		}
		last = &list[i]
	}
	return all
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

// cut makes a plan that is too large for one transaction a smaller one, to be
// followed by others: new sets are filled before there are rules that use them.
func (pl *planner) cut() {
	size := 0
	for _, o := range pl.p.ops() {
		size += len(o.body) + 32
	}
	if size <= transactionSize {
		return
	}
	small := &plan{cut: true}
	room := transactionSize / 2
	pl.p, small = small, pl.p
	pl.addTable()
	for _, name := range pl.want.setNames() {
		set := pl.want.sets[name]
		have := pl.have.sets[name]
		switch {
		case have == nil && !pl.leftOut(object{kind: "set", name: name}) && len(small.steps[newSets]) > 0:
			for _, o := range small.steps[newSets] {
				if o.of.name == name {
					pl.p.add(newSets, o)
				}
			}
			have = newSetHave(set)
			pl.p.after(func() { pl.have.sets[name] = have })
		case have == nil || have.sum != set.sum():
			continue // it takes the place of another: in the last transaction
		}
		if !set.Verdicts { // their chains come later
			room = pl.part(set, have, room)
		}
	}
	if len(pl.p.ops()) == 0 {
		pl.p = small // it cannot be made smaller
	}
}

// part puts changes of one set into a plan until room is used up, and gives what
// is left of it.
func (pl *planner) part(set *Set, have *setHave, room int) int {
	if room <= 0 {
		return 0
	}
	per := 2*(len(wireElements(pl.table, set, []Element{{Key: make([]byte, widthOf(set.Key)), Data: make([]byte, widthOf(set.Data))}}, false))-2*nfgenSize) + 16
	most := room/per + 1
	some := &pending{keys: map[string]struct{}{}}
	pick := func(all map[string]Element, other func(string) (Element, bool)) {
		for key, el := range all {
			if o, ok := other(key); len(some.keys) < most && (!ok || !o.same(el)) {
				some.keys[key] = struct{}{}
			}
		}
	}
	pick(have.elements, set.Elements.find)
	if len(some.keys) < most {
		pick(pl.sane(set, set.Elements.snapshot()), func(key string) (Element, bool) { el, ok := have.elements[key]; return el, ok })
	}
	pl.changeElements(set, have, some)
	return room - per*len(some.keys)
}
