package api

import (
	"context"
	"iter"
	"log/slog"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/link"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// Options are what a [Server] shows and changes. All are required but those
// that say otherwise. Their methods are called from many goroutines.
type Options struct {
	Board *status.Board

	Model   func() *config.Model // what runs now
	Config  func() ConfigState
	Zones   func() iter.Seq[Zone] // at one moment, in no order, without Names; there may be very many
	Stats   func() DNSStats       // the engine's counters
	Ready   func() []NotReady
	Pools   Pools
	Probes  Probes
	Links   func() []link.State // in the order of the configuration
	Reports Reporter
	Apply   Applier
	Explain Explainer

	ZoneChanger ZoneChanger
	Proximity   Proximity
	Flows       FlowExplainer // nil: this node balances no connections
	Outbound    Outbound      // nil: this node balances no connections
	SLB         SLB           // nil: this node serves no virtual servers
	DNSProxy    DNSProxy      // nil: there is none

	// Sessions gives the connections of links and of virtual servers; needed where
	// there is Outbound or SLB.
	Sessions func(ctx context.Context, q SessionQuery, yield func(Session) bool) error

	// SaveHolds keeps all holds over a restart; nil: there is no store. One
	// call at a time, each with what is in force at that moment.
	SaveHolds func(map[status.ID]status.Hold) error

	Log *slog.Logger // default slog.Default
}

// Applier changes what runs. A configuration that is wrong gives
// [config.Errors] and changes nothing.
type Applier interface {
	Apply(ctx context.Context, c Change) (Applied, error)
	Reload(ctx context.Context, by string) (Applied, error)
}

// Explainer says why a question is answered as it is. The result is marshalled
// to JSON as it stands.
type Explainer interface {
	Explain(ctx context.Context, q ExplainQuery) (any, error)
}

// Pools tells how pools stand, as the code that answers sees it.
type Pools interface {
	// Standing gives a pool's members, whether each takes part, and why not.
	// Reason is chosen, full, down or held. It is false for an unknown pool.
	Standing(pool string, t *status.Table) (*pick.Trace, bool)
}

// Probes gives the evidence. [*probe.Prober] is one.
type Probes interface {
	Checks() []probe.History
	Evidence(id status.ID) []probe.History
	Stats() probe.Stats
}
