package link

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// Kernel is what links need to know of this machine; a [kernel.Reader] tells it.
type Kernel interface {
	Interfaces() ([]kernel.Interface, error)
	Counters(into map[int]kernel.Counter) error
	Watch(ctx context.Context, changed func()) error
}

// Options of a Links.
type Options struct {
	Kernel Kernel // nil: nothing is known of interfaces

	// DeadTime gives how long caches may go on sending clients over a link: the
	// largest TTL of the names that answer with it. For links with busy.shed:
	// hash-slices. Nil: 0.
	DeadTime func(link string) time.Duration

	// Moved is called from Run whenever what [Links.Way] tells has changed, and
	// not from within a call of ours. Nil: nobody cares.
	Moved func()

	// Mark gives the packet mark of a link that has none in the configuration;
	// 0: none. Nil: none has.
	Mark func(link string) uint32

	// Sources takes the place of the sources of the meters that it names: for
	// tests, which need no router.
	Sources map[string]func(*config.Link) Source

	Log *slog.Logger // default slog.Default
}

// Links is the links of a configuration at run time. Its methods may be called
// from any goroutine.
type Links struct {
	board *status.Board
	opts  Options

	looking sync.Mutex // one look at the interfaces at a time, so that an older one never wins; taken before mu
	look    chan struct{}

	seen atomic.Pointer[view] // what Way, Owner and Own read

	mu     sync.Mutex
	links  []*link // in the order of the configuration
	byName map[string]*link
	launch func(*link) // starts a link's source; nil unless Run is running
	rows   map[status.ID]bool

	counters map[int]kernel.Counter     // of the last tick; Run's alone
	gauges   map[status.ID]status.Gauge // to be written; kept for its memory
	failing  map[string]string          // what cannot be read now, and why: told once
}

// link is one link at run time. It is guarded by Links.mu.
type link struct {
	spec config.Link // its Pos is zero: moving a line changes no link
	id   status.ID

	meter  meter
	source Source             // nil: the meter needs none
	stop   context.CancelFunc // ends the source; nil: it does not run
	failed string             // the error with which the source failed last; "": it did not
	rates  busy.Rates         // of the last tick

	judge

	nic    kernel.Interface // as it was seen last; Index 0: never
	gone   string           // why there is no such interface; "": there is
	moving                  // the next hop
}

// New gives links that write what they find to board. They do nothing until
// [Links.Want] and [Links.Run].
func New(board *status.Board, opts Options) *Links {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	l := &Links{
		board: board, opts: opts, look: make(chan struct{}, 1),
		byName: map[string]*link{}, rows: map[status.ID]bool{},
		counters: map[int]kernel.Counter{}, gauges: map[status.ID]status.Gauge{}, failing: map[string]string{},
	}
	l.seen.Store(&view{})
	return l
}

// Want says which links there are from now on. When it returns, the board has
// the rows of their interfaces, and [Links.Way] tells their next hops.
//
// An unchanged link keeps all that is known of it (T60). One that changed keeps
// its rates unless it is metered otherwise now, the next hop that was learnt
// unless it has another interface, and whether it is busy until it is measured
// by its new bounds.
func (l *Links) Want(specs []*config.Link) {
	l.mu.Lock()
	old := l.byName
	l.links, l.byName = make([]*link, 0, len(specs)), make(map[string]*link, len(specs))
	for _, spec := range specs {
		k := l.newLink(spec)
		if prev := old[spec.Name]; prev != nil {
			k.succeed(prev)
			delete(old, spec.Name)
		}
		if k.stop == nil {
			delete(l.failing, meterOf(k)) // that was another meter, or none
		}
		l.links, l.byName[spec.Name] = append(l.links, k), k
		if l.launch != nil && k.stop == nil {
			l.launch(k)
		}
	}
	gone := make([]status.ID, 0, len(old))
	for _, k := range old {
		k.end()
		delete(l.failing, meterOf(k))
		gone = append(gone, k.id)
	}
	if len(gone) > 0 {
		l.board.Unmark("config", gone...)
		l.board.Unmeasure(gone...)
	}
	l.mu.Unlock()
	l.lookNow()
}

func (l *Links) newLink(spec *config.Link) *link {
	k := &link{spec: *spec, id: status.MakeID(status.KindLink, spec.Name), rates: unknown()}
	k.spec.Pos = config.Pos{}
	k.judge = judge{rule: ruleOf(spec), spec: &k.spec}
	k.meter = meter{window: time.Duration(spec.Busy.Window), capacity: capacityOf(spec)}
	newSource := sources[spec.Meter.From]
	if other := l.opts.Sources[spec.Meter.From]; other != nil {
		newSource = other
	}
	if newSource != nil {
		k.source = newSource(&k.spec)
	}
	return k
}

// succeed takes over what is still true of the link that this one was.
func (k *link) succeed(old *link) {
	if k.spec.Interface == old.spec.Interface {
		k.nic, k.gone, k.moving = old.nic, old.gone, old.moving
	}
	k.judge.succeed(&old.judge)
	if k.spec.Interface != old.spec.Interface || !reflect.DeepEqual(k.spec.Meter, old.spec.Meter) {
		old.end()
		return
	}
	window, capacity := k.meter.window, k.meter.capacity
	k.meter = old.meter
	k.meter.window, k.meter.capacity = window, capacity
	k.rates, k.failed = old.rates, old.failed
	k.source, k.stop = old.source, old.stop
}

// end ends the link's source.
func (k *link) end() {
	if k.stop != nil {
		k.stop()
	}
}

// capacityOf is the most that a link carries in either direction by its
// configuration: twice what is given there, which may be an expectation; 0: it
// does not say.
func capacityOf(spec *config.Link) float64 {
	most := config.Bandwidth(0)
	for _, b := range []config.Bandwidths{spec.MaxBandwidth, spec.RateLimit} {
		most = max(most, b.Total, b.In, b.Out)
	}
	return 2 * float64(most)
}

// Why a pushed value is refused.
var (
	ErrNoLink    = errors.New("there is no link")
	ErrNotPushed = errors.New("is not metered by pushed values (meter: push)")
)
