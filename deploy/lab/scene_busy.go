package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// metered bounds how long a change of load may go unseen: the window, a tick
// of the meter, and time for a busy machine.
func (s *stage) metered() time.Duration { return time.Duration(s.window) + 10*time.Second }

// goal is how fast the first changed answer follows a link that is filled past
// its threshold, with a window of 1 s, on a machine that is not busy.
const goal = 1500 * time.Millisecond

// crossings are how often a link is filled at most: the best counts, for other
// programs want the processors too.
const crossings = 4

// sceneFill fills the link of a client's ISP. Answers move, what flows goes on
// (T18), and they stay moved between the thresholds (T17).
func sceneFill(ctx context.Context, s *stage) (err error) {
	best, judged := time.Hour, s.window == config.Duration(time.Second)
	for n := 1; n == 1 || judged && n <= crossings && best > goal; n++ {
		since := s.lastEvent(ctx)
		if _, err := s.becomes(ctx, s.metered(), atHome, "www", by(telecom)); err != nil {
			return err
		}
		s.say("%s of real traffic out by telecom, which is busy above %s", s.load, s.mark(s.rate))
		f, err := s.fill(telecom, s.load, time.Minute)
		if err != nil {
			return err
		}
		took, err := s.becomes(ctx, s.metered(), atHome, "www", by(unicom))
		if err == nil {
			err = s.told(ctx, telecom, since)
		}
		if err == nil {
			s.say("%.2f s after the load began the first answer was another", took.Seconds())
			best = min(best, took)
			if n == 1 {
				err = s.whileBusy(ctx, f)
			}
		}
		if err = errors.Join(err, f.stop()); err != nil {
			return err
		}
		s.say("the load is over: %s", f)
		if f.received.Load() < f.sent.Load()*95/100 {
			return fmt.Errorf("what flowed was hindered: %s", f)
		}
	}
	if judged && best > goal {
		return fmt.Errorf("the first changed answer came after %.2f s at best, want %s", best.Seconds(), goal)
	}
	return s.free(ctx)
}

// free waits until no link is busy.
func (s *stage) free(ctx context.Context) error {
	_, err := until(ctx, s.metered(), func() error {
		links, err := s.gate.api.Links(ctx)
		for _, l := range links {
			if l.Row.Busy {
				err = errors.Join(err, fmt.Errorf("link %s is busy", l.Name))
			}
		}
		return err
	})
	return err
}

// lastEvent gives the number of the newest event; 0 if there is none.
func (s *stage) lastEvent(ctx context.Context) (seq uint64) {
	events, err := s.gate.api.Events(ctx, 0, 1000)
	if err == nil && len(events) > 0 {
		seq = events[len(events)-1].Seq
	}
	return seq
}

// told gives what the journal has of a link becoming busy since an event.
func (s *stage) told(ctx context.Context, link string, since uint64) error {
	events, err := s.gate.api.Events(ctx, since, 1000)
	if err != nil {
		return err
	}
	for _, e := range events {
		if e.ID == status.MakeID(status.KindLink, link) && strings.Contains(e.New, "busy") {
			s.say("event %d: %s %s -> %s: %s", e.Seq, e.ID, e.Old, e.New, e.Why)
			return nil
		}
	}
	return fmt.Errorf("no event says that link %s became busy", link)
}

// whileBusy looks at what else a busy link means.
func (s *stage) whileBusy(ctx context.Context, f *load) error {
	if _, err := s.becomes(ctx, s.metered(), atShop, "www", by(unicom)); err != nil {
		return err
	}
	s.say("one has no server but by telecom: all are busy, so protection lapses for it")
	if _, err := s.becomes(ctx, s.metered(), atHome, "one", by(telecom)); err != nil {
		return err
	}
	if err := errors.Join(s.shows(ctx, atHome, "www"), s.prints(ctx, "get", "links")); err != nil {
		return err
	}
	between := (s.mark(s.rate) + s.mark(s.recovery)) / 2
	if between-s.mark(s.recovery) < s.bandwidth/10 {
		return nil // too narrow to stay in while the machine is busy
	}
	s.say("less load, %s: between %s, where it would be free, and %s", between, s.mark(s.recovery), s.mark(s.rate))
	f.rate.Store(uint64(between))
	return s.stays(ctx, 2*time.Duration(s.window)+time.Second, atHome, "www", by(unicom))
}

// sceneLapse fills one link and then the other (1.2.26 (e), T19).
func sceneLapse(ctx context.Context, s *stage) (err error) {
	if _, err := s.becomes(ctx, s.metered(), atHome, "www", by(telecom)); err != nil {
		return err
	}
	var loads []*load
	defer func() {
		for _, f := range loads {
			err = errors.Join(err, f.stop())
		}
		err = errors.Join(err, s.free(ctx))
	}()
	for _, step := range []struct{ fill, atHome, atShop string }{{telecom, unicom, unicom}, {unicom, telecom, unicom}} {
		f, err := s.fill(step.fill, s.load, time.Minute)
		if err != nil {
			return err
		}
		loads = append(loads, f)
		s.say("%s of real traffic out by %s", s.load, step.fill)
		if _, err := s.becomes(ctx, s.metered(), atHome, "www", by(step.atHome)); err != nil {
			return err
		}
		if _, err := s.becomes(ctx, s.metered(), atShop, "www", by(step.atShop)); err != nil {
			return err
		}
	}
	s.say("both are busy: topology chooses as if neither were")
	return s.prints(ctx, "get", "links")
}

// scenePull takes the cable of telecom out of the gateway.
func scenePull(ctx context.Context, s *stage) (err error) {
	byUnicom := viewer{home, unicom} // telecom's address of the gateway is out of reach then
	if _, err := s.becomes(ctx, found, byUnicom, "www", by(telecom)); err != nil {
		return err
	}
	if err := s.pull(telecom, true); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.pull(telecom, false))
		if err == nil {
			s.say("the cable is back")
			_, err = s.becomes(ctx, found, atHome, "www", by(telecom))
		}
	}()
	s.say("the cable to telecom is out")
	took, err := s.becomes(ctx, found, byUnicom, "www", by(unicom))
	if err != nil {
		return err
	}
	s.say("%.2f s later the first answer was another", took.Seconds())
	said, err := s.fetch(ctx, home, s.servers[east+"-"+unicom].addr4)
	if err != nil {
		return err
	}
	s.say("home reaches that one: it says %q", said)
	return errors.Join(s.shows(ctx, byUnicom, "www"), s.prints(ctx, "get", "links"))
}
