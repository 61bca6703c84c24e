package daemon

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// T18, T19, 1.2.26 from a meter's word to the wire: a busy link's server leaves
// the answers and comes back; with all busy, protection lapses, which is one
// event when it begins and one when it ends, with the links that are busy.
func TestLapseIsAnEvent_T19(t *testing.T) {
	r := newRig(t)
	r.write("portolan.yaml", fmt.Sprintf(`version: 1
dns: {listeners: [{address: %q}]}
zones:
  - {name: a.example, file: a.zone, names: [{name: www, pool: web, ttl: 30s}]}
pools:
  - {name: web, preferred: first, busyProtection: true, members: [{virtualServer: one}, {virtualServer: two}]}
virtualServers:
  - {name: one, address: 192.0.2.1, link: telecom}
  - {name: two, address: 192.0.2.2, link: unicom}
links:
  - {name: telecom, nextHop: 192.0.2.254}
  - {name: unicom, nextHop: 198.51.100.254}
`, r.listen))
	r.start()
	mark := func(link string, busy bool) {
		r.d.board.Mark(map[status.ID]status.Load{status.MakeID(status.KindLink, link): {Busy: busy, Why: "750Mbps of 1Gbps", By: "link"}})
	}
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	mark("telecom", true)
	r.becomes("www.a.example.", "NOERROR 192.0.2.2")
	mark("unicom", true)
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	r.saw(`busy: all that take part are busy, so busy protection has lapsed: link/telecom, link/unicom`)
	for range 5 {
		mark("telecom", true) // nothing new
		r.d.board.Mark(map[status.ID]status.Load{"link/elsewhere": {Busy: true}})
		r.d.board.Unmark("link/elsewhere")
	}
	mark("telecom", false)
	r.saw(`up: busy protection works again: not all are busy any more`)
	mark("unicom", false)
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if got := r.poolEvents(); len(got) != 2 {
		t.Errorf("%d events of the pool, want one when it begins and one when it ends: %q", len(got), got)
	}
}

func (r *rig) poolEvents() (found []string) {
	for _, e := range r.d.board.Events(0) {
		if e.ID == "pool/web" {
			found = append(found, e.New+": "+e.Why)
		}
	}
	return found
}

// saw waits until the last event of the pool is as wanted.
func (r *rig) saw(want string) {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for tick := time.NewTicker(10 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
		if got := r.poolEvents(); len(got) > 0 && got[len(got)-1] == want {
			return
		}
	}
	r.t.Fatalf("events of the pool:\n%s\nthe last is to be\n%s", strings.Join(r.poolEvents(), "\n"), want)
}
