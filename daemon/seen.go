package daemon

import (
	"context"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/traffic"
)

// servers opens what serves virtual servers to the API. Without a door to the
// kernel its methods give nothing.
type servers struct{ *gateway }

var _ api.SLB = servers{}

// Closed implements [api.SLB].
func (s servers) Closed() error { return s.closed }

// VirtualServers implements [api.SLB].
func (s servers) VirtualServers() []slb.VirtualState {
	if s.slb == nil {
		return nil
	}
	return s.slb.VirtualServers()
}

// Farms implements [api.SLB].
func (s servers) Farms() []slb.FarmState {
	if s.slb == nil {
		return nil
	}
	return s.slb.Farms()
}

// Pools implements [api.SLB].
func (s servers) Pools() []slb.PoolState {
	if s.slb == nil {
		return nil
	}
	return s.slb.Pools()
}

// Hits implements [api.SLB].
func (s servers) Hits(want func(*traffic.Hit) bool) ([]traffic.Hit, error) {
	if s.slb == nil {
		return nil, nil
	}
	return s.slb.Hits(want)
}

// Sticky implements [api.SLB].
func (s servers) Sticky(q slb.StickyQuery, yield func(slb.StickyEntry) bool) error {
	if s.slb == nil {
		return nil
	}
	return s.slb.Sticky(q, yield)
}

// ClearSticky implements [api.SLB].
func (s servers) ClearSticky(q slb.StickyQuery) (int, error) {
	if s.slb == nil {
		return 0, nil
	}
	return s.slb.ClearSticky(q)
}

// sessions gives the connections of links and of virtual servers, of which one may
// be both, in one pass. It looks through a socket of its own: a client that reads
// slowly must not keep sessions of what failed from being ended.
func (g *gateway) sessions(ctx context.Context, q api.SessionQuery, yield func(api.Session) bool) error {
	if g.looker == nil {
		return nil
	}
	p := balanced{g}.plan()
	f := kernel.SessionFilter{Source: q.Client, Destination: q.To, Protocol: q.Protocol, Port: q.Port}
	if q.Link != "" {
		if p == nil || p.Number(q.Link) == 0 {
			return nil // it has no interface here
		}
		f.Mark, f.Mask = uint32(p.Number(q.Link)), kernel.LinkMask
	}
	if q.VirtualServer != "" {
		mark := g.slb.Mark(q.VirtualServer)
		if mark == 0 {
			return nil // it is not served
		}
		f.Mark, f.Mask = f.Mark|mark, f.Mask|kernel.ServerMask
	}
	b := browser{plan: p, byServer: q.ByServer(), serving: g.slb.Shower(slb.SessionQuery{VirtualServer: q.VirtualServer, Farm: q.Farm, Server: q.Server})}
	return g.looker.Sessions(ctx, f, func(c kernel.Session) bool {
		shown, ok := b.show(&c)
		return !ok || yield(shown)
	})
}

// browser shows sessions of links and of virtual servers.
type browser struct {
	plan     *outbound.Plan // nil: nothing is balanced
	serving  func(*kernel.Session) (slb.Session, bool)
	byServer bool // only those of virtual servers are meant
}

// show shows a session; it is not ok if that is neither's, or not meant.
func (b *browser) show(c *kernel.Session) (shown api.Session, ok bool) {
	served, is := b.serving(c)
	if b.byServer && !is {
		return shown, false
	}
	if is {
		shown = api.Session{Protocol: served.Protocol, From: served.From, To: served.To, VirtualServer: served.VirtualServer,
			Farm: served.Farm, Server: served.Server, At: served.At, Source: served.Source, Child: served.Child,
			State: served.State, Expires: served.Expires, Sent: served.Sent, Replied: served.Replied}
	}
	if b.plan == nil {
		return shown, is
	}
	over, goes := b.plan.SessionOf(c)
	switch {
	case goes && is:
		shown.Link, shown.Inbound, shown.Sticky = over.Link, over.Inbound, over.Sticky
	case goes:
		shown = api.Session{Protocol: over.Protocol, From: over.From, To: over.To, Link: over.Link, Source: over.Source,
			Inbound: over.Inbound, Sticky: over.Sticky, Child: over.Child, State: over.State, Expires: over.Expires,
			Sent: (*traffic.Volume)(over.Sent), Replied: (*traffic.Volume)(over.Replied)}
	}
	return shown, is || goes
}
