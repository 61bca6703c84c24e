package daemon

import (
	"fmt"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/kernel"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/status"
)

// balanced opens what balances connections to the API. Before there is a door to
// the kernel, or without one, its methods give nothing.
type balanced struct{ *gateway }

var _ api.Outbound = balanced{}

// Closed implements [api.Outbound].
func (b balanced) Closed() error { return b.closed }

// Groups implements [api.Outbound].
func (b balanced) Groups() []outbound.GroupState {
	if b.outbound == nil {
		return nil
	}
	return b.outbound.Groups()
}

// Hits implements [api.Outbound].
func (b balanced) Hits() ([]outbound.Hit, error) {
	if b.outbound == nil {
		return nil, nil
	}
	return b.outbound.Hits()
}

// Number implements [api.Outbound].
func (b balanced) Number(link string) uint16 {
	if p := b.plan(); p != nil {
		return p.Number(link)
	}
	return 0
}

func (b balanced) plan() *outbound.Plan {
	if b.outbound == nil {
		return nil
	}
	return b.outbound.Plan()
}

// Connections implements [api.Outbound].
func (b balanced) Connections() map[string]int {
	if b.outbound == nil {
		return nil
	}
	return b.outbound.Connections()
}

// Tracking implements [api.Outbound].
func (b balanced) Tracking() (kernel.Tracking, error) {
	if b.conntrack == nil {
		return kernel.Tracking{}, fmt.Errorf("connection tracking is closed to us: %w", b.closed)
	}
	return b.conntrack.Stats()
}

// Sticky implements [api.Outbound].
func (b balanced) Sticky(q outbound.StickyQuery, yield func(outbound.StickyEntry) bool) error {
	if b.outbound == nil {
		return nil
	}
	return b.outbound.Sticky(q, yield)
}

// ClearSticky implements [api.Outbound].
func (b balanced) ClearSticky(q outbound.StickyQuery) (int, error) {
	if b.outbound == nil {
		return 0, nil
	}
	return b.outbound.ClearSticky(q)
}

// notBalancing names what keeps connections from being balanced although the
// configuration says so. That a line is unplugged does not.
func (d *Daemon) notBalancing() []api.NotReady {
	g := &d.gateway
	b := d.running.Load()
	if b == nil || b.Outbound == nil {
		return nil
	}
	if g.kernel == nil {
		return []api.NotReady{{Part: "outbound", Why: fmt.Sprintf("this process may not change Linux' networking: %v", g.closed)}}
	}
	if _, err := g.kernel.Elements(outbound.Table, "links"); err != nil {
		return []api.NotReady{{Part: "outbound", Why: "the kernel has not got its tables: " + err.Error()}}
	}
	if _, said := d.board.Table().Lookup(status.MakeID(status.KindKernel, outbound.Owner)); !said {
		return []api.NotReady{{Part: "outbound", Why: "the kernel has not got its routes yet"}}
	}
	return nil
}
