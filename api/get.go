package api

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/status"
)

// view is what one request looks at: the configuration and the rows of one
// moment.
type view struct {
	*Server
	model *config.Model
	table *status.Table
}

func (s *Server) view() view { return view{s, s.opts.Model(), s.opts.Board.Table()} }

// row is the row of a thing, with its id also where nobody has written it.
func (v view) row(kind, name string) status.Row {
	id := status.MakeID(kind, name)
	row := *v.table.Row(id)
	row.ID = id
	return row
}

// list maps configured things to what is shown of them; never nil, so that an
// empty list is [] in JSON.
func list[C, T any](all []C, show func(C) T) []T {
	shown := make([]T, len(all))
	for i, c := range all {
		shown[i] = show(c)
	}
	return shown
}

func (s *Server) pools(*http.Request) (any, error) {
	v := s.view()
	names := v.namesByPool()
	return list(v.model.Pools, func(p *config.Pool) Pool { return v.pool(p, names[p.Name]) }), nil
}

func (v view) pool(p *config.Pool, names []string) Pool {
	shown := Pool{Name: p.Name, State: "unknown", Members: len(p.Members), Active: []string{}, Slots: []string{}, Names: names}
	for _, slot := range []config.Slot{p.Preferred, p.Alternate, p.Fallback} {
		if slot.Algorithm != "" {
			shown.Slots = append(shown.Slots, slot.Algorithm)
		}
	}
	standing, ok := v.opts.Pools.Standing(p.Name, v.table)
	if !ok {
		return shown // a reload came between; the next look is right
	}
	shown.State = stateOf(standing)
	shown.Lapsed, shown.Panic = standing.Lapsed, standing.Panic
	for _, m := range standing.Members {
		if m.Active {
			shown.Active = append(shown.Active, m.Member)
		}
		shown.Waiting = shown.Waiting || v.waiting(m)
	}
	return shown
}

// stateOf is one word for a pool: up, or why nobody takes part.
func stateOf(standing *pick.Trace) string {
	if standing.Reason == pick.Chosen.String() {
		return status.Up.String()
	}
	return standing.Reason
}

// poolState is stateOf for a pool that is a member of another.
func (v view) poolState(pool string) string {
	standing, ok := v.opts.Pools.Standing(pool, v.table)
	if !ok {
		return status.Unknown.String()
	}
	return stateOf(standing)
}

func (v view) waiting(m pick.MemberTrace) bool {
	return slices.ContainsFunc(m.Rows, func(r pick.RowTrace) bool { return v.table.Row(r.ID).Waiting })
}

// namesByPool gives the dynamic names that each pool answers.
func (v view) namesByPool() map[string][]string {
	names := map[string][]string{}
	for _, z := range v.model.Zones {
		for _, n := range z.Names {
			names[n.Pool] = append(names[n.Pool], n.FQDN)
		}
	}
	return names
}

func (s *Server) members(r *http.Request) (any, error) {
	v := s.view()
	pool := r.URL.Query().Get("pool")
	all := []Member{}
	for _, p := range v.model.Pools {
		if pool == "" || p.Name == pool {
			all = append(all, v.members(p)...)
		}
	}
	if pool != "" && len(all) == 0 {
		return nil, Errorf(NotFound, "there is no pool %q%s", pool, didYouMean(pool, v.names("pool")))
	}
	return all, nil
}

func (v view) members(p *config.Pool) []Member {
	standing, ok := v.opts.Pools.Standing(p.Name, v.table)
	if !ok {
		return nil
	}
	configured := map[string]*config.Member{}
	for _, m := range p.Members {
		configured[m.Target()] = m
	}
	return list(standing.Members, func(m pick.MemberTrace) Member {
		shown := Member{Pool: p.Name, Name: m.Member, State: v.state(m), Active: m.Active, Why: m.Why, Needs: m.Rows}
		if c := configured[m.Member]; c != nil {
			shown.Weight, shown.Priority = c.Weight, c.Priority
			if c.Pool != "" {
				shown.State = v.poolState(c.Pool)
			}
		}
		return shown
	})
}

// state is one word for the rows of a member, the worst first; unknown only if
// nothing is known of any of them. Whether it takes part is pick's to say, and
// stands beside it.
func (v view) state(m pick.MemberTrace) string {
	word, rank := "up", 0
	known := len(m.Rows) == 0 // a plain address needs no row
	worse := func(w string, r int) {
		if r > rank {
			word, rank = w, r
		}
	}
	for _, t := range m.Rows {
		r := v.table.Row(t.ID)
		switch {
		case r.Held():
			worse("held", 6)
		case !r.Usable():
			worse("down", 5)
		}
		if r.Full {
			worse("full", 4)
		}
		if r.Busy {
			worse("busy", 3)
		}
		if r.Waiting {
			worse("waiting", 2)
		}
		known = known || r.Health != status.Unknown || r.Hold != nil
	}
	if !known {
		worse("unknown", 1)
	}
	return word
}

// virtualServers lists virtual servers, of which there may be very many: each is
// written as it comes.
func (s *Server) virtualServers(w http.ResponseWriter, _ *http.Request) error {
	v := s.view()
	pools, states := v.poolsByServer(), v.virtualStates()
	return writeArray(s, w, func(yield func(VirtualServer) bool) {
		for _, c := range v.model.VirtualServers {
			if !yield(v.virtualServer(c, pools[c.Name], states[c.Name])) {
				return
			}
		}
	})
}

// virtualServer shows a virtual server; s is nil for one that is not served.
func (v view) virtualServer(c *config.VirtualServer, pools []string, s *slb.VirtualState) VirtualServer {
	shown := VirtualServer{Name: c.Name, Addresses: c.Addresses, Port: c.Port, Link: c.Link, Site: c.Site, Pools: pools, Serve: v.served(c, s), Row: v.row(status.KindVirtualServer, c.Name)}
	if g, ok := v.opts.Board.Gauges().Get(shown.Row.ID); ok {
		shown.Reported = &Reported{known(g.Connections), known(g.Latency), g.At}
	}
	return shown
}

func (v view) poolsByServer() map[string][]string {
	pools := map[string][]string{}
	for _, p := range v.model.Pools {
		for _, m := range p.Members {
			if m.VirtualServer != "" {
				pools[m.VirtualServer] = append(pools[m.VirtualServer], p.Name)
			}
		}
	}
	return pools
}

func (s *Server) sites(*http.Request) (any, error) {
	v := s.view()
	servers := map[string][]string{}
	for _, c := range v.model.VirtualServers {
		servers[c.Site] = append(servers[c.Site], c.Name)
	}
	return list(v.model.Sites, func(c *config.Site) Site { return v.site(c, servers[c.Name]) }), nil
}

func (v view) site(c *config.Site, servers []string) Site {
	return Site{c.Name, servers, v.row(status.KindSite, c.Name)}
}

func (s *Server) probes(*http.Request) (any, error) { return s.opts.Probes.Checks(), nil }

func (s *Server) zones(*http.Request) (any, error) { return s.view().zones(), nil }

func (v view) zones() []Zone {
	names := map[string][]Name{}
	for _, z := range v.model.Zones {
		names[zoneLabel(z.Name, z.View)] = list(z.Names, func(n *config.Name) Name { return Name{n.FQDN, n.Pool, n.TTL, n.Group} })
	}
	return list(v.sortedZones(), func(z Zone) Zone {
		z.Names = names[z.Label()]
		return z
	})
}

// events gives those after ?after=SEQ, at most ?limit= of them, the newest.
func (s *Server) events(r *http.Request) (any, error) {
	after, err := number(r, "after")
	if err != nil {
		return nil, err
	}
	most, err := number(r, "limit")
	if err != nil {
		return nil, err
	}
	events := s.opts.Board.Events(after)
	if most > 0 && uint64(len(events)) > most {
		events = events[uint64(len(events))-most:]
	}
	if events == nil {
		events = []status.Event{}
	}
	return events, nil
}

func number(r *http.Request, key string) (uint64, error) {
	text := r.URL.Query().Get(key)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, Errorf(Invalid, "%s=%q is not a number", key, text)
	}
	return n, nil
}

func (s *Server) holds(*http.Request) (any, error) {
	all := []Hold{}
	for id, h := range s.opts.Board.Holds() {
		all = append(all, Hold{id, h})
	}
	slices.SortFunc(all, func(a, b Hold) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}
