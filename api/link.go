package api

import (
	"cmp"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/status"
)

// Link is an ISP line at this moment.
type Link struct {
	Name    string     `json:"name"`
	Site    string     `json:"site,omitempty"`
	Cost    int        `json:"cost,omitempty"`
	NextHop netip.Addr `json:"nextHop,omitzero"`
	Learnt  bool       `json:"learnt,omitempty"` // the next hop is where the interface's default route leads
	Lost    bool       `json:"lost,omitempty"`   // or led: that route is gone
	Source  netip.Addr `json:"source,omitzero"`  // of what is sent over it to probe and measure; none: the kernel's choice
	Mark    uint32     `json:"mark,omitempty"`

	Interface *LinkInterface `json:"interface,omitempty"` // of this node; none: it is somebody else's line
	Meter     *LinkMeter     `json:"meter,omitempty"`     // none: nothing meters it, so it is never busy
	Load      LinkLoad       `json:"load"`                // by direction
	Shed      string         `json:"shed,omitempty"`      // hash-slices, or all clients where it is empty
	Outbound  *LinkOutbound  `json:"outbound,omitempty"`  // none: no connections are balanced over it
	Affects   Affected       `json:"affects"`             // whose answers it takes part in, and which link groups
	Row       status.Row     `json:"row"`                 // health, busy or shed, each since when and why
}

// LinkInterface is the interface that a line is plugged into.
type LinkInterface struct {
	Name      string           `json:"name"`
	Index     int              `json:"index,omitempty"` // 0: there is none of that name
	Up        bool             `json:"up"`
	Why       string           `json:"why,omitempty"`   // why it is not up
	Speed     config.Bandwidth `json:"speed,omitempty"` // as the driver says; 0: not known
	Addresses []netip.Prefix   `json:"addresses,omitempty"`
}

// LinkMeter is where the rates of a link come from.
type LinkMeter struct {
	From     string          `json:"from"`              // interface, snmp, push
	Window   config.Duration `json:"window"`            // rates are means over it
	Measured time.Time       `json:"measured,omitzero"` // when it was last given something; none: never
	Error    string          `json:"error,omitempty"`   // why it could not read at its last try
}

// LinkLoad is what a link carries. A direction of which nothing is known and
// that has no bounds is left out.
type LinkLoad struct {
	Total *Direction `json:"total,omitempty"` // in and out together
	In    *Direction `json:"in,omitempty"`    // received from the line
	Out   *Direction `json:"out,omitempty"`   // sent into the line
}

// Direction is one direction of a link, in bits a second. What is not there is
// not known, or has no bound.
type Direction struct {
	Rate         *float64 `json:"rate,omitempty"`
	MaxBandwidth *float64 `json:"maxBandwidth,omitempty"`
	Share        *float64 `json:"share,omitempty"`     // of maxBandwidth, in percent
	BusyAbove    *float64 `json:"busyAbove,omitempty"` // the link is busy above it
	FreeBelow    *float64 `json:"freeBelow,omitempty"` // and free again when all directions are below theirs
	RateLimit    *float64 `json:"rateLimit,omitempty"`
	Remaining    *float64 `json:"remaining,omitempty"` // of the rate limit; 0 and less: none
}

// Affected is who uses a link.
type Affected struct {
	VirtualServers []string `json:"virtualServers,omitempty"`
	Pools          []string `json:"pools,omitempty"` // those with such members, and pools of such pools
	Names          []string `json:"names,omitempty"` // dynamic names that these answer
	LinkGroups     []string `json:"linkGroups,omitempty"`
}

func (s *Server) links(*http.Request) (any, error) {
	v := s.view()
	return v.allLinks(), nil
}

func (v view) allLinks() []Link {
	states, affected := v.linkStates(), v.affected()
	return list(v.model.Links, func(c *config.Link) Link { return v.linkOf(c, states, affected) })
}

func (s *Server) link(r *http.Request) (any, error) {
	v := s.view()
	name := r.PathValue("name")
	c := find(v.model.Links, func(c *config.Link) string { return c.Name }, name)
	if c == nil {
		return nil, v.noSuch("link", name, v.names("link"))
	}
	return v.linkOf(c, v.linkStates(), v.affected()), nil
}

// linkStates is how links run, by name.
func (v view) linkStates() map[string]link.State {
	states := map[string]link.State{}
	for _, s := range v.opts.Links() {
		states[s.Name] = s
	}
	return states
}

// linkOf shows a link. One that does not run yet, since a reload is under way,
// has what its configuration says.
func (v view) linkOf(c *config.Link, states map[string]link.State, affected map[string]Affected) Link {
	shown := Link{Name: c.Name, Site: c.Site, Cost: c.Cost, NextHop: c.NextHop, Source: c.Source, Mark: c.Mark,
		Outbound: v.linkOutbound(c), Affects: affected[c.Name], Row: v.row(status.KindLink, c.Name)}
	if c.Busy.Shed == config.ShedSlices {
		shown.Shed = c.Busy.Shed
	}
	s, runs := states[c.Name]
	if !runs {
		return shown
	}
	shown.NextHop, shown.Learnt, shown.Lost = s.Way.NextHop, s.Way.Learnt, s.Way.Lost
	if s.Interface != "" {
		shown.Interface = &LinkInterface{s.Interface, s.Index, s.Up, s.Why, config.Bandwidth(s.Speed), s.Addresses}
	}
	if s.Meter != "" {
		shown.Meter = &LinkMeter{s.Meter, config.Duration(s.Window), s.Measured, s.Error}
	}
	of := func(d busy.Direction, most, limit config.Bandwidth) *Direction {
		return directionOf(s.Rates[d], s.Rule[d], most, limit)
	}
	shown.Load = LinkLoad{
		Total: of(busy.Total, s.MaxBandwidth.Total, s.RateLimit.Total),
		In:    of(busy.In, s.MaxBandwidth.In, s.RateLimit.In),
		Out:   of(busy.Out, s.MaxBandwidth.Out, s.RateLimit.Out),
	}
	return shown
}

func directionOf(rate float64, bounds busy.Limit, most, limit config.Bandwidth) *Direction {
	var d Direction
	if most > 0 {
		d.MaxBandwidth, d.BusyAbove, d.FreeBelow = known(float64(most)), tenths(bounds.Threshold), tenths(bounds.Recovery)
		d.Share = tenths(100 * rate / float64(most))
	}
	if limit > 0 {
		d.RateLimit, d.Remaining = known(float64(limit)), tenths(float64(limit)-rate)
	}
	if d.Rate = tenths(rate); d == (Direction{}) {
		return nil
	}
	return &d
}

// known is a number, or nil for NaN.
func known(n float64) *float64 {
	if math.IsNaN(n) {
		return nil
	}
	return &n
}

// tenths is known for what nobody reads to the last digit.
func tenths(n float64) *float64 { return known(math.Round(10*n) / 10) }

// affected gives who uses each link, in the order of the configuration.
func (v view) affected() map[string]Affected {
	byLink := map[string]Affected{}
	names, holders := v.namesByPool(), v.poolsByMember()
	for _, c := range v.model.VirtualServers {
		if c.Link == "" {
			continue
		}
		a := byLink[c.Link]
		a.VirtualServers = append(a.VirtualServers, c.Name)
		for pool := range holders.above((&config.Member{VirtualServer: c.Name}).Target()) {
			if !slices.Contains(a.Pools, pool) {
				a.Pools = append(a.Pools, pool)
			}
		}
		byLink[c.Link] = a
	}
	for _, g := range v.model.LinkGroups {
		for _, m := range g.Members {
			a := byLink[m.Link]
			a.LinkGroups = append(a.LinkGroups, g.Name)
			byLink[m.Link] = a
		}
	}
	order := map[string]int{}
	for i, p := range v.model.Pools {
		order[p.Name] = i
	}
	for link, a := range byLink {
		slices.SortFunc(a.Pools, func(x, y string) int { return cmp.Compare(order[x], order[y]) })
		for _, pool := range a.Pools {
			a.Names = append(a.Names, names[pool]...)
		}
		byLink[link] = a
	}
	return byLink
}

// holders gives the pools that have a member, by the member's target.
type holders map[string][]string

func (v view) poolsByMember() holders {
	h := holders{}
	for _, p := range v.model.Pools {
		for _, m := range p.Members {
			h[m.Target()] = append(h[m.Target()], p.Name)
		}
	}
	return h
}

// above gives the pools that have a member, those that have one of these pools,
// and so on. The configuration has no loops.
func (h holders) above(target string) map[string]bool {
	found := map[string]bool{}
	next := h[target]
	for len(next) > 0 {
		pool := next[0]
		next = next[1:]
		if !found[pool] {
			found[pool] = true
			next = append(slices.Clone(next), h[(&config.Member{Pool: pool}).Target()]...)
		}
	}
	return found
}
