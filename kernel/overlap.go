package kernel

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// overlapping gives the ids of ranges that overlap others which come before
// them, and tells them: the kernel would refuse the rest with them, or keep both
// and find either.
func (pl *planner) overlapping(set *Set) map[string]struct{} {
	if !set.Interval {
		return nil
	}
	bad := map[string]struct{}{}
	list := slices.DeleteFunc(set.Elements.list(), func(el Element) bool { return set.checkElement(el) != nil })
	list = inOrder(list, keysOf)
	found := func(el, other *Element) {
		bad[el.id()] = struct{}{}
		pl.bad(fmt.Sprintf("set %s: %s overlaps %s", set.Name, set.elementText(*el), set.elementText(*other)))
	}
	if !set.boxes() {
		var last *Element
		for i := range list {
			if last != nil && bytes.Compare(list[i].Key, last.last()) <= 0 {
				found(&list[i], last)
				continue
			}
			last = &list[i]
		}
		return bad
	}
	overlappingBoxes(boxesOf(set, list), found)
	return bad
}

// box is an element with ranges in several dimensions.
type box struct {
	*Element
	from, to [][]byte // of each dimension in which any of the boxes is a range
	point    string   // of the others
}

// boxesOf takes elements apart. The first dimension is the one in which they
// differ most.
func boxesOf(set *Set, list []Element) []box {
	boxes := make([]box, len(list))
	for i := range list {
		boxes[i].Element = &list[i]
	}
	at := 0
	type dimension struct{ at, width, different int }
	var ranged []dimension
	var points []dimension
	for _, t := range set.Key {
		d := dimension{at: at, width: types[t].width}
		starts, isRange := map[string]struct{}{}, false
		for i := range list {
			from, to := list[i].Key[at:at+d.width], list[i].last()[at:at+d.width]
			starts[string(from)] = struct{}{}
			isRange = isRange || !bytes.Equal(from, to)
		}
		d.different = len(starts)
		if isRange {
			ranged = append(ranged, d)
		} else {
			points = append(points, d)
		}
		at += padded(d.width)
	}
	slices.SortStableFunc(ranged, func(a, b dimension) int { return cmp.Compare(b.different, a.different) })
	for i := range boxes {
		b := &boxes[i]
		for _, d := range ranged {
			b.from, b.to = append(b.from, b.Key[d.at:d.at+d.width]), append(b.to, b.last()[d.at:d.at+d.width])
		}
		for _, d := range points {
			b.point += string(b.Key[d.at : d.at+d.width])
		}
	}
	return boxes
}

// overlappingBoxes goes through the boxes in the order of their first
// dimension, with those at hand that have begun there and not ended.
func overlappingBoxes(boxes []box, found func(el, other *Element)) {
	slices.SortStableFunc(boxes, func(a, b box) int {
		if c := cmp.Compare(a.point, b.point); c != 0 || len(a.from) == 0 {
			return c
		}
		return bytes.Compare(a.from[0], b.from[0])
	})
	var open []*box
	for i := range boxes {
		b := &boxes[i]
		open = slices.DeleteFunc(open, func(o *box) bool {
			return o.point != b.point || len(o.to) > 0 && bytes.Compare(o.to[0], b.from[0]) < 0
		})
		if other := slices.IndexFunc(open, b.meets); other >= 0 {
			found(b.Element, open[other].Element)
			continue
		}
		open = append(open, b)
	}
}

// meets says whether two boxes of the same points have one in common.
func (b *box) meets(o *box) bool {
	for d := range b.from {
		if bytes.Compare(b.from[d], o.to[d]) > 0 || bytes.Compare(o.from[d], b.to[d]) > 0 {
			return false
		}
	}
	return true
}
