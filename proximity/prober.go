package proximity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// Why a want is refused, and why a link is not measured.
var (
	ErrOff      = errors.New("nothing is measured: proximity is off or has no methods")
	ErrExcluded = errors.New("nothing is ever sent to this address")
	ErrAsked    = errors.New("it is being measured")
	ErrTooSoon  = errors.New("it was measured just now")
	ErrFull     = errors.New("too many networks wait to be measured")
	ErrWaited   = errors.New("it waited too long to be measured")

	ErrNotOurs = errors.New("this node does not own the link")
	ErrDown    = errors.New("the link is down or held")
	ErrBusy    = errors.New("the link is busy")
	ErrFamily  = errors.New("the link has no source address of that family")
	ErrOwn     = errors.New("the address is one of this machine")
	ErrVoid    = errors.New("this machine lacks what it takes to measure")
)

// Want is a network to be measured.
type Want struct {
	Prefix netip.Prefix // the client network; each is measured once at a time
	Target netip.Addr   // a host in it: the client that asked, or the first one
	Links  []string     // by which links
	Known  bool         // its distance was known already, or its client has proved its address: see Ask
	Tag    uint64       // comes back in each Result; of no meaning here
}

// Result is what came out of measuring one network by one link.
type Result struct {
	Prefix netip.Prefix
	Link   string
	Sample Sample // if Err is nil
	Err    error  // why there is none: one of those above, or what the methods said
	Tag    uint64
}

// Options of a Prober.
type Options struct {
	Board *status.Board // where links' rows stand

	// Pin gives what ties sockets to a link, and whether this node owns it.
	Pin func(link string) (probe.Pin, bool)

	// Own says whether an address is one of this machine. Nil: none is.
	Own func(netip.Addr) bool

	// Deliver is given each result, from several goroutines at once. It must
	// be quick.
	Deliver func(Result)

	// MaxOut bounds the links of networks that are measured at once, in each of
	// the two lanes; each holds two descriptors at most. The default is 128, or
	// a 64th of the limit of open files if that is less.
	MaxOut int

	// Methods takes the place of the functions of the methods that it names:
	// for tests.
	Methods map[string]Method

	Log *slog.Logger // default slog.Default
}

// Bounds of what a prober does at once, and how long it waits.
const (
	maxRounds      = 128                   // networks of a lane that are out
	maxOut         = 128                   // links of those, where there are descriptors enough
	wait           = time.Second           // for the answer to a packet
	filesPerMethod = 2                     // tcp: its socket, and the raw one beside it
	maxRound       = 30 * time.Second      // for a link of a network, its budget included
	stagger        = 20 * time.Millisecond // between the links of a network
)

// newShare is how much of the budget new networks may take.
const newShare = 0.5

// Prober measures distances within a budget: see [Prober.Ask]. Its methods may
// be called from any goroutine.
type Prober struct {
	opts   Options
	conf   atomic.Pointer[config.Proximity] // nil: nothing is measured
	bucket bucket                           // of all packets
	lanes  [2]lane
	stats  counters

	mu    sync.Mutex // guards queue
	queue queue
}

// lane is what known and new networks each have to themselves, so that neither
// can take it from the other.
type lane struct {
	bucket bucket        // its share of the packets
	slots  chan struct{} // one for each network that is out
	out    chan struct{} // one for each of their links that is being measured
	wake   chan struct{} // holds a value when the queue may have something
}

// NewProber gives a prober that does nothing until [Prober.Use] and
// [Prober.Run].
func NewProber(opts Options) *Prober {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	if opts.MaxOut <= 0 {
		opts.MaxOut = fileShare()
	}
	p := &Prober{opts: opts, stats: newCounters(), queue: newQueue()}
	for i := range p.lanes {
		p.lanes[i].slots = make(chan struct{}, maxRounds)
		p.lanes[i].out = make(chan struct{}, opts.MaxOut)
		p.lanes[i].wake = make(chan struct{}, 1)
	}
	return p
}

// fileShare is how many links may be measured at once: the descriptors of both
// lanes are a 16th of those that the process may open.
func fileShare() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		l.Cur = 1024 // what Linux gives by default
	}
	return max(int(min(l.Cur/64, maxOut)), 1)
}

// Files gives how many descriptors the prober holds at most.
func (p *Prober) Files() int { return len(p.lanes) * p.opts.MaxOut * filesPerMethod }

// Use has the prober go by another configuration from now on; it is not changed
// afterwards. Nil, or one that measures nothing, stops it: what waits is dropped
// (FAQ 1.2.23). Networks that are out are measured to their end.
func (p *Prober) Use(c *config.Proximity) {
	if c != nil && !c.Measures() {
		c = nil
	}
	if c != nil {
		rate, now := float64(c.ProbesPerSecond), time.Now()
		p.bucket.setRate(rate, now)
		p.lanes[knownLane].bucket.setRate(rate, now)
		p.lanes[newLane].bucket.setRate(rate*newShare, now)
	}
	if p.conf.Store(c); c != nil {
		return
	}
	p.mu.Lock()
	dropped := p.queue.clear()
	p.mu.Unlock()
	p.refuse(dropped, ErrOff)
}

// Ask wants the distance of a network. It never waits and costs little, so that
// it may be called for each query; what comes of it is delivered later, one
// Result a link, unless Run ends before. An error says why nothing will be done.
//
// However much is asked for, no more packets are sent than probesPerSecond, none
// to a network that was measured less than perTarget ago, and none ever to
// networks of exclude, to this machine, or to multicast, link-local and reserved
// addresses (T14).
//
// Networks that are not Known, which anybody can make up by forging sources,
// have a lane of their own: a line, places to run in, and half of the budget at
// most. However many they are, the known ones have the other half to themselves.
func (p *Prober) Ask(w Want) error {
	err := p.ask(w)
	if err != nil {
		p.stats.refused(err)
	}
	return err
}

func (p *Prober) ask(w Want) error {
	c := p.conf.Load()
	switch {
	case c == nil:
		return ErrOff
	case !mayAsk(w.Target, c.Exclude):
		return ErrExcluded
	}
	p.mu.Lock()
	err := p.queue.push(w, time.Now())
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case p.lanes[laneOf(w)].wake <- struct{}{}:
	default: // Run knows already
	}
	return nil
}

// Forget lets networks inside a prefix, or all with the zero Prefix, be measured
// again before perTarget is over: an operator wants it so. The budget holds.
func (p *Prober) Forget(prefix netip.Prefix) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.recent.forget(prefix)
}

// refuse gives up on wants that were accepted.
func (p *Prober) refuse(wants []Want, err error) {
	for _, w := range wants {
		p.stats.refused(err)
		for _, link := range w.Links {
			p.opts.Deliver(Result{Prefix: w.Prefix, Link: link, Err: err, Tag: w.Tag})
		}
	}
}

// Run measures until ctx ends. When it returns, nothing of it runs any more.
func (p *Prober) Run(ctx context.Context) error {
	var lanes sync.WaitGroup
	for i := range p.lanes {
		lanes.Go(func() { p.runLane(ctx, i) })
	}
	lanes.Wait()
	return nil
}

func (p *Prober) runLane(ctx context.Context, i int) {
	l := &p.lanes[i]
	var rounds sync.WaitGroup
	defer rounds.Wait()
	for {
		select {
		case l.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		w, ok := p.next(ctx, i)
		if !ok {
			return
		}
		l.bucket.claim(len(w.Links))
		rounds.Go(func() {
			p.round(ctx, l, w)
			<-l.slots
		})
	}
}

// next waits for room in the budget and for a want. It reports false when ctx
// has ended.
func (p *Prober) next(ctx context.Context, lane int) (Want, bool) {
	l := &p.lanes[lane]
	for {
		if p.conf.Load() != nil && (l.bucket.idle(ctx) != nil || p.bucket.idle(ctx) != nil) {
			return Want{}, false
		}
		if w, ok := p.pop(lane); ok {
			return w, true
		}
		select {
		case <-l.wake:
		case <-ctx.Done():
			return Want{}, false
		}
	}
}

func (p *Prober) pop(lane int) (Want, bool) {
	c := p.conf.Load()
	if c == nil {
		return Want{}, false // Use has dropped what waited, or is about to
	}
	p.mu.Lock()
	w, stale, ok := p.queue.pop(lane, time.Now(), time.Duration(c.PerTarget))
	p.mu.Unlock()
	p.refuse(stale, ErrWaited)
	return w, ok
}

// round measures one network by each of its links, one after the other begun.
func (p *Prober) round(ctx context.Context, l *lane, w Want) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.queue.done(w.Prefix)
	}()
	ctx, cancel := context.WithTimeout(ctx, maxRound)
	defer cancel()
	var links sync.WaitGroup
	defer links.Wait()
	for i, link := range w.Links {
		links.Go(func() {
			claim := sync.OnceFunc(func() { l.bucket.claim(-1) })
			defer claim()
			if pause(ctx, time.Duration(i)*stagger) != nil {
				return
			}
			select {
			case l.out <- struct{}{}:
				p.measure(ctx, w, link, func(ctx context.Context, n int) error { claim(); return p.spend(ctx, l, n) })
				<-l.out
			case <-ctx.Done():
			}
		})
	}
}

// spend returns when n packets more may be sent.
func (p *Prober) spend(ctx context.Context, l *lane, n int) error {
	if err := l.bucket.spend(ctx, n); err != nil {
		return err
	}
	return p.bucket.spend(ctx, n)
}

// measure tries the methods in order until one yields, and delivers the result.
func (p *Prober) measure(ctx context.Context, w Want, link string, spend func(context.Context, int) error) {
	r := Result{Prefix: w.Prefix, Link: link, Tag: w.Tag, Err: ErrOff}
	c := p.conf.Load()
	if c != nil {
		for _, name := range c.Methods {
			r.Sample, r.Err = p.try(ctx, w, Path{Link: link, Prefix: w.Prefix, Port: c.Port, Wait: wait, Spend: spend}, name)
			if r.Err == nil || ctx.Err() != nil || isLinks(r.Err) {
				break
			}
		}
	}
	if r.Err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		r.Err = ErrWaited // for its turn in the budget; methods end sooner
	}
	if isLinks(r.Err) || r.Err == ErrWaited {
		p.stats.refused(r.Err)
	}
	if ctx.Err() == nil || r.Err == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		p.opts.Deliver(r)
	}
}

// isLinks says whether an error is of the link and the same for all methods.
func isLinks(err error) bool {
	for _, e := range []error{ErrNotOurs, ErrDown, ErrBusy, ErrFamily, ErrOwn} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// try measures by one method, if the link may be used at this moment.
func (p *Prober) try(ctx context.Context, w Want, path Path, name string) (s Sample, err error) {
	path.Pin, err = p.admit(path.Link, w.Target)
	if err != nil {
		return Sample{}, err
	}
	run := methods[name]
	if f := p.opts.Methods[name]; f != nil {
		run = f
	}
	if run == nil {
		return Sample{}, fmt.Errorf("no method is called %q", name)
	}
	defer func() {
		if v := recover(); v != nil {
			p.opts.Log.Error("measuring panicked", "method", name, "panic", v, "stack", string(debug.Stack()))
			s, err = Sample{}, fmt.Errorf("method %s itself failed: panic: %v", name, v)
		}
		if ctx.Err() == nil {
			p.stats.count(name, err)
		}
	}()
	spend := path.Spend
	path.Spend = func(ctx context.Context, n int) error {
		err := spend(ctx, n)
		if err == nil {
			p.stats.sent(name, n)
		}
		return err
	}
	s, err = run(ctx, path, w.Target)
	if err != nil && probe.Ours(err) {
		err = fmt.Errorf("%w: %w", ErrVoid, err) // it says nothing of the distance
	}
	s.Link, s.Method, s.At = path.Link, name, time.Now()
	return s, err
}

// admit says whether a link may be used for measuring a target now, and how.
// Links that are busy or not usable are left alone (T13, FAQ 1.2.26); one that
// sheds some of its clients is not busy.
func (p *Prober) admit(link string, target netip.Addr) (probe.Pin, error) {
	pin, ours := p.opts.Pin(link)
	row := p.opts.Board.Table().Row(status.MakeID(status.KindLink, link))
	switch {
	case !ours:
		return pin, ErrNotOurs
	case !row.Usable():
		return pin, ErrDown
	case row.Busy:
		return pin, ErrBusy
	case !mayReach(target, pin.Source, p.opts.Own):
		return pin, ErrOwn
	}
	if pin.Source.IsValid() && pin.Source.Is4() != target.Is4() {
		if pin.Device == "" && pin.Mark == 0 {
			return pin, ErrFamily
		}
		pin.Source = netip.Addr{} // the kernel's choice, on that link
	}
	return pin, nil
}
