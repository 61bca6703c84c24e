package daemon

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// apiOptions opens the daemon's parts to the API.
func (d *Daemon) apiOptions() api.Options {
	o := api.Options{
		Board:   d.board,
		Model:   func() *config.Model { return d.running.Load().Model },
		Config:  func() api.ConfigState { return *d.state.Load() },
		Zones:   d.zones,
		Stats:   d.stats,
		Ready:   d.NotReady,
		Pools:   d,
		Probes:  d.prober,
		Links:   d.links.States,
		Reports: reporter{d.report, d.links},
		Apply:   d,
		Explain: d,

		ZoneChanger: d,
		Proximity:   distances{d},
		DNSProxy:    proxying{d.proxy, d.learner},
		Flows:       d,
		Outbound:    balanced{&d.gateway},
		SLB:         servers{&d.gateway},
		Sessions:    d.gateway.sessions,

		Log: d.log,
	}
	if d.store != nil {
		o.SaveHolds = d.store.SaveHolds
	}
	return o
}

// Standing implements [api.Pools].
func (d *Daemon) Standing(pool string, t *status.Table) (*pick.Trace, bool) {
	return d.dns.Table().Standing(pool, t)
}

// Explain implements [api.Explainer].
func (d *Daemon) Explain(_ context.Context, q api.ExplainQuery) (any, error) {
	e, err := d.running.Load().Explain(d.board.Table(), d.board.Gauges(), Query(q))
	if err != nil { // it can only be the question
		return nil, api.Errorf(api.Invalid, "%v", err)
	}
	return e, nil
}

func (d *Daemon) zones() iter.Seq[api.Zone] {
	table := d.dns.Table()
	return func(yield func(api.Zone) bool) {
		for s := range table.States() {
			if !yield(zoneOf(&s)) {
				return
			}
		}
	}
}

func zoneOf(s *dnsserver.ZoneState) api.Zone {
	z := api.Zone{Name: s.Name, View: s.View, File: s.File, Origin: s.Origin, Serial: s.Serial, Records: s.Records, State: api.ZoneOK, Error: s.Error, Loaded: s.Loaded}
	switch {
	case s.Stale:
		z.State = api.ZoneLastGood
	case s.Error != "" && !s.Twice:
		z.State = api.ZoneFailed
	}
	return z
}

// NotReady names what cannot do its work: pools that wait for a first result,
// zones without a good version, balancing that the kernel was not told of.
func (d *Daemon) NotReady() []api.NotReady {
	var parts []api.NotReady
	for _, pool := range d.dns.Table().Waiting(d.board.Table()) {
		parts = append(parts, api.NotReady{Part: "pool/" + pool, Why: "a first probe result is still to come"})
	}
	pools := len(parts)
	for s := range d.dns.Table().States() { // there may be very many: whoever asks often must not make us sort them
		if s.Missing {
			z := api.Zone{Name: s.Name, View: s.View}
			parts = append(parts, api.NotReady{Part: "zone/" + z.Label(), Why: s.Error})
		}
	}
	slices.SortFunc(parts[pools:], func(a, b api.NotReady) int { return cmp.Compare(a.Part, b.Part) })
	return append(append(parts, d.notBalancing()...), d.notServing()...)
}

func (d *Daemon) stats() api.DNSStats {
	st := d.dns.Stats()
	out := api.DNSStats{Replies: st.Responses, Dropped: st.Dropped, RRL: st.RRL, Panics: st.Panics, Total: st.Total, Cookies: api.CookieStats(st.Cookies), TCP: api.TCPStats(st.Conns), Limits: map[string]api.LimitCount{}}
	for name, l := range st.Limits {
		out.Limits[name] = api.LimitCount(l)
	}
	for _, b := range st.Durations {
		out.Durations = append(out.Durations, api.DurationCount{Below: b.Below, N: b.Count})
	}
	for _, r := range st.Requests {
		out.Requests = append(out.Requests, api.RequestCount{Proto: r.Proto, Family: r.Family, Type: r.Type, N: r.Count})
	}
	for zone, rcodes := range st.Zones {
		for rcode, n := range rcodes {
			out.Responses = append(out.Responses, api.ResponseCount{Zone: zone, Rcode: rcode, N: n})
		}
	}
	for zone, rcodes := range st.Views {
		for rcode, n := range rcodes {
			out.Responses = append(out.Responses, api.ResponseCount{Zone: zone.Zone, View: zone.View, Rcode: rcode, N: n})
		}
	}
	return out
}
