package daemon

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsproxy"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slb"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
)

// gateway is what makes this machine one: the kernel, and who states wishes to
// it. Without the doors to the kernel the rest serves, and says so.
type gateway struct {
	kernel    *kernel.Kernel // nil: closed to us
	reader    *kernel.Reader
	conntrack *kernel.Conntrack
	looker    *kernel.Conntrack // for who only looks, and may be slow
	outbound  *outbound.Outbound
	slb       *slb.SLB
	closed    error // why there is no kernel

	wishing sync.Mutex     // of what is below
	proxied *dnsproxy.Plan // whose wishes were stated last
	touched []string       // the interfaces that they were for
	taking  *kernel.Wishes // and they themselves
}

// openGateway opens the doors through which Linux is changed. Nothing is changed
// before somebody wishes something. The caller calls close in the end.
func (d *Daemon) openGateway() (closeAll func()) {
	g := &d.gateway
	closeAll = func() {
		if g.reader != nil {
			g.reader.Close()
		}
		for _, c := range []*kernel.Conntrack{g.conntrack, g.looker} {
			if c != nil {
				c.Close()
			}
		}
		if g.kernel != nil {
			g.kernel.Close()
		}
	}
	fail := func(err error) func() {
		closeAll()
		g.kernel, g.reader, g.conntrack, g.looker, g.closed = nil, nil, nil, nil, err
		return func() {}
	}
	var err error
	if g.reader, err = kernel.Open(); err != nil {
		return fail(err)
	}
	if g.conntrack, err = kernel.OpenConntrack(); err != nil {
		return fail(err)
	}
	if g.looker, err = kernel.OpenConntrack(); err != nil {
		return fail(err)
	}
	if g.kernel, err = kernel.New(kernel.Options{Log: d.log, Report: d.board.Replace, Repaired: d.repaired}); err != nil {
		return fail(err)
	}
	g.outbound = outbound.New(outbound.Options{
		Board: d.board, Kernel: g.kernel, Sessions: g.conntrack, Log: d.log,
		Interfaces: g.reader.Interfaces, Neighbours: g.reader.Neighbours,
		Count: func() (outbound.Counter, error) { return kernel.OpenLive(kernel.LinkMask) },
	})
	g.slb = d.newSLB()
	return closeAll
}

// run runs the parts of the gateway until ctx ends. plugged is called when
// interfaces and their addresses have changed.
func (g *gateway) run(ctx context.Context, start func(func() error), plugged func()) {
	if g.kernel == nil {
		return
	}
	start(func() error { return g.kernel.Run(ctx) })
	start(func() error { return g.outbound.Run(ctx) })
	start(func() error { return g.slb.Run(ctx) })
	start(func() error { return g.reader.Watch(ctx, plugged) })
}

// balance has a configuration balanced.
func (d *Daemon) balance(b *Built) {
	g, row := &d.gateway, status.MakeID(status.KindKernel, outbound.Owner)
	if g.kernel == nil {
		if b.Outbound != nil {
			d.log.Error("NOTHING IS BALANCED: this process may not change Linux' networking", "err", g.closed)
			d.board.Update(status.Row{ID: row, Health: status.Down, Why: g.closed.Error(), By: "daemon"})
		} else if _, said := d.board.Table().Lookup(row); said {
			d.board.Replace(nil, []status.ID{row})
		}
		return
	}
	d.keepNumbers(b)
	g.outbound.Use(b.Outbound, b.DNS.Proximity())
}

// setOutbound compiles what is balanced. before may be nil.
func (b *Built) setOutbound(before *Built) config.Errors {
	var was *outbound.Plan
	var kept map[string]uint16
	var carried func(uint16) bool
	if before != nil {
		was, kept, carried = before.Outbound, renamed(before, b.Model), before.carried
	}
	b.Numbers, b.carried = kept, carried
	if !b.Model.Balances() {
		return nil
	}
	var names []string
	for _, l := range b.Model.Links {
		if l.Interface != "" {
			names = append(names, l.Name)
		}
	}
	numbers, err := outbound.Number(names, kept, carried)
	if err != nil {
		return config.Errors{{Pos: b.Model.Outbound.Pos, Path: "links", Text: err.Error()}}
	}
	plan, errs := outbound.Compile(outbound.Inputs{Model: b.Model, Topology: b.Topology, IDs: numbers, Before: was})
	if plan != nil {
		b.Outbound, b.Numbers = plan, numbers
	}
	return errs
}

// renamed gives the numbers of links before, where one that has another name now
// but the same interface and next hops goes by the new one: its connections, and
// who persists with it, stay.
func renamed(before *Built, now *config.Model) map[string]uint16 {
	numbers := maps.Clone(before.Numbers)
	if before.Model == nil {
		return numbers
	}
	type plug struct {
		nic    string
		v4, v6 netip.Addr
	}
	plugOf := func(l *config.Link) plug { return plug{l.Interface, l.NextHop, l.NextHop6} }
	names, gone := map[string]bool{}, map[plug]string{}
	for _, l := range now.Links {
		names[l.Name] = true
	}
	for _, l := range before.Model.Links {
		if l.Interface != "" && !names[l.Name] && numbers[l.Name] != 0 {
			gone[plugOf(l)] = l.Name
		}
	}
	for _, l := range now.Links {
		if old, was := gone[plugOf(l)]; was && numbers[l.Name] == 0 {
			numbers[l.Name] = numbers[old]
			delete(numbers, old)
			delete(gone, plugOf(l))
		}
	}
	return numbers
}

// The numbers of links live in marks of connections, which outlive us.
const (
	numbersKind    = "links"
	numbersVersion = 1
)

// restoreNumbers gives what stands for the configuration before the first.
func (d *Daemon) restoreNumbers() *Built {
	b := &Built{carried: d.carried}
	d.restoreServing(b)
	if d.store == nil {
		return b
	}
	found, err := store.LoadJSON(d.store, numbersKind, numbersVersion, &b.Numbers)
	d.restored("numbers of links", found.PassedOver, err)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Numbers = nil
	}
	return b
}

func (d *Daemon) keepNumbers(b *Built) {
	if d.store == nil || maps.Equal(d.numbers, b.Numbers) {
		return
	}
	if err := d.store.SaveJSON(numbersKind, numbersVersion, b.Numbers); err != nil {
		d.log.Error("the numbers of links were not kept: a restart with other links may give connections to the wrong ones", "err", err)
		return
	}
	d.numbers = b.Numbers
}

// carried says whether there is a connection with the number of a link. Without
// the door to the kernel there is none of ours.
func (d *Daemon) carried(id uint16) bool {
	if d.gateway.conntrack == nil {
		return false
	}
	found := false
	err := d.gateway.conntrack.Sessions(context.Background(), kernel.SessionFilter{Mark: uint32(id), Mask: kernel.LinkMask, Limit: 1}, func(kernel.Session) bool {
		found = true
		return false
	})
	return err == nil && found
}

// linkMark gives the packet mark by which what is sent over a link leaves by it,
// whatever the routing table prefers; 0: there is none but the configured one.
func (d *Daemon) linkMark(link string) uint32 {
	if p := d.marks.Load(); p != nil {
		return uint32(p.Number(link))
	}
	return 0
}

// markBy has links marked by the numbers of a configuration, from the next time
// on that links are wanted.
func (d *Daemon) markBy(b *Built) {
	if d.gateway.kernel != nil {
		d.marks.Store(b.Outbound)
	}
}

// standsWithin bounds how long who changes the configuration waits for Linux.
const standsWithin = 20 * time.Second

// stands waits until Linux has what a change of the configuration gave it, or has
// refused it, which the row kernel/OWNER tells: who has applied a configuration finds
// it at work.
func (d *Daemon) stands(ctx context.Context) {
	if d.gateway.kernel == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, standsWithin)
	defer cancel()
	for _, owner := range []string{outbound.Owner, slb.Owner, dnsproxy.Owner} {
		_ = d.gateway.kernel.Sync(ctx, owner)
	}
}

// repaired notes that Linux was put back to what an owner wishes.
func (d *Daemon) repaired(owner, what string) {
	d.board.Record(status.Event{ID: status.MakeID(status.KindKernel, owner), New: "put back", Why: what, By: "kernel"})
}
