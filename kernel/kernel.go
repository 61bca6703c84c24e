package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/portolan-lb/portolan/status"
)

// Options are what a [Kernel] needs to know. All of them may be left out.
type Options struct {
	Log *slog.Logger // default slog.Default

	// Report is told the row kernel/OWNER of each owner when it changes, first
	// when everything stands or something cannot, and which rows have gone: [status.Board.Replace] fits. It may be called from
	// any goroutine and must not call the Kernel.
	Report func(rows []status.Row, gone []status.ID)

	// Repaired is told when what others changed of an owner's was put
	// back, or what Linux dropped itself as with an interface that was switched off.
	Repaired func(owner, what string)

	// Part, for tests, is from how many octets of elements on a change of a table
	// goes in several transactions; 0: as many as is good.
	Part int

	// Fail, for tests, is asked before each transaction of nftables with a line
	// for each of its messages; an error makes the transaction fail so.
	Fail func(messages []string) error
}

func (o *Options) repaired(owner, what string) {
	if o.Repaired != nil {
		o.Repaired(owner, what)
	}
}

// Kernel makes Linux be as its owners wish, and keeps it so. Its methods may be
// called from any goroutine.
type Kernel struct {
	opts  Options
	parts []part

	*nft
	asker *asker

	mu       sync.Mutex
	problems map[string]map[string][]string // by owner who wishes something, and part
}

// part keeps one kind of wishes: tables of nftables, or routes and their kin.
type part interface {
	name() string
	want(owner string, w *Wishes)                 // returns at once; w is never nil, but may be empty
	sync(ctx context.Context, owner string) error // waits until what was wanted before stands
	run(ctx context.Context) error                // reconciles until ctx ends; nil then
	close()
}

// New opens what is needed to change the network of the calling thread's
// namespace, whichever thread uses it afterwards. Nothing is changed before
// [Kernel.Run]. The caller closes the Kernel after Run has returned.
func New(opts Options) (*Kernel, error) {
	if opts.Log == nil {
		opts.Log = slog.Default()
	}
	k := &Kernel{opts: opts, problems: map[string]map[string][]string{}}
	var err error
	if k.nft, err = newNFT(opts, k.tell); err != nil {
		return nil, fmt.Errorf("nftables: %w", err)
	}
	if k.asker, err = openAsker(); err != nil {
		k.nft.close()
		return nil, fmt.Errorf("socket for questions: %w", err)
	}
	routing, err := newRouting(opts, k.tell)
	if err != nil {
		k.nft.close()
		k.asker.close()
		return nil, fmt.Errorf("routing: %w", err)
	}
	k.parts = append(k.parts, k.nft, routing)
	return k, nil
}

// Close ends a Kernel. Linux stays as it is.
func (k *Kernel) Close() {
	for _, p := range k.parts {
		p.close()
	}
	k.asker.close()
}

// Want says what an owner wishes from now on, in place of what he wished
// before; nil: nothing any more, and what he had is removed. It returns at
// once. Names of tables are unique over all owners.
func (k *Kernel) Want(owner string, w *Wishes) {
	if w == nil {
		w = &Wishes{}
		k.forget(owner)
	} else {
		k.expect(owner)
	}
	for _, p := range k.parts {
		p.want(owner, w)
	}
}

// ErrUnwritten is of what [Kernel.Sync] says if there are elements of tables that were
// changed and are not in Linux. What else it says does not concern them.
var ErrUnwritten = errors.New("changed elements are not written")

// Sync waits until everything that an owner wanted and changed before stands
// in Linux, or says what does not. It needs Run.
func (k *Kernel) Sync(ctx context.Context, owner string) error {
	var all []error
	for _, p := range k.parts {
		all = append(all, p.sync(ctx, owner))
	}
	return errors.Join(all...)
}

// Run reconciles, watches what others change, and repairs it, until ctx ends.
// It leaves everything standing.
func (k *Kernel) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range k.parts {
		g.Go(func() error { return p.run(ctx) })
	}
	return g.Wait()
}

// expect notes that an owner wishes something.
func (k *Kernel) expect(owner string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.problems[owner] == nil {
		k.problems[owner] = map[string][]string{}
	}
}

// tell notes what of an owner's wishes a part cannot make so, one sentence
// each; none: all of its stands. The row is there once all parts have said so, or
// one that it cannot.
func (k *Kernel) tell(p part, owner string, problems []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	of := k.problems[owner]
	old, known := of[p.name()]
	if of == nil || known && slices.Equal(old, problems) {
		return
	}
	of[p.name()] = problems
	if len(problems) == 0 && len(of) < len(k.parts) {
		return // the others have not said yet
	}
	row := status.Row{ID: status.MakeID(status.KindKernel, owner), Health: status.Up, Why: "Linux is as wished", By: "kernel"}
	var all []string
	for _, p := range k.parts {
		all = append(all, of[p.name()]...)
	}
	if len(all) > 0 {
		row.Health, row.Why = status.Down, strings.Join(all, "; ")
	}
	if len(problems) > 0 {
		k.opts.Log.Warn("Linux is not as wished", "owner", owner, "part", p.name(), "problems", strings.Join(problems, "; "))
	}
	if k.opts.Report != nil {
		k.opts.Report([]status.Row{row}, nil)
	}
}

// forget takes back the row of an owner who wishes nothing any more.
func (k *Kernel) forget(owner string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.problems[owner]; !known {
		return
	}
	delete(k.problems, owner)
	if k.opts.Report != nil {
		k.opts.Report(nil, []status.ID{status.MakeID(status.KindKernel, owner)})
	}
}
