package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// purchases has clients of both ISPs connect to the farm, by IPv4 and IPv6.
func (s *stage) purchases(ctx context.Context, n int) spread {
	four, six := s.rackAddresses()
	return many(n, func(i int) (string, error) {
		to := four
		if i%4 == 3 {
			to = six
		}
		said, err := s.fetch(ctx, clients[i%len(clients)].name, to)
		return strings.TrimSpace(said), err
	})
}

// stocked waits until the servers of the rack that are given take part, and no
// others.
func (s *stage) stocked(ctx context.Context, bound time.Duration, servers ...int) error {
	_, err := until(ctx, bound, func() error { return s.purchases(ctx, shown/2).weighed(10, servers...) })
	return err
}

// sceneFarm shows how connections to a virtual server are shared among the
// servers of its farm, kills one, and starts it again: it gets none for the
// standby, and then more and more (T31).
func sceneFarm(ctx context.Context, s *stage) (err error) {
	four, _ := s.rackAddresses()
	if err := s.stocked(ctx, found+standby+ramp, 1, 2, 3); err != nil {
		return err
	}
	s.say("%d connections to %s, weights 3:2:1: %s", shown, four, s.purchases(ctx, shown).racks())
	victim := s.servers[rackServer(1)]
	if err := victim.stop(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, victim.start()) }()
	began := time.Now()
	s.say("%s is dead", victim.name)
	refused := 0
	if _, err := until(ctx, found, func() error {
		now := s.purchases(ctx, 8)
		refused += now.failed
		return now.err
	}); err != nil {
		return err
	}
	s.say("%.2f s later nobody is sent there; the probe's bound is %s; %d connections were refused the while", time.Since(began).Seconds(), rackBound, refused)
	if err := s.stocked(ctx, found, 2, 3); err != nil {
		return err
	}
	s.say("%d connections: %s", shown, s.purchases(ctx, shown).racks())
	if err := s.prints(ctx, "get", "realservers"); err != nil {
		return err
	}
	if err := victim.start(); err != nil {
		return err
	}
	began = time.Now()
	s.say("it runs again; slow online: none for %s, then more and more for %s", standby, ramp)
	_, err = until(ctx, found+standby+ramp, func() error {
		now := s.purchases(ctx, shown/2)
		s.say("%4.1f s: %s", time.Since(began).Seconds(), now.racks())
		if now.failed > 0 {
			return now.err
		}
		return now.weighed(10, 1, 2, 3)
	})
	return err
}

// rackBound is how long a dead server of the rack may get connections: the
// interval of its probe until the first failure, (fall - 1) more, and the
// timeout (T51).
const rackBound = 2*rackInterval + rackTimeout

// The probe of the rack; it falls after two.
const (
	rackInterval = 500 * time.Millisecond
	rackTimeout  = 400 * time.Millisecond
)

// sceneFarmDNS kills servers of the rack until too few are left: the virtual
// server is down, and the name that leads to it leads elsewhere; all the while
// who asks is served.
func sceneFarmDNS(ctx context.Context, s *stage) (err error) {
	if err := s.stocked(ctx, found+standby+ramp, 1, 2, 3); err != nil {
		return err
	}
	farm := choice{rackVirtual, func(server string) bool { return server == rackVirtual }}
	if _, err := s.becomes(ctx, found, atHome, "rack", farm); err != nil {
		return err
	}
	for n := 1; n < racked; n++ {
		victim := s.servers[rackServer(n)]
		if err := victim.stop(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, victim.start()) }()
	}
	began := time.Now()
	s.say("of %d servers one is left, which is too few for all", racked)
	if _, err := s.becomes(ctx, found, atHome, "rack", by(telecom).without(rackVirtual)); err != nil {
		return err
	}
	s.say("%.2f s later the name leads elsewhere; the bound is %s and a tick of 1s", time.Since(began).Seconds(), rackBound)
	answer, _, err := s.ask(ctx, home, telecom, "rack")
	if err != nil {
		return err
	}
	elsewhere := s.servers[s.behind(answer)]
	if elsewhere == nil {
		return fmt.Errorf("home is sent to %s, which is no server here", answer)
	}
	said, err := s.fetch(ctx, home, elsewhere.addr4)
	if err != nil {
		return err
	}
	s.say("who goes there is served by %q", strings.TrimSpace(said))
	if err := s.prints(ctx, "get", "serverfarms"); err != nil {
		return err
	}
	for n := 1; n < racked; n++ {
		if err := s.servers[rackServer(n)].start(); err != nil {
			return err
		}
	}
	_, err = s.becomes(ctx, found+standby+ramp, atHome, "rack", farm)
	return err
}
