package slb

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/portolan-lb/portolan/status"
)

const named = `
version: 1
virtualServers:
  - {name: web, addresses: [203.0.113.10, "2001:db8::10"], port: 80, serve: {farm: web}}
serverFarms:
  - name: web
    onFailure: %s
    servers: [{name: a, addresses: [10.1.0.1, "fd01::1"], port: 8080}, {name: n, host: app.example, port: 8080}]
`

func (b *bench) at(host string) string {
	var list []string
	for _, a := range b.Known(host + ".") {
		list = append(list, a.String())
	}
	return strings.Join(list, " ")
}

// A server by name is out until its name is known, follows it, keeps an address
// that is still in the answer, and keeps what was known when the DNS fails.
func TestNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(named, "keep"))
		b.run(t)
		b.say(status.Up, "web/a", "web/n")
		if got := b.slots("web"); strings.Contains(got, "n:") {
			t.Errorf("without an address: %s", got)
		}
		b.want("and why", b.row("serverFarm/web/n"), "down: no address is known of app.example yet")
		b.answers["app.example"] = []string{"10.1.0.9", "10.1.0.5", "127.0.0.1", "fd01::9"}
		b.wait(resolveEvery)
		b.want("the lowest of each family", b.at("app.example"), "10.1.0.5 fd01::9")
		if got := b.slots("web"); !strings.Contains(got, "n:") || b.row("serverFarm/web/n") != "none" || b.moved != 1 {
			t.Errorf("with addresses: %s, %s, told %d times", got, b.row("serverFarm/web/n"), b.moved)
		}
		b.answers["app.example"] = []string{"10.1.0.5", "10.1.0.2", "fd01::9"}
		b.wait(resolveEvery)
		b.want("one that is still there stays", b.at("app.example"), "10.1.0.5 fd01::9")
		b.answers["app.example"] = []string{"10.1.0.2"}
		b.wait(resolveEvery)
		b.want("a family goes", b.at("app.example"), "10.1.0.2")
		b.answers["app.example"] = nil // NXDOMAIN
		b.wait(resolveEvery)
		b.want("the name is gone", b.at("app.example"), "10.1.0.2")
		delete(b.answers, "app.example") // SERVFAIL
		b.wait(10 * resolveEvery)
		b.want("the DNS fails", b.at("app.example"), "10.1.0.2")
		if b.moved != 2 {
			t.Errorf("%d changes were told, not 2", b.moved)
		}
		lookups := b.lookups
		b.wait(10 * resolveEvery)
		if n := b.lookups - lookups; n != 20 { // of two families
			t.Errorf("%d questions in 10 intervals", n)
		}
	})
}

// Connections to an address that went are dealt with as the farm says of failures.
func TestNameMoves_T38(t *testing.T) {
	for how, left := range map[string]int{"keep": 2, "reschedule": 1, "reset": 1} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, fmt.Sprintf(named, how))
			b.answers["app.example"] = []string{"10.1.0.5"}
			b.run(t)
			b.say(status.Up, "web/a", "web/n")
			b.session("web", "10.1.0.5:8080")
			b.session("web", "10.1.0.1:8080")
			b.answers["app.example"] = []string{"10.1.0.6"}
			b.wait(resolveEvery + time.Second)
			if len(b.sessions) != left {
				t.Errorf("%s: %d sessions are left", how, len(b.sessions))
			}
			b.want("where it is", b.at("app.example"), "10.1.0.6")
			b.told = 0
			if how != "keep" && !b.heard("app.example is 10.1.0.6 now, and was 10.1.0.5, and its farm says "+how+": 1 session") {
				t.Errorf("%s: no event: %v", how, b.board.Events(0))
			}
		})
	}
}

// After a restart a server by name is where it was, until its name is known again.
func TestNamesRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, fmt.Sprintf(web, ""))
		b.RestoreNames(map[string][]netip.Addr{"app.example.": {addr("10.1.0.5"), addr("fd01::5")}, "gone.example.": {addr("10.1.0.7")}})
		b.use(fmt.Sprintf(named, "keep"))
		b.run(t)
		b.say(status.Up, "web/a", "web/n")
		if got := b.slots("web"); !strings.Contains(got, "n:") {
			t.Errorf("after a restart, with the DNS down: %s", got)
		}
		all := b.Names()
		if len(all) != 1 || len(all["app.example."]) != 2 {
			t.Errorf("kept are %v", all)
		}
	})
}
