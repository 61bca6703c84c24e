package api

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// describers is what can be described: one function a kind.
var describers = map[string]func(v view, name string) *Description{
	"pool":          view.describePool,
	"member":        view.describeMember,
	"virtualserver": view.describeVirtualServer,
	"link":          view.describeLink,
	"site":          view.describeSite,
	"probe":         view.describeProbe,
	"zone":          view.describeZone,
	"dnsserver":     view.describeDNSServer,
	"linkgroup":     view.describeLinkGroup,
	"outbound":      view.describeOutbound,
	"serverfarm":    view.describeFarm,
	"realserver":    view.describeRealServer,
	"snatpool":      view.describeSNATPool,
	"slb":           view.describeCounted,
}

func (s *Server) describe(r *http.Request) (any, error) {
	kind, name := r.PathValue("kind"), r.PathValue("name")
	// pools and VirtualServers are what people type as well.
	f := describers[strings.TrimSuffix(strings.ToLower(kind), "s")]
	if f == nil {
		return nil, Errorf(Invalid, "%q is not a kind; there are pool, member, virtualServer, link, site, probe, zone, dnsServer, linkGroup, outbound, serverFarm, realServer, snatPool and slb%s",
			kind, didYouMean(kind, slices.Collect(maps.Keys(describers))))
	}
	v := s.view()
	d := f(v, name)
	if d == nil {
		return nil, Errorf(NotFound, "there is no %s %q%s", kind, name, didYouMean(name, v.names(kind)))
	}
	return d, nil
}

// find gives the configured thing that is called name, or nil.
func find[C any](all []*C, nameOf func(*C) string, name string) *C {
	i := slices.IndexFunc(all, func(c *C) bool { return nameOf(c) == name })
	if i < 0 {
		return nil
	}
	return all[i]
}

func (v view) describePool(name string) *Description {
	p := find(v.model.Pools, func(p *config.Pool) string { return p.Name }, name)
	if p == nil {
		return nil
	}
	return &Description{
		Kind: "pool", Name: name, Config: p,
		State: v.pool(p, v.namesByPool()[name]), Members: v.members(p),
	}
}

// describeMember takes POOL/MEMBER.
func (v view) describeMember(name string) *Description {
	pool, target, _ := strings.Cut(name, "/")
	p := find(v.model.Pools, func(p *config.Pool) string { return p.Name }, pool)
	if p == nil {
		return nil
	}
	c := find(p.Members, (*config.Member).Target, target)
	if c == nil {
		return nil
	}
	d := &Description{Kind: "member", Name: name, Config: c}
	for _, m := range v.members(p) {
		if m.Name != target {
			continue
		}
		d.State = m
		for _, need := range m.Needs {
			d.Evidence = append(d.Evidence, v.opts.Probes.Evidence(need.ID)...)
			d.Events = append(d.Events, v.eventsOf(need.ID)...)
		}
	}
	return d
}

func (v view) describeVirtualServer(name string) *Description {
	c := find(v.model.VirtualServers, func(c *config.VirtualServer) string { return c.Name }, name)
	if c == nil {
		return nil
	}
	shown := v.virtualServer(c, v.poolsByServer()[name], v.virtualStates()[name])
	v.describeServed(c, shown.Serve)
	return v.withRow("virtualServer", name, c, shown)
}

func (v view) describeLink(name string) *Description {
	c := find(v.model.Links, func(c *config.Link) string { return c.Name }, name)
	if c == nil {
		return nil
	}
	return v.withRow("link", name, c, v.linkOf(c, v.linkStates(), v.affected()))
}

func (v view) describeSite(name string) *Description {
	c := find(v.model.Sites, func(c *config.Site) string { return c.Name }, name)
	if c == nil {
		return nil
	}
	var servers []string
	for _, s := range v.model.VirtualServers {
		if s.Site == name {
			servers = append(servers, s.Name)
		}
	}
	return v.withRow("site", name, c, v.site(c, servers))
}

// withRow describes a thing that owns a row.
func (v view) withRow(kind, name string, c, state any) *Description {
	id := status.MakeID(kind, name)
	return &Description{
		Kind: kind, Name: name, Config: c, State: state,
		Evidence: v.opts.Probes.Evidence(id), Events: v.eventsOf(id),
	}
}

// describeProbe takes the name of a configured probe, for all that it checks,
// or TARGET/PROBE for one check.
func (v view) describeProbe(name string) *Description {
	defined, id := name, status.MakeID(status.KindProbe, name)
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		defined = name[i+1:]
	}
	c := find(v.model.Probes, func(c *config.Probe) string { return c.Name }, defined)
	checks := slices.DeleteFunc(v.opts.Probes.Checks(), func(h probe.History) bool { return h.Probe != name && h.ID != id })
	if c == nil || defined != name && len(checks) == 0 {
		return nil
	}
	return &Description{Kind: "probe", Name: name, Config: c, Evidence: checks, Events: v.eventsOf(id)}
}

// inOrder merges events of two rows.
func inOrder(a, b []status.Event) []status.Event {
	a = append(a, b...)
	slices.SortStableFunc(a, func(x, y status.Event) int { return cmp.Compare(x.Seq, y.Seq) })
	return a
}

func (v view) eventsOf(id status.ID) []status.Event {
	return slices.DeleteFunc(v.opts.Board.Events(0), func(e status.Event) bool { return e.ID != id })
}
