package api

import (
	"net/http"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// SLB is what serves virtual servers. Its methods give nothing while nothing is
// served.
type SLB interface {
	Closed() error // why nothing is served although the configuration says so
	VirtualServers() []slb.VirtualState
	Farms() []slb.FarmState
	Pools() []slb.PoolState
	Hits(want func(*traffic.Hit) bool) ([]traffic.Hit, error) // nil: all; a few cost little

	Sticky(q slb.StickyQuery, yield func(slb.StickyEntry) bool) error
	ClearSticky(q slb.StickyQuery) (int, error)
}

// Served is what this node does with connections to a virtual server.
type Served struct {
	Type        config.ServeType   `json:"type"`
	Networks    []netip.Prefix     `json:"networks"`
	Ports       []config.PortRange `json:"ports,omitempty"` // none: every port
	Enabled     bool               `json:"enabled"`
	Farm        string             `json:"farm,omitempty"`
	Backup      string             `json:"backup,omitempty"`
	Persistence string             `json:"persistence,omitempty"`
	Policy      string             `json:"policy,omitempty"`
	Farms       []string           `json:"farms,omitempty"`       // that it may send connections to, by policy too
	NotInEffect []string           `json:"notInEffect,omitempty"` // what it refers to that is accepted and does nothing (FAQ 1.1.10)
	Number      uint32             `json:"number,omitempty"`      // in conntrack marks, from bit 10 on; none: it is not served
	Shut        bool               `json:"shut,omitempty"`        // nobody new gets in: it is at maxConnections, or held down
	Connections *int               `json:"connections,omitempty"` // none: nothing goes by them, so nobody counts
	Why         string             `json:"why,omitempty"`         // it is up or down, as things are now

	// Of a description.
	Overlaps     []config.Overlap `json:"overlaps,omitempty"`     // what others serve too, and who has it
	MoreOverlaps bool             `json:"moreOverlaps,omitempty"` // there are more than these
	Counters     []traffic.Hit    `json:"counters,omitempty"`     // its own, of the rules of its policy, and of its farms
}

// Farm is a server farm at this moment.
type Farm struct {
	Name           string         `json:"name"`
	State          string         `json:"state"` // up, down (not available); unused: no virtual server that is on sends it anything
	Algorithm      string         `json:"algorithm"`
	WeightsCount   bool           `json:"weightsCount"` // with this algorithm (FAQ 1.1.15)
	Mode           string         `json:"mode"`
	SNAT           string         `json:"snat,omitempty"`
	SNATPool       string         `json:"snatPool,omitempty"`
	Slots          int            `json:"slots"` // places that the servers share
	BusyProtection bool           `json:"busyProtection,omitempty"`
	Lapsed         bool           `json:"lapsed,omitempty"` // all are busy: busy protection lapsed (FAQ 1.2.26)
	OnFailure      string         `json:"onFailure"`
	OnBusy         string         `json:"onBusy"`
	VirtualServers []string       `json:"virtualServers,omitempty"` // that may send it connections
	Active         int            `json:"active"`                   // servers that take part
	Servers        []ServerInFarm `json:"servers"`
	Connections    *int           `json:"connections,omitempty"`
	Why            string         `json:"why,omitempty"` // it is available or not, as things are now
	Row            status.Row     `json:"row"`           // whether it is available, since when, and why it became so

	Counters []traffic.Hit `json:"counters,omitempty"` // of a description: its own, and of its servers
}

// ServerInFarm is a real server in its farm, in short.
type ServerInFarm struct {
	Server   string    `json:"server"`
	State    string    `json:"state"` // see [RealServer]
	Active   bool      `json:"active"`
	Weight   int       `json:"weight"`
	Priority int       `json:"priority"`
	Share    float64   `json:"share"` // percent of new connections, where persistence does not speak
	Until    time.Time `json:"until,omitzero"`
	Why      string    `json:"why,omitempty"` // why it takes no part
}

// RealServer is a real server of a farm at this moment.
type RealServer struct {
	Name           string       `json:"name"` // FARM/SERVER
	Farm           string       `json:"farm"`
	Server         string       `json:"server"`
	State          string       `json:"state"`          // up, unknown (nothing says), waiting, standby, ramp, busy, full, drain, down, held, out (shut down by itself, or without an address), off
	Active         bool         `json:"active"`         // it takes part
	Until          time.Time    `json:"until,omitzero"` // of standby, ramp and out
	Why            string       `json:"why,omitempty"`  // why it takes no part
	Addresses      []netip.Addr `json:"addresses"`      // of a name as they are now
	Host           string       `json:"host,omitempty"` // the name
	Port           uint16       `json:"port,omitempty"` // none: that which the client asked for stays
	Weight         int          `json:"weight"`         //
	WeightCounts   bool         `json:"weightCounts"`   // with the farm's algorithm (FAQ 1.1.15); 0 makes a reserve in any case
	Priority       int          `json:"priority"`       //
	Share          float64      `json:"share"`          // percent of the farm's new connections, where persistence does not speak
	Connections    *int         `json:"connections,omitempty"`
	MaxConnections int          `json:"maxConnections,omitempty"`
	NewConnections int          `json:"newConnections,omitempty"` // a second, at most
	Load           LinkLoad     `json:"load,omitzero"`            // in to the server, out from it; none: nobody looks
	Latency        *float64     `json:"latency,omitempty"`        // seconds, of its probes; where least-time looks at it
	Row            status.Row   `json:"row"`

	Counters []traffic.Hit `json:"counters,omitempty"` // of a description
}

// SNATPool is a SNAT pool at this moment.
type SNATPool struct {
	Name      string                `json:"name"`
	State     string                `json:"state"` // up; full: an address has no port left towards a server; unused
	Addresses []config.AddressRange `json:"addresses"`
	Ports     int                   `json:"ports"`             // of each address, towards each server
	InUse     int                   `json:"inUse"`             // of them, where it is tightest
	Tightest  netip.Addr            `json:"tightest,omitzero"` // the address of which least is left
	Towards   string                `json:"towards,omitempty"` // the server that it is used towards
	Failed    uint64                `json:"failed"`            // connections that found no port, since we started
	Farms     []string              `json:"farms,omitempty"`
	Row       status.Row            `json:"row"`
}

// FarmList is a part of the farms.
type FarmList struct {
	Farms []Farm `json:"farms"`
	More  bool   `json:"more"`            // there are more than the limit
	Error string `json:"error,omitempty"` // why it broke off
}

// RealServerList is a part of the real servers.
type RealServerList struct {
	Servers []RealServer `json:"servers"`
	More    bool         `json:"more"`
	Error   string       `json:"error,omitempty"`
}

// CounterQuery says which counters are meant: those that a virtual server has to do
// with (its own, of the rules of its policy, of its farms and their servers), a farm
// and its servers, or one server. What is left out does not narrow it.
type CounterQuery struct {
	VirtualServer, Farm, Server string // Server is the name in Farm
	Limit                       int    // at most so many; 0: as many as may be
}

// CounterList is a part of the counters.
type CounterList struct {
	Counters []traffic.Hit `json:"counters"`
	More     bool          `json:"more"`
	Error    string        `json:"error,omitempty"`
}

// serves says why a node serves nothing, if it does not.
func (v view) serves() error {
	switch {
	case v.model.SLB == nil || v.opts.SLB == nil:
		return Errorf(NotFound, "this node serves no virtual servers: none of the configuration has serve")
	case !v.model.SLB.Enabled:
		return Errorf(NotFound, "this node serves no virtual servers: slb.enabled is false")
	case !v.model.Serves():
		return Errorf(NotFound, "this node serves no virtual servers: all have serve.enabled: false")
	}
	if err := v.opts.SLB.Closed(); err != nil {
		return Errorf(Unavailable, "nothing is served: %v", err)
	}
	return nil
}

// served shows what this node does with a virtual server; nil: nothing.
func (v view) served(c *config.VirtualServer, s *slb.VirtualState) *Served {
	if c.Serve == nil {
		return nil
	}
	shown := &Served{Type: c.Serve.Type, Networks: c.ServedPrefixes(), Ports: c.ServedPorts(), Enabled: c.Serve.Enabled,
		Farm: c.Serve.Farm, Backup: c.Serve.Backup, Persistence: c.Serve.Persistence, Policy: c.Serve.Policy, NotInEffect: v.model.NotInEffect(c)}
	if s != nil {
		shown.Farms, shown.Shut, shown.Connections, shown.Why = s.Farms, s.Shut, s.Connections, s.Why
		shown.Number = l4.HeldBy(s.Mark).Number
	}
	return shown
}

// virtualStates gives how what is served stands, by name.
func (v view) virtualStates() map[string]*slb.VirtualState {
	if v.opts.SLB == nil {
		return nil
	}
	all := v.opts.SLB.VirtualServers()
	byName := make(map[string]*slb.VirtualState, len(all))
	for i := range all {
		byName[all[i].Config.Name] = &all[i]
	}
	return byName
}

// farmStates gives how farms stand, by name.
func (v view) farmStates() map[string]*slb.FarmState {
	if v.opts.SLB == nil {
		return nil
	}
	all := v.opts.SLB.Farms()
	byName := make(map[string]*slb.FarmState, len(all))
	for i := range all {
		byName[all[i].Config.Name] = &all[i]
	}
	return byName
}

// usersOf gives the virtual servers that send to each farm.
func usersOf(states map[string]*slb.VirtualState, m *config.Model) map[string][]string {
	users := map[string][]string{}
	for _, c := range m.VirtualServers {
		if s := states[c.Name]; s != nil {
			for _, farm := range s.Farms {
				users[farm] = append(users[farm], c.Name)
			}
		}
	}
	return users
}

// farms lists farms: ?limit=.
func (s *Server) farms(w http.ResponseWriter, r *http.Request) error {
	most, err := limitOf(r)
	if err != nil {
		return err
	}
	v := s.view()
	states, users := v.farmStates(), usersOf(v.virtualStates(), v.model)
	return writeList(s, w, "farms", most, func(yield func(Farm) bool) error {
		for _, c := range v.model.ServerFarms {
			if !yield(v.farm(c, states[c.Name], users[c.Name])) {
				return nil
			}
		}
		return nil
	})
}

// limitOf gives ?limit=, or as many as may be.
func limitOf(r *http.Request) (int, error) {
	limit, err := number(r, "limit")
	if err != nil || limit == 0 {
		return MaxListed, err
	}
	return parseLimit(limit)
}

// farm shows a farm; s is nil while nothing is served.
func (v view) farm(c *config.ServerFarm, s *slb.FarmState, users []string) Farm {
	mode, pool := c.Snat()
	shown := Farm{Name: c.Name, State: "unused", Algorithm: string(c.Algorithm), WeightsCount: c.Algorithm.Weighs(), Mode: string(c.Mode),
		SNAT: string(mode), SNATPool: pool, Slots: c.Slots, BusyProtection: c.BusyProtection, OnFailure: string(c.OnFailure), OnBusy: string(c.OnBusy),
		VirtualServers: users, Servers: make([]ServerInFarm, 0, len(c.Servers)), Row: v.row(status.KindServerFarm, c.Name)}
	if s != nil && s.Used {
		shown.State, shown.Why, shown.Lapsed = status.Down.String(), s.Result.Why, len(s.Result.Lapsed) > 0
		if s.Result.Up {
			shown.State = status.Up.String()
		}
	}
	v.eachServer(c, s, func(r *RealServer) bool {
		if r.Active {
			shown.Active++
		}
		if r.Connections != nil {
			if shown.Connections == nil {
				shown.Connections = new(int)
			}
			*shown.Connections += *r.Connections
		}
		shown.Servers = append(shown.Servers, ServerInFarm{r.Server, r.State, r.Active, r.Weight, r.Priority, r.Share, r.Until, r.Why})
		return true
	})
	return shown
}

// eachServer shows the servers of a farm to yield, in the order of the
// configuration, until it says false.
func (v view) eachServer(c *config.ServerFarm, s *slb.FarmState, yield func(*RealServer) bool) bool {
	next := 0
	for _, r := range c.Servers {
		var state *slb.ServerState
		// What has no number is left out of the states.
		if s != nil && next < len(s.Servers) && s.Servers[next].Config.Name == r.Name {
			state = &s.Servers[next]
			next++
		}
		if shown := v.realServer(c, r, state); !yield(&shown) {
			return false
		}
	}
	return true
}

// realServers lists real servers: ?farm= ?limit=.
func (s *Server) realServers(w http.ResponseWriter, r *http.Request) error {
	most, err := limitOf(r)
	if err != nil {
		return err
	}
	v := s.view()
	only := r.URL.Query().Get("farm")
	if err := v.thereIs("serverfarm", only); err != nil {
		return err
	}
	states := v.farmStates()
	return writeList(s, w, "servers", most, func(yield func(*RealServer) bool) error {
		for _, c := range v.model.ServerFarms {
			if (only == "" || c.Name == only) && !v.eachServer(c, states[c.Name], yield) {
				return nil
			}
		}
		return nil
	})
}

// realServer shows a real server; s is nil while nothing is served.
func (v view) realServer(f *config.ServerFarm, c *config.RealServer, s *slb.ServerState) RealServer {
	name := l4.ServerKey(f.Name, c.Name)
	shown := RealServer{Name: name, Farm: f.Name, Server: c.Name, Addresses: c.Addresses, Host: c.Host, Port: c.Port,
		Weight: c.Weight, WeightCounts: f.Algorithm.Weighs(), Priority: c.Priority,
		MaxConnections: c.MaxConnections, NewConnections: c.NewConnections, Row: v.row(status.KindRealServer, name)}
	shown.State = stateOfServer(c, s, &shown.Row)
	if s == nil {
		shown.Addresses = nonNil(shown.Addresses)
		return shown
	}
	st := &s.Standing
	shown.Active, shown.Share, shown.Until, shown.Connections = st.Active, 100*st.Share, st.Until, s.Connections
	if s.Out != "" {
		shown.Until = s.Until
	}
	if len(s.Addresses) > 0 {
		shown.Addresses = s.Addresses
	}
	shown.Addresses = nonNil(shown.Addresses)
	if !shown.Active {
		shown.Why = whyOut(&shown, s)
	}
	shown.Load, shown.Latency = loadOf(c, &s.Gauge), known(s.Gauge.Latency)
	return shown
}

func nonNil(list []netip.Addr) []netip.Addr {
	if list == nil {
		return []netip.Addr{}
	}
	return list
}

// stateOfServer is one word for a real server, the worst first.
func stateOfServer(c *config.RealServer, s *slb.ServerState, row *status.Row) string {
	switch {
	case !c.Enabled:
		return "off"
	case row.Hold != nil && row.Hold.State == status.HoldDown:
		return "held"
	case s != nil && s.Out != "":
		return "out"
	case !row.Usable() && !row.Held():
		return status.Down.String()
	}
	if s != nil {
		switch st := &s.Standing; {
		case st.Phase != slots.Serving:
			return st.Phase.String()
		case st.Full || st.Capped:
			return "full"
		case st.Busy:
			return "busy"
		}
	}
	if row.Held() {
		return row.Hold.State.String()
	}
	if row.Waiting {
		return "waiting"
	}
	if row.Hold != nil {
		return status.Up.String() // held up
	}
	return row.Health.String()
}

// whyOut says why a real server takes no part.
func whyOut(r *RealServer, s *slb.ServerState) string {
	st := &s.Standing
	switch {
	case r.State == "off" && st.Phase == slots.Draining:
		return "it is switched off, and keeps the connections that it has"
	case r.State == "off":
		return "it is switched off"
	case r.State == "held" || r.State == "drain":
		if r.Row.Hold != nil {
			return "held by " + r.Row.Hold.By + ": " + r.Row.Hold.Reason
		}
		return r.State
	case s.Out != "":
		return s.Out
	case r.State == status.Down.String():
		return r.Row.Why
	case st.Phase != slots.Serving && st.Phase != slots.Ramping:
		return st.Phase.String()
	case st.Full:
		return "it is at a limit of connections"
	case st.Capped:
		return "it is at its rateLimit"
	case st.Busy:
		return "it is busy" + prefixed(": ", r.Row.LoadWhy)
	case r.Weight == 0:
		return "a reserve: its weight is 0"
	}
	return "others come before it: priority, min and max"
}

func prefixed(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}

// loadOf is what flows to a server and from it, as far as anybody looks.
func loadOf(c *config.RealServer, g *status.Gauge) LinkLoad {
	of := func(d busy.Direction, most, limit config.Bandwidth) *Direction {
		return directionOf(g.Rate[d], busy.LimitOf(uint64(most), int(c.Busy.Rate), int(c.Busy.Recovery)), most, limit)
	}
	return LinkLoad{
		Total: of(busy.Total, c.MaxBandwidth.Total, c.RateLimit.Total),
		In:    of(busy.In, c.MaxBandwidth.In, c.RateLimit.In),
		Out:   of(busy.Out, c.MaxBandwidth.Out, c.RateLimit.Out),
	}
}

// snatPools lists SNAT pools.
func (s *Server) snatPools(*http.Request) (any, error) {
	v := s.view()
	return list(v.model.SNATPools, v.snatPool), nil
}

func (v view) snatPool(c *config.SNATPool) SNATPool {
	shown := SNATPool{Name: c.Name, State: "unused", Addresses: c.Addresses, Ports: int(c.Ports.To) - int(c.Ports.From) + 1, Row: v.row(status.KindSNATPool, c.Name)}
	for _, f := range v.model.ServerFarms {
		if f.SNATPool == c.Name {
			shown.Farms = append(shown.Farms, f.Name)
		}
	}
	if v.opts.SLB == nil {
		return shown
	}
	for _, p := range v.opts.SLB.Pools() {
		if p.Config.Name != c.Name {
			continue
		}
		shown.State, shown.InUse, shown.Failed = status.Up.String(), p.Lent, p.Failed
		if p.Full {
			shown.State = "full"
		}
		if p.Lent > 0 {
			shown.Tightest, shown.Towards = p.Address, p.Server.String()
		}
	}
	return shown
}
