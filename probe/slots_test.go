package probe

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

// many is a plan of n checks of a kind, of 10.0.0.0 and on.
func many(n int, kind string) Plan {
	var plan Plan
	for i := range n {
		target := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
		plan.Checks = append(plan.Checks, Check{
			ID: status.MakeID(status.KindProbe, target.String(), "p"), Target: target,
			Probe: config.Probe{Name: "p", Kind: kind, Interval: 5 * sec, Timeout: 3 * sec, Rise: 3, Fall: 3},
		})
	}
	return plan
}

// However many targets are silent, one that is not is found dead as the formula
// says: constant work (R5, T51).
func TestSilentDoNotDelay_T51(t *testing.T) {
	const n = 1500
	if fileShare() < n {
		nettest.Missing(t, "needs a limit of %d open files", 2*n)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		for i := range n {
			r.silence(fmt.Sprintf("10.0.%d.%d", i>>8, i&255), true)
		}
		plan := many(n, "tcp")
		alive := plan.Checks[n/2]
		r.silence(alive.Target.Addr().String(), false)
		r.Want(plan)
		defer r.run()()
		r.at(30 * time.Second)
		r.wantRow(alive.ID, "up")
		h, _ := r.History(alive.ID)
		r.silence(alive.Target.Addr().String(), true)
		dead := h.Next.Sub(r.begin) + 13*time.Second
		r.at(dead - 1)
		r.wantRow(alive.ID, "up")
		r.at(dead)
		r.wantRow(alive.ID, "down")
		if s := r.Stats(); s.Waited != 0 || s.Needed != n || s.Slots != fileShare() {
			t.Errorf("stats %+v", s)
		}
	})
}

func TestFileShare(t *testing.T) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		t.Fatal(err)
	}
	if l.Cur != l.Max {
		t.Errorf("the soft limit %d was not raised to the hard one, %d", l.Cur, l.Max)
	}
	if got := fileShare(); l.Cur < 1<<31 && got != int(l.Cur/5*4) {
		t.Errorf("%d of %d", got, l.Cur)
	}
}

// A plan that needs more than there is says so, and so do the waits, once a
// minute.
func TestSlotsComplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		silent := func(ctx context.Context, t *Task) Result { <-ctx.Done(); return t.silent() }
		p := New(status.NewBoard(1), Options{
			MaxRunning: 2, Kinds: map[string]Func{"tcp": silent}, Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		p.Want(many(2, "tcp"))
		if log.Len() > 0 {
			t.Errorf("logged for a plan that fits: %s", &log)
		}
		p.Want(many(4, "tcp"))
		if got := log.String(); strings.Count(got, "needed=4 limit=2") != 1 {
			t.Errorf("logged %q", got)
		}
		r := &rig{t: t, begin: time.Now(), Prober: p}
		stop := r.run()
		r.at(59 * time.Second)
		if got := log.String(); strings.Count(got, "probes wait") != 1 || p.Stats().Waited < 5 || p.Stats().Needed != 4 {
			t.Errorf("logged %q, stats %+v", got, p.Stats())
		}
		r.at(90 * time.Second)
		stop()
		if got := strings.Count(log.String(), "probes wait"); got != 2 {
			t.Errorf("logged %d times in 90 s", got)
		}
	})
}

// Programs have a bound of their own, and one that waits for it holds back no
// probe of another kind.
func TestMaxExec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r *rig
		fake := func(ctx context.Context, task *Task) Result { return r.probe(ctx, task) }
		r = newRig(t, Options{MaxRunning: 2*maxExec + 1, Kinds: map[string]Func{"exec": fake, "tcp": fake}})
		plan := many(maxExec+10, "exec")
		for i := range plan.Checks {
			r.silence(plan.Checks[i].Target.Addr().String(), true)
		}
		last := &plan.Checks[len(plan.Checks)-1]
		last.Probe.Kind = "tcp"
		r.silence(last.Target.Addr().String(), false)
		r.Want(plan)
		defer r.run()()
		r.at(2 * time.Second)
		r.wantRow(last.ID, "up")
		if s := r.Stats(); s.Running != maxExec || s.Waited != 9 || s.Needed != 2*maxExec+1 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A probe that costs two waits until both are free, and one too large for
// the bound still runs.
func TestSlotsCost(t *testing.T) {
	s := newSlots(3, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	free, ok := s.acquire(ctx, "tcp-half-open")
	if !ok {
		t.Fatal("not even one")
	}
	if _, ok := s.acquire(ctx, "tcp-half-open"); ok || s.waited.Load() != 1 {
		t.Error("4 of 3 were given")
	}
	free()
	if _, ok := newSlots(1, s.log).acquire(ctx, "tcp-half-open"); !ok {
		t.Error("a bound of one lets nothing through")
	}
}
