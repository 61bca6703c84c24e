package outbound

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/slots"
)

// ranked is what the kernel was told of distances.
type ranked struct {
	ranks map[netip.Prefix]Ranks
	queue []netip.Prefix // to be looked at again, some each tick
	next  time.Time
	whole bool // all at once: what is configured may have changed
}

const (
	nearEvery = time.Second
	// nearParts: in so many turns every network is ranked anew.
	nearParts = 5
)

// nearest has the networks measured that packets asked for, and tells the kernel
// which links are nearest to those that are known. What is measured anew, or
// cleared by hand, reaches the kernel within [nearParts] turns; what a reload
// clears (FAQ 1.2.4, 1.2.5), with the first. The lock is held.
func (o *Outbound) nearest(now time.Time) {
	if now.Before(o.ranked.next) {
		return
	}
	o.ranked.next = now.Add(nearEvery - tickFast/2)
	if o.near == nil || !slices.ContainsFunc(o.groups, func(r *running) bool { return r.Group.Proximity }) {
		return
	}
	asked := o.asked(now)
	if o.ranked.whole || len(o.ranked.queue) == 0 {
		o.ranked.queue = o.ranked.queue[:0]
		for network := range o.ranked.ranks {
			o.ranked.queue = append(o.ranked.queue, network)
		}
	}
	n := len(o.ranked.queue)
	if !o.ranked.whole {
		n = min(n, len(o.ranked.ranks)/nearParts+1)
	}
	o.ranked.whole = false
	again := o.ranked.queue[:n]
	o.ranked.queue = o.ranked.queue[n:]
	links := make([]int, 0, len(o.near.Links))
	for i, l := range o.near.Links {
		if o.plan.Number(l.Name) != 0 {
			links = append(links, i)
		}
	}
	touched := false
	for _, network := range asked {
		touched = o.rank(network, links, now) || touched
	}
	for _, network := range again {
		if _, still := o.ranked.ranks[network]; still {
			touched = o.rank(network, links, now) || touched
		}
	}
	if touched {
		o.opts.Kernel.Changed(Owner, o.plan.ranks[0], o.plan.ranks[1])
	}
}

// asked takes the networks that packets of new connections went to since the
// last turn, whether their distance is known or not, and has them measured or
// kept fresh (T12).
func (o *Outbound) asked(now time.Time) (networks []netip.Prefix) {
	for _, set := range WantedSets() {
		list, err := o.opts.Kernel.Elements(Table, set)
		if err != nil || len(list) == 0 {
			continue
		}
		keys := make([][]byte, len(list))
		for i, el := range list {
			keys[i] = el.Key
			if a, ok := netip.AddrFromSlice(el.Data); ok {
				o.near.Want(proximity.Asked{Client: a, Target: a, Now: now})
			}
		}
		networks = append(networks, o.plan.Wanted(list)...)
		if err := o.opts.Kernel.Delete(Table, set, keys...); err != nil {
			o.opts.Log.Debug("networks that were asked for stay noted", "err", err)
		}
	}
	return networks
}

// rank tells the kernel of one network, and says whether that is news.
func (o *Outbound) rank(network netip.Prefix, links []int, now time.Time) bool {
	ranks := o.ranksOf(network, links, now)
	before, known := o.ranked.ranks[network]
	if ranks == before && (known || ranks == 0) {
		return false
	}
	if ranks == 0 {
		delete(o.ranked.ranks, network)
	} else {
		if !known {
			o.makeRoom()
		}
		o.ranked.ranks[network] = ranks
	}
	o.plan.SetRanks(network, ranks)
	return true
}

// makeRoom forgets one network, whichever, if there are as many as may be: those
// of which something is configured are in no table that forgets them (T14). Who
// still goes there asks anew.
func (o *Outbound) makeRoom() {
	if len(o.ranked.ranks) < o.near.Config.MaxEntries {
		return
	}
	for network := range o.ranked.ranks {
		delete(o.ranked.ranks, network)
		o.plan.SetRanks(network, 0)
		return
	}
}

// ranksOf gives the links that are nearest to a network. An entry counts as soon
// as it is measured: nobody waits for an answer meanwhile, as a resolver does.
func (o *Outbound) ranksOf(network netip.Prefix, links []int, now time.Time) Ranks {
	view := o.near.Look(network.Addr(), now)
	if !view.Chooses() && view.State != proximity.Warming {
		return 0
	}
	ranking := view.Rank(links, o.opts.Board.Gauges(), nil)
	if ranking.Best < 0 {
		return 0
	}
	place := func(i int) float64 { // the one to choose, then by score
		switch r := &ranking.Rated[i]; {
		case i == ranking.Best:
			return math.Inf(-1)
		case r.Standing == proximity.Measured:
			return r.Score
		}
		return math.Inf(1)
	}
	order := make([]int, len(ranking.Rated))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(place(a), place(b)) })
	var ids []slots.ID
	for _, i := range order {
		if !math.IsInf(place(i), 1) {
			ids = append(ids, slots.ID(o.plan.Number(o.near.Links[ranking.Rated[i].Link].Name)))
		}
	}
	return RanksOf(ids...)
}
