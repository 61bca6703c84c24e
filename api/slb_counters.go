package api

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// served lists what is counted: ?virtualserver= (it, the rules of its policy, its
// farms and their servers), ?farm= (it and its servers), ?server=, ?limit=.
func (s *Server) served(w http.ResponseWriter, r *http.Request) error {
	most, err := limitOf(r)
	if err != nil {
		return err
	}
	v, u := s.view(), r.URL.Query()
	farm, server, err := FarmAndServer(u.Get("farm"), u.Get("server"))
	if err != nil {
		return err
	}
	if err := v.serves(); err != nil {
		return err
	}
	if err := v.areThere("", "", u.Get("virtualserver"), farm, server); err != nil {
		return err
	}
	of := v.hitsOf(u.Get("virtualserver"), farm, server)
	hits, err := v.opts.SLB.Hits(of.has)
	if err != nil {
		return Errorf(Unavailable, "the counters cannot be read: %v", err)
	}
	return writeList(s, w, "counters", most, func(yield func(*traffic.Hit) bool) error {
		for i := range hits {
			if !yield(&hits[i]) {
				return nil
			}
		}
		return nil
	})
}

// hitFilter says which counters are meant.
type hitFilter struct {
	all      bool
	virtual  string // its own
	policy   string // of its rules
	keeps    map[string]bool
	farms    map[string]bool
	server   string // FARM/NAME; "": every one of farms
	noServer bool   // none
}

// hitsOf gives the filter of what a virtual server, a farm or a server has to do
// with. What is "" does not narrow it.
func (v view) hitsOf(virtual, farm, server string) hitFilter {
	f := hitFilter{all: virtual+farm+server == "", virtual: virtual, keeps: map[string]bool{}, farms: map[string]bool{}}
	if server != "" {
		f.server = l4.ServerKey(farm, server)
	}
	if farm != "" {
		f.farms[farm] = true
	}
	c := find(v.model.VirtualServers, func(c *config.VirtualServer) string { return c.Name }, virtual)
	if c == nil || c.Serve == nil {
		return f
	}
	if farm == "" {
		f.policy, f.keeps[c.Serve.Persistence] = c.Serve.Policy, true
		for _, a := range v.actionsOf(c.Serve) {
			f.keeps[a.Persistence] = true
		}
		if s := v.virtualStates()[virtual]; s != nil {
			for _, name := range s.Farms {
				f.farms[name] = true
			}
		}
	}
	return f
}

// actionsOf gives the actions of a virtual server's policy.
func (v view) actionsOf(c *config.Serve) (list []*config.FarmAction) {
	if v.model.SLB == nil {
		return nil
	}
	q := find(v.model.SLB.Policies, func(q *config.FarmPolicy) string { return q.Name }, c.Policy)
	if q == nil {
		return nil
	}
	for _, r := range q.Rules {
		if r.Action != nil {
			list = append(list, r.Action)
		}
	}
	return list
}

func (f *hitFilter) has(h *traffic.Hit) bool {
	if f.all {
		return true
	}
	switch h.Kind {
	case traffic.HitServer:
		return h.Name == f.virtual
	case traffic.HitRule:
		policy, _, _ := strings.Cut(h.Name, "/")
		return f.policy != "" && policy == f.policy
	case traffic.HitPersistence:
		return f.keeps[h.Name]
	case l4.HitFarm:
		return f.server == "" && f.farms[h.Name]
	case l4.HitServer:
		farm, _, _ := strings.Cut(h.Name, "/")
		return !f.noServer && f.farms[farm] && (f.server == "" || f.server == h.Name)
	}
	return false
}

// counters gives those that a filter means; nil where they cannot be read.
func (v view) counters(f hitFilter) []traffic.Hit {
	if v.serves() != nil {
		return nil
	}
	list, err := v.opts.SLB.Hits(f.has)
	if err != nil {
		return nil // the row of the kernel tells
	}
	return list
}

// maxOverlaps is how many overlaps a description lists.
const maxOverlaps = 100

// describeServed adds to the description of a virtual server what takes looking
// for.
func (v view) describeServed(c *config.VirtualServer, shown *Served) {
	if shown == nil {
		return
	}
	shown.Overlaps, shown.MoreOverlaps = v.model.Overlaps(c, maxOverlaps)
	f := v.hitsOf(c.Name, "", "")
	f.noServer = true
	shown.Counters = v.counters(f)
}

func (v view) describeFarm(name string) *Description {
	c := find(v.model.ServerFarms, func(c *config.ServerFarm) string { return c.Name }, name)
	if c == nil {
		return nil
	}
	shown := v.farm(c, v.farmStates()[name], usersOf(v.virtualStates(), v.model)[name])
	shown.Counters = v.counters(v.hitsOf("", name, ""))
	return v.withRow(status.KindServerFarm, name, c, shown)
}

// describeRealServer takes FARM/NAME.
func (v view) describeRealServer(name string) *Description {
	farm, server, _ := strings.Cut(name, "/")
	f := find(v.model.ServerFarms, func(c *config.ServerFarm) string { return c.Name }, farm)
	if f == nil {
		return nil
	}
	c := find(f.Servers, func(c *config.RealServer) string { return c.Name }, server)
	if c == nil {
		return nil
	}
	var shown RealServer
	v.eachServer(f, v.farmStates()[farm], func(r *RealServer) bool {
		if r.Server == server {
			shown = *r
		}
		return r.Server != server
	})
	shown.Counters = v.counters(v.hitsOf("", farm, server))
	d := v.withRow(status.KindRealServer, name, c, shown)
	d.Events = inOrder(d.Events, v.eventsOf(status.MakeID(status.KindServerFarm, farm, server)))
	return d
}

func (v view) describeSNATPool(name string) *Description {
	c := find(v.model.SNATPools, func(c *config.SNATPool) string { return c.Name }, name)
	if c == nil {
		return nil
	}
	return v.withRow(status.KindSNATPool, name, c, v.snatPool(c))
}

// describeCounted takes KIND/NAME of what slb counts: virtualServer/web,
// rule/office/1, realServer/web/10.0.0.1.
func (v view) describeCounted(name string) *Description {
	kind, of, _ := strings.Cut(name, "/")
	if v.serves() != nil {
		return nil
	}
	found, err := v.opts.SLB.Hits(func(h *traffic.Hit) bool { return strings.EqualFold(h.Kind, kind) && h.Name == of })
	if err != nil || len(found) == 0 {
		return nil
	}
	d := &Description{Kind: slb.Owner, Name: found[0].Kind + "/" + of, State: found}
	d.Config = v.countedConfig(found[0].Kind, of)
	if found[0].Kind != traffic.HitRule && found[0].Kind != traffic.HitPersistence {
		d.Events = v.eventsOf(status.ID(d.Name))
	}
	return d
}

// countedConfig gives what is configured for what is counted.
func (v view) countedConfig(kind, name string) any {
	first, rest, _ := strings.Cut(name, "/")
	switch kind {
	case traffic.HitServer:
		return find(v.model.VirtualServers, func(c *config.VirtualServer) string { return c.Name }, name)
	case traffic.HitPersistence:
		return find(v.model.Persistence, func(c *config.Persistence) string { return c.Name }, name)
	case traffic.HitRule:
		if q := find(v.model.SLB.Policies, func(q *config.FarmPolicy) string { return q.Name }, first); q != nil {
			if n, err := strconv.Atoi(rest); err == nil && n > 0 && n <= len(q.Rules) {
				return q.Rules[n-1]
			}
		}
	case l4.HitFarm, l4.HitServer:
		f := find(v.model.ServerFarms, func(c *config.ServerFarm) string { return c.Name }, first)
		if f != nil && kind == l4.HitServer {
			return find(f.Servers, func(c *config.RealServer) string { return c.Name }, rest)
		}
		return f
	}
	return nil
}
