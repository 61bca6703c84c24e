package api

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Outbound is what balances connections through this machine. Its methods give
// nothing while nothing is balanced.
type Outbound interface {
	Closed() error // why nothing is balanced although the configuration says so
	Groups() []outbound.GroupState
	Hits() ([]outbound.Hit, error)
	Number(link string) uint16   // in marks; 0: it has none
	Connections() map[string]int // by link; nil: nobody has to count them
	Tracking() (kernel.Tracking, error)

	Sticky(q outbound.StickyQuery, yield func(outbound.StickyEntry) bool) error
	ClearSticky(q outbound.StickyQuery) (int, error)
}

// LinkGroup is a link group at this moment. One that virtual servers use with
// and without their own busy protection is there twice: as NAME and NAME+busy.
type LinkGroup struct {
	Name           string        `json:"name"`
	State          string        `json:"state"` // up, down (not available); unused: no virtual server that is on sends it anything
	Algorithm      string        `json:"algorithm"`
	Proximity      bool          `json:"proximity,omitempty"`
	BusyProtection bool          `json:"busyProtection,omitempty"`
	Lapsed         bool          `json:"lapsed,omitempty"` // all are busy: busy protection lapsed (FAQ 1.2.26)
	OnFailure      string        `json:"onFailure"`
	Links          []LinkInGroup `json:"links"`
	Row            status.Row    `json:"row"` // whether it is available, since when and why
}

// LinkInGroup is a link in a group at this moment.
type LinkInGroup struct {
	Link     string    `json:"link"`
	Weight   int       `json:"weight"`
	Priority int       `json:"priority"`
	Phase    string    `json:"phase,omitempty"` // serving, ramp, standby, drain, out; none in a group that is unused
	Until    time.Time `json:"until,omitzero"`  // of ramp and standby
	Active   bool      `json:"active"`          // it takes part
	Share    float64   `json:"share"`           // percent of new connections, where neither persistence nor proximity speaks
	Busy     bool      `json:"busy,omitempty"`
	Full     bool      `json:"full,omitempty"`   // at a limit of connections
	Capped   bool      `json:"capped,omitempty"` // at its rateLimit
}

// Why is why a link takes no part, in a word or two; "" if it does.
func (l *LinkInGroup) Why() string {
	switch {
	case l.Active:
		return ""
	case l.Phase != "" && l.Phase != slots.Serving.String() && l.Phase != slots.Ramping.String():
		return l.Phase
	case l.Full:
		return "full"
	case l.Capped:
		return "at its rateLimit"
	case l.Busy:
		return "busy"
	case l.Phase == "":
		return "unused"
	}
	return fmt.Sprintf("priority %d", l.Priority)
}

// LinkOutbound is what a link is to the connections that are balanced.
type LinkOutbound struct {
	Number         uint16      `json:"number"` // in marks of connections and packets
	Table          int         `json:"table"`  // of its routes
	SNAT           config.SNAT `json:"snat,omitzero"`
	Shaped         bool        `json:"shaped,omitempty"` // held below its rateLimit
	MaxConnections int         `json:"maxConnections,omitempty"`
	NewConnections int         `json:"newConnections,omitempty"`
	Connections    *int        `json:"connections,omitempty"` // none: nothing goes by them, so nobody counts
	Groups         []LinkShare `json:"groups,omitempty"`
}

// LinkShare is the part that a link has in a group.
type LinkShare struct {
	Group string  `json:"group"`
	Phase string  `json:"phase"`
	Share float64 `json:"share"` // percent
}

// balances says why a node balances nothing, if it does not.
func (v view) balances() error {
	switch {
	case v.model.Outbound == nil || v.opts.Outbound == nil:
		return Errorf(NotFound, "this node balances no connections: the configuration has no outbound")
	case !v.model.Outbound.Enabled:
		return Errorf(NotFound, "this node balances no connections: outbound.enabled is false")
	}
	if err := v.opts.Outbound.Closed(); err != nil {
		return Errorf(Unavailable, "nothing is balanced: %v", err)
	}
	return nil
}

func (s *Server) linkGroups(*http.Request) (any, error) { return s.view().linkGroups(), nil }

func (v view) linkGroups() []LinkGroup {
	all := []LinkGroup{}
	states := v.groupStates()
	for _, c := range v.model.LinkGroups {
		used := false
		for i := range states {
			if states[i].Config.Name == c.Name {
				used = true
				all = append(all, v.linkGroup(states[i].Config, &states[i]))
			}
		}
		if !used {
			all = append(all, v.linkGroup(c, nil))
		}
	}
	return all
}

func (v view) groupStates() []outbound.GroupState {
	if v.opts.Outbound == nil {
		return nil
	}
	return v.opts.Outbound.Groups()
}

// linkGroup shows a group; s is nil for one that nobody uses.
func (v view) linkGroup(c *config.LinkGroup, s *outbound.GroupState) LinkGroup {
	shown := LinkGroup{Name: c.Name, State: "unused", Algorithm: string(c.Algorithm), Proximity: c.Proximity, BusyProtection: c.BusyProtection,
		OnFailure: string(c.OnFailure), Row: v.row(status.KindLinkGroup, c.Name)}
	shown.Links = list(c.Members, func(m *config.LinkMember) LinkInGroup {
		return LinkInGroup{Link: m.Link, Weight: m.Weight, Priority: m.Priority}
	})
	if s == nil {
		return shown
	}
	shown.Name, shown.Lapsed, shown.State = s.Name, len(s.Result.Lapsed) > 0, status.Down.String()
	if s.Result.Up {
		shown.State = status.Up.String()
	}
	for i := range s.Result.Members {
		st := &s.Result.Members[i]
		at := slices.IndexFunc(shown.Links, func(l LinkInGroup) bool { return l.Link == st.Name })
		if at < 0 {
			continue // a reload came between; the next look is right
		}
		l := &shown.Links[at]
		l.Phase, l.Until, l.Active, l.Share = st.Phase.String(), st.Until, st.Active, 100*st.Share
		l.Busy, l.Full, l.Capped = st.Busy, st.Full, st.Capped
	}
	return shown
}

// linkOutbound shows what a link is to balancing; nil: nothing.
func (v view) linkOutbound(c *config.Link) *LinkOutbound {
	if v.opts.Outbound == nil {
		return nil
	}
	number := v.opts.Outbound.Number(c.Name)
	if number == 0 {
		return nil
	}
	shown := &LinkOutbound{Number: number, Table: outbound.RouteTable(number), SNAT: c.SNAT, Shaped: c.Shape, MaxConnections: c.MaxConnections, NewConnections: c.NewConnections}
	shown.SNAT.Mode = cmp.Or(shown.SNAT.Mode, config.SNATMasquerade)
	if counts := v.opts.Outbound.Connections(); counts != nil {
		n := counts[c.Name]
		shown.Connections = &n
	}
	for _, s := range v.groupStates() {
		for i := range s.Result.Members {
			if m := &s.Result.Members[i]; m.Name == c.Name {
				shown.Groups = append(shown.Groups, LinkShare{s.Name, m.Phase.String(), 100 * m.Share})
			}
		}
	}
	return shown
}

func (s *Server) hits(*http.Request) (any, error) {
	v := s.view()
	if err := v.balances(); err != nil {
		return nil, err
	}
	list, err := v.opts.Outbound.Hits()
	if err != nil {
		return nil, Errorf(Unavailable, "the counters cannot be read: %v", err)
	}
	if list == nil {
		list = []outbound.Hit{}
	}
	return list, nil
}

// describeLinkGroup takes the name of a group, or NAME+busy.
func (v view) describeLinkGroup(name string) *Description {
	plain, _, _ := strings.Cut(name, "+")
	c := find(v.model.LinkGroups, func(c *config.LinkGroup) string { return c.Name }, plain)
	if c == nil {
		return nil
	}
	d := &Description{Kind: "linkGroup", Name: name, Config: c, Events: v.eventsOf(status.MakeID(status.KindLinkGroup, plain))}
	for _, g := range v.linkGroups() {
		if g.Name == name {
			d.State = g
		}
	}
	for _, m := range c.Members {
		d.Events = append(d.Events, v.eventsOf(status.MakeID(status.KindLinkGroup, plain, m.Link))...)
	}
	slices.SortStableFunc(d.Events, func(a, b status.Event) int { return cmp.Compare(a.Seq, b.Seq) })
	if d.State == nil {
		return nil // +busy of a group that has no such variant
	}
	return d
}

// describeOutbound takes KIND/NAME of what is counted: virtualServer/all,
// rule/office/1.
func (v view) describeOutbound(name string) *Description {
	if v.balances() != nil {
		return nil
	}
	hits, err := v.opts.Outbound.Hits()
	if err != nil {
		return nil
	}
	kind, of, _ := strings.Cut(name, "/")
	hits = slices.DeleteFunc(hits, func(h outbound.Hit) bool { return !strings.EqualFold(h.Kind, kind) || h.Name != of })
	if len(hits) == 0 {
		return nil
	}
	d := &Description{Kind: "outbound", Name: hits[0].Kind + "/" + of, State: hits}
	d.Config, d.Events = v.outboundConfig(hits[0].Kind, of)
	return d
}

// outboundConfig gives what is configured for what is counted, and its events.
func (v view) outboundConfig(kind, name string) (conf any, events []status.Event) {
	switch kind {
	case outbound.HitServer:
		return find(v.model.Outbound.VirtualServers, func(c *config.OutboundVirtualServer) string { return c.Name }, name), v.eventsOf(outbound.ServerRow(name))
	case outbound.HitRule:
		policy, rule, _ := strings.Cut(name, "/")
		q := find(v.model.Outbound.Policies, func(c *config.Policy) string { return c.Name }, policy)
		if q == nil {
			return nil, nil
		}
		for i, r := range q.Rules {
			if fmt.Sprint(i+1) == rule {
				return r, nil
			}
		}
		return q.Default, nil
	case outbound.HitGroup:
		plain, _, _ := strings.Cut(name, "+")
		return find(v.model.LinkGroups, func(c *config.LinkGroup) string { return c.Name }, plain), v.eventsOf(status.MakeID(status.KindLinkGroup, plain))
	case outbound.HitLink:
		return find(v.model.Links, func(c *config.Link) string { return c.Name }, name), v.eventsOf(status.MakeID(status.KindLink, name))
	case outbound.HitPersistence:
		return find(v.model.Persistence, func(c *config.Persistence) string { return c.Name }, name), nil
	}
	return nil, nil
}
