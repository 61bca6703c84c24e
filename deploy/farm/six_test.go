package farm

import (
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// Test 7: what tests 1 to 6 prove holds of IPv6 by itself, where virtual servers
// and servers have no other address. Those that are not here go over both
// families as they are.
func TestB07_IPv6_Root(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		hosts int
		does  func(t *testing.T, b *balancer)
	}{
		{"algorithms", 3, algorithms},
		{"priorities", 4, priorities},
		{"spill", 3, spill},
		{"bursts", 3, bursts},
		{"entries", 3, stickyShown},
		{"limits and entries", 3, stickyOverLimits},
		{"busy", 3, busyActions},
		{"rates", 3, newRates},
		{"bandwidth", 6, bandwidth},
		{"limit policies", 3, limitPolicies},
		{"pool", 1, pool},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.does(t, before6(t, farm(t, nettest.FarmLayout{Hosts: c.hosts})))
		})
	}
}
