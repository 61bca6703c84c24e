package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slb"
)

// explained gives an explanation, and says if there is nothing to explain.
func explained(e *flow.Explanation, err error) (*flow.Explanation, error) {
	if errors.Is(err, flow.ErrNothing) {
		return nil, notBalanced()
	}
	return e, err
}

func notBalanced() error {
	return api.Errorf(api.NotFound, "this node balances no connections: the configuration has neither outbound nor a virtual server that is served")
}

// ExplainFlow implements [api.FlowExplainer].
func (d *Daemon) ExplainFlow(ctx context.Context, q flow.Question) (*flow.Explanation, error) {
	g := &d.gateway
	if g.kernel == nil {
		return nil, notBalanced()
	}
	balancing, serving := g.outbound.Part(), g.slb.Part(g.kernel)
	if balancing == nil && serving == nil {
		return nil, notBalanced()
	}
	interfaces, err := g.reader.Interfaces()
	if err != nil {
		return nil, err
	}
	m := flow.Machine{Interfaces: interfaces, Sessions: g.looker, Element: g.kernel.Element, Lookup: g.reader.Lookup}
	g.wishing.Lock()
	proxy := &flow.Part{Wishes: g.taking, Names: dnsproxy.Names()}
	g.wishing.Unlock()
	return explained(flow.Journey(ctx, m, q, balancing, serving, proxy))
}

// ExplainFlow tells what would become of a connection if this configuration
// ran here, with links and servers that nobody has probed. It is to be asked once
// of a configuration that nobody runs.
func (b *Built) ExplainFlow(ctx context.Context, q flow.Question) (*flow.Explanation, error) {
	interfaces, now := b.interfacesHere(), time.Now()
	var parts []*flow.Part
	if b.Outbound != nil {
		part, err := outbound.Offline(b.Outbound, b.Rows(), interfaces, now)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if b.SLB != nil {
		part, err := slb.Offline(b.SLB, b.Model, b.Serving, b.Rows(), interfaces, now)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	if len(parts) > 0 {
		parts = append(parts, &flow.Part{Wishes: b.Proxy.Wishes(interfaces), Names: dnsproxy.Names()})
	}
	e, err := explained(flow.Journey(ctx, flow.Machine{Interfaces: interfaces}, q, parts...))
	if err == nil {
		e.Notes = append(e.Notes, "offline: nothing is probed, measured or learnt")
	}
	return e, err
}

// interfacesHere gives the interfaces of this machine; none if they cannot be read,
// or it is not the one that the configuration is for: the explanation tells what it
// can.
func (b *Built) interfacesHere() (list []kernel.Interface) {
	r, err := kernel.Open()
	if err != nil {
		return nil
	}
	defer r.Close()
	if list, err = r.Interfaces(); err != nil {
		return nil
	}
	there := map[string]bool{}
	for _, n := range list {
		there[n.Name] = true
	}
	for _, l := range b.Model.Links {
		if l.Interface != "" && !there[l.Interface] {
			return nil
		}
	}
	return list
}
