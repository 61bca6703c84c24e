package kernel

import "golang.org/x/sys/unix"

// countsAsked is up to how many elements are asked for their counts one by one;
// of more the whole set is read.
const countsAsked = 64

// keepCounts has elements of a counted map that get other data go on where those
// that they take the place of stand: for the kernel they are new ones. Packets
// between this reading and the transaction are not counted.
func (pl *planner) keepCounts(set *Set, gone, came []Element) {
	if !set.Counted || pl.counts == nil || len(gone) == 0 {
		return
	}
	old := make(map[string]bool, len(gone))
	for i := range gone {
		old[gone[i].id()] = true
	}
	var list []*Element
	for i := range came {
		if old[came[i].id()] {
			list = append(list, &came[i])
		}
	}
	if len(list) > 0 {
		pl.counts(set, list)
	}
}

// counts fills in what elements count. What cannot be read begins at 0.
func (n *nft) counts(table string, set *Set, list []*Element) {
	if len(list) <= countsAsked && !set.Interval {
		for _, el := range list {
			if is, found, err := n.Element(table, set.Name, el.Key); err == nil && found {
				el.Packets, el.Octets = is.Packets, is.Octets
			}
		}
		return
	}
	at := make(map[string]*Element, len(list))
	for _, el := range list {
		at[el.id()] = el
	}
	err := eachElement(n.changes, table, set, func(is Element) {
		if el := at[is.id()]; el != nil {
			el.Packets, el.Octets = is.Packets, is.Octets
		}
	})
	if err != nil {
		n.log.Warn("the counts of a set begin anew", "set", set.Name, "error", err)
	}
}

// counted writes what an element has counted already.
func (w *wire) counted(el *Element) {
	if el.Packets == 0 {
		return
	}
	at := w.open(unix.NFTA_SET_ELEM_EXPR)
	w.exprBody("counter", func() {
		w.u64(unix.NFTA_COUNTER_BYTES, el.Octets)
		w.u64(unix.NFTA_COUNTER_PACKETS, el.Packets)
	})
	w.end(at)
}
