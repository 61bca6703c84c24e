package kernel

import (
	"bytes"
	"cmp"
	"slices"
)

// pending are the elements of a set to look at: all, or some ids.
type pending struct {
	all  bool
	keys map[string]struct{}

	work      work                // what a look found to do: it is compared once, and goes in parts
	senseless map[string]struct{} // ids that are left out: they overlap others
}

// work is what is to do with the elements of a set, as ids. What is done is cut
// off in front. It may be a million.
type work struct {
	fresh   []string // to be added, where nothing is
	changed []string // to be replaced; of ranges also those that come in the place of others, and these
	gone    []string // to be removed, with nothing in their place
}

// amount is how many of each kind of work.
type amount struct{ fresh, changed, gone int }

func (w *work) amount() amount { return amount{len(w.fresh), len(w.changed), len(w.gone)} }

func (w *work) empty() bool { return w.amount() == amount{} }

func (a amount) none() bool { return a == amount{} }

// some gives the ids of so much work.
func (w *work) some(a amount) []string {
	return slices.Concat(w.fresh[:a.fresh], w.changed[:a.changed], w.gone[:a.gone])
}

// did cuts off what is done.
func (w *work) did(a amount) {
	w.fresh, w.changed, w.gone = w.fresh[a.fresh:], w.changed[a.changed:], w.gone[a.gone:]
}

// compare finds what is to do if something of a set is to be looked at.
func (pl *planner) compare(set *Set, have *setHave, what *pending) {
	if len(what.keys) > 0 && (set.boxes() || !what.work.empty()) {
		what.all = true // whether they overlap is seen only among all of them
	}
	switch {
	case what.all:
		what.senseless = pl.overlapping(set)
		what.work = set.Elements.differ(have.elements)
		what.drop(have)
	case len(what.keys) > 0:
		what.work = set.Elements.differAt(have.elements, what.keys)
	default:
		return
	}
	what.all, what.keys = false, nil
	if set.Interval {
		what.work.cross(set, have)
	}
}

// drop has what makes no sense removed if it is there, and not added.
func (what *pending) drop(have *setHave) {
	if len(what.senseless) == 0 {
		return
	}
	w, bad := &what.work, func(id string) bool { _, is := what.senseless[id]; return is }
	w.fresh = slices.DeleteFunc(w.fresh, bad)
	w.changed = slices.DeleteFunc(w.changed, bad)
	for id := range what.senseless {
		if _, there := have.elements.get(id); there {
			w.gone = append(w.gone, id)
		}
	}
}

// cross finds the new ranges that meet old ones which go: they go with one
// another, so that no packet finds neither. The kernel wants to see ranges one after
// the other.
func (w *work) cross(set *Set, have *setHave) {
	if len(w.fresh) > 0 && len(w.gone)+len(w.changed) > 0 {
		list := make([]Element, 0, len(w.fresh)+len(w.gone))
		for _, id := range w.fresh {
			p, _ := set.Elements.find(id)
			list = append(list, p.element())
		}
		for _, id := range w.gone {
			p, _ := have.elements.get(id)
			list = append(list, p.element())
		}
		met := crossing(boxesOf(set, list), len(w.fresh))
		split := func(ids []string, met []bool) (alone []string) {
			for i, id := range ids {
				if met[i] {
					w.changed = append(w.changed, id)
				} else {
					alone = append(alone, id)
				}
			}
			return alone
		}
		fresh := len(w.fresh)
		w.fresh, w.gone = split(w.fresh, met[:fresh]), split(w.gone, met[fresh:])
	}
	slices.Sort(w.fresh)
	slices.Sort(w.changed)
	slices.Sort(w.gone)
}

// crossing says which of the first n boxes meet one of the others, and which of
// these one of the first. It goes through them in the order of their first
// dimension, with those at hand that have begun there and not ended.
func crossing(boxes []box, n int) (met []bool) {
	met = make([]bool, len(boxes))
	order := make([]int, len(boxes))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &boxes[a], &boxes[b]
		if c := cmp.Compare(x.point, y.point); c != 0 || len(x.from) == 0 {
			return c
		}
		return bytes.Compare(x.from[0], y.from[0])
	})
	var open []int
	for _, i := range order {
		b := &boxes[i]
		open = slices.DeleteFunc(open, func(o int) bool {
			return boxes[o].point != b.point || len(b.from) > 0 && bytes.Compare(boxes[o].to[0], b.from[0]) < 0
		})
		for _, o := range open {
			if (o < n) != (i < n) && b.meets(&boxes[o]) {
				met[o], met[i] = true, true
			}
		}
		open = append(open, i)
	}
	return met
}

// transactionSize is how many octets of elements one transaction may have, well
// below what the socket sends at once.
const transactionSize = 6 << 20

// changedMost is how many times as much may be changed at once: what packets find
// before and after belongs together.
const changedMost = 4

// portion is the work on one set.
type portion struct {
	set  *Set
	have *setHave
	what *pending
	made bool // the set is there, or this plan makes it
	per  int  // octets of an element
}

// portions compares all sets that are filled in parts, in the order in which packets
// come to them. Maps of verdicts are not: their chains come with them. Nor is a set that
// takes the place of another.
func (pl *planner) portions(onlyElements bool) (list []*portion) {
	for _, name := range pl.want.setNames() {
		set, have, what := pl.want.sets[name], pl.have.sets[name], pl.pending[name]
		isNew := have == nil
		switch {
		case what == nil, set.Verdicts,
			isNew && (onlyElements || pl.leftOut(object{kind: "set", name: name})),
			!isNew && have.sum != set.sum():
			continue
		case isNew:
			have = &setHave{elements: newStore(0)}
		}
		pl.compare(set, have, what)
		list = append(list, &portion{set, have, what, !isNew, elementSize(set) + 16})
	}
	return list
}

// part puts so much of a portion into the plan as there is room for, of one kind of
// work, and gives what it needs.
func (pl *planner) part(p *portion, room int, of func(a *amount) *int) int {
	all := p.what.work.amount()
	n := min(max(room, 0)/p.per+1, *of(&all))
	if n == 0 || room <= 0 {
		return 0
	}
	if !p.made {
		p.have, p.made = pl.newSet(p.set), true
	}
	var some amount
	*of(&some) = n
	if p.set.Interval && some.changed > 0 {
		some.changed = apart(p.what.work.changed, n, widthOf(p.set.Key))
	}
	pl.changeElements(p.set, p.have, p.what, some)
	return n * p.per
}

// apart gives how many of the ranges in order, n or a few more, meet none of the
// others: what comes in the place of something goes with it.
func apart(ids []string, n, width int) int {
	last := ""
	for i, id := range ids {
		if i >= n && id[:width] > last {
			return i
		}
		end := id[:width]
		if len(id) > width {
			end = id[width+len(rangeMark):]
		}
		last = max(last, end)
	}
	return len(ids)
}

func freshOf(a *amount) *int   { return &a.fresh }
func changedOf(a *amount) *int { return &a.changed }
func goneOf(a *amount) *int    { return &a.gone }

// fill makes a plan for a part of the elements if there are too many for one
// transaction, to be followed by others, and says whether it did.
//
// Packets are looked up all the while, and nothing that works may fail them:
//
//	fresh    what is new, and of it what they come to last: who asks for a new
//	         thing finds the whole of it, and nobody comes to it sooner
//	changed  with chains, rules and the maps of verdicts, in one transaction; but in
//	         parts what is too much even for that, again from behind
//	gone     afterwards, what nothing leads to any more, in the order in which they come to it
func (pl *planner) fill(onlyElements bool) bool {
	list := pl.portions(onlyElements)
	var all amount // in octets
	for _, p := range list {
		n := p.what.work.amount()
		all.fresh, all.changed, all.gone = all.fresh+n.fresh*p.per, all.changed+2*n.changed*p.per, all.gone+n.gone*p.per
	}
	switch now := all.fresh + all.changed; {
	case now+all.gone <= pl.room:
		return false
	case !onlyElements && !pl.have.there && len(pl.left) == 0:
		pl.frame()
	case all.fresh > 0 && now > pl.room:
		pl.parts(list, onlyElements, freshOf)
	case all.changed > changedMost*pl.room:
		pl.parts(list, onlyElements, changedOf)
	default:
		pl.later(list, max(pl.room-now, 0))
		return false
	}
	pl.p.cut = true
	return true
}

// parts fills one transaction with work of one kind, from behind.
func (pl *planner) parts(list []*portion, onlyElements bool, of func(a *amount) *int) {
	if !onlyElements {
		pl.addTable()
	}
	room := pl.room / 2
	for _, p := range slices.Backward(list) {
		room -= pl.part(p, room, of)
	}
}

// later leaves for afterwards what is to be removed, but for sets of which it is
// little.
func (pl *planner) later(list []*portion, room int) {
	little := slices.Clone(list)
	slices.SortStableFunc(little, func(a, b *portion) int { return cmp.Compare(len(a.what.work.gone), len(b.what.work.gone)) })
	waits := map[string]bool{}
	for _, p := range little {
		n := p.per * len(p.what.work.gone)
		if room -= n; n > 0 && room < 0 {
			waits[p.set.Name] = true
		}
	}
	pl.waits, pl.p.cut = waits, len(waits) > 0
	pl.last = func() {
		room := pl.room / 2
		for _, p := range list {
			room -= pl.part(p, room, goneOf)
		}
	}
}

// now is what of the work on a set goes with chains and rules.
func (pl *planner) now(set *Set, what *pending) amount {
	a := what.work.amount()
	if pl.waits[set.Name] {
		a.gone = 0
	}
	return a
}

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
}
