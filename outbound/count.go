package outbound

import (
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slots"
)

// tallies gives the counts by number of link; nil: they are not known.
func (o *Outbound) tallies() (into map[uint32]kernel.Tally) {
	o.count.With(func(c Counter, _ uint64) {
		into = map[uint32]kernel.Tally{}
		c.Counts(into)
	})
	return into
}

// connectionsOf gives how many connections each link has, of whatever group.
func connectionsOf(tallies map[uint32]kernel.Tally) map[slots.ID]float64 {
	links := map[slots.ID]float64{}
	for mark, t := range tallies {
		links[slots.ID(mark&kernel.LinkMask)] += float64(t.Live)
	}
	return links
}

// counted fills in what is counted for a group. A connection carries the number
// of its link, not of its group: what opens on the links of a group is taken to
// be the group's, and what is on a link is the membership's where no other group
// has the link.
func (r *running) counted(all []*running, tallies map[uint32]kernel.Tally, now time.Time) {
	if tallies == nil {
		r.load = slots.Load{Arrivals: r.load.Arrivals}
		return
	}
	opened := uint64(0)
	members, links := r.group.Spec().Members, connectionsOf(tallies)
	r.load.Members, r.load.Everywhere = make([]float64, len(members)), make([]float64, len(members))
	for i, m := range members {
		t := tallies[uint32(m.ID)]
		opened += t.Opened
		r.load.Members[i], r.load.Everywhere[i] = math.NaN(), links[m.ID]
		if !slices.ContainsFunc(all, func(o *running) bool { return o.Group.Name != r.Group.Name && o.has(m.ID) }) {
			r.load.Members[i] = float64(t.Live)
		}
	}
	r.load.Arrivals = r.load.Arrivals.Read(opened, now)
}

func (r *running) has(id slots.ID) bool {
	return slices.ContainsFunc(r.group.Spec().Members, func(m slots.Member) bool { return m.ID == id })
}

// counts says whether a plan goes by numbers of connections that the kernel does
// not count by itself.
func (p *Plan) counts() bool {
	for _, v := range p.variants {
		if v.Group.Algorithm.Counts() {
			return true
		}
		for _, m := range v.Group.Members {
			if l := p.byLink[m.Link]; l != nil && (l.MaxConnections > 0 || m.MaxConnections > 0) {
				return true
			}
		}
	}
	return false
}

// Number gives the number of a link in a plan; 0: it has none.
func (p *Plan) Number(link string) uint16 {
	if l := p.byLink[link]; l != nil {
		return l.id
	}
	return 0
}

// Connections gives how many connections each link has now, those that came in
// by it too; nil: nothing goes by them, so that nobody counts.
func (o *Outbound) Connections() map[string]int {
	p, tallies := o.Plan(), o.tallies()
	if p == nil || tallies == nil {
		return nil
	}
	counts := map[string]int{}
	for mark, t := range tallies {
		if l := p.LinkOf(mark); l != "" {
			counts[l] += t.Live
		}
	}
	return counts
}
