package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// metered bounds how long a change of load may go unseen: the window, a tick
// of the meter, and time for a busy machine.
func (s *stage) metered() time.Duration { return time.Duration(s.window) + 10*time.Second }

// goal is how fast the first changed answer follows a link that is filled past
// its threshold, with a window of 1 s, on a machine that is not busy. The best
// of some crossings counts, for other programs want the processors too.
const (
	goal  = 1500 * time.Millisecond
	tries = 4
)

// sceneFill fills the link of a client's ISP. Answers move, what flows goes on
// (T18), and they stay moved between the thresholds (T17).
func sceneFill(ctx context.Context, s *stage) error {
	judged := s.window == config.Duration(time.Second)
	var took []time.Duration
	for n := 0; n < s.crossings || judged && n < tries && slices.Min(took) > goal; n++ {
		t, err := s.cross(ctx, n == 0)
		if err != nil {
			return err
		}
		took = append(took, t)
	}
	slices.Sort(took)
	if len(took) > 1 {
		s.say("%d crossings: first answer after %.2f s, median %.2f s, last %.2f s", len(took), took[0].Seconds(), took[len(took)/2].Seconds(), took[len(took)-1].Seconds())
	}
	if judged && took[0] > goal {
		return fmt.Errorf("the first changed answer came after %.2f s at best, want %s", took[0].Seconds(), goal)
	}
	return s.free(ctx)
}

// cross fills the link once, at any moment of the meter's second, and says how
// long it took until an answer was another.
func (s *stage) cross(ctx context.Context, look bool) (took time.Duration, err error) {
	if _, err := s.becomes(ctx, s.metered(), atHome, "www", by(telecom)); err != nil {
		return 0, err
	}
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(rand.N(time.Second)):
	}
	since := s.lastEvent(ctx)
	s.say("%s of real traffic out by telecom, which is busy above %s", s.load, s.mark(s.rate))
	f, err := s.fill(telecom, s.load, longestLoad)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err = errors.Join(err, f.stop()); err != nil {
			return
		}
		s.say("the load is over: %s", f)
		if f.received.Load() < f.sent.Load()*95/100 {
			err = fmt.Errorf("what flowed was hindered: %s", f)
		}
	}()
	if took, err = s.becomes(ctx, s.metered(), atHome, "www", by(unicom)); err != nil {
		return 0, err
	}
	s.say("%.2f s after the load began the first answer was another", took.Seconds())
	if err = s.told(ctx, status.MakeID(status.KindLink, telecom), "busy", since); err == nil && look {
		err = s.whileBusy(ctx, f)
	}
	return took, err
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

// told waits for the event, since another one, by which a thing got into a
// state, and prints it.
func (s *stage) told(ctx context.Context, id status.ID, state string, since uint64) error {
	_, err := until(ctx, patience, func() error {
		events, err := s.gate.api.Events(ctx, since, 1000)
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.ID == id && strings.Contains(e.New, state) {
				s.say("event %d: %s %s -> %s: %s", e.Seq, e.ID, e.Old, e.New, e.Why)
				return nil
			}
		}
		return fmt.Errorf("no event since number %d says that %s is %s", since, id, state)
	})
	return err
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
	low, high := s.mark(s.recovery), s.mark(s.rate)
	between := (low + high) / 2
	s.say("less load, %s: between %s, where it would be free, and %s", between, low, high)
	f.rate.Store(uint64(between))
	began := time.Now()
	err := s.stays(ctx, 2*time.Duration(s.window)+time.Second, atHome, "www", by(unicom))
	if least := f.least(began, time.Duration(s.window)); err != nil && least < low+low/20 {
		s.say("not judged: this machine is too busy to send evenly, and sent no more than %s for a while: %v", least, err)
		return nil
	}
	return err
}

// sceneLapse fills one link and then the other (1.2.26 (e), T19).
func sceneLapse(ctx context.Context, s *stage) (err error) {
	if _, err := s.becomes(ctx, s.metered(), atHome, "www", by(telecom)); err != nil {
		return err
	}
	since := s.lastEvent(ctx)
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
	if err := s.told(ctx, status.MakeID(status.KindPool, "web"), "busy", since); err != nil {
		return err
	}
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
