package slb

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// resets has servers reset connections, in what the kernel counts.
func (b *bench) resets(server string, n uint64) {
	at := addrPort(server)
	key := kernel.Key(kernel.Addr(at.Addr()), kernel.Port(at.Port()))
	for i := range b.elements["resets4"] {
		if string(b.elements["resets4"][i].Key) == string(key) {
			b.elements["resets4"][i].Packets += n
			return
		}
	}
	b.elements["resets4"] = append(b.elements["resets4"], kernel.Element{Key: key, Packets: n})
}

// A server that resets connections, or answers none, is out for its recovery time
// and comes back slowly, without a probe (B.8: intelligent monitoring).
func TestAutoShutdown(t *testing.T) {
	const how = "slots: 64\n    slowOnline: {standby: 5s, ramp: 0s}\n    autoShutdown: {resets: 10, unanswered: 6, within: 20s, recovery: 1m}"
	for what, evidence := range map[string]func(b *bench, n uint64){
		"it reset 10 connections within 20s":          func(b *bench, n uint64) { b.resets("10.1.0.2:8080", n) },
		"it did not answer 10 connections within 20s": func(b *bench, n uint64) { b.unanswered("web", "10.1.0.2:8080", unix.IPPROTO_TCP, n) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, fmt.Sprintf(web, how)).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			b.resets("10.1.0.2:8080", 1000) // before anybody looked
			b.wait(2 * time.Second)
			b.unanswered("web", "10.1.0.2:8080", unix.IPPROTO_UDP, 1000) // many of those want no answer
			b.wait(2 * time.Second)
			evidence(b, 5)
			b.wait(25 * time.Second)
			evidence(b, 5) // not within 20 s of the others
			b.wait(2 * time.Second)
			b.want("little by little", b.slots("web"), "a:22 b:21 c:21")
			evidence(b, 5)
			b.wait(2100 * time.Millisecond) // counted, and then looked at
			b.want(what, b.slots("web"), "a:32 c:32")
			if got := b.row("serverFarm/web/b"); !strings.HasPrefix(got, "down: shut down by itself: "+what) {
				t.Error(got)
			}
			if s := b.Farms()[0].Servers[1]; s.Out == "" || s.Until.IsZero() {
				t.Errorf("%+v", s)
			}
			b.wait(61 * time.Second)
			b.want("it is back, and stands by", b.slots("web"), "a:32 c:32")
			b.want("its row", b.row("serverFarm/web/b"), "none")
			b.wait(6 * time.Second)
			b.want("and then serves", b.slots("web"), "a:22 b:21 c:21")
			if !b.heard("tried again") {
				t.Error("nobody was told")
			}
		})
	}
}

// What a server left unanswered before it was tried again is counted seconds
// later, and is not held against it; what it does now is.
func TestAutoShutdownLate(t *testing.T) {
	const how = "slots: 64\n    autoShutdown: {resets: 10, unanswered: 6, within: 20s, recovery: 4s}"
	unanswered := func(b *bench) { b.unanswered("web", "10.1.0.2:8080", unix.IPPROTO_TCP, 10) }
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, how)).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.wait(2 * time.Second)
		again := func(what string) {
			unanswered(b)
			b.wait(2100 * time.Millisecond)
			b.want("out"+what, b.slots("web"), "a:32 c:32")
			b.wait(4 * time.Second)
			b.want("tried again"+what, b.slots("web"), "a:22 b:21 c:21")
		}
		again("")
		unanswered(b)
		b.wait(2100 * time.Millisecond)
		b.want("those of before", b.slots("web"), "a:22 b:21 c:21")
		b.wait(4 * time.Second)
		again(" for those of later")
		b.wait(2 * time.Second)
		b.resets("10.1.0.2:8080", 10)
		b.wait(2100 * time.Millisecond)
		b.want("resets are of now", b.slots("web"), "a:32 c:32")
	})
}

// What a server shows while an operator holds it up is his to judge: it does not go
// out for that when he lets it go, but for what it does then.
func TestAutoShutdownHeldUp(t *testing.T) {
	const how = "slots: 64\n    autoShutdown: {resets: 10, unanswered: 6, within: 20s, recovery: 1m}"
	for name, evidence := range map[string]func(b *bench, n uint64){
		"resets":     func(b *bench, n uint64) { b.resets("10.1.0.2:8080", n) },
		"unanswered": func(b *bench, n uint64) { b.unanswered("web", "10.1.0.2:8080", unix.IPPROTO_TCP, n) },
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, fmt.Sprintf(web, how)).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			evidence(b, 1)
			b.wait(4 * time.Second)
			if err := b.board.Hold("realServer/web/b", status.Hold{State: status.HoldUp, Reason: "it is looked at", By: "me"}); err != nil {
				t.Fatal(err)
			}
			b.wait(2 * time.Second)
			evidence(b, 100)
			b.wait(time.Hour)
			b.board.Release("realServer/web/b", "done", "me")
			b.wait(answerLate + time.Second)
			b.want(name+" of an hour ago", b.slots("web"), "a:22 b:21 c:21")
			evidence(b, 10)
			b.wait(2100 * time.Millisecond)
			b.want(name+" of now", b.slots("web"), "a:32 c:32")
		})
	}
}

// Whoever counts is asked for what is not answered within 3 s (B.8: a server that is
// silent is seen within seconds), and only if a farm goes by that.
func TestAutoShutdownAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "algorithm: least-connections")).run(t)
		ask := func(how string, want time.Duration) {
			t.Helper()
			b.use(fmt.Sprintf(web, how))
			b.wait(2 * time.Second)
			b.fake.Lock()
			defer b.fake.Unlock()
			if b.counter.await != want {
				t.Errorf("%s: asked for %v, want %v", how, b.counter.await, want)
			}
		}
		ask("algorithm: least-connections", 0)
		ask("algorithm: least-connections\n    autoShutdown: {unanswered: 5}", 3*time.Second)
		ask("algorithm: least-connections\n    autoShutdown: {resets: 5}", 0)
	})
}

// Without a recovery time a server stays out until an operator holds it up; and a
// reload leaves it out (T60).
func TestAutoShutdownForGood_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := fmt.Sprintf(web, "slots: 64\n    autoShutdown: {resets: 5, recovery: 0s}")
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.resets("10.1.0.2:8080", 0)
		b.wait(2 * time.Second)
		b.resets("10.1.0.2:8080", 5)
		b.wait(24 * time.Hour)
		b.want("after a day", b.slots("web"), "a:32 c:32")
		b.use(text + "  - {name: other, servers: [{name: o, address: 10.2.0.1}]}\n")
		b.wait(time.Minute)
		b.want("after a reload", b.slots("web"), "a:32 c:32")
		if err := b.board.Hold("realServer/web/b", status.Hold{State: status.HoldUp, Reason: "repaired", By: "me"}); err != nil {
			t.Fatal(err)
		}
		b.wait(2 * time.Second)
		b.board.Release("realServer/web/b", "done", "me")
		b.wait(2 * time.Second)
		b.want("an operator said so", b.slots("web"), "a:22 b:21 c:21")
	})
}
