package farm

import (
	"fmt"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

// A server that dies while the program does not run, or just before it is ended, is
// dealt with by the first verdict after the next start as if it had been seen (1.1.16,
// T38): of its clients nobody hangs. Those of other servers notice nothing.
func TestB09_DiedUnseen_Root(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		how  string // onFailure
		when string // the server dies
		udp  string
	}{{"reset", "before the end", "told"}, {"reset", "unseen", "told"}, {"reschedule", "unseen", "moved"}} {
		t.Run(fmt.Sprint(c.how, " ", c.when), func(t *testing.T) {
			b := before(t, farm(t, nettest.FarmLayout{}))
			b.use(setup{Farm: b.Farm, farm: ", onFailure: " + c.how, rest: "slb: {unreachables: true}\n"})
			b.takes(time.Second, b.to4(1, 80), 1, 2, 3)
			b.takes(time.Second, b.to6(1, 80), 1, 2, 3)
			all := b.keep(12)
			if c.when == "unseen" {
				b.Kill()
				b.Hosts[0].Silence(true)
			} else {
				b.Hosts[0].Silence(true)
				b.takes(detected+interval, b.to4(1, 80), 2, 3)
				b.Stop()
			}
			b.Start()
			b.takes(detected+interval, b.to4(1, 80), 2, 3)
			b.Until(detected+late+nettest.Patience, func() error {
				got := all.fates(1)
				if n := got["udp1 moved"]; c.udp == "told" && n > 0 { // it was told before, and is another's now
					delete(got, "udp1 moved")
					got["udp1 told"] += n
				}
				return like(got, map[string]string{"tcp1": "reset", "udp1": c.udp, "tcp": "same", "udp": "same"})
			})
		})
	}
}
