package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// nft keeps the tables of nftables. One goroutine changes them ([nft.run]);
// all others leave word in the inbox.
type nft struct {
	log      *slog.Logger
	fail     func([]string) error
	part     int
	repaired func(owner, what string)
	report   func(p part, owner string, problems []string)
	changes  *socket // transactions, and what has to be read before them
	asks     *socket // questions of others
	events   *socket // what anybody changes

	mu    sync.Mutex
	inbox inbox
	wake  chan struct{} // of one: the inbox is not empty

	// The rest is of the goroutine that runs.
	owners     map[string]bool // who wishes something
	tables     map[string]*keeper
	generation uint32    // of the rule set when we looked last
	look       time.Time // when to look whether it is another
}

// inbox is what has been said since it was looked into.
type inbox struct {
	wishes  map[string]*Wishes
	changed map[string][]*Elements
	waiters map[string][]chan error
	suspect map[string]bool // tables that others changed
	lost    bool            // notifications were lost: any table may be changed
}

// How much may wait to be read: answers to transactions, and notifications.
const (
	answersRoom = 8 << 20
	eventsRoom  = 4 << 20
	asksRoom    = 1 << 20
)

func newNFT(opts Options, report func(p part, owner string, problems []string)) (*nft, error) {
	n := &nft{log: opts.Log, fail: opts.Fail, part: opts.Part, repaired: opts.repaired, report: report, wake: make(chan struct{}, 1), owners: map[string]bool{}, tables: map[string]*keeper{}}
	for _, s := range []struct {
		to     **socket
		groups uint32
		room   int
	}{{&n.changes, 0, answersRoom}, {&n.asks, 0, asksRoom}, {&n.events, 1 << (unix.NFNLGRP_NFTABLES - 1), eventsRoom}} {
		var err error
		if *s.to, err = openSocket(unix.NETLINK_NETFILTER, s.groups, s.room); err != nil {
			n.close()
			return nil, fmt.Errorf("netlink socket: %w", err)
		}
	}
	if err := n.changes.forceSendRoom(); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *nft) name() string { return "nftables" }

func (n *nft) close() {
	for _, s := range []*socket{n.changes, n.asks, n.events} {
		if s != nil {
			s.close()
		}
	}
}

// leave puts word into the inbox.
func (n *nft) leave(f func(in *inbox)) {
	n.mu.Lock()
	f(&n.inbox)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default: // it is told already
	}
}

func put[V any](m *map[string]V, key string, v V) {
	if *m == nil {
		*m = map[string]V{}
	}
	(*m)[key] = v
}

func (n *nft) want(owner string, w *Wishes) {
	n.leave(func(in *inbox) { put(&in.wishes, owner, w) })
}

// Changed says that elements of these sets have changed. They are written
// soon; it returns at once.
func (n *nft) Changed(owner string, sets ...*Elements) {
	n.leave(func(in *inbox) { put(&in.changed, owner, append(in.changed[owner], sets...)) })
}

func (n *nft) sync(ctx context.Context, owner string) error {
	done := make(chan error, 1)
	n.leave(func(in *inbox) { put(&in.waiters, owner, append(in.waiters[owner], done)) })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("waiting for nftables: %w", ctx.Err())
	}
}

// lookAgain is how often we look whether somebody has changed something of
// which no notification came.
const lookAgain = 30 * time.Second

func (n *nft) run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return n.watch(ctx) })
	g.Go(func() error { return n.reconcile(ctx) })
	return g.Wait()
}

func (n *nft) reconcile(ctx context.Context) error {
	n.look = time.Now().Add(lookAgain)
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.wake:
		case <-timer.C:
		}
		n.pass(time.Now())
		timer.Reset(max(time.Until(n.nextTime()), 0))
	}
}

// nextTime is when there is something to do if nobody says anything.
func (n *nft) nextTime() time.Time {
	at := n.look
	for _, k := range n.tables {
		if !k.retry.IsZero() && k.retry.Before(at) {
			at = k.retry
		}
	}
	return at
}

// pass does all there is to do now.
func (n *nft) pass(now time.Time) {
	n.mu.Lock()
	in := n.inbox
	n.inbox = inbox{}
	n.mu.Unlock()
	for _, owner := range slices.Sorted(maps.Keys(in.wishes)) {
		n.take(owner, in.wishes[owner])
	}
	for owner, sets := range in.changed {
		n.takeChanged(owner, sets)
	}
	if !now.Before(n.look) {
		in.lost = n.elsewhere() || in.lost
		n.look = now.Add(lookAgain)
	}
	for name, k := range n.tables {
		if in.lost || in.suspect[name] {
			k.suspect(now)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n.tables)) {
		k := n.tables[name]
		if k.due(now) {
			n.keep(k, now)
		}
		if k.want == nil && len(k.problems) == 0 {
			delete(n.tables, name)
		}
	}
	n.tellOwners(in)
}

// take compiles what an owner wishes now.
func (n *nft) take(owner string, w *Wishes) {
	wanted := map[string]bool{}
	for i := range w.Tables {
		t := &w.Tables[i]
		id := t.ID()
		k := n.tables[id]
		if k == nil {
			k = &keeper{name: id}
			n.tables[id] = k
		}
		if k.want != nil && k.owner != owner {
			k.foreign = slices.Compact(append(k.foreign, owner))
			continue
		}
		wanted[id] = true
		k.owner = owner
		k.wish(wishOf(t))
	}
	for _, own := range n.standing(owner) {
		if !wanted[own] && n.tables[own] == nil {
			n.tables[own] = &keeper{name: own, owner: owner}
		}
	}
	for name, k := range n.tables {
		if k.owner == owner && !wanted[name] {
			k.wish(nil)
		}
	}
	n.owners[owner] = true
}

// standing gives the tables of an owner that may stand from before we started.
func (n *nft) standing(owner string) []string {
	own := []string{TableOf(owner)}
	if n.owners[owner] {
		return own
	}
	there, err := tables(n.asks)
	if err != nil {
		n.log.Warn("asking for the tables of nftables", "error", err)
	}
	for _, id := range there {
		if id != own[0] && belongs(id, owner) {
			own = append(own, id)
		}
	}
	return own
}

func (n *nft) takeChanged(owner string, sets []*Elements) {
	for _, e := range slices.Compact(sets) {
		dirty := e.take()
		if len(dirty) == 0 {
			continue
		}
		for _, k := range n.tables {
			if k.owner == owner && k.want != nil {
				k.elementsChanged(e, dirty)
			}
		}
	}
}

// elsewhere says whether somebody else changed the rule set since the last look.
func (n *nft) elsewhere() bool {
	now, err := generation(n.asks)
	if err != nil {
		n.log.Warn("asking for the generation of nftables", "error", err)
		return true
	}
	same := now == n.generation
	n.generation = now
	return !same
}

// tellOwners answers those who wait, and reports.
func (n *nft) tellOwners(in inbox) {
	problems, unwritten := map[string][]string{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(n.tables)) {
		k := n.tables[name]
		unwritten[k.owner] = unwritten[k.owner] || k.have == nil || len(k.pending) > 0
		problems[k.owner] = append(problems[k.owner], k.problems...)
		for _, other := range k.foreign {
			problems[other] = append(problems[other], fmt.Sprintf("table %s is %s's", name, k.owner))
		}
	}
	for owner := range n.owners {
		n.report(n, owner, problems[owner])
	}
	for owner, waiting := range in.waiters {
		var err error
		for _, p := range problems[owner] {
			err = errors.Join(err, errors.New(p))
		}
		if unwritten[owner] {
			err = errors.Join(ErrUnwritten, err)
		}
		for _, done := range waiting {
			done <- err
		}
	}
}

// watch notes what others change of our tables.
func (n *nft) watch(ctx context.Context) error {
	own, err := n.changes.port()
	if err != nil {
		return fmt.Errorf("nftables: %w", err)
	}
	if err := n.events.file.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("notifications of nftables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		_ = n.events.file.SetReadDeadline(time.Unix(1, 0)) // an error means that it is closed, which is as good
	})
	defer stop()
	for {
		size, from, err := receive(n.events.conn.Read, n.events.buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			n.leave(func(in *inbox) { in.lost = true })
		case err != nil:
			return fmt.Errorf("notifications of nftables: %w", err)
		case from == 0:
			for name := range changedTables(n.events.buf[:size], own) {
				n.leave(func(in *inbox) { put(&in.suspect, name, true) })
			}
		}
	}
}

// changedTables gives the IDs of tables like ours that a datagram of
// notifications says others have changed.
func changedTables(b []byte, own uint32) map[string]bool {
	names := map[string]bool{}
	for m := range messages(b) {
		kind := m.kind &^ (unix.NFNL_SUBSYS_NFTABLES << 8)
		if m.kind>>8 != unix.NFNL_SUBSYS_NFTABLES || m.port == own || kind == unix.NFT_MSG_NEWGEN || kind == unix.NFT_MSG_TRACE {
			continue
		}
		if len(m.body) < nfgenSize {
			continue
		}
		for kind, v := range attributes(m.body[nfgenSize:]) {
			if id := idOf(m.body[0], text(v)); kind == unix.NFTA_TABLE_NAME && checkName(id) == nil {
				names[id] = true
			}
			break
		}
	}
	return names
}
