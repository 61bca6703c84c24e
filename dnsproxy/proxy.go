package dnsproxy

import (
	"log/slog"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// Options is what a [Proxy] is made of.
type Options struct {
	Rows   func() *status.Table  // the states of now; called once a query
	Gauges func() *status.Gauges // the live numbers of now; may be nil

	// Way says how what goes over a link is sent: by its mark, interface and
	// source. false: the link has no way now. nil: all goes by the routing table.
	Way func(link string) (probe.Pin, bool)
	// Addresses gives the addresses of a server that has them from its link; none
	// is no address now. It must not wait. May be nil where no server is auto.
	Addresses func(server string) []netip.Addr
	// Dead says whether probes of an address of a server fail: others of the
	// server then go before it. It must not wait. May be nil.
	Dead func(server string, a netip.Addr) bool

	Log     *slog.Logger       // default: slog.Default()
	Record  func(status.Event) // is told of what operators should know; may be nil
	Sockets int                // UDP sockets a family (default: one a CPU)

	// Direct takes queries that were sent to the proxy's own port, which nobody
	// intercepted, and answers from there: for tests without rights. Otherwise
	// they are dropped, for whoever sends them is no client of this gateway.
	Direct bool
}

// Proxy is the transparent DNS proxy. Use may be called at any time from any
// goroutine; Run is called once.
type Proxy struct {
	opts     Options
	plan     atomic.Pointer[Plan]
	swapped  chan struct{} // has one when Use was called
	count    counters
	admitted admission
	flights  flights
	asker    asker
	work     sync.WaitGroup // queries being asked, and their timers
	state    atomic.Pointer[Listening]
}

// New makes a proxy that does nothing until Use and Run.
func New(o Options) *Proxy {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Sockets == 0 {
		o.Sockets = runtime.NumCPU()
	}
	if o.Rows == nil {
		empty := &status.Table{}
		o.Rows = func() *status.Table { return empty }
	}
	p := &Proxy{opts: o, swapped: make(chan struct{}, 1), flights: flights{of: map[flightKey]*flight{}}}
	p.asker = asker{wg: &sync.WaitGroup{}, stop: make(chan struct{})}
	p.plan.Store(&Plan{})
	p.state.Store(&Listening{})
	return p
}

// Use answers by another plan from the next query on. Queries that are being
// asked finish with the plan they began with. Sockets are opened anew, by Run,
// only if the port is another one.
func (p *Proxy) Use(plan *Plan) {
	plan.use(p.opts.Rows(), nil)
	p.plan.Swap(plan).hangUp(plan)
	select {
	case p.swapped <- struct{}{}:
	default: // it is about to look
	}
}

// Plan gives the plan in use.
func (p *Proxy) Plan() *Plan { return p.plan.Load() }

// Prepare makes the pools ready for a table in which some rows changed, before
// queries see it: to be given to [status.Board.Prepare].
func (p *Proxy) Prepare(next *status.Table, changed []status.ID) { p.plan.Load().use(next, changed) }

// input is what a choice rests on.
func (p *Proxy) input(client netip.Addr, draw uint64, now time.Time) pick.Input {
	in := pick.Input{Table: p.opts.Rows(), Now: now, Client: pick.Client{Addr: client.WithZone("")}, Draw: draw}
	if p.opts.Gauges != nil {
		in.Gauges = p.opts.Gauges()
	}
	return in
}

// dead is 1 of an address that does not answer probes.
func (p *Proxy) dead(s *server, a netip.AddrPort) int {
	if p.opts.Dead(s.name, a.Addr()) {
		return 1
	}
	return 0
}

// wayTo says how a server is reached now: over its link, to the n-th address
// that the link can reach.
func (p *Proxy) wayTo(s *server, n int) (way, bool) {
	var pin probe.Pin
	if s.link != "" && p.opts.Way != nil {
		var ok bool
		if pin, ok = p.opts.Way(s.link); !ok {
			return way{}, false
		}
	}
	addresses := s.addresses
	if s.auto && p.opts.Addresses != nil {
		for _, a := range p.opts.Addresses(s.name) {
			addresses = append(addresses, netip.AddrPortFrom(a, s.port))
		}
	}
	if len(addresses) > 1 && p.opts.Dead != nil {
		addresses = slices.Clone(addresses)
		slices.SortStableFunc(addresses, func(a, b netip.AddrPort) int { return p.dead(s, a) - p.dead(s, b) })
	}
	to, ok := reachable(addresses, pin, n)
	return way{pin, to}, ok
}
