package kernel

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// How often sessions that nobody has answered are looked at, or less often, so that
// it takes at most a twentieth of the time: the kernel goes through the whole table
// for it, and gives those alone.
const (
	silentAgain = time.Second
	silentShare = 20
)

// Await has a TCP connection count as unanswered as soon as nothing has come back
// for so long, looked at each second, instead of when Linux gives it up. With 0 it
// is as it was before. Live must have been opened; Run need not go on yet.
func (l *Live) Await(after time.Duration) {
	if l.await.Swap(int64(after)) != int64(after) {
		l.stirred.Store(true)
		_ = l.events.file.SetReadDeadline(time.Unix(1, 0)) // hear looks at stirred after it has set its own
	}
}

// awaits says for how long nothing may come back; 0: nobody asks.
func (l *Live) awaits() time.Duration { return time.Duration(l.await.Load()) }

// due is when Run has something to read.
func (l *Live) due() time.Time {
	if l.awaits() > 0 && l.look.Before(l.next) {
		return l.look
	}
	return l.next
}

// unreplied asks for sessions that no packet has come back of. Linux before 6.0
// gives all.
func unreplied() []byte {
	b := append([]byte{unix.AF_UNSPEC, 1, 0, 0}, attribute(ctaStatus, big32(0))...)
	return append(b, attribute(ctaStatusMask, big32(StatusSeenReply))...)
}

// readSilent reads which sessions nobody has answered. Those that the events did
// not tell of yet are counted the next time.
func (l *Live) readSilent(ctx context.Context) error {
	start := time.Now()
	waits := make(map[uint64]time.Time, len(l.waits))
	err := l.table.socket.ask(ctGet, unix.NLM_F_DUMP, unreplied(), func(kind uint16, b []byte) {
		if s, ok := parseSession(b); ok && kind == ctNew && ctx.Err() == nil {
			l.wait(waits, &s, start)
		}
	})
	if err != nil && !errors.Is(err, errInterrupted) {
		return wrapped("the table of sessions", err)
	}
	l.waits = waits
	l.look = start.Add(max(silentAgain, silentShare*time.Since(start)))
	return nil
}

// wait notes in waits since when a connection is not answered, or counts it if that
// is long enough.
func (l *Live) wait(waits map[uint64]time.Time, s *Session, now time.Time) {
	if s.Original.Protocol != unix.IPPROTO_TCP || s.Mark&l.mask == 0 || s.Status&(StatusSeenReply|statusDying) != 0 {
		return
	}
	key := s.key()
	k, is := l.known[key]
	if !is || k.silent {
		return
	}
	since, is := l.waits[key]
	if !is {
		since = now
	}
	if now.Sub(since) < l.awaits() {
		waits[key] = since
		return
	}
	k.silent = true
	l.known[key] = k
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count(k.row, change{unanswered: 1})
}
