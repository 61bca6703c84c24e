package kernel

// When Linux refuses what is wished of a table that stands, as when a module of its
// is missing, all of it stays as it was before: rules and elements are of one piece,
// and old rules that look into new elements would do what neither says. So the old
// wish is kept until the new one stands, and is what the table is held to meanwhile.
// What owners change of elements afterwards is about what happens now, such as a
// server that fails: it is written to the old elements too, as far as these have
// the set.
//
// What stood before we started nobody wished of us. Such a table is left as it is,
// but for what is changed afterwards.

// aim is what a table is made like: what is wished, or what stood while that is
// refused.
func (k *keeper) aim(a *attempt) *tableWish {
	if len(a.refused) > 0 && k.stood != nil {
		return k.stood
	}
	return k.want
}

// fallBack goes back to what stood. If that is refused too the table is left alone;
// if it is not there any more, as much is made of what is wished as Linux takes.
func (k *keeper) fallBack(a *attempt, problem string) {
	first := len(a.refused) == 0
	a.refused = append(a.refused, problem)
	switch {
	case first:
		k.pending = nil
		k.lookAt(k.stood)
	case k.stands:
		k.stood, k.pending = nil, nil
	default:
		k.stood, a.refused = nil, nil
		k.lookAtAll()
	}
}

// carryBack has what stood follow a change of a set's elements, while something else
// is wished that does not stand.
func (k *keeper) carryBack(set *Set, dirty map[string]struct{}) {
	if k.stood == nil || k.stood == k.want {
		return
	}
	old := k.stood.sets[set.Name]
	if old == nil || old.Elements == nil || old.Elements == set.Elements || old.sum() != set.sum() {
		return
	}
	for id := range dirty {
		p, is := set.Elements.find(id)
		old.Elements.set(p, is)
	}
}
