package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// budget is probesPerSecond of the lab's configuration, the default.
const budget = 200

// sceneFlood forges sources: each query is the first of another network, which
// would be measured. Whoever has these networks gets no more than the budget,
// however many queries there are, and a real client is answered (T14).
func sceneFlood(ctx context.Context, s *stage) (err error) {
	if _, err := s.becomes(ctx, time.Duration(s.warmUp)+measured, atHome, "measured", by(telecom)); err != nil {
		return err
	}
	var watchers []*watcher
	defer func() {
		for _, w := range watchers {
			err = errors.Join(err, w.close())
		}
		_, cleared := s.gate.command(ctx, "proximity", "clear", forged.String(), "--reason", "the lab's flood is over")
		err = errors.Join(err, cleared)
	}()
	for _, i := range isps {
		w, err := s.watch(i.name)
		if err != nil {
			return err
		}
		watchers = append(watchers, w)
	}
	// Far under the threshold: links that are busy are not measured.
	const seconds, octets = 4, 100
	perSecond := min(3000, int(s.mark(s.rate)/8/octets/8))
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- s.flood(ctx, shop, unicom, "measured", seconds*perSecond, perSecond) }()
	s.say("%d queries a second, each from another network of %s", perSecond, forged)
	err = s.stays(ctx, seconds*time.Second, atHome, "measured", by(telecom))
	if err = errors.Join(err, <-done); err != nil {
		return err
	}
	var replies, others uint64
	for _, w := range watchers {
		replies, others = replies+w.replies.Load(), others+w.others.Load()
	}
	took := time.Since(began)
	most := uint64(budget * (took.Seconds() + 0.5))
	s.say("in %.1f s the forged networks were sent %d replies and %d packets that measure; the budget allows %d", took.Seconds(), replies, others, most)
	switch sent := uint64(seconds * perSecond); {
	case others > most:
		return fmt.Errorf("%d packets measure forged networks in %s, want %d at most", others, took, most)
	case others == 0:
		return errors.New("nothing was measured: the bound was not tried")
	case replies > sent:
		return fmt.Errorf("%d replies to %d queries", replies, sent)
	}
	return s.prints(ctx, "proximity", "stats")
}
