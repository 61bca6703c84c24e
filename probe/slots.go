package probe

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
)

// maxExec bounds the programs of exec that run at once: they cost processes
// and memory, which the limit of descriptors says nothing about.
const maxExec = 256

// slots bound what runs at once. One slot is one descriptor, and a check never
// has two probes out, so as long as the slots suffice for every check to be out
// at once no probe ever waits: what is dead cannot delay what is alive (R5,
// T51). See [slots.check] for when they do not.
type slots struct {
	log           *slog.Logger
	limit         int
	files, execs  *semaphore.Weighted
	running       atomic.Int64
	waited        atomic.Uint64
	lastComplaint atomic.Int64 // when a wait was logged, Unix nanoseconds
}

func newSlots(limit int, log *slog.Logger) *slots {
	return &slots{log: log, limit: limit, files: semaphore.NewWeighted(int64(limit)), execs: semaphore.NewWeighted(maxExec)}
}

// fileShare is 80 % of the descriptors that the process may open; the others
// are for queries, the API and files. The Go runtime has raised the soft limit
// to the hard one by then.
func fileShare() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024 / 5 * 4 // what Linux gives by default
	}
	return max(int(min(l.Cur, math.MaxInt32)/5*4), 1)
}

// cost is how many descriptors a probe of a kind holds, at most limit, so that
// one alone always fits.
func (s *slots) cost(kind string) int64 {
	return int64(min(max(kinds[kind].files, 1), s.limit))
}

// check compares what the checks of a plan take when all of them are out at
// once with what there is, and says so in the log if it is not enough: then
// silent targets make others wait, and those are found dead later than T51
// says. It returns the slots needed.
func (s *slots) check(checks []Check) (needed int) {
	execs := 0
	for i := range checks {
		kind := checks[i].Probe.Kind
		if kind == "exec" {
			execs++
			continue
		}
		needed += int(s.cost(kind))
	}
	needed += min(execs, maxExec) * int(s.cost("exec"))
	if needed > s.limit {
		s.log.Warn("more probes than descriptors: while many targets are silent, others may be probed late; raise the limit of open files (LimitNOFILE)",
			"needed", needed, "limit", s.limit)
	}
	if execs > maxExec {
		s.log.Warn("more exec probes than may run at once: while many of them hang, others may be late", "probes", execs, "limit", maxExec)
	}
	return needed
}

// acquire takes what a probe of a kind needs, in the order of arrival. It
// reports false when ctx ended first.
func (s *slots) acquire(ctx context.Context, kind string) (release func(), ok bool) {
	n, isExec := s.cost(kind), kind == "exec"
	if isExec && !s.take(ctx, s.execs, 1, kind) {
		return nil, false
	}
	if !s.take(ctx, s.files, n, kind) {
		if isExec {
			s.execs.Release(1)
		}
		return nil, false
	}
	s.running.Add(1)
	return func() {
		s.running.Add(-1)
		s.files.Release(n)
		if isExec {
			s.execs.Release(1)
		}
	}, true
}

func (s *slots) take(ctx context.Context, from *semaphore.Weighted, n int64, kind string) bool {
	if from.TryAcquire(n) {
		return true
	}
	s.complain(kind, s.waited.Add(1))
	return from.Acquire(ctx, n) == nil
}

// complain logs that probes wait, once a minute at most.
func (s *slots) complain(kind string, waited uint64) {
	now, last := time.Now().UnixNano(), s.lastComplaint.Load()
	if now-last >= int64(time.Minute) && s.lastComplaint.CompareAndSwap(last, now) {
		s.log.Warn("probes wait for others to end", "kind", kind, "limit", s.limit, "waitedSinceStart", waited)
	}
}
