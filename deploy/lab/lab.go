package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// lab is a network that runs. Its parts live in namespaces of their own and
// nothing of it is anywhere else, but a folder under the temporary ones.
type lab struct {
	*options
	dir     string
	prefix  string // of names of namespaces: plab and our process id
	spaces  map[string]*space
	wires   map[string]*wire
	servers map[string]*server // by name of the virtual server, and those of the rack
	gate    *portolan
	ended   context.Context // ends with the lab
	loads   sync.WaitGroup  // those that a person started
}

// within makes a lab, calls f once it answers, and removes all of it again,
// whatever happens and also when it is interrupted, which is no error.
func within(interrupted context.Context, o *options, dir string, f func(context.Context, *lab) error) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the lab makes network namespaces: run it as root")
	}
	group, ctx := errgroup.WithContext(interrupted)
	ctx, cancel := context.WithCancel(ctx)
	l := &lab{options: o, dir: dir, prefix: fmt.Sprintf("plab%d-", os.Getpid()), spaces: map[string]*space{},
		wires: map[string]*wire{}, servers: map[string]*server{}, ended: ctx}
	group.Go(func() error {
		defer cancel()
		if err := l.start(ctx, group); err != nil {
			return err
		}
		return f(ctx, l)
	})
	err = group.Wait()
	cancel()
	if interrupted.Err() != nil {
		err = nil // whatever was under way could not be finished
	}
	l.loads.Wait()
	return errors.Join(err, l.remove())
}

// start builds the network and what runs in it.
func (l *lab) start(ctx context.Context, group *errgroup.Group) error {
	if err := l.build(); err != nil {
		for _, w := range l.wires {
			w.close()
		}
		return fmt.Errorf("build the network: %w", err)
	}
	for _, w := range l.wires {
		group.Go(func() error { return w.run(ctx) })
	}
	for _, v := range append(virtualServers(l.options), rackServers(l.options)...) {
		s := &server{virtualServer: v, site: l.spaces[v.site]}
		l.servers[v.name] = s
		if err := s.start(); err != nil {
			return err
		}
		group.Go(func() error { <-ctx.Done(); return s.stop() })
	}
	if err := l.openWorld(ctx, group.Go); err != nil {
		return err
	}
	l.gate = &portolan{lab: l}
	return l.gate.start(ctx, group)
}

// build makes namespaces, cables, addresses and routes.
func (l *lab) build() error {
	for _, p := range places {
		s, err := newSpace(l.prefix + p.name)
		if err != nil {
			return err
		}
		l.spaces[p.name] = s
		if err := l.settle(s, p.name); err != nil {
			return err
		}
	}
	plugs, routes := lines{}, lines{}
	for _, c := range l.cables() {
		plugs.plug(l.options, l.prefix, c)
	}
	routes.routes(l.options)
	for _, phase := range []lines{plugs, routes} {
		for _, p := range places {
			if err := l.spaces[p.name].ip(phase[p.name]...); err != nil {
				return err
			}
		}
	}
	for _, c := range l.cables() {
		if !c.wired {
			continue
		}
		var w *wire
		var err error
		l.spaces[wires].do(func() { w, err = newWire(c.name()+"-"+c.a, c.name()+"-"+c.b, c.delay) })
		if err != nil {
			return err
		}
		l.wires[c.name()] = w
	}
	return nil
}

// settle sets what a namespace has to have before its interfaces come.
func (l *lab) settle(s *space, name string) error {
	switch name {
	case wires: // its kernel says nothing of its own
		return s.set("1", "ipv6/conf/all/disable_ipv6", "ipv6/conf/default/disable_ipv6")
	case gateway, telecom, unicom, mobile: // what comes by one way may leave by another
		if err := errors.Join(s.set("1", "ipv4/ip_forward", "ipv6/conf/all/forwarding"), s.set("0", "ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter")); err != nil {
			return err
		}
	}
	return errors.Join(s.set("0", "ipv6/conf/all/accept_dad", "ipv6/conf/default/accept_dad", "ipv6/conf/default/accept_ra"), s.ip("link set lo up"))
}

// remove takes the namespaces away. Everything that ran in them has ended.
func (l *lab) remove() (err error) {
	for _, s := range l.spaces {
		err = errors.Join(err, s.remove())
	}
	return err
}

// setDelay sets the delay each way of a wire: telecom, unicom, mobile or peering.
func (l *lab) setDelay(wire string, d time.Duration) error {
	w := l.wires[wire]
	if w == nil {
		return fmt.Errorf("there is no wire %s; there are %s, %s, %s and peering", wire, telecom, unicom, mobile)
	}
	return w.setDelay(d)
}

// pull takes the cable of a link out of the gateway, or puts it back: the
// interface there loses its carrier.
func (l *lab) pull(link string, out bool) error {
	state := "up"
	if out {
		state = "down"
	}
	if !isUplink(link) {
		return fmt.Errorf("there is no link %s; there are %s, %s and %s", link, telecom, unicom, mobile)
	}
	return l.spaces[wires].ip(fmt.Sprintf("link set dev %s-%s %s", link, gateway, state))
}

// file gives a path in the folder of the lab.
func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }
