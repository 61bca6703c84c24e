package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// shown is how many connections a scene makes to show how they are shared.
const shown = 120

// worldServer gives the n-th server of the world; those from 128 on are where clients
// keep their link.
func (o *options) worldServer(n int) netip.Addr { return o.addr4(netWorld, n) }

// connections has the clients of the office make connections, one after the
// other and some side by side.
func (s *stage) connections(ctx context.Context, n int) spread {
	return many(n, func(i int) (string, error) {
		return s.visit(ctx, s.officeClient(i%officeClients), s.worldServer(1+i%7))
	})
}

// whole waits until all links take part.
func (s *stage) whole(ctx context.Context) error {
	_, err := until(ctx, found+standby+ramp, func() error {
		if _, err := s.visit(ctx, s.officeClient(0), s.worldServer(1)); err != nil {
			return err
		}
		return s.connections(ctx, shown/2).shares(20, telecom, unicom, mobile)
	})
	return err
}

// sceneOut shows how new connections are shared, pulls a cable, and puts it back:
// the link gets none for the standby, and then more and more (T31).
func sceneOut(ctx context.Context, s *stage) (err error) {
	if err := s.whole(ctx); err != nil {
		return err
	}
	all := s.connections(ctx, shown)
	s.say("%d new connections of the office, weights 3:2:1: %s", shown, all)
	if err := all.shares(30, telecom, unicom, mobile); err != nil {
		return err
	}
	long, err := s.longSession(ctx)
	if err != nil {
		return err
	}
	defer long.Close()
	if err := s.pull(telecom, true); err != nil {
		return err
	}
	began := time.Now()
	defer func() { err = errors.Join(err, s.pull(telecom, false)) }()
	s.say("the cable to telecom is out")
	if _, err := until(ctx, found, func() error { return s.connections(ctx, 12).shares(3, unicom, mobile) }); err != nil {
		return err
	}
	s.say("%.2f s later new connections go elsewhere", time.Since(began).Seconds())
	without := s.connections(ctx, shown)
	s.say("%d new connections: %s", shown, without)
	if err := errors.Join(without.shares(30, unicom, mobile), s.prints(ctx, "get", "links")); err != nil {
		return err
	}
	if err := long.says(); err != nil {
		return fmt.Errorf("a session of another link was hindered: %w", err)
	}
	if err := s.pull(telecom, false); err != nil {
		return err
	}
	began = time.Now()
	s.say("the cable is back; slow online: none for %s, then more and more for %s", standby, ramp)
	return s.ramps(ctx, began)
}

// ramps shows the share of telecom until it has all of its own again.
func (s *stage) ramps(ctx context.Context, began time.Time) error {
	_, err := until(ctx, found+standby+ramp, func() error {
		now := s.connections(ctx, shown/2)
		s.say("%4.1f s: %s", time.Since(began).Seconds(), now)
		if now.failed > 0 {
			return now.err
		}
		return now.shares(20, telecom, unicom, mobile)
	})
	return err
}

// longSession is a connection of the office by another link than telecom.
func (s *stage) longSession(ctx context.Context) (*talk, error) {
	for range 20 {
		t, by, err := s.talk(ctx, s.officeClient(0), s.worldServer(1))
		if err != nil || by != telecom {
			return t, err
		}
		if err := t.Close(); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("20 connections in a row go by telecom")
}

// sceneSticky has each client of the office connect again and again to where
// clients keep their link, and pulls a cable: who had that link gets another and
// stays there; the others stay where they are.
func sceneSticky(ctx context.Context, s *stage) (err error) {
	if err := s.whole(ctx); err != nil {
		return err
	}
	first, err := s.homes(ctx)
	if err != nil {
		return err
	}
	s.say("%d clients connect 3 times each to where clients keep their link: %s; nobody has two links", officeClients, count(first))
	if err := s.pull(telecom, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.pull(telecom, false)) }()
	s.say("the cable to telecom is out")
	if _, err := until(ctx, found, func() error { return s.connections(ctx, 12).shares(3, unicom, mobile) }); err != nil {
		return err
	}
	second, err := s.homes(ctx)
	if err != nil {
		return err
	}
	for n := range first {
		if first[n] != telecom && second[n] != first[n] || second[n] == telecom {
			return fmt.Errorf("client %s had %s and has %s", s.officeClient(n), first[n], second[n])
		}
	}
	s.say("those of telecom have moved, the others have not: %s", count(second))
	if err := s.pull(telecom, false); err != nil {
		return err
	}
	s.say("the cable is back")
	if err := s.whole(ctx); err != nil {
		return err
	}
	third, err := s.homes(ctx)
	if err != nil {
		return err
	}
	for n := range second {
		if third[n] != second[n] {
			return fmt.Errorf("client %s had %s and has %s", s.officeClient(n), second[n], third[n])
		}
	}
	s.say("new clients get it again; those that have a link keep it: %s", count(third))
	return nil
}

// homes gives the link of each client of the office where clients keep theirs.
func (s *stage) homes(ctx context.Context) ([]string, error) {
	homes := make([]string, officeClients)
	for round := range 3 {
		all := many(officeClients, func(i int) (string, error) {
			by, err := s.visit(ctx, s.officeClient(i), s.worldServer(128+round))
			if err == nil && round > 0 && by != homes[i] {
				err = fmt.Errorf("client %s has %s, and then %s", s.officeClient(i), homes[i], by)
			}
			homes[i] = by
			return by, err
		})
		if all.failed > 0 {
			return nil, all.err
		}
	}
	return homes, nil
}

func count(names []string) spread {
	s := spread{by: map[string]int{}}
	for _, n := range names {
		s.by[n]++
	}
	return s
}

// sceneDNS has the office ask a DNS server of the world. The answers come from
// the resolvers of the ISPs, each asked by its own line; and from those that are
// left while a cable is out.
func sceneDNS(ctx context.Context, s *stage) (err error) {
	ask := func(n int) spread {
		return many(n, func(i int) (string, error) { return s.resolves(ctx, s.officeClient(i%officeClients)) })
	}
	if _, err := until(ctx, found+standby+ramp, func() error { return ask(shown/2).shares(20, telecom, unicom, mobile) }); err != nil {
		return err
	}
	s.say("%d queries to %s, answered by the resolvers of: %s", shown, s.addr4(netWorld, hostDNS), ask(shown))
	if err := s.pull(telecom, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.pull(telecom, false)) }()
	began := time.Now()
	s.say("the cable to telecom is out")
	if all := ask(12); all.failed > 0 {
		return fmt.Errorf("in the moment after, of 12 queries: %s", all)
	}
	s.say("in the moment after, 12 of 12 queries are answered")
	if _, err := until(ctx, found, func() error { return ask(12).shares(3, unicom, mobile) }); err != nil {
		return err
	}
	s.say("%.2f s later none is asked there", time.Since(began).Seconds())
	without := ask(shown)
	s.say("%d queries: %s", shown, without)
	return without.shares(30, unicom, mobile)
}
