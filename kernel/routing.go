package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// routing is the part of a [Kernel] that keeps everything but nftables:
// addresses, routes, rules of policy, shapers and sysctls.
//
//	Want ──┐
//	event ─┼─→ owner by owner: dump what is ours, compare, change by element,
//	clock ─┘                   say what is not yet so
//
// The order in which it changes: addresses that are missing, routes that are missing, rules that are
// missing, rules that are over, routes that are over, addresses that are over. So
// no rule leads into a table that is not ready.
type routing struct {
	log      *slog.Logger
	tell     func(p part, owner string, problems []string)
	repaired func(owner, what string)
	made     int             // changes of addresses, routes and rules
	rt       *socket         // questions
	news     *socket         // what others change
	tc       *netlink.Handle // queues, classes, filters
	space    *space
	lost     *lost

	marking   bool                        // addresses were seen to keep whose they are
	unmarked  map[string]map[givenAt]bool // by owner: those of ours that do not
	unmarking bool                        // for tests: as a kernel that cannot

	wake   chan struct{} // there is something to do, at once
	rounds atomic.Uint64

	mu     sync.Mutex
	owners map[string]*wanted
	moved  bool          // by others: everything is compared
	took   time.Duration // the last comparison
}

// wanted is what an owner wishes, and how far it is.
type wanted struct {
	wishes   *Wishes
	asked    uint64  // counts wishes
	answered uint64  // how many of them Linux was compared with
	stands   *Wishes // those of which nothing was missing when it was compared last; nil: something was
	problems []string
	done     chan struct{} // closed and made anew when answered rises

	// Of run alone.
	due   time.Time
	pause time.Duration
}

const (
	routingEvery  = 30 * time.Second      // a full compare, should an event have been lost
	routingSettle = 50 * time.Millisecond // events come in bursts
	routingShare  = 3                     // of the time at most a quarter is spent on what others do, but for
	routingLatest = 1500 * time.Millisecond
	retrySoonest  = 250 * time.Millisecond // doubles up to
	retryLatest   = 5 * time.Second
	routingBuffer = 4 << 20
	routingMost   = 5 // tries of a dump that changes while it is made
)

// routingGroups are the events that may be of what is ours.
const routingGroups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_TC-1) |
	1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1) |
	1<<(unix.RTNLGRP_IPV4_ROUTE-1) | 1<<(unix.RTNLGRP_IPV6_ROUTE-1) |
	1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)

func newRouting(opts Options, tell func(p part, owner string, problems []string)) (n *routing, err error) {
	n = &routing{log: opts.Log, tell: tell, repaired: opts.repaired, wake: make(chan struct{}, 1), owners: map[string]*wanted{}, lost: newLost()}
	defer func() {
		if err != nil {
			n.close()
			n = nil
		}
	}()
	if n.rt, err = openSocket(unix.NETLINK_ROUTE, 0, 1<<20); err != nil {
		return n, err
	}
	n.strict()
	if n.news, err = openSocket(unix.NETLINK_ROUTE, routingGroups, routingBuffer); err != nil {
		return n, err
	}
	if n.tc, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return n, err
	}
	n.space, err = here()
	return n, err
}

// strict has the kernel select what a dump asks for (since 4.20); before, it
// gives everything and we select.
func (n *routing) strict() {
	_ = n.rt.conn.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	})
}

func (n *routing) name() string { return "routing" }

func (n *routing) close() {
	for _, s := range []*socket{n.rt, n.news} {
		if s != nil {
			s.close()
		}
	}
	if n.tc != nil {
		n.tc.Close()
	}
	n.space.close()
}

func (n *routing) want(owner string, w *Wishes) {
	n.mu.Lock()
	defer n.mu.Unlock()
	o := n.owners[owner]
	if o == nil {
		o = &wanted{done: make(chan struct{})}
		n.owners[owner] = o
	}
	o.wishes = w
	o.asked++
	n.poke()
}

// poke has run look.
func (n *routing) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *routing) sync(ctx context.Context, owner string) error {
	n.mu.Lock()
	o := n.owners[owner]
	if o == nil {
		n.mu.Unlock()
		return nil
	}
	for asked := o.asked; o.answered < asked; {
		done := o.done
		n.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		n.mu.Lock()
	}
	defer n.mu.Unlock()
	var all []error
	for _, p := range o.problems {
		all = append(all, errors.New(p))
	}
	return errors.Join(all...)
}

func (n *routing) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heard := make(chan error, 1)
	go func() {
		defer cancel()
		heard <- n.listen(ctx)
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return <-heard
		case <-n.wake:
		case <-timer.C:
		}
		timer.Reset(time.Until(n.round()))
	}
}

// round reconciles those owners who wait for it, and says when the next is due.
func (n *routing) round() (next time.Time) {
	n.mu.Lock()
	owners := slices.Sorted(maps.Keys(n.owners))
	moved := n.moved
	n.moved = false
	n.mu.Unlock()
	n.rounds.Add(1)
	start := time.Now()
	next = start.Add(routingEvery)
	defer func() {
		n.mu.Lock()
		n.took = time.Since(start)
		n.mu.Unlock()
	}()
	for _, owner := range owners {
		n.mu.Lock()
		o := n.owners[owner]
		wishes, asked := o.wishes, o.asked
		idle := !moved && asked == o.answered && time.Now().Before(o.due)
		n.mu.Unlock()
		if !idle {
			before := n.made
			stood := o.stands != nil && o.stands.sameRouting(wishes)
			n.answer(owner, o, wishes, asked, n.reconcile(owner, wishes))
			if made := n.made - before; stood && made > 0 {
				n.repaired(owner, fmt.Sprintf("addresses, routes and rules of policy, by %d changes", made))
			}
		}
		if o.due.Before(next) {
			next = o.due
		}
	}
	return next
}

// answer notes how far an owner's wishes are.
func (n *routing) answer(owner string, o *wanted, wishes *Wishes, asked uint64, problems []string) {
	o.pause = min(max(2*o.pause, retrySoonest), retryLatest)
	if len(problems) == 0 {
		o.pause = routingEvery
	}
	o.due = time.Now().Add(o.pause)
	if len(problems) == 0 {
		o.pause = 0
	}
	n.tell(n, owner, problems)
	n.mu.Lock()
	defer n.mu.Unlock()
	o.answered, o.problems, o.stands = asked, problems, nil
	if len(problems) == 0 {
		o.stands = wishes
	}
	close(o.done)
	o.done = make(chan struct{})
}

// sameRouting says whether others ask for the same addresses, routes and rules: what
// has to be changed for them, where the ones stood, is what somebody else has changed.
// An owner that sees that himself may well have asked again.
func (w *Wishes) sameRouting(o *Wishes) bool {
	return w == o || reflect.DeepEqual(w.Addresses, o.Addresses) && reflect.DeepEqual(w.Routes, o.Routes) && reflect.DeepEqual(w.Rules, o.Rules)
}

// device is an interface.
type device struct {
	index int
	up    bool
	known bool
}

// missing says why nothing can be had over an interface.
func (d device) missing(name string) error {
	if !d.known {
		return fmt.Errorf("there is no interface %s", name)
	}
	return fmt.Errorf("interface %s is switched off", name)
}

// devices reads the interfaces by name.
func (n *routing) devices() (ports map[string]device, err error) {
	body := append(make([]byte, unix.SizeofIfInfomsg), attribute32(unix.IFLA_EXT_MASK, extMaskSkipStats)...)
	err = n.dump(unix.RTM_GETLINK, body, unix.RTM_NEWLINK, func() func([]byte) {
		ports = map[string]device{}
		return func(b []byte) {
			if m, ok := parseLink(b); ok {
				ports[m.name] = device{index: m.index, up: m.flags&unix.IFF_UP != 0, known: true}
			}
		}
	})
	return ports, err
}

// reconcile makes everything so that an owner wishes, as far as it can be, and
// says what cannot.
func (n *routing) reconcile(owner string, w *Wishes) (problems []string) {
	protocol, err := protocolOf(owner)
	if err != nil {
		if len(w.Routes)+len(w.Rules)+len(w.Shapers)+len(w.Sysctls)+len(w.Addresses) == 0 {
			return nil
		}
		return []string{err.Error()}
	}
	ports, err := n.devices()
	if err != nil {
		return []string{fmt.Sprintf("reading interfaces: %v", err)}
	}
	problems = append(problems, n.sysctls(w.Sysctls)...)
	problems = append(problems, n.restore(w, ports)...)
	over, more := n.addresses(owner, protocol, w.Addresses, ports) // routes may have them as their source
	problems = append(problems, more...)
	old, more := n.routes(protocol, w.Routes, ports)
	problems = append(problems, more...)
	problems = append(problems, n.policy(protocol, w.Rules)...)
	if err := n.removeRoutes(old); err != nil {
		problems = append(problems, err.Error())
	}
	problems = append(problems, n.removeAddresses(over)...)
	return append(problems, n.shapers(owner, protocol, w.Shapers, ports)...)
}

// dump asks for a list and gives its entries to what start returns, which is
// called before each try: a list that changed while it was read is read again.
func (n *routing) dump(kind uint16, header []byte, reply uint16, start func() func(b []byte)) error {
	for try := 1; ; try++ {
		f := start()
		err := n.rt.ask(kind, unix.NLM_F_DUMP, header, func(kind uint16, b []byte) {
			if kind == reply {
				f(b)
			}
		})
		if errors.Is(err, errInterrupted) && try < routingMost {
			continue
		}
		return err
	}
}

// change asks for one change and waits for the kernel's word.
func (n *routing) change(kind, flags uint16, body []byte) error {
	err := n.rt.ask(kind, flags|unix.NLM_F_ACK, body, func(uint16, []byte) {})
	if err == nil {
		n.made++
	}
	return err
}

// listen has everything compared when others change what may be ours.
func (n *routing) listen(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = n.news.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		// In this order: who ends us may have set the deadline before we did.
		if err := n.news.file.SetReadDeadline(time.Time{}); err != nil {
			return fmt.Errorf("netlink notifications: %w", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		size, from, err := receive(n.news.conn.Read, n.news.buf)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, unix.ENOBUFS):
			return fmt.Errorf("netlink notifications: %w", err)
		case err != nil || from == 0 && n.concerns(n.news.buf[:size]):
			if err := n.settle(ctx); err != nil {
				return err
			}
			n.stir()
		}
	}
}

// settle waits for the rest of a burst of events: the longer the longer it takes
// to compare, which on a router with a million routes is not little.
func (n *routing) settle(ctx context.Context) error {
	n.mu.Lock()
	wait := min(max(routingSettle, routingShare*n.took), routingLatest)
	n.mu.Unlock()
	if err := n.news.file.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return fmt.Errorf("netlink notifications: %w", err)
	}
	for ctx.Err() == nil {
		size, from, err := receive(n.news.conn.Read, n.news.buf)
		if err == nil && from == 0 {
			n.concerns(n.news.buf[:size])
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return fmt.Errorf("netlink notifications: %w", err)
		}
	}
	return nil
}

func (n *routing) stir() {
	n.mu.Lock()
	n.moved = true
	n.mu.Unlock()
	n.poke()
}

// concerns says whether any of the events in a datagram may be of what is ours.
// A router hears of each of a million routes; only those of ours, or in a table
// of ours, matter.
func (n *routing) concerns(b []byte) (any bool) {
	for m := range messages(b) {
		n.lost.heard(m.kind, m.body)
		switch m.kind {
		case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
			r, ok := parseRoad(m.body)
			any = any || ok && n.ours(r)
		case unix.RTM_NEWLINK:
			any = any || len(m.body) > 0 && m.body[0] != unix.AF_BRIDGE
		default:
			any = true
		}
	}
	return any
}

func (n *routing) ours(r road) bool {
	for _, p := range protocolNumbers {
		if r.protocol == p {
			return true
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, o := range n.owners {
		for i := range o.wishes.Routes {
			if uint32(o.wishes.Routes[i].Table) == r.at.table {
				return true
			}
		}
	}
	return false
}
