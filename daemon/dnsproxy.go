package daemon

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// openProxy makes the transparent DNS proxy, which does nothing before a
// configuration has one. The links are open already.
func (d *Daemon) openProxy() {
	d.learner = dnsproxy.NewLearner(dnsproxy.LearnerOptions{Run: d.opts.Learn, Own: d.links.Own, Changed: d.moved, Record: d.board.Record})
	d.proxy = dnsproxy.New(dnsproxy.Options{Rows: d.board.Table, Gauges: d.board.Gauges, Way: d.links.Pin, Log: d.log, Record: d.board.Record,
		Addresses: d.learner.Addresses, Dead: d.dead})
}

// proxying opens the DNS proxy to the API.
type proxying struct {
	*dnsproxy.Proxy
	*dnsproxy.Learner
}

// ExplainQuery implements [api.DNSProxy].
func (p proxying) ExplainQuery(a dnsproxy.Ask) (*dnsproxy.Explanation, error) {
	return p.Proxy.Explain(a)
}

// ReportDNS implements [api.DNSProxy].
func (p proxying) ReportDNS(link string, addresses []netip.Addr, until time.Time, by string) ([]netip.Addr, error) {
	return p.Learner.Report(link, addresses, until, by)
}

// dead says whether the probes of an address of a DNS server fail.
func (d *Daemon) dead(server string, a netip.Addr) bool {
	all := d.evidence.Load()
	if all == nil {
		return false
	}
	t := d.board.Table()
	return slices.ContainsFunc((*all)[server][a], func(id status.ID) bool { return t.Row(id).Health == status.Down })
}

// setProxy compiles the DNS proxy. before may be nil.
func (b *Built) setProxy(src config.Source, before *Built) config.Errors {
	var was *dnsproxy.Plan
	if before != nil {
		was = before.Proxy
	}
	plan, err := dnsproxy.Compile(b.Model, src, was)
	if err != nil {
		return config.Errors{{Pos: b.Model.DNSProxy.Pos, Path: "dnsProxy", Text: strings.TrimPrefix(err.Error(), "dnsProxy: ")}}
	}
	b.Proxy = plan
	return nil
}

// intercept has the queries of a configuration's clients brought to the proxy,
// or leaves them alone if it has none. It is called again when interfaces come
// and go.
func (d *Daemon) intercept(b *Built) {
	g := &d.gateway
	switch {
	case g.kernel != nil:
	case b.Proxy.Enabled():
		d.log.Error("NO DNS QUERY IS TAKEN: this process may not change Linux' networking", "err", g.closed)
		d.board.Update(status.Row{ID: status.MakeID(status.KindKernel, dnsproxy.Owner), Health: status.Down, Why: g.closed.Error(), By: "daemon"})
		return
	default:
		return
	}
	var there []kernel.Interface
	if b.Proxy.Enabled() {
		var err error
		if there, err = g.reader.Interfaces(); err != nil {
			d.log.Warn("settings of interfaces are not looked at for the DNS proxy", "err", err)
		}
	}
	g.wishing.Lock()
	defer g.wishing.Unlock()
	if touched := b.Proxy.Touched(there); g.proxied != b.Proxy || !slices.Equal(g.touched, touched) {
		g.proxied, g.touched, g.taking = b.Proxy, touched, b.Proxy.Wishes(there)
		g.kernel.Want(dnsproxy.Owner, g.taking)
	}
}

// plugged does what follows from a change of interfaces and their addresses.
func (d *Daemon) plugged() {
	d.gateway.outbound.Moved()
	d.gateway.slb.Moved()
	if b := d.running.Load(); b != nil {
		d.intercept(b)
	}
}
