package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// keeper keeps one table.
type keeper struct {
	name, owner string
	foreign     []string // other owners who want it too
	want        *tableWish
	stood       *tableWish // what stood before as a whole, for when Linux refuses what is wished; nil: not known
	have        *tableHave // nil: to be read

	whole   bool                // chains, rules, sets and objects are to be compared
	pending map[string]*pending // elements to be compared
	stands  bool                // what is there is, or was, all that was wished
	doubted bool                // others have changed it since

	left     map[object]string // what the kernel refused in the last go
	refused  []string
	problems []string
	retry    time.Time // zero: as wished
	backoff  time.Duration
	read     time.Time // when it was read last
}

// How long we wait before we try again what failed, and between two readings
// of a table that others keep changing.
const (
	retryFirst = 100 * time.Millisecond
	retryMost  = 5 * time.Second
	workShare  = 10 // and not before so many times as long as it took
	readAgain  = 200 * time.Millisecond
)

func (k *keeper) wish(w *tableWish) {
	k.want, k.whole, k.pending, k.doubted = w, true, nil, false
	k.retry, k.backoff, k.foreign, k.left, k.refused = time.Time{}, 0, nil, map[object]string{}, nil
	if w == nil {
		k.stood = nil
		return
	}
	for _, set := range w.sets {
		set.Elements.take() // all are compared
	}
	k.lookAtAll()
}

// lookAtAll has everything compared again.
func (k *keeper) lookAtAll() {
	k.whole = true
	k.lookAt(k.want)
}

func (k *keeper) lookAt(w *tableWish) {
	if w != nil {
		for name := range w.sets {
			*k.look(name) = pending{all: true, keys: map[string]struct{}{}}
		}
	}
}

func (k *keeper) look(set string) *pending {
	t := k.pending[set]
	if t == nil {
		t = &pending{keys: map[string]struct{}{}}
		put(&k.pending, set, t)
	}
	return t
}

func (k *keeper) elementsChanged(e *Elements, dirty map[string]struct{}) {
	for name, set := range k.want.sets {
		if set.Elements == e {
			k.carryBack(set, dirty)
			t := k.look(name)
			for key := range dirty {
				put(&t.keys, key, struct{}{})
			}
		}
	}
}

// suspect has the table read again: now, or soon if that was done just before.
func (k *keeper) suspect(now time.Time) {
	k.have, k.doubted = nil, k.stands
	if again := k.read.Add(readAgain); now.Before(again) {
		k.retry = again
	}
}

func (k *keeper) due(now time.Time) bool {
	if !k.retry.IsZero() {
		return !now.Before(k.retry) || len(k.pending) > 0 && k.have != nil || k.whole && k.backoff == 0
	}
	return k.have == nil || k.whole || len(k.pending) > 0
}

// later has a table tried again, ever more seldom.
func (k *keeper) later(now time.Time) {
	k.backoff = max(min(max(2*k.backoff, retryFirst), retryMost), workShare*time.Since(now))
	k.retry = now.Add(k.backoff)
}

// attempt is one go at a table.
type attempt struct {
	left     map[object]string // what the kernel refused
	single   map[string]bool
	refused  []string // why the table stays as it was, but for elements
	rereads  int
	problems []string
	moved    bool // the last transaction brought us on, and there is more to do
}

// attempts is how many transactions one go may take, but for those that bring us on
// by a part of a large change.
const attempts = 100

// rereadsMost is how often we think that it was our picture that was wrong.
const rereadsMost = 2

// keep makes a table as wished. What the kernel refuses is left out if the table
// is new; if it stands, it stays as it was, but for elements that were changed
// since (refused.go): what works is not exchanged for half of another.
func (n *nft) keep(k *keeper, now time.Time) {
	k.problems = nil
	if err := checkName(k.name); err != nil {
		k.problems = []string{err.Error()}
		k.whole, k.pending, k.have = false, nil, noTable()
		return
	}
	a := &attempt{left: map[object]string{}, single: map[string]bool{}}
	if now.Before(k.retry) { // only elements have changed
		a.left, a.refused = k.left, k.refused
	} else if len(k.left)+len(k.refused) > 0 {
		k.lookAtAll()
	}
	again := true
	for i := 0; i < attempts && again; {
		a.moved = false
		if again = n.try(k, a, now); !a.moved {
			i++
		}
	}
	if again { // more is refused than we care to find out
		k.have = nil
		k.later(now)
	}
	if k.want != nil {
		k.problems = append(k.problems, k.want.problems...)
	}
	slices.Sort(k.problems)
	k.left, k.refused = a.left, a.refused
	k.problems = append(slices.Clone(a.refused), k.problems...) // the cause first
	k.problems = append(k.problems, slices.Sorted(maps.Values(a.left))...)
	k.problems = shorten(append(k.problems, a.problems...))
	if len(a.left)+len(a.refused) > 0 && (k.retry.IsZero() || !now.Before(k.retry)) {
		k.later(now)
	}
}

// shorten keeps rows readable: the first few problems, each once.
func shorten(list []string) (few []string) {
	const most = 8
	seen := map[string]bool{}
	for _, s := range list {
		if !seen[s] {
			seen[s] = true
			few = append(few, s)
		}
	}
	if len(few) > most {
		few = append(few[:most:most], fmt.Sprintf("and %d more", len(few)-most))
	}
	return few
}

// try makes one transaction and says whether to go on at once.
func (n *nft) try(k *keeper, a *attempt, now time.Time) (again bool) {
	aim := k.aim(a)
	if k.have != nil && !k.have.knows(aim) {
		k.have = nil
	}
	if k.have == nil && !n.readAll(k, a, now) {
		return false
	}
	pl := &planner{table: k.name, want: aim, have: k.have, pending: k.pending, left: a.left, single: a.single, room: n.part,
		bad:    func(problem string) { a.problems = append(a.problems, problem) },
		carry:  func(old *setHave, set *Set) []Element { return n.carry(k.name, old, set) },
		counts: func(set *Set, list []*Element) { n.counts(k.name, set, list) }}
	p := pl.makePlan(!k.whole || len(a.refused) > 0 && aim == k.want)
	ops := p.ops()
	if len(ops) == 0 {
		return n.finish(k, a, now)
	}
	bad, err := transact(n.changes, ops, n.fail)
	switch {
	case err != nil:
		return n.failedWhole(k, a, err, now)
	case len(bad) > 0:
		if a.moved, err = n.meet(k, bad); err != nil {
			return n.failedWhole(k, a, err, now)
		} else if a.moved {
			return true
		}
		return k.failedParts(a, bad)
	}
	n.generation++
	changes := k.changes(ops, aim)
	for _, f := range p.commit {
		f()
	}
	if k.doubted && k.want != nil && changes > 0 {
		n.repaired(k.owner, fmt.Sprintf("table %s, by %d changes of rules, sets and elements", k.name, changes))
		k.doubted = false
	}
	if k.have.unsure() {
		k.have = nil
		return true
	}
	if a.moved = p.cut; a.moved {
		return true
	}
	return n.finish(k, a, now)
}

// finish ends a go at a table, unless there is more in it than was wished.
func (n *nft) finish(k *keeper, a *attempt, now time.Time) (again bool) {
	more, err := n.surplus(k, k.aim(a))
	if err != nil {
		return n.failedWhole(k, a, err, now)
	}
	if more {
		return true
	}
	k.done(a)
	return false
}

// unsure says whether the handle of a rule was not told, and forgets all then.
func (h *tableHave) unsure() bool {
	for _, c := range h.chains {
		for _, r := range c.rules {
			if r.handle == 0 {
				return true
			}
		}
	}
	return false
}

// done notes that the table is as wished, as far as it can be.
func (k *keeper) done(a *attempt) {
	k.doubted = false
	switch {
	case len(a.refused) > 0:
		k.stands = true
	default:
		k.whole = false
		if k.stands = len(a.left) == 0; k.stands {
			k.stood = k.want
		}
	}
	k.pending = nil
	if len(a.refused)+len(a.left) == 0 {
		k.retry, k.backoff = time.Time{}, 0
	}
}

func (n *nft) readAll(k *keeper, a *attempt, now time.Time) bool {
	wish := cmp.Or(k.aim(a), &tableWish{})
	have, err := readTable(n.changes, k.name, wish)
	if err != nil {
		a.problems = append(a.problems, hint(err))
		k.later(now)
		return false
	}
	first := k.read.IsZero()
	k.have, k.read = have, now
	k.stands = have.there && (first || k.stands)
	switch {
	case len(a.refused) == 0:
		k.lookAtAll()
	case k.stood != nil:
		k.pending = nil
		k.lookAt(k.stood)
	}
	return true
}

// failedWhole decides what to do when a transaction was not even begun.
func (n *nft) failedWhole(k *keeper, a *attempt, err error, now time.Time) (again bool) {
	if a.rereads < rereadsMost && (errors.Is(err, errLost) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ERESTART) || errors.Is(err, unix.EINTR)) {
		a.rereads++
		k.have = nil
		return true
	}
	k.have = nil // it may have been made all the same
	a.problems = append(a.problems, "table "+k.name+": "+hint(err))
	k.later(now)
	return false
}

// hint adds what to do about an error.
func hint(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return err.Error() + ": it needs the capability CAP_NET_ADMIN"
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP):
		return err.Error() + ": is the module of the kernel there?"
	}
	return err.Error()
}

// failedParts decides what to do when the kernel refused some messages, and so
// did nothing. Only the first counts: those after it may be refused because of
// it.
func (k *keeper) failedParts(a *attempt, bad []opError) (again bool) {
	first := bad[0]
	of := first.op.of
	stale := errors.Is(first, unix.ENOENT) || errors.Is(first, unix.EEXIST) || errors.Is(first, unix.EBUSY) || errors.Is(first, unix.ENOTEMPTY)
	switch {
	case stale && a.rereads < rereadsMost:
		a.rereads++
		k.have = nil
	case of.kind == "elements":
		a.single[of.name] = true // to learn which
	case of.kind != "element" && (k.stands || k.stood != nil || of.kind == "table"):
		k.fallBack(a, problemOf(first))
		return of.kind != "table"
	default:
		a.left[of] = problemOf(first)
	}
	return true
}

// problemOf tells what the kernel refuses, in one line.
func problemOf(b opError) string {
	return strings.Join(strings.Fields(fmt.Sprintf("the kernel refuses: %s: %s", b.op.tell(), hint(b.err))), " ")
}

// carry reads what packets wrote into a set that another takes the place of.
func (n *nft) carry(table string, old *setHave, set *Set) []Element {
	if old.key != numberOf(set.Key) || old.data != numberOf(set.Data) {
		return nil
	}
	list, err := dumpElements(n.changes, table, set)
	if err != nil {
		n.log.Warn("the content of a set is lost", "set", set.Name, "error", err)
		return nil
	}
	for i := range list {
		if list[i].Timeout == 0 && old.timeout > 0 && list[i].Expires > 0 {
			list[i].Timeout = old.timeout
		}
	}
	return list
}
