package outbound

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Group is a link group, compiled. It keeps no state and is safe for concurrent
// use.
type Group struct {
	Name    string
	Members []Member // in the order of the configuration: it breaks ties (T26)

	algorithm config.LinkAlgorithm
	who       *pick.Group  // who takes part, and by which shares
	whoBusy   *pick.Group  // the same without busy protection; nil if there is none
	prefer    *preferences // of the hashes; nil for others
	ids       []uint16     // of Members
	place     *places      // of ids
	rising    []int        // places of members by rising ID
	activate  activation
	slow      pick.SlowOnline
	fast      bool
}

// Member is a link in a group.
type Member struct {
	Link     string
	ID       uint16 // number of the link, 1 to MaxLink
	Weight   int    // 0 is a reserve
	Priority int

	needs     []status.ID
	row       status.ID // of the link
	linkMost  float64   // connections of the link at once; +Inf: no limit
	most      float64   // the same of the membership
	rateLimit [busy.Directions]float64
}

// weight is the member's share among equals.
func (m *Member) weight() float64 { return float64(max(m.Weight, 1)) }

// NewGroup compiles a group of a checked configuration. number gives the number
// of a link, 0 if it has none.
func NewGroup(c *config.LinkGroup, links []*config.Link, number func(link string) uint16) (*Group, error) {
	g := &Group{Name: c.Name, algorithm: c.Algorithm,
		activate: activation{int(c.Activate.Lower), int(c.Activate.Upper)},
		slow:     pick.SlowOnline{Standby: time.Duration(c.SlowOnline.Standby), Ramp: time.Duration(c.SlowOnline.Ramp)},
		fast:     c.Algorithm.Counts()}
	members := make([]*pick.Member, len(c.Members))
	names := make([]string, len(c.Members))
	for i, m := range c.Members {
		at := slices.IndexFunc(links, func(l *config.Link) bool { return l.Name == m.Link })
		id := number(m.Link)
		switch {
		case at < 0:
			return nil, fmt.Errorf("link group %s: no link %q", c.Name, m.Link)
		case id == 0 || id > MaxLink:
			return nil, fmt.Errorf("link group %s: link %q has no number of 1 to %d", c.Name, m.Link, MaxLink)
		case slices.ContainsFunc(g.Members, func(o Member) bool { return o.ID == id }):
			return nil, fmt.Errorf("link group %s: link %q is in it twice, or its number %d is another's", c.Name, m.Link, id)
		}
		made := memberOf(c, m, links[at], id)
		g.Members, g.ids = append(g.Members, made), append(g.ids, id)
		g.rising = append(g.rising, i)
		g.fast = g.fast || !math.IsInf(min(made.most, made.linkMost), 1)
		members[i] = &pick.Member{Index: i, Name: m.Link, Weight: m.Weight, Priority: m.Priority, Needs: made.needs, Link: made.row, Self: made.row}
		names[i] = m.Link
	}
	g.place = placesOf(g.ids)
	slices.SortFunc(g.rising, func(a, b int) int { return cmp.Compare(g.ids[a], g.ids[b]) })
	rules := rulesOf(c)
	g.who = pick.NewGroup(members, rules, chainOf(c)...)
	if rules.BusyProtection {
		rules.BusyProtection = false
		g.whoBusy = pick.NewGroup(members, rules, chainOf(c)...)
	}
	if c.Algorithm.Hashes() {
		g.prefer = preferencesOf(names)
	}
	return g, nil
}

// memberOf compiles a membership. It needs the link's row, that of its
// interface, and one of its own, by which an operator takes the link out of this
// group alone.
func memberOf(c *config.LinkGroup, m *config.LinkMember, l *config.Link, id uint16) Member {
	made := Member{Link: m.Link, ID: id, Weight: m.Weight, Priority: m.Priority, row: status.MakeID(status.KindLink, m.Link),
		most: limitOf(m.MaxConnections), linkMost: limitOf(l.MaxConnections),
		rateLimit: [busy.Directions]float64{busy.Total: float64(l.RateLimit.Total), busy.In: float64(l.RateLimit.In), busy.Out: float64(l.RateLimit.Out)}}
	made.needs = []status.ID{made.row, status.MakeID(status.KindLinkGroup, c.Name, m.Link)}
	if l.Interface != "" {
		made.needs = append(made.needs, status.MakeID(status.KindInterface, l.Interface))
	}
	return made
}

// limitOf takes 0 for no limit.
func limitOf(most int) float64 {
	if most == 0 {
		return math.Inf(1)
	}
	return float64(most)
}

func rulesOf(c *config.LinkGroup) pick.Rules {
	r := pick.Rules{Name: c.Name, Min: c.Min, Max: c.Max, BusyProtection: c.BusyProtection}
	for _, s := range c.Spill {
		switch s {
		case config.SpillDown:
			r.Spill |= pick.SpillDown
		case config.SpillBusy:
			r.Spill |= pick.SpillBusy
		case config.SpillFull:
			r.Spill |= pick.SpillFull
		}
	}
	return r
}

// chainOf gives the algorithm, and round robin by weight for when it knows
// nothing (T28). For the algorithms whose slots are laid out here pick says only
// who takes part.
func chainOf(c *config.LinkGroup) []pick.Slot {
	name := string(c.Algorithm)
	direction := directionOf(c.Direction)
	switch c.Algorithm {
	case config.LinkBandwidth:
		return []pick.Slot{{Name: name, Algorithm: pick.Bandwidth(direction, true)}, {Name: "round-robin", Algorithm: pick.RoundRobin(true)}}
	case config.LinkMaxBandwidth:
		return []pick.Slot{{Name: name, Algorithm: pick.MaxBandwidth(direction, float64(c.Debit))}, {Name: "round-robin", Algorithm: pick.RoundRobin(true)}}
	default:
		return []pick.Slot{{Name: name, Algorithm: pick.RoundRobin(c.Algorithm.Weighs())}}
	}
}

func directionOf(word string) busy.Direction {
	for d := range busy.Directions {
		if busy.Direction(d).String() == word {
			return busy.Direction(d)
		}
	}
	return busy.Total
}

// Row is the row in which the group says whether it is available.
func (g *Group) Row() status.ID { return status.MakeID(status.KindLinkGroup, g.Name) }

// Needs gives the rows that a tick looks at: when one of them changes, a tick is
// due at once.
func (g *Group) Needs() []status.ID { return g.who.Needs() }

// Fast says whether the group goes by numbers of connections, and so wants
// several ticks a second.
func (g *Group) Fast() bool { return g.fast }
