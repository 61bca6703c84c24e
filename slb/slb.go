package slb

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Owner is who writes the rows of farms, of SNAT pools and of virtual servers
// that are served, and wishes for what Linux has for them.
const Owner = l4.Owner

// Kernel is what Linux is made by; a [kernel.Kernel] is one.
type Kernel interface {
	Want(owner string, w *kernel.Wishes)
	Changed(owner string, sets ...*kernel.Elements)
	Sync(ctx context.Context, owner string) error
	Elements(table, set string) ([]kernel.Element, error)
	Element(table, set string, key []byte) (kernel.Element, bool, error)
	Delete(table, set string, keys ...[]byte) error
	Ask(numbers ...uint32) error
	Counts(table string) (map[string]kernel.Counted, error)
}

// Sessions looks connections up and ends them; a [kernel.Conntrack] does.
type Sessions interface {
	Sessions(ctx context.Context, f kernel.SessionFilter, yield func(kernel.Session) bool) error
	Delete(s *kernel.Session) (bool, error)
	Stats() (kernel.Tracking, error)
}

// Counter counts connections by virtual server and real server; a [kernel.Live]
// of [kernel.ServerMask] does.
type Counter interface {
	Moved(f func(kernel.Served, kernel.Tally))
	Servers(f func(kernel.Served, kernel.Tally))
	Loans(f func(kernel.Lent, int))
	Await(after time.Duration)
	Run(ctx context.Context) error
	Close()
}

// Resolver finds the addresses of names; a [net.Resolver] is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Options of an SLB.
type Options struct {
	Board    *status.Board
	Kernel   Kernel
	Sessions Sessions

	Interfaces func() ([]kernel.Interface, error)
	Count      func() (Counter, error)                  // begins to count connections; called when somebody needs to know
	Latency    func(server status.ID) (seconds float64) // how soon the probes of a real server were answered last; NaN: not known. Nil: none is
	Resolver   Resolver                                 // of servers by name; nil: the machine's own
	Renamed    func()                                   // the addresses of a server by name have changed; nil: nobody cares

	Log *slog.Logger // default slog.Default
}

// SLB keeps the kernel's tables filled while a configuration is in use. Its
// methods may be called from any goroutine.
type SLB struct {
	opts Options
	kick chan struct{} // something changed: look now

	table    atomic.Pointer[status.Table] // the newest
	asked    asked
	moved    atomic.Bool // interfaces changed
	count    traffic.Counting[Counter]
	readings traffic.Readings // of alarms
	hits     traffic.Readings // of those who ask
	names    names
	ends     chan struct{} // connections are to be ended

	mu           sync.Mutex // guards the rest
	stated       bool       // the kernel has been told something, be it that nothing is wished
	plan         *l4.Plan   // nil: nothing is served
	model        *config.Model
	farms        map[string]*farm
	list         []*farm // in the order of the configuration
	virtuals     map[string]*virtual
	byMark       map[uint32]*virtual
	fast         []*farm // that go by numbers of connections
	metered      []*farm // that go by rates, or have their servers' rates looked at
	watched      []*member
	pools        []*pool
	held         map[*virtual]bool // that an operator holds down
	due          map[*farm]bool    // that change by themselves
	rows         map[status.ID]bool
	facts        l4.Facts
	wished       *kernel.Wishes // what the kernel was told last
	again        time.Time      // when interfaces are looked at again
	turns        time.Time      // when a class begins or ends by its times; zero: never
	book         book
	endings      []*ending
	alarms       []traffic.Hit
	looks        time.Time // when they are looked at again
	refused      uint64    // connections that conntrack could not insert
	refusedKnown bool
	lentBefore   map[string]*pool // pools by name
	spells       traffic.Spells
}

// New gives an SLB that does nothing before [SLB.Use] and [SLB.Run].
func New(opts Options) *SLB {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	s := &SLB{opts: opts, kick: make(chan struct{}, 1), ends: make(chan struct{}, 1), rows: map[status.ID]bool{}}
	s.names.init(s, opts.Resolver)
	return s
}

// Use serves by a plan from now on, which was compiled from m with the numbers n.
// A nil plan: nothing is served any more, and what Linux was given is taken back.
// What farms know of servers that stay goes on (T60).
func (s *SLB) Use(p *l4.Plan, m *config.Model, n l4.Numbers) {
	left := s.left(p, m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p == nil && s.plan == nil && s.stated {
		return
	}
	before, virtuals, first := s.farms, s.virtuals, !s.stated
	s.plan, s.model, s.stated = p, m, true
	s.farms, s.virtuals, s.byMark = map[string]*farm{}, map[string]*virtual{}, map[uint32]*virtual{}
	s.list, s.fast, s.metered, s.watched, s.pools, s.due = nil, nil, nil, nil, nil, map[*farm]bool{}
	s.held = map[*virtual]bool{}
	if p == nil {
		s.asked.want(nil, nil, s.newest)
		s.count.Want(false)
		s.names.want(nil)
		s.book, s.alarms, s.endings = book{}, nil, nil
		s.readings.Forget(nil)
		s.hits.Forget(nil)
		s.replaceRows(nil)
		s.unmeter(before)
		s.opts.Kernel.Want(Owner, nil)
		return
	}
	s.gather(n, before, virtuals)
	if first {
		s.mourn()
	}
	s.unmeter(before)
	for name, slots := range left {
		if f := s.farms[name]; f != nil {
			f.state.Slots = slots
		}
	}
	s.start()
}

// left gives the slots that a run before us left in Linux, when the first plan is
// to be used: a table that is as it should be stays as it is, slot by slot. To
// read a large one would cost more than to write what differs.
func (s *SLB) left(p *l4.Plan, m *config.Model) map[string]slots.Slots {
	const most = 65536
	s.mu.Lock()
	stated := s.stated
	s.mu.Unlock()
	if stated || p == nil {
		return nil
	}
	sum := 0
	for _, f := range m.ServerFarms {
		sum += f.Slots
	}
	if sum > most {
		return nil
	}
	var list []kernel.Element
	for table, sets := range p.SlotSets() {
		for _, set := range sets {
			more, err := s.opts.Kernel.Elements(table, set)
			if err != nil {
				continue // there is none, or it is told when it is to be changed
			}
			list = append(list, more...)
		}
	}
	return p.SlotsIn(list)
}

// start has what was gathered take effect.
func (s *SLB) start() {
	now := time.Now()
	s.asked.want(s.farms, s.virtuals, s.newest)
	s.count.Want(s.counts())
	s.index()
	s.names.want(s.farms)
	hits := s.plan.Hits()
	s.alarms = alarmsOf(hits)
	s.readings.Forget(s.alarms)
	s.hits.Forget(hits)
	s.look(now)
	s.replaceRows(s.outRows())
	s.recount(now)
	s.tick(now, slices.Clone(s.list), true)
	s.wish(now)
	s.poke() // the rest of what follows
}

// replaceRows writes all rows of ours, and removes those that are no more.
func (s *SLB) replaceRows(rows []status.Row) {
	gone := s.rows
	s.rows = make(map[status.ID]bool, len(rows))
	keep := func(id status.ID) {
		s.rows[id] = true
		delete(gone, id)
	}
	for i := range rows {
		keep(rows[i].ID)
	}
	for _, f := range s.farms {
		keep(f.row)
	}
	for _, v := range s.virtuals {
		keep(v.row)
	}
	for _, p := range s.pools {
		keep(p.row)
	}
	list := make([]status.ID, 0, len(gone))
	is := s.opts.Board.Table()
	for id := range gone {
		if r, there := is.Lookup(id); there && r.By == Owner { // a virtual server that others serve now is another's
			list = append(list, id)
		}
	}
	if len(list) > 0 {
		s.opts.Board.Unmark(Owner, list...)
		s.opts.Board.Unmeasure(list...)
	}
	s.opts.Board.Replace(rows, list)
}

// lookEvery is how often interfaces are looked at though nobody said that they
// moved.
const lookEvery = 30 * time.Second

// look reads what interfaces there are, and says whether that is news.
func (s *SLB) look(now time.Time) (news bool) {
	s.again = now.Add(lookEvery)
	list, err := s.opts.Interfaces()
	if err != nil { // what was known stands
		s.opts.Log.Warn("interfaces cannot be read", "err", err)
		return false
	}
	news = !reflect.DeepEqual(list, s.facts.Interfaces)
	s.facts.Interfaces = list
	return news
}

// wish says what Linux is to be like.
func (s *SLB) wish(now time.Time) {
	s.facts.Now, s.facts.Shut = now, len(s.held) > 0
	s.turns = s.plan.Next(now)
	s.wished = s.plan.Wishes(s.facts)
	s.opts.Kernel.Want(Owner, s.wished)
}

// Moved says that interfaces or addresses may have changed.
func (s *SLB) Moved() {
	s.moved.Store(true)
	s.poke()
}

func (s *SLB) poke() { poke(s.kick) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // it is due already
	}
}

// Prepare is for [status.Board.Prepare]: a change of a row that farms or virtual
// servers look at is answered at once, by a turn of those alone.
func (s *SLB) Prepare(next *status.Table, changed []status.ID) {
	s.table.Store(next)
	if s.asked.note(next, changed) {
		s.poke()
	}
}

// newest gives the rows as they stand: the board's, or those that are being
// published.
func (s *SLB) newest() *status.Table {
	rows := s.opts.Board.Table()
	if next := s.table.Load(); next != nil && next.Generation() > rows.Generation() {
		return next
	}
	return rows
}

// How often what goes by numbers of connections is looked at (outbound.md 2.4
// measured what that is worth), and what goes by rates.
const (
	tickNear  = 10 * time.Millisecond // while a virtual server has more than half of a limit that the kernel does not count
	tickFast  = 200 * time.Millisecond
	tickEvery = time.Second
)

// Run serves until ctx ends. What Linux was given stays: forwarding goes on.
func (s *SLB) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer s.count.End()
	defer running.Wait()
	running.Go(func() { s.names.run(ctx) })
	running.Go(func() { s.readAll(ctx) })
	running.Go(func() { s.endAll(ctx) })
	running.Go(func() { l4.Rooms().Run(ctx, s.opts.Kernel, l4.Table, s.roomed, s.opts.Log) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-timer.C:
		}
		s.count.Run(ctx, s.opts.Count, s.opts.Log)
		timer.Reset(s.turn(time.Now()))
	}
}

// roomed says whether the kernel counts connections of some real server.
func (s *SLB) roomed() bool {
	p := s.Plan()
	return p != nil && p.Roomed()
}

// turn looks at what is due, and says when the next turn is.
func (s *SLB) turn(now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.plan == nil {
		return lookEvery
	}
	farms := s.asked.farms(s.farms)
	touched := s.recount(now)
	for f := range s.due {
		if !now.Before(f.last.Next) {
			farms[f] = true
		}
	}
	for f := range touched {
		farms[f] = true
	}
	list := make([]*farm, 0, len(farms))
	for f := range farms {
		list = append(list, f)
	}
	s.tick(now, list, false)
	restate := !s.turns.IsZero() && !now.Before(s.turns)
	if s.moved.Swap(false) || !now.Before(s.again) {
		restate = s.look(now) || restate
	}
	if restate || s.facts.Shut != (len(s.held) > 0) {
		s.wish(now)
	}
	return s.next(now)
}

// next says when something is due by itself.
func (s *SLB) next(now time.Time) time.Duration {
	at := s.again
	if !s.turns.IsZero() && s.turns.Before(at) {
		at = s.turns
	}
	for f := range s.due {
		if f.last.Next.Before(at) {
			at = f.last.Next
		}
	}
	wait := at.Sub(now)
	if s.count.Wanted() {
		wait = min(wait, tickEvery)
		if len(s.fast) > 0 || s.bounded() {
			wait = min(wait, tickFast)
		}
		if len(s.book.near) > 0 {
			wait = min(wait, tickNear)
		}
	}
	return max(wait, time.Millisecond)
}

// Plan gives the plan in use; nil: nothing is served.
func (s *SLB) Plan() *l4.Plan {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plan
}
