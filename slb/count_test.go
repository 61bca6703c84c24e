package slb

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/status"
)

// Nobody counts connections unless somebody needs to know: each costs a message.
func TestCountsOnlyIfNeeded(t *testing.T) {
	for more, want := range map[string]bool{
		"": false, "algorithm: source-hash": false, "algorithm: bandwidth": false,
		"algorithm: least-connections": true, "algorithm: least-time": true,
		"autoShutdown: {resets: 5}": false, "autoShutdown: {unanswered: 5}": true,
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, fmt.Sprintf(web, more)).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c")
			if got := b.count.Wanted(); got != want {
				t.Errorf("%q: counts %v", more, got)
			}
		})
	}
	for limit, want := range map[int]bool{2000: false, 2001: true} { // the kernel counts small ones (slb.md 3.1)
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, strings.Replace(fmt.Sprintf(web, ""), "{farm: web}", fmt.Sprintf("{farm: web, maxConnections: %d}", limit), 1)).run(t)
			if got := b.count.Wanted(); got != want {
				t.Errorf("a limit of %d: counts %v", limit, got)
			}
		})
	}
}

// least-connections evens out what servers have: who has most gets least, within
// a tick; and at rest no farm is ticked.
func TestLeastConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, "algorithm: least-connections\n    slots: 64")).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.wait(time.Second)
		b.has("web", "10.1.0.1:8080", 300)
		b.wait(tickFast)
		if got := b.slots("web"); strings.Contains(got, "a:") {
			t.Errorf("a has 300 more: %s", got)
		}
		b.has("web", "10.1.0.2:8080", 300)
		b.has("web", "10.1.0.3:8080", 300)
		b.wait(time.Minute)
		if got := b.slots("web"); !strings.Contains(got, "a:2") || !strings.Contains(got, "b:2") {
			t.Errorf("all have as many: %s", got)
		}
		b.farms["web"].state.Up = false
		b.wait(time.Minute)
		if b.farms["web"].state.Up || len(b.notes) > 0 {
			t.Error("a farm is ticked though nothing comes and goes")
		}
	})
}

// Connections of a server in whatever farm count for least-connections, those of
// the member alone for the algorithms by member (FAQ 1.1.15).
func TestEverywhereAndMember(t *testing.T) {
	for algorithm, want := range map[string]bool{"least-connections": false, "member-least-connections": true} {
		text := strings.Replace(fmt.Sprintf(web, "slots: 64\n    algorithm: "+algorithm), "virtualServers:\n", "virtualServers:\n  - {name: other, address: 203.0.113.11, port: 80, serve: {farm: other}}\n", 1) +
			"  - {name: other, servers: [{name: x, address: 10.1.0.1, port: 8080}]}\n"
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, text).run(t)
			b.say(status.Up, "web/a", "web/b", "web/c", "other/x")
			b.has("other", "10.1.0.1:8080", 500)
			b.wait(time.Second)
			if got := strings.Contains(b.slots("web"), "a:"); got != want {
				t.Errorf("%s, with 500 of another farm: %s", algorithm, b.slots("web"))
			}
			if c := b.Farms()[0].Servers[0].Connections; c == nil || *c != 0 {
				t.Errorf("they are not of the farm: %v", c)
			}
			if c := b.Farms()[1].Servers[0].Connections; c == nil || *c != 500 {
				t.Errorf("of the other: %v", c)
			}
		})
	}
}

// A server without a port of its own is counted by all ports.
func TestCountsEveryPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.ReplaceAll(fmt.Sprintf(web, "algorithm: least-connections"), ", port: 8080", "")).run(t)
		b.has("web", "10.1.0.1:80", 3)
		b.has("web", "10.1.0.1:443", 4)
		b.has("web", "10.1.0.1:0", 5) // such as GRE
		b.wait(time.Second)
		if c := b.Farms()[0].Servers[0].Connections; c == nil || *c != 12 {
			t.Errorf("%v", *c)
		}
	})
}

// A limit above what the kernel counts shuts the virtual server, and below it
// opens again; the row is full meanwhile, so that the DNS knows (T24).
func TestMaxConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		text := strings.Replace(fmt.Sprintf(web, ""), "{farm: web}", "{farm: web, maxConnections: 3000}", 1)
		b := newBench(t, text).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		for _, c := range []struct {
			live int
			shut bool
		}{{2999, false}, {3000, true}, {3001, true}, {2999, false}} {
			b.has("web", "10.1.0.1:8080", c.live)
			b.wait(tickFast)
			if v := b.VirtualServers()[0]; v.Shut != c.shut || b.board.Table().Row(v.Row).Full != c.shut {
				t.Errorf("%d connections: shut %v, row %+v", c.live, v.Shut, b.board.Table().Row(v.Row))
			}
		}
		// What comes between two looks is over the limit, so near it there are many.
		b.wait(tickFast)
		b.has("web", "10.1.0.1:8080", 3000)
		b.wait(tickNear)
		if v := b.VirtualServers()[0]; !v.Shut {
			t.Error("3000 connections are not seen at once")
		}
		b.has("web", "10.1.0.1:8080", 4000)
		b.wait(tickFast)
		b.use(strings.Replace(text, "3000", "5000", 1)) // T60: and a reload judges anew
		b.wait(time.Second)
		if v := b.VirtualServers()[0]; v.Shut || b.board.Table().Row(v.Row).Full || *v.Connections != 4000 {
			t.Errorf("4000 of 5000: %+v", v)
		}
		b.has("web", "10.1.0.1:8080", 5000)
		b.wait(time.Second)
		if v := b.VirtualServers()[0]; !v.Shut {
			t.Errorf("5000 of 5000: %+v", v)
		}
		b.use(fmt.Sprintf(web, "")) // without a limit nobody counts: it is not full for good
		b.wait(time.Second)
		if v := b.VirtualServers()[0]; v.Shut || b.board.Table().Row(v.Row).Full {
			t.Errorf("no limit: %+v, row %+v", v, b.board.Table().Row(v.Row))
		}
	})
}

// A server at a limit above what the kernel counts gets nothing new, and others do.
func TestServerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.Replace(fmt.Sprintf(web, "slots: 64"), "{name: a,", "{name: a, maxConnections: 2500,", 1)).run(t)
		b.say(status.Up, "web/a", "web/b", "web/c")
		b.has("web", "10.1.0.1:8080", 2500)
		b.wait(time.Second)
		b.want("a is full", b.slots("web"), "b:32 c:32")
		if !b.heard("limit reached") {
			t.Error("nobody was told")
		}
		b.has("web", "10.1.0.1:8080", 10)
		b.wait(10 * time.Second)
		if got := b.slots("web"); !strings.Contains(got, "a:2") {
			t.Errorf("a has room: %s", got)
		}
	})
}

// A pool is full when one address has no port left towards one server, however
// much room others have; conntrack's failures count while it is tight.
func TestPool(t *testing.T) {
	text := fmt.Sprintf(web, "snatPool: out") + "snatPools: [{name: out, addresses: [10.1.9.1-10.1.9.4], ports: 1001-2000}]\n"
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, text).run(t)
		lend := func(address string, n int, failed uint64) {
			l := kernel.Lent{Address: addr(address), Server: addrPort("10.1.0.1:8080"), Protocol: 6}
			b.counter.lent[l] = n
			b.stats.InsertFailed += failed
			b.wait(2 * time.Second)
		}
		full := func(what string, want bool, why string) {
			t.Helper()
			r := b.board.Table().Row("snatPool/out")
			if r.Full != want || r.Health != status.Up {
				t.Errorf("%s: %+v", what, r)
			}
			if p := b.Pools()[0]; !strings.Contains(b.poolText(), why) || p.Ports != 1000 {
				t.Errorf("%s: %+v %s", what, p, b.poolText())
			}
		}
		lend("10.1.9.1", 400, 0)
		lend("10.1.9.2", 400, 7)
		full("two fifths", false, "400 of 1000 ports of 10.1.9.1 are in use towards 10.1.0.1:8080 (tcp)")
		lend("10.1.9.2", 950, 0)
		full("tight", false, "950 of 1000 ports of 10.1.9.2")
		lend("10.1.9.2", 950, 3)
		full("tight, and conntrack fails", true, "950")
		lend("10.1.9.2", 950, 0)
		full("until it is less", true, "950")
		lend("10.1.9.2", 800, 0)
		full("less", false, "800")
		lend("10.1.9.2", 1000, 5)
		full("all", true, "1000")
		if f := b.Pools()[0].Failed; f != 8 {
			t.Errorf("%d failed while it was tight", f)
		}
	})
}

// What anybody may make us count is bounded, and what is forgotten is not counted
// twice.
func TestTalliesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, strings.ReplaceAll(fmt.Sprintf(web, "algorithm: least-connections"), ", port: 8080", "")).run(t)
		for port := range 100 {
			b.has("web", fmt.Sprintf("10.1.0.1:%d", 1+port), 1)
		}
		b.wait(time.Second)
		for port := range 99 {
			b.has("web", fmt.Sprintf("10.1.0.1:%d", 1+port), 0)
		}
		b.wait(time.Second)
		b.SLB.mu.Lock()
		b.book.purge(50)
		if n := len(b.book.tallies); n != 1 {
			t.Errorf("%d tallies are left of those with connections", n)
		}
		b.SLB.mu.Unlock()
		b.has("web", "10.1.0.1:1", 2)
		b.wait(time.Second)
		b.SLB.mu.Lock()
		defer b.SLB.mu.Unlock()
		if m := b.farms["web"].members[0]; m.live != 3 || m.opened != 100 { // the last two begin the count
			t.Errorf("%d live, %d opened", m.live, m.opened)
		}
	})
}
