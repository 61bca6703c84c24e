package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
)

const (
	keepEvery = 15 * time.Second

	// maxWarm is how old a kept health state may be to count at start. Beyond
	// it, waiting a second for a first result is the better guess.
	maxWarm = time.Hour

	warmKind    = "health"
	warmVersion = 1
)

// restore puts back what was kept: holds, health with its age, the members
// that were good last. It comes before the first plan.
func (d *Daemon) restore(b *Built) {
	if d.store == nil {
		return
	}
	holds, found, err := d.store.LoadHolds()
	d.restored("holds", found.PassedOver, err)
	d.board.RestoreHolds(holds)
	sets, found, err := d.store.LoadLastGoodSets()
	d.restored("last good members", found.PassedOver, err)
	b.DNS.RestoreLastGood(sets)
	var list []probe.Warm
	found, err = store.LoadJSON(d.store, warmKind, warmVersion, &list)
	d.restored("health", found.PassedOver, err)
	var fresh []probe.Warm
	for _, w := range list {
		if age := time.Since(w.Seen); age >= 0 && age <= maxWarm {
			fresh = append(fresh, w)
		}
	}
	d.prober.Restore(fresh)
	d.log.Info("kept state restored", "holds", len(holds), "health", len(fresh))
}

func (d *Daemon) restored(what string, passed []error, err error) {
	for _, p := range passed {
		d.log.Warn("a kept file was passed over", "what", what, "err", p)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.log.Warn("nothing restored", "what", what, "err", err)
	}
}

// keep saves what a restart needs, every few seconds and at the end.
func (d *Daemon) keep(ctx context.Context) error {
	if d.store == nil {
		return nil
	}
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			d.save()
			return nil
		case <-tick.C:
			d.save()
		}
	}
}

func (d *Daemon) save() {
	err := errors.Join(
		d.store.SaveJSON(warmKind, warmVersion, d.prober.Snapshot()),
		d.store.SaveLastGoodSets(d.running.Load().DNS.LastGood()),
		d.keepNames(),
	)
	if err != nil {
		d.log.Error("state was not kept", "err", err)
	}
}

// keepConfig keeps a configuration as the last good one. Of a zone whose file
// is bad, what is kept already stays in the place of the bad file. What could not
// be kept is a warning for whoever made the change: it is in force all the same.
func (d *Daemon) keepConfig(b *Built) (errs config.Errors) {
	if d.store == nil || b.folder != nil { // a folder of zones is kept by whoever writes it
		return nil
	}
	bundle := b.bundle()
	err := d.withGoodZones(b, &bundle)
	if err == nil {
		err = d.store.SaveConfig(bundle)
	}
	if err != nil {
		d.log.Error("the configuration was not kept as the last good one", "err", err)
		d.board.Record(status.Event{ID: "store", New: "failed", Why: err.Error(), By: "daemon"})
		errs = append(errs, &config.Error{Warning: true, Text: "in force, but not kept as the last good configuration: " + oneLine(err)})
	}
	return errs
}

// withGoodZones puts the kept files of zones that are served from an earlier
// version into a bundle. A version that is not kept, such as that of a zone
// which was added by command and is the configuration's now, is told and stops
// no other.
func (d *Daemon) withGoodZones(b *Built, into *store.Bundle) error {
	var kept store.Bundle
	for s := range b.DNS.States() {
		if !s.Stale || s.Origin != dnsserver.OriginConfiguration {
			continue
		}
		if kept.Files == nil {
			var err error
			if kept, _, err = d.store.LastGood(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("the last good files of zones: %w", err)
			}
		}
		texts := map[string][]byte{}
		src := b.Model.Source()
		for _, ref := range b.DNS.ZoneIn(s.View, s.Name).Files() {
			text, ok := kept.Files[src.Path(ref)]
			if !ok {
				d.log.Warn("the version of a zone that is served is not kept: after a restart it answers SERVFAIL until its file is good", "zone", s.Name, "view", s.View, "file", s.File, "served from", ref)
				texts = nil
				break
			}
			texts[src.Path(ref)] = text
		}
		maps.Copy(into.Files, texts)
	}
	return nil
}
