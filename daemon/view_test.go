package daemon

import (
	"testing"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/dnsserver"
)

// Zones have responses of their own exactly as long as they have other metrics
// of their own.
func TestOneBoundOfZonesWithMetrics(t *testing.T) {
	if dnsserver.MaxZoneCounts != api.MaxZoneSeries {
		t.Errorf("%d zones are counted, %d shown", dnsserver.MaxZoneCounts, api.MaxZoneSeries)
	}
}
