package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/store"
)

// zoneHome is where zones that are changed by command are kept. Its methods
// are called under Daemon.changing, but content.
type zoneHome interface {
	// fileOf names the file of a zone, or says why it must not be changed; was
	// is how it stands, if it is served.
	fileOf(was dnsserver.ZoneState, apex string) (string, error)
	// content is what the file holds.
	content(c api.ZoneChange, apex string) ([]byte, error)
	// at makes messages and lists name the file.
	at(z *dnsserver.Loaded, file string) *dnsserver.Loaded
	// put and drop note what has changed.
	put(b *Built, z *dnsserver.Loaded)
	drop(b *Built, apex string)
}

// openZones opens the place of zones that are changed by command: the folder
// that is served, else one in the state folder. Without either there is none.
func (d *Daemon) openZones() {
	switch {
	case d.opts.Zones != "":
		dir, err := filepath.Abs(d.opts.Zones) // what commands print is read elsewhere
		if err != nil {
			dir = d.opts.Zones
		}
		d.shelf = store.NewShelf(dir, 0o644)
		d.home = folderHome{d}
		if err := d.shelf.Sweep(); err != nil {
			d.log.Debug("the folder of zones cannot be swept", "err", err)
		}
	case d.store != nil:
		shelf, err := d.store.Zones()
		if err != nil {
			d.log.Error("no zones can be added while serving", "err", err)
			return
		}
		d.shelf, d.home = shelf, liveHome{d}
	}
}

// ChangeZone implements [api.ZoneChanger]. The text is parsed and written to
// the disk beside the server; only the change itself waits for others.
func (d *Daemon) ChangeZone(_ context.Context, c api.ZoneChange) (api.ZoneChanged, error) {
	apex, err := dnsserver.ZoneName(c.Name)
	if err != nil {
		return api.ZoneChanged{}, api.Errorf(api.Invalid, "%v", err)
	}
	if d.home == nil {
		return api.ZoneChanged{}, api.Errorf(api.Conflict, "zones can be changed only if they can be kept: run serve with --state FOLDER, or --zones FOLDER")
	}
	var z *dnsserver.Loaded
	var errs config.Errors
	if c.Verb != api.RemoveZone {
		limits := &d.running.Load().Model.DNS.Limits
		if z, errs = dnsserver.ParseText(apex, c.From, c.Text, limits.Zone); z == nil {
			d.dns.Exceeded(errs)
			return api.ZoneChanged{}, &api.Error{Kind: api.Refused, Details: api.Details(errs), Text: "zone " + apex + " is bad; nothing changed"}
		}
	}
	done, err := d.changeZone(c, apex, z)
	if err != nil {
		return api.ZoneChanged{}, err
	}
	done.Warnings = append(api.Details(errs), done.Warnings...)
	if err := d.shelf.Sync(); err != nil {
		return done, api.Errorf(api.Internal, "zone %s: the change is served, but may not outlive a loss of power: %v", apex, err)
	}
	return done, nil
}

// changeZone carries out a change of one zone.
func (d *Daemon) changeZone(c api.ZoneChange, apex string, z *dnsserver.Loaded) (api.ZoneChanged, error) {
	d.changing.Lock()
	file, err := d.fileFor(c.Verb, apex)
	d.changing.Unlock()
	if err != nil {
		return api.ZoneChanged{}, err
	}
	var staged *store.Staged
	if z != nil {
		text, err := d.home.content(c, apex)
		if err == nil {
			staged, err = d.shelf.Stage(file, text)
		}
		if err != nil {
			return api.ZoneChanged{}, api.Errorf(api.Unavailable, "zone %s: cannot be kept, nothing changed: %v", apex, err)
		}
	}
	d.changing.Lock()
	defer d.changing.Unlock()
	again, err := d.fileFor(c.Verb, apex) // others may have been faster
	if err == nil && again != file {
		err = api.Errorf(api.Overloaded, "zone %s changes at the same moment; nothing changed, try again", apex)
	}
	if err != nil {
		if staged != nil {
			err = errors.Join(err, staged.Drop())
		}
		return api.ZoneChanged{}, err
	}
	return d.swapZone(c, apex, z, file, staged)
}

// fileFor says in which file a change has to be kept, or why it must not be.
// The caller holds d.changing.
func (d *Daemon) fileFor(verb api.ZoneVerb, apex string) (string, error) {
	was, served := d.running.Load().DNS.State(apex)
	_, kept := d.live[apex]
	forgets := kept && verb == api.RemoveZone // also of one that gives way to the configuration, or to the limit
	if served && was.Origin == dnsserver.OriginConfiguration && !forgets {
		return "", api.Errorf(api.Conflict, "zone %s is of the configuration %s: change its file %s and reload, or apply another configuration",
			apex, d.opts.Config, was.File)
	}
	switch {
	case verb == api.AddZone && served:
		return "", api.Errorf(api.Conflict, "zone %s is there already, serial %d; zone replace changes it", apex, was.Serial)
	case verb == api.AddZone && d.running.Load().DNS.Size() >= d.running.Load().Model.DNS.Limits.Zones:
		d.dns.Exceeded(config.Errors{{Limit: "zones"}})
		return "", api.Errorf(api.Conflict, "zone %s: there are %d zones already, and no more may be (dns.limits.zones)", apex, d.running.Load().DNS.Size())
	case verb != api.AddZone && !served && !forgets:
		return "", api.Errorf(api.NotFound, "there is no zone %s", apex)
	}
	return d.home.fileOf(was, apex)
}

// swapZone puts the file in its place and swaps the table. What it costs hardly
// depends on the other zones: one of 256 parts of their map is copied. The
// caller holds d.changing.
func (d *Daemon) swapZone(c api.ZoneChange, apex string, z *dnsserver.Loaded, file string, staged *store.Staged) (done api.ZoneChanged, err error) {
	b := *d.running.Load()
	was, served := b.DNS.State(apex)
	before := b.DNS.Zone(apex)
	if kept := d.live[apex]; kept != nil && (!served || was.Origin == dnsserver.OriginConfiguration) { // only the one that gave way can be meant
		before, served = kept.Zone(), false
	}
	done = api.ZoneChanged{Name: apex, File: d.shelf.Path(file)}
	if staged != nil {
		done.Kept, err = staged.Place()
	} else {
		done.File = ""
		if done.Kept, err = d.shelf.Take(file); errors.Is(err, fs.ErrNotExist) {
			err = nil // somebody was faster by hand
		}
	}
	if err != nil {
		return api.ZoneChanged{}, api.Errorf(api.Unavailable, "zone %s: nothing changed: %v", apex, err)
	}
	event := status.Event{ID: status.MakeID("zone", apex), New: "removed", Why: "zone remove", By: c.By}
	if before != nil {
		serial := before.Serial()
		done.Before, event.Old = &serial, fmt.Sprintf("serial %d", serial)
	}
	if z != nil {
		z = d.home.at(z, file)
		if text := z.SerialWarning(before); text != "" {
			done.Warnings = []api.Detail{{Place: c.From, Text: text, Warning: true}}
		}
		if views := b.DNS.ViewsOf(apex); c.Verb == api.AddZone && len(views) > 0 {
			done.Warnings = append(done.Warnings, api.Detail{Place: c.From, Warning: true, Text: fmt.Sprintf(
				"zone %s: clients of these views see the views' own version, not this one: %s", apex, strings.Join(views, ", "))})
		}
		done.Serial, done.Records = z.State().Serial, z.State().Records
		event.New, event.Why = fmt.Sprintf("serial %d", done.Serial), "zone "+string(c.Verb)
		b.DNS = b.DNS.With(z)
		d.home.put(&b, z)
	} else {
		if served { // else it goes on the disk alone
			b.DNS = b.DNS.Without(apex)
		}
		d.home.drop(&b, apex)
		if was.Twice {
			done.Warnings = []api.Detail{{Text: "zone " + apex + " is in another file too, which the next reload serves", Warning: true}}
		}
	}
	if b.DNS != d.dns.Table() { // which has counted its limits
		d.dns.Use(b.DNS)
	}
	d.running.Store(&b)
	d.board.Record(event)
	d.log.Info("zone changed", "zone", apex, "verb", c.Verb, "serial", done.Serial, "records", done.Records, "by", c.By, "kept", done.Kept)
	return done, nil
}

func zoneFile(apex string) (string, bool) { return store.ZoneFile(apex) }

// liveHome keeps changed zones in the state folder.
type liveHome struct{ *Daemon }

func (h liveHome) fileOf(_ dnsserver.ZoneState, apex string) (string, error) {
	return store.KeptZoneFile(apex), nil
}

func (h liveHome) content(c api.ZoneChange, apex string) ([]byte, error) {
	return store.Zone{Name: apex, From: c.From, By: c.By, At: time.Now(), Text: c.Text}.Seal()
}

func (h liveHome) at(z *dnsserver.Loaded, file string) *dnsserver.Loaded {
	return z.At(h.shelf.Path(file), h.shelf.Path(file), dnsserver.OriginLive)
}

func (h liveHome) put(_ *Built, z *dnsserver.Loaded) { h.live[z.Name()] = z }

func (h liveHome) drop(_ *Built, apex string) { delete(h.live, apex) }

// readLive reads the zones that earlier runs were given, on every core. One
// that is damaged is served SERVFAIL, loudly: the name is not somebody else's.
func (d *Daemon) readLive(limits config.ZoneLimits) {
	d.live = map[string]*dnsserver.Loaded{}
	names, err := d.shelf.Names()
	if err != nil {
		d.log.Error("zones that were added are not served", "err", err)
	}
	list := make([]*dnsserver.Loaded, len(names))
	var next atomic.Int64
	var done sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(names)) {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
				list[i] = d.readLiveZone(names[i], limits)
			}
		})
	}
	done.Wait()
	for _, z := range list {
		if z != nil {
			d.live[z.Name()] = z
		}
	}
}

// readLiveZone reads one kept zone; nil if not even its name is known.
func (d *Daemon) readLiveZone(file string, limits config.ZoneLimits) *dnsserver.Loaded {
	path := d.shelf.Path(file)
	kept, err := store.ReadZone(path)
	if err == nil && store.KeptZoneFile(kept.Name) != file {
		err = fmt.Errorf("holds zone %s, which is not kept here", kept.Name)
	}
	if err == nil {
		z, errs := dnsserver.ParseText(kept.Name, path, kept.Text, limits)
		if z != nil {
			return z.At(path, path, dnsserver.OriginLive)
		}
		err = errors.New(failure(errs))
	}
	err = fmt.Errorf("%s: %w", path, err)
	if _, statErr := os.Stat(d.shelf.Kept(file)); statErr == nil {
		err = fmt.Errorf("%w; the version before is %s", err, d.shelf.Kept(file))
	}
	d.log.Error("A ZONE THAT WAS ADDED IS DAMAGED", "err", err)
	name, nameErr := store.ZoneOfFile(strings.TrimSuffix(filepath.Base(file), ".zone"))
	if nameErr == nil {
		name, nameErr = dnsserver.ZoneName(name)
	}
	if nameErr != nil || store.KeptZoneFile(name) != file {
		return nil
	}
	return dnsserver.Bad(name, path, dnsserver.OriginLive, err)
}

// withLive puts the zones that were added by command into the tables of a
// configuration. Where both have a zone the configuration wins, and what is
// beyond dns.limits.zones is left out. The caller holds d.changing, or nothing
// runs yet.
func (d *Daemon) withLive(b *Built) (errs config.Errors) {
	if len(d.live) == 0 {
		return nil
	}
	var before *dnsserver.Table
	if was := d.running.Load(); was != nil {
		before = was.DNS
	}
	serve, cut := d.fitting(b)
	var gaveWay []*dnsserver.Loaded
	b.DNS, gaveWay = b.DNS.WithAll(serve, before, slices.Repeat(config.Errors{{Limit: "zones"}}, len(cut)))
	for _, z := range gaveWay {
		errs = append(errs, &config.Error{Warning: true, Text: fmt.Sprintf(
			"zone %s is in the configuration now, so the one that was added by command gives way; zone remove %s forgets that one", z.Name(), z.Name())})
	}
	if len(cut) > 0 {
		errs = append(errs, &config.Error{Warning: true, Limit: "zones", Text: fmt.Sprintf(
			"zones that were added by command ARE NOT SERVED, for there may be no more than %d (dns.limits.zones): %s; raise it and reload, or forget them by zone remove",
			b.Model.DNS.Limits.Zones, some(cut))})
	}
	return errs
}

// fitting gives the zones that were added by command and that a configuration
// leaves room for, the first by name, and the names of the others. Those that
// it has itself need no room.
func (d *Daemon) fitting(b *Built) (serve []*dnsserver.Loaded, cut []string) {
	room := b.Model.DNS.Limits.Zones - b.DNS.Size()
	for _, apex := range slices.Sorted(maps.Keys(d.live)) {
		_, own := b.DNS.State(apex)
		if !own && room <= 0 {
			cut = append(cut, apex)
			continue
		}
		if serve = append(serve, d.live[apex]); !own {
			room--
		}
	}
	return serve, cut
}

// some names the first of very many.
func some(names []string) string {
	if more := len(names) - mostTold; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostTold], ", "), more)
	}
	return strings.Join(names, ", ")
}
