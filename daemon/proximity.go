package daemon

import (
	"context"
	"net/netip"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/proximity"
)

// openProximity makes the table of measured distances, and who measures. The
// links are open already.
func (d *Daemon) openProximity() {
	d.measurer = proximity.NewProber(proximity.Options{Board: d.board, Pin: d.links.Pin, Own: d.links.Own, Log: d.log,
		Deliver: func(r proximity.Result) { d.proximity.Deliver(r) }})
	d.proximity = proximity.NewTable(proximity.TableOptions{Ask: d.measurer.Ask, Forget: d.measurer.Forget, Record: d.board.Record})
	d.passive = proximity.NewPassive(d.proximity, d.links.Owner)
}

// measureFor has distances measured as a configuration asks for.
func (d *Daemon) measureFor(b *Built) {
	plan := b.DNS.Proximity() // the one that its pools look through
	// The measurer first: what the table asks for when it was cleared is then
	// measured by the new methods (FAQ 1.2.4).
	if plan.Measures() {
		d.measurer.Use(plan.Config)
	} else {
		d.measurer.Use(nil) // no pool asks (FAQ 1.2.23)
	}
	d.proximity.Use(plan)
}

// observe takes the round trip of a client's TCP connection.
func (d *Daemon) observe(o dnsserver.Observation) {
	d.passive.Observe(proximity.Trip{Client: o.Client, Local: o.Local, Index: o.Interface, RTT: o.RTT, TTL: o.TTL, At: time.Now()})
}

// solicit says whether a client is to come over TCP.
func (d *Daemon) solicit(a dnsserver.Arrival) bool {
	return d.passive.Solicit(a.Client, a.Local, a.Interface, a.At)
}

// distances opens the table of measured distances to the API.
type distances struct{ *Daemon }

// List implements [api.Proximity].
func (d distances) List(q proximity.Query) ([]proximity.Entry, netip.Prefix) {
	return d.proximity.List(q, d.board.Gauges(), time.Now())
}

// Why implements [api.Proximity].
func (d distances) Why(client netip.Addr) string { return d.proximity.Why(client, time.Now()) }

// Clear implements [api.Proximity].
func (d distances) Clear(network netip.Prefix, who, why string) int {
	return d.proximity.Clear(network, who, why)
}

// Stats implements [api.Proximity].
func (d distances) Stats() api.ProximityStats {
	return api.ProximityStats{Why: d.Why(netip.Addr{}), Table: d.proximity.Stats(), Probes: d.measurer.Stats(), Passive: d.passive.Stats(), Connections: d.dns.Sighted()}
}

const (
	keepDistancesEvery = 5 * time.Minute
	distancesKind      = "proximity-" // and a letter for each part
)

// restoreDistances puts the kept distances back. The plan is in force.
func (d *Daemon) restoreDistances() {
	if d.store == nil {
		return
	}
	total := 0
	for part, parts := 0, 1; part < parts; part++ {
		found, err := d.store.LoadBytes(partKind(part), proximity.KeptVersion, func(body []byte) error {
			n, of, err := d.proximity.Restore(body, time.Now())
			total += n
			if part == 0 && err == nil {
				parts = of
			}
			return err
		})
		d.restored("distances", found.PassedOver, err)
	}
	if d.kept = total > 0; d.kept {
		d.log.Info("distances restored", "networks", total)
	}
}

func partKind(part int) string { return distancesKind + string(rune('a'+part)) }

// keepDistances saves the distances every few minutes and at the end, apart from
// what else is kept: a large table must not delay it. Each part is a file, so
// that nobody waits for the disk longer than one takes.
func (d *Daemon) keepDistances(ctx context.Context) error {
	if d.store == nil {
		return nil
	}
	tick := time.NewTicker(keepDistancesEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.saveDistances()
			return nil
		case <-tick.C:
			d.saveDistances()
		}
	}
}

func (d *Daemon) saveDistances() {
	parts := d.proximity.Parts()
	for part := range parts {
		body, n := d.proximity.Keep(part, parts, time.Now())
		if n == 0 && !d.kept {
			return
		}
		if err := d.store.SaveBytes(partKind(part), proximity.KeptVersion, body); err != nil {
			d.log.Error("distances were not kept", "err", err)
			return
		}
		d.kept = true
	}
}
