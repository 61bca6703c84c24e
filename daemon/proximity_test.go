package daemon

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/proximity"
)

// nearConfig has a pool that goes by proximity, over a link on loopback whose
// clients are on loopback too. %s is its cost.
func (r *rig) nearConfig(cost int) string {
	return fmt.Sprintf(`version: 1
dns: {listeners: [{address: %q}]}
zones:
  - {name: a.example, file: a.zone, names: [{name: www, pool: web, ttl: 30s}]}
pools:
  - {name: web, preferred: proximity, fallback: first, members: [{virtualServer: one}, {virtualServer: two}]}
virtualServers:
  - {name: one, address: 192.0.2.1}
  - {name: two, address: 192.0.2.2, link: near}
links:
  - {name: near, source: 127.0.0.1, cost: %d}
proximity: {methods: [tcp], warmUp: 1s}
`, r.listen, cost)
}

// From the query to the measurement and back to the answer, by the parts as
// they are put together; the distances stand over a restart (R2), and another
// cost clears them (T10), while we run as well as between two runs.
func TestDistancesServeAndStay_R2(t *testing.T) {
	r := newRig(t)
	r.write("portolan.yaml", r.nearConfig(10))
	r.start()
	answers := func(want string) {
		t.Helper()
		r.becomes("www.a.example.", want)
	}
	stop := func() {
		t.Helper()
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
	}
	answers("NOERROR 192.0.2.1") // warming
	answers("NOERROR 192.0.2.2")
	stop()

	r.start()
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.2" {
		t.Errorf("the first query after a restart: %s", got)
	}
	if list, _ := r.d.proximity.List(proximity.Query{Client: netip.MustParseAddr("127.0.0.1")}, nil, time.Now()); len(list) != 1 || list[0].State != "ready" {
		t.Errorf("after a restart: %+v", list)
	}
	r.write("portolan.yaml", r.nearConfig(11))
	if _, err := r.d.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if n := r.d.proximity.Stats().Entries; n != 0 {
		t.Errorf("another cost: %d entries", n)
	}
	answers("NOERROR 192.0.2.1")
	answers("NOERROR 192.0.2.2")
	for _, network := range []netip.Prefix{{}, netip.MustParsePrefix("127.0.0.0/8")} { // measured anew long before perTarget is over
		if n := r.d.proximity.Clear(network, "op", "test"); n != 1 {
			t.Errorf("cleared %d", n)
		}
		answers("NOERROR 192.0.2.1")
		answers("NOERROR 192.0.2.2")
	}
	stop()

	r.write("portolan.yaml", r.nearConfig(12))
	r.start()
	if n := r.d.proximity.Stats().Entries; n != 0 {
		t.Errorf("another cost between two runs: %d entries", n)
	}
	stop()
}
