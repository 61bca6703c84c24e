package pick

import (
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/portolan-lb/portolan/status"
)

// A row that sheds n of 256 slices of clients counts as busy for the clients in
// the first n of them, and for nobody else:
//
//	client network ─┐
//	                ├─ hash ── slice 0..255 ── below the row's Shed: busy for it
//	row's ID ───────┘
//
// The client is its /24 or /56. Who is shed stays so when more are; the ID is
// in the hash so that two links shed different clients. What follows from busy
// follows here too, for that client: spill, lapse, nested groups. For each set
// of rows that count as busy there is a set of who takes part, made when the
// first client needs it.
const (
	shedBits4 = 24
	shedBits6 = 56
)

// maxShedding bounds the rows of a group that shed at a time; those beyond it,
// in the order of Needs, shed nobody. maxVariants bounds the sets that are kept;
// those beyond it are made anew for each choice.
const (
	maxShedding = 64
	maxVariants = 256
)

// shedding is a row that sheds some clients.
type shedding struct {
	row  *status.Row
	hash uint64 // of its ID
}

// variant is who takes part for the clients for whom the shedding rows of a
// mask count as busy.
type variant struct {
	mask uint64
	set  *activeSet
}

// variants are the sets for clients that somebody sheds.
type variants = atomic.Pointer[[]variant]

// ActiveFor gives the members that take part for a client: those of Active, but
// for what sheds it. The slice is shared.
func (g *Group) ActiveFor(in Input) []*Member { return g.activeFor(&in).members }

// LeavesFor gives the members of ActiveFor, with nested groups opened.
func (g *Group) LeavesFor(in Input) []*Member { return g.appendLeavesFor(nil, &in) }

func (g *Group) appendLeavesFor(into []*Member, in *Input) []*Member {
	for _, m := range g.activeFor(in).members {
		if m.Group != nil {
			into = m.Group.appendLeavesFor(into, in)
		} else {
			into = append(into, m)
		}
	}
	return into
}

// Sheds says whether there are clients for whom ActiveFor may differ.
func (g *Group) Sheds(t *status.Table) bool { return len(g.active(t).sheds) > 0 }

// activeFor gives the set for a client, or as the owner's conditions have it.
func (g *Group) activeFor(in *Input) *activeSet {
	if in.Own != nil {
		return g.activeAs(in.Table, nil, in.Own)
	}
	a := g.active(in.Table)
	if len(a.sheds) == 0 {
		return a
	}
	return g.without(a, in.Table, a.shed(in.Client.Addr))
}

// without gives the set in which the rows of a mask count as busy. t is the
// table that a stands in.
func (g *Group) without(a *activeSet, t *status.Table, mask uint64) *activeSet {
	if mask == 0 {
		return a
	}
	kept := a.variants.Load()
	if kept != nil {
		for _, v := range *kept {
			if v.mask == mask {
				return v.set
			}
		}
	}
	var rows []*status.Row
	for i, s := range a.sheds {
		if mask>>i&1 != 0 {
			rows = append(rows, s.row)
		}
	}
	fresh := variant{mask, g.evaluate(t, rows, nil, nil)}
	more := []variant{fresh}
	if kept != nil {
		more = append(slices.Clone(*kept), fresh)
	}
	if len(more) <= maxVariants {
		a.variants.CompareAndSwap(kept, &more) // who comes second makes it again
	}
	return fresh.set
}

// shed gives the mask of the rows that shed a client. A client without an
// address is shed by none.
func (a *activeSet) shed(client netip.Addr) (mask uint64) {
	if !client.IsValid() {
		return 0
	}
	network, _ := client.Prefix(shedBits(client))
	seed := hashAddr(network.Addr())
	for i, s := range a.sheds {
		if slice := mix(seed^s.hash) >> 56; slice < uint64(s.row.Shed) {
			mask |= 1 << i
		}
	}
	return mask
}

// maskOf gives the mask of the rows that are among busy.
func (a *activeSet) maskOf(busy []*status.Row) (mask uint64) {
	for i, s := range a.sheds {
		if slices.Contains(busy, s.row) {
			mask |= 1 << i
		}
	}
	return mask
}

// width gives for how many leading bits of a client's address the set holds.
func (a *activeSet) width(client netip.Addr) int {
	if len(a.sheds) == 0 || !client.IsValid() {
		return 0
	}
	return shedBits(client)
}

func shedBits(client netip.Addr) int {
	if client.Is6() {
		return shedBits6
	}
	return shedBits4
}

// shedding gives the rows that shed some clients of the group, and not all: who
// sheds all is busy.
func (g *Group) shedding(t *status.Table) (found []shedding) {
	for _, id := range g.protected {
		r := t.Row(id)
		if r.Shed == 0 || r.Shed >= status.Slices || len(found) == maxShedding {
			continue
		}
		if !slices.ContainsFunc(found, func(s shedding) bool { return s.row == r }) {
			found = append(found, shedding{r, hashString(string(id))})
		}
	}
	return found
}
