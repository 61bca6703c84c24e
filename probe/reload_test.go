package probe

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/status"
)

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.silence("10.0.0.1", true)
		first := model(defaults(), "10.0.0.1", "10.0.0.2", "10.0.0.3")
		r.Want(Compile(first))
		defer r.run()()
		r.at(11 * time.Second)
		r.wantRow(vsA, "down")
		before, _ := r.History(checkA)
		since := r.board.Table().Row(vsA).Since

		// a stays, b moves to a new address, c goes.
		r.Want(Compile(model(defaults(), "10.0.0.1", "10.0.0.9")))
		r.wantRow(vsA, "down")
		r.wantRow(vsB, "unknown")
		r.wantRow("virtualServer/c", "no row")
		r.wantRow("probe/10.0.0.2:80/p", "no row")
		after, _ := r.History(checkA)
		if len(after.Last) != len(before.Last) || after.Streak != before.Streak || after.Next != before.Next || !since.Equal(r.board.Table().Row(vsA).Since) {
			t.Errorf("an unchanged check lost its past:\n%+v\n%+v", before, after)
		}
		synctest.Wait()
		r.wantRow(vsB, "up") // a new check does not wait for the grid
		r.at(30 * time.Second)
		if got := r.startsOf("10.0.0.3"); got != "[666.666666ms 8.333333333s]" {
			t.Errorf("a check that is gone was probed at %s", got)
		}
		if n := r.Stats().Checks; n != 2 {
			t.Errorf("%d checks", n)
		}
	})
}

// A changed definition keeps its health until rise or fall results to the new
// one say otherwise, counted from zero; the first of them comes at once.
func TestReloadChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		defer r.run()()
		r.at(19 * time.Second)
		r.silence("10.0.0.1", true)
		r.at(26 * time.Second) // one lost, the second is out until 28 s
		changed := defaults()
		changed.Expect = "hello"
		r.Want(Compile(model(changed, "10.0.0.1")))
		r.wantRow(vsA, "up")
		if h, _ := r.History(checkA); len(h.Last) != 0 || h.Streak != 0 || h.Health != status.Up || !strings.HasSuffix(h.Saw, earlier) {
			t.Errorf("history of a changed check: %+v", h)
		}
		r.at(39*time.Second - 1) // lost at 26, 31 and 36 s
		r.wantRow(vsA, "up")
		r.at(39 * time.Second)
		r.wantRow(vsA, "down")
		if got := r.startsOf("10.0.0.1"); got != "[0s 5s 10s 15s 20s 25s 26s 31s 36s]" {
			t.Errorf("probed at %s", got)
		}
	})
}

// Other timing, rise or fall is no other question: health, counts and history
// go on, and one lost probe after the edit is one lost probe (T51).
func TestReloadTiming_T51(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Options{})
		r.Want(Compile(model(defaults(), "10.0.0.1")))
		defer r.run()()
		r.at(19 * time.Second)
		r.silence("10.0.0.1", true)
		r.at(24 * time.Second) // one lost
		changed := defaults()
		changed.Interval, changed.Timeout = 4*sec, 2*sec
		r.Want(Compile(model(changed, "10.0.0.1")))
		r.wantRow(vsA, "up")
		r.at(26 * time.Second) // a second one lost
		r.wantRow(vsA, "up")
		h, _ := r.History(checkA)
		if len(h.Last) != 6 || len(h.Failures) != 2 || h.Streak != 2 || strings.HasSuffix(h.Saw, earlier) {
			t.Errorf("history after an edit of the interval: %+v", h)
		}
		r.at(30*time.Second - 1)
		r.wantRow(vsA, "up")
		r.at(30 * time.Second)
		r.wantRow(vsA, "down")
	})
}

// A check that is edited before its first result still settles with it (T56).
func TestReloadBeforeFirst_T56(t *testing.T) {
	for _, expect := range []string{"", "hello"} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, Options{})
			r.silence("10.0.0.1", true)
			r.Want(Compile(model(defaults(), "10.0.0.1")))
			defer r.run()()
			r.at(time.Second)
			changed := defaults()
			changed.Fall, changed.Expect = 5, expect
			r.Want(Compile(model(changed, "10.0.0.1")))
			r.wantRow(vsA, "waiting")
			r.at(4 * time.Second)
			r.wantRow(vsA, "down")
		})
	}
}
