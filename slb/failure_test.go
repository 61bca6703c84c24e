package slb

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// What a server that fails has is dealt with after slots and sets stand, as the
// farm says; "reset" only after its packets were answered by resets for a while
// (T38, FAQ 1.1.16).
func TestFailure_T38(t *testing.T) {
	const ended = "sync end 10.1.0.2:8080"
	for _, c := range []struct{ how, atOnce, later string }{
		{"keep", "changed", ""},
		{"reschedule", "changed " + ended, ""},
		{"reset", "changed", ended + " changed"},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, fmt.Sprintf(web, "onFailure: "+c.how)).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			b.session("web", "10.1.0.2:8080")
			b.session("web", "10.1.0.1:8080")
			b.say(status.Down, "web/b")
			b.want(c.how+" at once", strings.Join(b.notes, " "), c.atOnce)
			if dead := len(b.farms["web"].dead); (dead == 1) != (c.how == "reset") {
				t.Errorf("%s: %d are answered by resets", c.how, dead)
			}
			b.wait(resetFor)
			b.want(c.how+" later", strings.Join(b.notes, " "), c.later)
			if n := len(b.farms["web"].dead); n > 0 {
				t.Errorf("%s: %d are answered by resets for ever", c.how, n)
			}
			b.wait(time.Hour)
			b.want(c.how+" and then", strings.Join(b.notes, " "), "")
			if left := len(b.sessions); (left == 2) != (c.how == "keep") {
				t.Errorf("%s: %d sessions are left", c.how, left)
			}
			if c.how != "keep" && !b.heard("connections ended (the server failed, and its farm says "+c.how+": 1 session)") {
				t.Errorf("%s: no event", c.how)
			}
		})
	}
}

// Nothing is ended while no other server of the farm lives, and as soon as one
// does.
func TestFailureOfAll_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "onFailure: reschedule")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.session("web", "10.1.0.2:8080")
		b.say(status.Down, "web/a", "web/b", "web/c")
		b.wait(time.Minute)
		if len(b.sessions) != 1 {
			t.Error("it was ended, with nowhere to go")
		}
		b.say(status.Up, "web/a")
		if len(b.sessions) != 0 {
			t.Error("it was not ended when there was")
		}
	})
}

// Who comes back before its connections ended keeps them.
func TestBackInTime_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "onFailure: reset")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.session("web", "10.1.0.2:8080")
		b.say(status.Down, "web/b")
		b.wait(resetFor / 2)
		b.say(status.Up, "web/b")
		if len(b.farms["web"].dead) > 0 {
			t.Error("a server that is back is answered for by resets")
		}
		b.wait(time.Minute)
		if len(b.sessions) != 1 {
			t.Error("it was ended")
		}
	})
}

// A failure of conntrack is not the end of it.
func TestFailureAgain_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "onFailure: reschedule")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.session("web", "10.1.0.2:8080")
		b.fails = errors.New("no buffer space")
		b.say(status.Down, "web/b")
		b.fails = nil
		b.wait(2 * endAgain)
		if len(b.sessions) != 0 {
			t.Error("it is not tried again")
		}
	})
}

// Who died while nobody looked, or before what it had was ended, is dealt with when the
// first verdict after a start says so; not by what was kept. Who lives keeps what it
// has, and so does who is found alive again.
func TestDiedBeforeStart_T38(t *testing.T) {
	const ended = "sync end 10.1.0.2:8080"
	kept := status.Row{ID: "realServer/web/b", Health: status.Down, By: status.WarmStart}
	for _, c := range []struct {
		name    string
		at      []status.Row // when it starts
		then    status.Health
		atOnce  string
		between string
	}{
		{"kept as up", []status.Row{{ID: kept.ID, Health: status.Up, By: status.WarmStart}}, status.Down, "", ended},
		{"kept as down", []status.Row{kept}, status.Down, "", ended},
		{"kept as down, but alive", []status.Row{kept}, status.Up, "", ""},
		{"nothing kept", nil, status.Down, "", ended},
		{"found before", []status.Row{{ID: kept.ID, Health: status.Down, By: "probe"}}, status.Down, ended, ""},
	} {
		for _, how := range []string{"reschedule", "reset"} {
			synctest.Test(t, func(t *testing.T) {
				text := fmt.Sprintf(web, "onFailure: "+how)
				b := newBench(t, text)
				b.session("web", "10.1.0.2:8080")
				b.session("web", "10.1.0.1:8080")
				b.board.Update(c.at...)
				b.begin(text)
				b.run(t)
				ends := func() string {
					b.wait(resetFor)
					return strings.TrimSpace(strings.ReplaceAll(strings.Join(b.notes, " "), "changed", ""))
				}
				if dead := len(b.farms["web"].dead); (dead == 1) != (how == "reset" && c.atOnce != "") {
					t.Errorf("%s, %s: %d are answered by resets", c.name, how, dead)
				}
				if left := len(b.sessions); how == "reschedule" && (left == 2) != (c.atOnce == "") {
					t.Errorf("%s, %s: %d sessions are left at once", c.name, how, left)
				}
				if how == "reset" {
					b.want(c.name+", reset, at once", ends(), c.atOnce)
				}
				b.board.Update(status.Row{ID: kept.ID, Health: c.then, By: "probe"})
				synctest.Wait()
				if dead := len(b.farms["web"].dead); (dead == 1) != (how == "reset" && c.between != "") {
					t.Errorf("%s, %s: then %d are answered by resets", c.name, how, dead)
				}
				ends()
				if left := len(b.sessions); (left == 1) != (c.atOnce+c.between != "") {
					t.Errorf("%s, %s: %d sessions are left", c.name, how, left)
				}
			})
		}
	}
}

// Nothing is ended before what the tick said stands in Linux: it would come back to
// the dead server. That other things do not stand, as in the rest of these tests, does
// not matter.
func TestFailureUnwritten_T38(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "onFailure: reschedule")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.session("web", "10.1.0.2:8080")
		b.unwritten = kernel.ErrUnwritten
		b.say(status.Down, "web/b")
		b.wait(time.Minute)
		if len(b.sessions) != 1 {
			t.Error("it was ended before the slots stand")
		}
		b.fake.Lock()
		b.unwritten = nil
		b.fake.Unlock()
		b.wait(2 * endAgain)
		if len(b.sessions) != 0 {
			t.Error("it is not tried again")
		}
	})
}

// Sessions of a farm that has the server in common, and says keep, are not ended.
func TestFailureOfCommonServer_T38(t *testing.T) {
	text := strings.Replace(fmt.Sprintf(web, "onFailure: reschedule"), "virtualServers:\n", "virtualServers:\n  - {name: other, address: 203.0.113.11, port: 80, serve: {farm: other}}\n", 1) +
		"  - {name: other, servers: [{name: b, address: 10.1.0.2, port: 8080}, {name: d, address: 10.1.0.4, port: 8080}]}\n"
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c", "other/b", "other/d")
		b.session("web", "10.1.0.2:8080")
		b.session("other", "10.1.0.2:8080")
		b.say(status.Down, "web/b", "other/b")
		if len(b.sessions) != 1 || b.sessions[0].Mark != b.number.VirtualServers["other"]<<10 {
			t.Errorf("left are %v", b.sessions)
		}
	})
}

// An operator's down cuts a server off at once, in a farm that keeps too; drain
// leaves what there is. A server that is switched off drains, or not, as
// slowOffline says (issue 5: shutdown, slow offline).
func TestShutdown(t *testing.T) {
	for _, c := range []struct {
		state status.HoldState
		left  int
	}{{status.HoldDown, 0}, {status.HoldDrain, 1}} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, fmt.Sprintf(web, "onFailure: keep")).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			b.session("web", "10.1.0.2:8080")
			if err := b.board.Hold("realServer/web/b", status.Hold{State: c.state, Reason: "work", By: "me"}); err != nil {
				t.Fatal(err)
			}
			b.wait(time.Minute)
			if len(b.sessions) != c.left {
				t.Errorf("held %v: %d sessions are left", c.state, len(b.sessions))
			}
			if got := b.slots("web"); strings.Contains(got, "b:") {
				t.Errorf("held %v: %s", c.state, got)
			}
		})
	}
	for _, c := range []struct {
		slow bool
		left int
	}{{true, 1}, {false, 0}} {
		synctest.Test(t, func(t *testing.T) {
			text := fmt.Sprintf(web, fmt.Sprintf("onFailure: reschedule\n    slowOffline: %v", c.slow))
			b := newBench(t, text).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			b.session("web", "10.1.0.2:8080")
			b.use(strings.Replace(text, "{name: b,", "{name: b, enabled: false,", 1))
			synctest.Wait()
			if len(b.sessions) != c.left {
				t.Errorf("slowOffline %v: %d sessions are left", c.slow, len(b.sessions))
			}
			if got := b.slots("web"); strings.Contains(got, "b:") {
				t.Errorf("switched off: %s", got)
			}
			b.want("the farm is of those that are on", b.Farms()[0].Result.Why, "2 of 2 servers are usable")
		})
	}
}

// slowOffline: false ends what a server has that was switched off before we ran, or
// while it was true; once, and it is told only if there was anything.
func TestShutdownBefore(t *testing.T) {
	text := func(slow bool, failure, b string) string {
		return strings.Replace(fmt.Sprintf(web, fmt.Sprintf("onFailure: %s\n    slowOffline: %v", failure, slow)), "{name: b,", "{name: b,"+b, 1)
	}
	const off = " enabled: false,"
	const told = "connections ended (the server was switched off"
	for name, c := range map[string]struct {
		before, after string // a run or a configuration before; "": there is none
		left          int
	}{
		"before we ran":                       {"", text(false, "reschedule", off), 0},
		"before we ran, by resets":            {"", text(false, "reset", off), 0},
		"before we ran, and it may end":       {"", text(true, "reschedule", off), 1},
		"before we ran, and the farm keeps":   {"", text(false, "keep", off), 1},
		"while slowOffline was true":          {text(true, "reschedule", off), text(false, "reschedule", off), 0},
		"while the farm kept":                 {text(false, "keep", off), text(false, "reschedule", off), 0},
		"nothing is said of it any more":      {text(true, "reschedule", off), text(true, "reschedule", ""), 1},
		"while slowOffline was true, with it": {text(true, "reschedule", ""), text(false, "reschedule", off), 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			first := c.before
			if first == "" {
				first = c.after
			}
			b := newBench(t, first)
			b.session("web", "10.1.0.2:8080")
			b.run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			if c.before != "" {
				b.wait(time.Minute)
				if len(b.sessions) != 1 {
					t.Errorf("%s: it was ended before", name)
				}
				b.use(c.after)
			}
			b.wait(resetFor + time.Second)
			if len(b.sessions) != c.left || b.heard(told) != (c.left == 0) {
				t.Errorf("%s: %d sessions are left, want %d", name, len(b.sessions), c.left)
			}
			b.session("web", "10.1.0.2:8080") // of whomever else: it is not looked at again
			b.use(c.after)
			b.wait(time.Minute)
			if len(b.sessions) != c.left+1 || b.heard(told) {
				t.Errorf("%s: %d sessions after a reload", name, len(b.sessions))
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text(false, "reschedule", off)).run(t)
		b.say(status.Up, "web/a", "web/c")
		b.wait(time.Minute)
		if b.heard(told) {
			t.Error("it is told though there was nothing to end")
		}
	})
}
