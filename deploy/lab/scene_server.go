package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// found bounds how long a dead server, link or cable may be in the answers: the
// interval, (fall - 1) more, the timeout (T51), and time for a busy machine.
const found = 15 * time.Second

// sceneServer kills the server that a client is sent to.
func sceneServer(ctx context.Context, s *stage) error {
	if _, err := s.becomes(ctx, found, atHome, "www", by(telecom)); err != nil {
		return err
	}
	answer, _, err := s.ask(ctx, home, telecom, "www")
	if err != nil {
		return err
	}
	victim := s.servers[s.behind(answer)]
	if victim == nil {
		return fmt.Errorf("%s is sent to %s, which is no server here", home, answer)
	}
	said, err := s.fetch(ctx, home, victim.addr4)
	if err != nil {
		return err
	}
	s.say("home is sent to %s, which says: %q", victim.name, said)
	if err := victim.stop(); err != nil {
		return err
	}
	s.say("%s is dead", victim.name)
	began := time.Now()
	if _, err := s.becomes(ctx, found, atHome, "www", by(telecom).without(victim.name)); err != nil {
		return err
	}
	s.say("%.1f s later nobody is sent there", time.Since(began).Seconds())
	if err := s.shows(ctx, atHome, "www"); err != nil {
		return err
	}
	if err := victim.start(); err != nil {
		return err
	}
	took, err := until(ctx, found, func() error {
		seen, err := s.answers(ctx, atHome, "www")
		if err == nil && !slices.Contains(seen, victim.name) {
			err = fmt.Errorf("%s runs again and home gets %v", victim.name, seen)
		}
		return err
	})
	if err == nil {
		s.say("it runs again, and %.1f s later it is in the answers", took.Seconds())
	}
	return err
}
