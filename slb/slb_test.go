package slb

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// A server that goes down is out of the slots at once, in one turn of its farm
// alone, and before anybody sees the row (FAQ 1.1.14, DESIGN 9).
func TestServerDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "slots: 64")+"  - {name: other, servers: [10.2.0.1]}\n").run(t)
		b.say(status.Up, "web/a", "web/b", "web/c", "other/10.2.0.1")
		b.want("at first", b.slots("web"), "a:22 b:21 c:21")
		other := b.farms["other"].last.Slots
		b.say(status.Down, "web/b")
		b.want("with b down", b.slots("web"), "a:32 c:32")
		b.want("and the kernel", strings.Join(b.notes, " "), "changed")
		if now := b.farms["other"].last.Slots; &now[0] != &other[0] {
			t.Error("another farm was ticked")
		}
		b.say(status.Up, "web/b")
		b.want("with b back", b.slots("web"), "a:22 b:21 c:21")
	})
}

// A daemon that starts again finds the slots that it left, whatever way they came
// about, and changes none that need not be (T60).
func TestSlotsAreAdopted_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := fmt.Sprintf(web, "slots: 16")
		b := newBench(t, text)
		b.say(status.Up, "web/a", "web/b", "web/c")
		left := slices.Clone(b.farms["web"].last.Slots)
		slices.Reverse(left) // as good as the other way round
		var list []kernel.Element
		for i, id := range left {
			list = append(list, kernel.Element{Key: kernel.Key(kernel.Number(1<<31|1), kernel.Number(uint32(i))), Data: kernel.Number(uint32(id))})
		}
		again := newBench(t, text, list...)
		if now := again.farms["web"].last.Slots; !slices.Equal(now, left) {
			t.Errorf("left %v, now %v", left, now)
		}
	})
}

// At rest nothing is told to the kernel, and no farm is looked at.
func TestRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.farms["web"].state.Up = false // a tick would say it anew
		b.wait(time.Hour)
		if b.farms["web"].state.Up || len(b.notes) > 0 {
			t.Errorf("at rest: %v", b.notes)
		}
	})
}

// T30: between the thresholds a farm stays as it is, and the row of the virtual
// server follows the farm, or its backup.
func TestRowsOfFarmAndVirtualServer_T30(t *testing.T) {
	const text = `
version: 1
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web, backup: spare}}
  - {name: bare, address: 203.0.113.11, port: 80, serve: {}}
  - {name: off, address: 203.0.113.12, port: 80, serve: {farm: web, enabled: false}}
serverFarms:
  - name: web
    activate: {lower: 50%, upper: 100%}
    servers: [{name: a, address: 10.1.0.1}, {name: b, address: 10.1.0.2}]
  - {name: spare, servers: [{name: s, address: 10.1.0.9}]}
`
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "spare/s")
		web, row := status.ID("serverFarm/web"), status.ID("virtualServer/web")
		b.want("all up", b.row(web), "up: 2 of 2 servers are usable")
		b.want("all up", b.row(row), "up: farm web: 2 of 2 servers are usable")
		b.want("without a farm", b.row("virtualServer/bare"), "down: nothing serves it: it has neither a farm nor a policy that leads to one")
		b.want("switched off, which probe says", b.row("virtualServer/off"), "none")
		b.say(status.Down, "web/a")
		if !strings.HasPrefix(b.row(web), "up: ") {
			t.Errorf("half is not below half: %s", b.row(web))
		}
		b.say(status.Down, "web/b")
		b.want("none", b.row(web), "down: none of 2 servers is usable")
		b.want("the row is up", b.row(row), "up: farm web: 2 of 2 servers are usable")
		b.want("by its backup", b.VirtualServers()[0].Why, "backup spare stands in for farm web: 1 of 1 servers are usable")
		b.say(status.Up, "web/a")
		if got := b.Farms()[0].Result.Why; !strings.HasPrefix(b.row(web), "down: ") || !strings.HasPrefix(got, "1 of 2") {
			t.Errorf("half is not all: %s, %s", b.row(web), got)
		}
		b.say(status.Down, "spare/s")
		if got := b.row(row); !strings.HasPrefix(got, "down: nothing serves it: farm web: 1 of 2") || !strings.HasSuffix(got, "(and 1 more farms are not available)") {
			t.Errorf("nobody: %s", got)
		}
		b.say(status.Up, "web/b")
		b.want("again", b.row(row), "up: farm web: 2 of 2 servers are usable")
	})
}

// A virtual server whose policy leads to a farm that is available is up, though
// its own farm is not.
func TestRowByPolicy(t *testing.T) {
	const text = `
version: 1
slb:
  classes: [{name: near, sources: [198.51.100.0/24]}]
  policies: [{name: p, rules: [{class: near, action: {farm: other}}]}]
virtualServers:
  - {name: web, address: 203.0.113.10, port: 80, serve: {farm: web, policy: p}}
serverFarms:
  - {name: web, servers: [{name: a, address: 10.1.0.1}]}
  - {name: other, servers: [{name: o, address: 10.1.0.2}]}
`
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "other/o")
		b.say(status.Down, "web/a")
		b.want("by the action's farm", b.VirtualServers()[0].Why, "farm other: 1 of 1 servers are usable")
		if !b.board.Table().Row("virtualServer/web").Usable() {
			t.Error("it is down")
		}
		b.say(status.Down, "other/o")
		if got := b.row("virtualServer/web"); !strings.HasPrefix(got, "down: nothing serves it") {
			t.Error(got)
		}
	})
}

// T31: who comes back stands by, and then gets its share bit by bit, by the
// farm's own clock.
func TestSlowOnline_T31(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "slots: 64\n    slowOnline: {standby: 10s, ramp: 20s}")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.say(status.Down, "web/b")
		b.say(status.Up, "web/b")
		b.want("it stands by", b.slots("web"), "a:32 c:32")
		b.wait(20 * time.Second)
		if got := b.slots("web"); !strings.Contains(got, "b:1") { // some ten of 64
			t.Errorf("half way: %s", got)
		}
		b.wait(11 * time.Second)
		b.want("all of it", b.slots("web"), "a:22 b:21 c:21")
		b.wait(time.Hour)
		if len(b.notes) > 0 {
			t.Errorf("and then rest: %v", b.notes)
		}
		for _, want := range []string{"standby", "ramp", "whole share"} {
			b.told = 0
			if !b.heard(want) {
				t.Errorf("no event of %q", want)
			}
		}
	})
}

// An operator's word on a virtual server, a farm and a server (DESIGN 9).
func TestHolds(t *testing.T) {
	hold := func(b *bench, id status.ID, s status.HoldState) {
		b.t.Helper()
		if err := b.board.Hold(id, status.Hold{State: s, Reason: "work", By: "me"}); err != nil {
			b.t.Fatal(err)
		}
		synctest.Wait()
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "slots: 64")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		hold(b, "realServer/web/a", status.HoldDrain)
		b.want("a drains", b.slots("web"), "b:32 c:32")
		hold(b, "serverFarm/web", status.HoldDown)
		b.want("the farm", b.row("serverFarm/web"), "down: held down: work")
		if got := b.row("virtualServer/web"); !strings.HasPrefix(got, "down: ") {
			t.Errorf("the farm is held down: %s", got)
		}
		b.board.Release("serverFarm/web", "done", "me")
		b.board.Release("realServer/web/a", "done", "me")
		synctest.Wait()
		b.want("again", b.slots("web"), "a:22 b:21 c:21")
		hold(b, "virtualServer/web", status.HoldDrain)
		if v := b.VirtualServers()[0]; v.Shut {
			t.Error("drain shuts it: those who have its address still would be refused")
		}
		hold(b, "virtualServer/web", status.HoldDown)
		if v := b.VirtualServers()[0]; !v.Shut || b.notes[len(b.notes)-1] != "want" { // there is no rule for it otherwise
			t.Errorf("down lets new connections in: %v", b.notes)
		}
		if b.board.Table().Row("virtualServer/web").Usable() {
			t.Error("and the DNS gives it")
		}
		b.board.Release("virtualServer/web", "done", "me")
		synctest.Wait()
		if v := b.VirtualServers()[0]; v.Shut {
			t.Error("it stays shut")
		}
	})
}

// T60: a reload leaves what is known of servers, slots and connections as it was,
// and tells the kernel no more than it must.
func TestReload_T60(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := fmt.Sprintf(web, "slots: 64\n    slowOnline: {standby: 1m, ramp: 0s}")
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.say(status.Down, "web/b")
		b.say(status.Up, "web/b")
		before := b.slots("web")
		b.use(text + "  - {name: other, servers: [{name: o, address: 10.2.0.1}]}\n")
		synctest.Wait()
		b.want("b stands by still", b.slots("web"), before)
		b.want("the row of what is new", b.row("serverFarm/other"), "up: 1 of 1 servers are usable")
		b.use(text)
		synctest.Wait()
		b.want("and of what is gone", b.row("serverFarm/other"), "none")
		b.wait(time.Minute)
		b.want("the standby ends when it would have", b.slots("web"), "a:22 b:21 c:21")
	})
}

// Nothing is served any more: the kernel is told so, and rows of ours go.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "")).run(t)
		b.use(strings.Replace(fmt.Sprintf(web, ""), "virtualServers:", "slb: {enabled: false}\nvirtualServers:", 1))
		synctest.Wait()
		b.want("the kernel", strings.Join(b.notes, " "), "want nothing")
		b.want("the row", b.row("virtualServer/web"), "none")
		b.want("the farm's", b.row("serverFarm/web"), "none")
		b.use(fmt.Sprintf(web, ""))
		synctest.Wait()
		b.want("and again", b.row("virtualServer/web"), "up: farm web: 3 of 3 servers are usable")
	})
}
