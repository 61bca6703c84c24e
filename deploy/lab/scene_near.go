package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// measured bounds how long a measurement takes beside what it waits for.
const measured = 10 * time.Second

// sceneNear follows the first query of a network. It makes an entry, which
// counts once its warm-up is over (1.4.5, T1); what the fallback says until
// then is not kept for longer (T6).
func sceneNear(ctx context.Context, s *stage) error {
	if err := s.forget(ctx, clinic); err != nil {
		return err
	}
	began, warm := time.Now(), time.Duration(s.warmUp)
	answer, ttl, err := s.ask(ctx, clinic, unicom, "near")
	if err != nil {
		return err
	}
	s.say("clinic asks for near, and nothing is known of it: %s for %d s, by the fallback", s.behind(answer), ttl)
	if most := uint32((warm + time.Second - 1) / time.Second); s.behind(answer) != east+"-"+telecom || ttl > most {
		return fmt.Errorf("the first answer is %s for %d s, want %s-%s for at most %d s", s.behind(answer), ttl, east, telecom, most)
	}
	if _, err := s.becomes(ctx, warm+measured, atClinic, "near", by(unicom)); err != nil {
		return err
	}
	took := time.Since(began)
	if took < warm {
		return fmt.Errorf("the entry counted after %s; the warm-up is %s", took, warm)
	}
	s.say("%.1f s after the first query it is sent to the link that is near", took.Seconds())
	return errors.Join(s.shows(ctx, atClinic, "near"), s.distances(ctx, clinic))
}

// forget clears what is known of a client network.
func (s *stage) forget(ctx context.Context, client string) error {
	_, err := s.gate.command(ctx, "proximity", "clear", s.net4(clientOf(client).net).String(), "--reason", "the lab begins anew")
	return err
}

// distances prints what is known of a client network.
func (s *stage) distances(ctx context.Context, client string) error {
	return s.prints(ctx, "proximity", "list", "--client", s.addr4(clientOf(client).net, hostClient).String())
}

// scenePassive has a client network that nothing is ever sent to (exclude).
// Its distance shows when it asks over TCP, by either link.
func scenePassive(ctx context.Context, s *stage) error {
	if err := s.forget(ctx, school); err != nil {
		return err
	}
	refused := choice{"REFUSED", func(answer string) bool { return answer == "REFUSED" }}
	if err := s.stays(ctx, time.Duration(s.warmUp)+time.Second, atSchool, "measured", refused); err != nil {
		return err
	}
	s.say("school is never measured, so its warm-up ends and nothing is known of it")
	for _, link := range []string{unicom, telecom} {
		if _, err := s.dig(ctx, viewer{school, link}, "+tcp", "+short", "measured.lab.example"); err != nil {
			return err
		}
		s.say("school asks over TCP by %s", link)
	}
	if _, err := s.becomes(ctx, measured, atSchool, "measured", by(telecom)); err != nil {
		return err
	}
	return s.distances(ctx, school)
}

// sceneCost makes a link dear and cheap again. A change of cost clears what is
// known of every network (1.2.5, C4, T10).
func sceneCost(ctx context.Context, s *stage) (err error) {
	bound := time.Duration(s.warmUp) + measured
	if _, err := s.becomes(ctx, bound, atHome, "measured", by(telecom)); err != nil {
		return err
	}
	before := s.gate.costs[telecom]
	for _, step := range []struct {
		cost int
		want choice
	}{{50 * max(before, 1), by(unicom)}, {before, by(telecom)}} {
		began := time.Now()
		if err := s.gate.setCost(ctx, telecom, step.cost); err != nil {
			return err
		}
		s.say("telecom costs %d now; unicom %d", step.cost, s.gate.costs[unicom])
		answer, _, err := s.ask(ctx, home, telecom, "measured")
		if err != nil {
			return err
		}
		if answer != "REFUSED" && time.Since(began) < time.Duration(s.warmUp)/2 {
			return fmt.Errorf("the entry outlived the change of cost: home gets %s", s.behind(answer))
		}
		if _, err := s.becomes(ctx, bound, atHome, "measured", step.want); err != nil {
			return err
		}
		s.say("%.1f s later, a warm-up of %s among them, by another link", time.Since(began).Seconds(), s.warmUp)
	}
	return nil
}

// sceneLatency moves the distance of a link: entries follow as they are
// measured again (1.2.22), and clients are never without an answer.
func sceneLatency(ctx context.Context, s *stage) (err error) {
	bound := time.Duration(s.warmUp) + measured
	if _, err := s.becomes(ctx, bound, atHome, "measured", by(telecom)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.setDelay(telecom, s.uplink)) }()
	for _, step := range []struct {
		delay time.Duration
		want  choice
	}{{s.far, by(unicom)}, {s.uplink, by(telecom)}} {
		if err := s.setDelay(telecom, step.delay); err != nil {
			return err
		}
		s.say("from now on a packet takes %s between the gateway and telecom", step.delay)
		took, err := s.becomes(ctx, time.Duration(s.refresh)+measured, atHome, "measured", step.want)
		if err != nil {
			return err
		}
		s.say("%.1f s later, the entries are measured again after %s, the first answer was another", took.Seconds(), s.refresh)
	}
	return nil
}
