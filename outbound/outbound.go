package outbound

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/proximity"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Kernel is what Linux is made by; a [kernel.Kernel] is one.
type Kernel interface {
	Want(owner string, w *kernel.Wishes)
	Changed(owner string, sets ...*kernel.Elements)
	Sync(ctx context.Context, owner string) error
	Elements(table, set string) ([]kernel.Element, error)
	Delete(table, set string, keys ...[]byte) error
	Counts(table string) (map[string]kernel.Counted, error)
	Ask(numbers ...uint32) error
}

// Sessions looks connections up, counts them and ends them; a
// [kernel.Conntrack] does.
type Sessions interface {
	Sessions(ctx context.Context, f kernel.SessionFilter, yield func(kernel.Session) bool) error
	DeleteByMark(mark, mask uint32, family uint8) error
}

// Counter counts connections by the number of their link; a [kernel.Live] of
// [kernel.LinkMask] does.
type Counter interface {
	Counts(into map[uint32]kernel.Tally) (lost uint64)
	Run(ctx context.Context) error
	Close()
}

// Options of an Outbound.
type Options struct {
	Board    *status.Board
	Kernel   Kernel
	Sessions Sessions

	Interfaces func() ([]kernel.Interface, error)
	Neighbours func() ([]kernel.Neighbour, error) // nil: none is known
	Count      func() (Counter, error)            // begins to count connections; called when somebody needs to know

	Log *slog.Logger // default slog.Default
}

// Outbound keeps the kernel's tables filled while a configuration is in use. Its
// methods may be called from any goroutine.
type Outbound struct {
	opts Options
	kick chan struct{} // something changed: tick now

	table atomic.Pointer[status.Table] // the newest
	needs atomic.Pointer[map[status.ID]bool]
	moved atomic.Bool // interfaces changed: say anew what is wished
	count traffic.Counting[Counter]

	mu     sync.Mutex // guards the rest
	stated bool       // the kernel has been told something, be it that nothing is wished
	plan   *Plan      // nil: nothing is balanced
	near   *proximity.Plan
	groups []*running
	facts  Facts
	wished *kernel.Wishes     // that the kernel was given last
	next   time.Time          // when a class begins or ends by its times
	again  time.Time          // when interfaces are looked at again
	alive  map[slots.ID]bool  // links that live in a group that ends connections
	before map[slots.ID]bool  // of them those that are only known to have been there before the start
	gone   map[slots.ID]ended // links that failed, and whose sessions are to be dealt with
	ranked ranked
	spells traffic.Spells

	hits    traffic.Readings
	watches time.Time // when it is looked again whether limits are reached
}

// running is a variant of a group at run time.
type running struct {
	*Variant
	group *slots.Group
	state slots.State
	last  slots.Result
	load  slots.Load
}

// New gives an Outbound that does nothing before [Outbound.Use] and
// [Outbound.Run].
func New(opts Options) *Outbound {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Outbound{opts: opts, kick: make(chan struct{}, 1), gone: map[slots.ID]ended{}, ranked: ranked{ranks: map[netip.Prefix]Ranks{}}}
}

// Use balances by a plan from now on; near is the proximity of the same
// configuration. A nil plan: nothing is balanced any more, and what Linux was
// given is taken back. What unchanged groups know of their links goes on (T60).
func (o *Outbound) Use(p *Plan, near *proximity.Plan) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p == nil {
		o.stop()
		return
	}
	before, first := map[string]*running{}, !o.stated
	for _, r := range o.groups {
		before[r.Name] = r
	}
	if o.plan == nil || o.plan.ranks != p.ranks { // networks are others now, and the kernel knows none of them
		o.ranked = ranked{ranks: map[netip.Prefix]Ranks{}}
	}
	o.ranked.whole, o.ranked.next = true, time.Time{}
	o.plan, o.near, o.groups, o.stated = p, near, nil, true
	needs := map[status.ID]bool{}
	for _, v := range p.Variants() {
		g, err := newGroup(v.Group, p.model.Links, p.Number)
		if err != nil { // Compile has refused it
			o.opts.Log.Error("a link group cannot be used", "group", v.Name, "err", err)
			continue
		}
		r := &running{Variant: v, group: g}
		if old := before[r.Name]; old != nil {
			r.state, r.load, r.last = old.state, old.load, old.last
			r.load.Arrivals.At = time.Time{} // what its links have carried is of other links now (T28)
		}
		for _, id := range append(g.Needs(), groupRow(v.Group)) { // its own: an operator may hold it
			needs[id] = true
		}
		o.groups = append(o.groups, r)
	}
	if first {
		o.mourn()
	}
	o.needs.Store(&needs)
	o.dropRows(before)
	o.count.Want(p.counts())
	o.facts.Unavailable, o.facts.Lapsed = map[string]bool{}, map[string]bool{}
	now := time.Now()
	o.look(now)
	o.tick(now)
	o.wish(now)
}

// stop takes everything back.
func (o *Outbound) stop() {
	if o.plan == nil && o.stated {
		return
	}
	o.stated = true // the first time there may be what a run before us left
	before := map[string]*running{}
	for _, r := range o.groups {
		before[r.Name] = r
	}
	o.plan, o.near, o.groups, o.wished = nil, nil, nil, nil
	o.alive, o.gone, o.ranked = nil, map[slots.ID]ended{}, ranked{ranks: map[netip.Prefix]Ranks{}}
	o.needs.Store(&map[status.ID]bool{})
	o.dropRows(before)
	o.count.Want(false)
	o.opts.Kernel.Want(Owner, nil)
}

// dropRows removes the rows of groups that are no more.
func (o *Outbound) dropRows(before map[string]*running) {
	rows := map[status.ID]bool{}
	for _, r := range before {
		rows[groupRow(r.Group)] = true
	}
	for _, r := range o.groups {
		delete(rows, groupRow(r.Group))
	}
	if len(rows) > 0 {
		o.opts.Board.Replace(nil, slices.Collect(maps.Keys(rows)))
	}
}

// How often interfaces and neighbours are looked at though nobody said that they
// moved: of networks behind routers of the inside, and of the Ethernet addresses of
// routers, nobody does. Those count where links share an interface.
const (
	lookEvery  = 30 * time.Second
	lookShared = 2 * time.Second
)

// look reads what interfaces and neighbours there are, and says whether that is
// news.
func (o *Outbound) look(now time.Time) (news bool) {
	o.again = now.Add(lookEvery)
	list, err := o.opts.Interfaces()
	if err != nil { // what was known stands
		o.opts.Log.Warn("interfaces cannot be read", "err", err)
		return false
	}
	news = !reflect.DeepEqual(list, o.facts.Interfaces)
	o.facts.Interfaces = list
	if o.opts.Neighbours == nil || !o.plan.shares() {
		return news
	}
	o.again = now.Add(lookShared)
	found, err := o.opts.Neighbours()
	if err != nil { // what was known stands
		o.opts.Log.Warn("neighbours cannot be read", "err", err)
		return news
	}
	near := neighboursOf(found, list)
	news = news || !slices.Equal(near, o.facts.Neighbours)
	o.facts.Neighbours = near
	return news
}

// neighboursOf gives neighbours by the names of their interfaces.
func neighboursOf(found []kernel.Neighbour, nics []kernel.Interface) (near []Neighbour) {
	for _, n := range found {
		if i := slices.IndexFunc(nics, func(nic kernel.Interface) bool { return nic.Index == n.Index }); i >= 0 {
			near = append(near, Neighbour{Interface: nics[i].Name, Addr: n.Addr, Ether: n.Ether})
		}
	}
	return near
}

// stranger says whether the Ethernet address of a router is not known that has to
// be: a link that has just been found alive tells that it is now.
func (o *Outbound) stranger() bool {
	if o.opts.Neighbours == nil || !o.plan.shares() {
		return false
	}
	return slices.ContainsFunc(o.plan.links, func(l *planLink) bool {
		return l.NextHop.IsValid() && !slices.ContainsFunc(o.facts.Neighbours, func(n Neighbour) bool {
			return n.Interface == l.Interface && n.Addr == l.NextHop
		})
	})
}

// shares says whether several links have the same interface.
func (p *Plan) shares() bool {
	seen := map[string]bool{}
	for _, l := range p.links {
		if seen[l.Interface] {
			return true
		}
		seen[l.Interface] = true
	}
	return false
}

// wish says what Linux is to be like.
func (o *Outbound) wish(now time.Time) {
	o.facts.Now = now
	o.next = o.plan.Next(now)
	o.wished = o.plan.Wishes(o.facts)
	o.opts.Kernel.Want(Owner, o.wished)
}

// Moved says that interfaces, addresses or next hops may have changed.
func (o *Outbound) Moved() {
	o.moved.Store(true)
	o.poke()
}

func (o *Outbound) poke() {
	select {
	case o.kick <- struct{}{}:
	default:
	}
}

// Prepare is for [status.Board.Prepare]: a change of a row that groups look at
// is answered at once.
func (o *Outbound) Prepare(next *status.Table, changed []status.ID) {
	o.table.Store(next)
	needs := o.needs.Load()
	if needs == nil {
		return
	}
	for _, id := range changed {
		if (*needs)[id] {
			o.poke()
			return
		}
	}
}

// How often groups are looked at: with the meters, or faster if they go by
// numbers of connections (outbound.md 2.4 measured what each is worth).
const (
	tickEvery = time.Second
	tickFast  = 200 * time.Millisecond
)

// Run ticks until ctx ends. What Linux was given stays: forwarding goes on.
func (o *Outbound) Run(ctx context.Context) error {
	defer o.count.End()
	var asking sync.WaitGroup
	defer asking.Wait()
	asking.Go(func() { rooms().Run(ctx, o.opts.Kernel, Table, o.roomed, o.opts.Log) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-o.kick:
		case <-timer.C:
		}
		o.count.Run(ctx, o.opts.Count, o.opts.Log)
		timer.Reset(o.turn(ctx))
	}
}

// roomed says whether the kernel counts connections of some link.
func (o *Outbound) roomed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.plan != nil && o.plan.roomed()
}

// turn is one tick with what follows from it, and says when the next is due.
func (o *Outbound) turn(ctx context.Context) time.Duration {
	o.mu.Lock()
	if o.plan == nil {
		o.mu.Unlock()
		return tickEvery
	}
	now := time.Now()
	restate := o.tick(now)
	if o.moved.Swap(false) || !now.Before(o.again) || o.stranger() {
		restate = o.look(now) || restate
	}
	if !o.next.IsZero() && !now.Before(o.next) {
		restate = true
	}
	if restate {
		o.wish(now)
	}
	o.nearest(now)
	o.watch(now)
	every := o.every()
	failed := o.failed(now)
	o.mu.Unlock()
	if len(failed) > 0 {
		o.settle(ctx, failed)
	}
	return every
}

func (o *Outbound) every() time.Duration {
	for _, r := range o.groups {
		if r.group.Pace() == slots.Fast {
			return tickFast
		}
	}
	if o.count.Wanted() {
		return tickFast
	}
	return tickEvery
}

// tick asks every group what it is to be, tells the kernel what changed, and
// says whether the wishes have to be made anew.
func (o *Outbound) tick(now time.Time) (restate bool) {
	in := slots.Input{Table: o.opts.Board.Table(), Gauges: o.opts.Board.Gauges(), Now: now, Every: o.every()}
	if next := o.table.Load(); next != nil && next.Generation() > in.Table.Generation() {
		in.Table = next // it is being published
	}
	tallies := o.tallies()
	var changed []*kernel.Elements
	var rows []status.Row
	for _, r := range o.groups {
		r.counted(o.groups, tallies, now)
		was := r.state
		var result slots.Result
		r.state, result = r.group.Tick(in, r.load, was)
		o.narrate(r, &result, now)
		told := result.Obey(in.Table.Row(groupRow(r.Group)).Hold)
		r.last = result
		changed = append(changed, r.Set(&told)...)
		restate = o.told(r, &result) || restate
		if r.Name == r.Group.Name || o.plan.Variant(r.Group.Name) == nil {
			rows = append(rows, rowOf(r.Group, &result))
		}
	}
	o.notice(now, in.Table)
	if dead, ok := o.dead(); ok {
		changed = append(changed, o.plan.SetDead(dead)...)
	}
	o.opts.Kernel.Changed(Owner, changed...)
	o.opts.Board.Update(rows...)
	return restate
}

// told notes of a group what wishes depend on, and says whether it changed.
func (o *Outbound) told(r *running, result *slots.Result) (changed bool) {
	changed = set(o.facts.Unavailable, r.Group.Name, !result.Up)
	if r.Strict {
		changed = set(o.facts.Lapsed, r.Name, len(result.Lapsed) > 0) || changed
	}
	return changed
}

func set(m map[string]bool, key string, to bool) (changed bool) {
	changed = m[key] != to
	if m[key] = to; !to {
		delete(m, key)
	}
	return changed
}

func rowOf(g *config.LinkGroup, r *slots.Result) status.Row {
	row := status.Row{ID: groupRow(g), Health: status.Up, Why: r.Why, By: Owner}
	if !r.Up {
		row.Health = status.Down
	}
	return row
}

// Group gives how the variants of link groups stand, in the order of the
// configuration.
func (o *Outbound) Groups() (list []GroupState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.groups {
		list = append(list, GroupState{Name: r.Name, Config: r.Group, Result: r.last})
	}
	return list
}

// GroupState is how a link group stands.
type GroupState struct {
	Name   string // with "+busy" if virtual servers have busy protection where the group has not
	Config *config.LinkGroup
	Result slots.Result
}

// Plan gives the plan in use; nil: nothing is balanced.
func (o *Outbound) Plan() *Plan {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.plan
}
