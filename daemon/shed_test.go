package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/busy"
)

// A link that is over its threshold sheds slices of clients, with the TTL of the
// names that answer with it (5s), how long a report counts (30s) and its window
// (1s) as dead time.
func TestShed(t *testing.T) {
	r := newRig(t)
	text := strings.Replace(r.config("192.0.2.1"), "probes: [tcp]}", "probes: [tcp], link: telecom}", 1)
	text = strings.Replace(text, "{name: web,", "{name: web, busyProtection: true,", 1)
	text = strings.Replace(text, "ttl: 30s", "ttl: {min: 0s, max: 5s}", 2)
	r.write("portolan.yaml", text+"links:\n  - {name: telecom, meter: push, maxBandwidth: 100Mbps, busy: {shed: hash-slices}}\n")
	r.start()
	if err := r.d.links.Push("telecom", busy.Rates{140e6, 70e6, 70e6}); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
		row := r.d.board.Table().Row("link/telecom")
		if row.Shed > 0 {
			if row.Busy || !strings.Contains(row.LoadWhy, "% of its threshold in 36s: sheds ") {
				t.Errorf("%+v", row)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing is shed: %+v", row)
		}
	}
}
