package daemon

import (
	"context"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/flow"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
)

// notBalanced is the answer where there is nothing to explain.
func notBalanced() error {
	return api.Errorf(api.NotFound, "this node balances no connections: the configuration has no outbound")
}

// ExplainFlow implements [api.FlowExplainer].
func (d *Daemon) ExplainFlow(ctx context.Context, q flow.Question) (*flow.Explanation, error) {
	if d.gateway.outbound == nil {
		return nil, notBalanced()
	}
	d.gateway.wishing.Lock()
	proxy := flow.Part{Wishes: d.gateway.taking, Names: dnsproxy.Names()}
	d.gateway.wishing.Unlock()
	e, err := d.gateway.outbound.Explain(ctx, q, proxy)
	if err == nil && e == nil {
		err = notBalanced()
	}
	return e, err
}

// ExplainFlow tells what would become of a connection if this configuration
// ran here, with links that nobody has probed. It is to be asked once of a
// configuration that nobody runs.
func (b *Built) ExplainFlow(q flow.Question) (*flow.Explanation, error) {
	if b.Outbound == nil {
		return nil, notBalanced()
	}
	var interfaces []kernel.Interface
	if r, err := kernel.Open(); err == nil { // without, addresses are not known: the explanation tells what it can
		defer r.Close()
		interfaces, _ = r.Interfaces() // the same
	}
	for _, l := range b.Model.Links {
		present := false
		for _, n := range interfaces {
			present = present || n.Name == l.Interface
		}
		if l.Interface != "" && !present {
			interfaces = nil // it is the configuration of another machine
			break
		}
	}
	proxy := flow.Part{Wishes: b.Proxy.Wishes(interfaces), Names: dnsproxy.Names()}
	return outbound.Offline(b.Outbound, b.Rows(), interfaces, time.Now(), q, proxy)
}
