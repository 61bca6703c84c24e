package probe

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Options of a Prober. The zero value is a good one.
type Options struct {
	// MaxRunning bounds the probes that run at once, counted in the
	// descriptors they hold: mostly one each, kind.go tells. The default is
	// 80 % of the limit of open files, when New is called. If it is less than
	// the plan needs at worst (Stats.Needed), Want logs a warning. A probe that
	// has to wait for its turn is counted in Stats.Waited, and logged once a
	// minute at most. Of exec no more than 256 run at once in any case.
	MaxRunning int

	// Control is called with each socket before it is bound or connected, to
	// pin it to a link (mark, device). An error makes the probe fail. It is
	// not called for exec. Nil: the routing table decides.
	Control func(c *Check, raw syscall.RawConn) error

	// ReadFile reads a probe's caFile, at each probe that needs it; default
	// os.ReadFile.
	ReadFile func(name string) ([]byte, error)

	// Kinds takes the place of the functions of the kinds it names: for
	// tests, with kinds that need no network.
	Kinds map[string]Func

	// Log, default slog.Default, is told of panics of a kind and of probes
	// that wait, or may have to.
	Log *slog.Logger
}

// Prober carries out a plan. Its methods may be called from any goroutine.
type Prober struct {
	board *status.Board
	opts  Options
	slots *slots
	wake  chan struct{} // holds a value when there may be something dirty
	stats *counters

	publishing sync.Mutex // one writer to the board at a time, in order; taken before mu

	mu       sync.Mutex
	planned  bool // a plan has been wanted
	needed   int  // slots that the plan takes at worst
	runners  map[status.ID]*runner
	verdicts []Verdict
	users    map[status.ID][]int // which verdicts rest on a check
	dirty    map[status.ID]bool  // checks whose rows are to be written
	warm     map[status.ID]Warm  // restored, until the first plan
	launch   func([]*runner)     // nil unless Run is running
}

// New gives a prober that writes its rows to board. It does nothing until
// [Prober.Want] and [Prober.Run].
func New(board *status.Board, opts Options) *Prober {
	if opts.MaxRunning <= 0 {
		opts.MaxRunning = fileShare()
	}
	if opts.ReadFile == nil {
		opts.ReadFile = os.ReadFile
	}
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	return &Prober{
		board: board, opts: opts,
		slots: newSlots(opts.MaxRunning, opts.Log),
		wake:  make(chan struct{}, 1),
		stats: newCounters(),
		dirty: map[status.ID]bool{},
	}
}

// Want says what should be probed from now on. When it returns, the board has
// the rows of the plan and no others of the plan before; probes start as soon
// as Run runs.
//
// Unchanged checks keep their health, schedule and history. A check of which
// only interval, timeout, rise or fall changed keeps health, counts and
// history. One whose definition changed otherwise keeps its health, but counts
// and history start again: it takes rise or fall results to the new definition
// to change it. Checks of the first plan are Waiting for their first result;
// those that come later are unknown and usable at once.
func (p *Prober) Want(plan Plan) {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	needed := p.slots.check(plan.Checks)
	p.mu.Lock()
	p.needed = needed
	gone := p.rowIDs()
	fresh := p.adopt(plan)
	rows := p.rows()
	for i := range rows {
		delete(gone, rows[i].ID)
	}
	clear(p.dirty)
	p.mu.Unlock()

	p.board.Replace(rows, slices.Collect(maps.Keys(gone)))

	p.mu.Lock()
	defer p.mu.Unlock()
	if p.launch != nil {
		p.launch(fresh)
	}
}

// adopt takes over a plan and stops what is no longer in it. It returns the
// runners that have to be started. The caller holds p.mu.
func (p *Prober) adopt(plan Plan) (fresh []*runner) {
	old := p.runners
	p.runners = make(map[status.ID]*runner, len(plan.Checks))
	for i := range plan.Checks {
		c := &plan.Checks[i]
		prev := old[c.ID]
		delete(old, c.ID)
		if prev != nil && prev.check.equal(c) {
			p.runners[c.ID] = prev
			continue
		}
		r := newRunner(c)
		switch w, ok := p.warm[c.ID]; {
		case prev != nil:
			r.succeed(prev)
		case ok && !p.planned:
			r.warm(w, time.Now())
		default:
			r.waiting = !p.planned
		}
		p.runners[c.ID] = r
		fresh = append(fresh, r)
	}
	for _, r := range old {
		r.stop()
	}
	p.planned, p.warm = true, nil
	p.verdicts, p.users = plan.Verdicts, indexUsers(plan.Verdicts)
	return fresh
}

func indexUsers(verdicts []Verdict) map[status.ID][]int {
	users := map[status.ID][]int{}
	for i := range verdicts {
		for _, need := range verdicts[i].Probes {
			for _, id := range need.Checks {
				if u := users[id]; len(u) == 0 || u[len(u)-1] != i {
					users[id] = append(u, i)
				}
			}
		}
	}
	return users
}

// rowIDs gives the ids of all rows that the prober owns now.
func (p *Prober) rowIDs() map[status.ID]bool {
	ids := make(map[status.ID]bool, len(p.runners)+len(p.verdicts))
	for id := range p.runners {
		ids[id] = true
	}
	for i := range p.verdicts {
		ids[p.verdicts[i].ID] = true
	}
	return ids
}

// rows gives all rows as they should be now.
func (p *Prober) rows() []status.Row {
	rows := make([]status.Row, 0, len(p.runners)+len(p.verdicts))
	for _, r := range p.runners {
		rows = append(rows, r.row())
	}
	for i := range p.verdicts {
		rows = append(rows, judge(&p.verdicts[i], p.finding))
	}
	return rows
}

// finding gives what is known from a check. The caller holds p.mu.
func (p *Prober) finding(id status.ID) finding {
	if r := p.runners[id]; r != nil {
		return r.finding()
	}
	return finding{}
}

// publishAll publishes whenever there is something to. All that changes while
// one table is being made goes into the next, so a burst of changes makes few.
func (p *Prober) publishAll(ctx context.Context) {
	for {
		select {
		case <-p.wake:
			p.publish()
		case <-ctx.Done():
			return
		}
	}
}

// publish writes the rows of all dirty checks and of the verdicts that rest on
// them in one step.
func (p *Prober) publish() {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	p.mu.Lock()
	var rows []status.Row
	touched := map[int]bool{}
	for id := range p.dirty {
		if r := p.runners[id]; r != nil {
			rows = append(rows, r.row())
		}
		for _, i := range p.users[id] {
			touched[i] = true
		}
	}
	clear(p.dirty)
	for i := range touched {
		rows = append(rows, judge(&p.verdicts[i], p.finding))
	}
	p.mu.Unlock()
	if len(rows) > 0 {
		p.board.Update(rows...)
	}
}

// Run probes until ctx ends, and returns nil when every probe has ended. It
// may be called once.
func (p *Prober) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	p.mu.Lock()
	p.launch = func(fresh []*runner) { p.start(ctx, fresh, wg.Go) }
	// In the order of names, so that the spread is the same each time.
	p.launch(slices.SortedFunc(maps.Values(p.runners), func(a, b *runner) int {
		return strings.Compare(string(a.check.ID), string(b.check.ID))
	}))
	p.mu.Unlock()
	wg.Go(func() { p.publishAll(ctx) })

	<-ctx.Done()
	p.mu.Lock()
	p.launch = nil // from here on Want starts nothing, so Wait sees all
	p.mu.Unlock()
	wg.Wait()
	p.publish() // what the last results changed
	return nil
}
