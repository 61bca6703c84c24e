package daemon

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
)

// BuildFolder makes the tables of a folder of master files that is served
// without a configuration: with the settings of an empty one, and on the
// addresses of listen, or its default. It changes nothing.
//
// The result is nil only if nothing can be served: the folder cannot be read
// or the listeners contradict each other. Bad zones are told in the errors and
// answered SERVFAIL.
func BuildFolder(dir string, listen []netip.AddrPort) (*Built, config.Errors, error) {
	src, err := SourceOf(dir)
	if err != nil {
		return nil, nil, err
	}
	if info, err := fs.Stat(src.FS, src.Path(src.Name)); err != nil || !info.IsDir() {
		return nil, nil, fmt.Errorf("%s: not a folder that can be read; --zones takes one", dir)
	}
	settings := config.Source{FS: overlay(settingsFile, settingsOf(listen)), Dir: ".", Name: settingsFile}
	b, errs := Build(settings, nil, nil)
	if b == nil {
		return nil, errs, fmt.Errorf("--listen: %s", failure(errs))
	}
	b.folder, b.settings = dnsserver.NewFolder(src, b.Model.DNS.Limits), b.DNS
	counts, errs, err := b.readFolder()
	if err != nil {
		return nil, errs, fmt.Errorf("%s: %w", dir, err)
	}
	if counts.Zones == 0 {
		errs = append(errs, &config.Error{Warning: true, Pos: config.Pos{File: dir}, Text: "the folder holds no zone"})
	}
	return b, errs, nil
}

const settingsFile = "settings"

// settingsOf writes the configuration that a folder of zones is served with.
func settingsOf(listen []netip.AddrPort) []byte {
	text := "version: 1\n"
	if len(listen) > 0 {
		var list []string
		for _, address := range listen {
			list = append(list, fmt.Sprintf("{address: %q}", address))
		}
		text += "dns: {listeners: [" + strings.Join(list, ", ") + "]}\n"
	}
	return []byte(text)
}

// readFolder looks at the folder and puts what it finds into tables.
func (b *Built) readFolder() (dnsserver.FolderCounts, config.Errors, error) {
	counts, errs, err := b.folder.Refresh()
	if err != nil {
		return counts, errs, err
	}
	b.DNS, _ = b.settings.WithAll(b.folder.Zones(), b.DNS, errs)
	b.Revision = b.folder.Revision()
	return counts, errs, nil
}

// firstFolder reads the folder of zones to start with.
func (d *Daemon) firstFolder() (*Built, error) {
	began := time.Now()
	built, errs, err := BuildFolder(d.opts.Zones, d.opts.Listen)
	if err != nil {
		return nil, err
	}
	d.tellSome(errs)
	d.log.Info("zones read", "folder", d.opts.Zones, "zones", built.DNS.Size(), "took", time.Since(began).Round(time.Millisecond))
	d.state.Store(&api.ConfigState{Revision: built.Revision, Loaded: began, LastTry: began, LastFailed: failure(errs)})
	return built, nil
}

// reloadFolder looks at the folder again. The caller holds d.changing.
func (d *Daemon) reloadFolder(by string) (api.Applied, error) {
	before := d.running.Load()
	b := *before
	counts, errs, err := b.readFolder()
	if err != nil {
		errs = append(errs, &config.Error{Pos: config.Pos{File: d.opts.Zones}, Text: err.Error()})
		d.tellSome(errs)
		d.failed(errs, "reload", by)
		return api.Applied{}, &api.Error{Kind: api.Refused, Details: api.Details(errs), Text: "the folder has 1 error; nothing changed"}
	}
	d.tellSome(errs)
	applied := d.taken(&b, nil, "reload", by)
	d.log.Info("zones read", "folder", d.opts.Zones, "zones", counts.Zones, "read", counts.Read, "gone", counts.Gone, "bad", counts.Bad)
	if errs.Failed() {
		d.fell(errs)
		return applied, partly(&b, errs, applied.Warnings)
	}
	applied.Warnings = append(applied.Warnings, api.Details(errs)...)
	return applied, nil
}

// mostTold is how many errors of a folder are logged at once: of very many bad
// zones the rest is where somebody looks for it.
const mostTold = 20

// tellSome logs the first errors, and how many there are.
func (d *Daemon) tellSome(errs config.Errors) {
	d.tell(errs[:min(len(errs), mostTold)])
	if more := len(errs) - mostTold; more > 0 {
		d.log.Warn("more errors and warnings are not logged", "number", more, "see", "portolan check --zones "+d.opts.Zones)
	}
}

// folderHome keeps changed zones in the folder that is served.
type folderHome struct {
	*Daemon
}

// fileOf gives the file of a zone: the one it was read from, or one that its
// name makes. In another folder than the one that was read nothing is changed:
// a zone that is written where a file system is not mounted is one that the
// folder has not lost, and the next reload would believe that the rest is gone.
func (h folderHome) fileOf(was dnsserver.ZoneState, apex string) (string, error) {
	switch another, err := h.running.Load().folder.Another(); {
	case err != nil:
		return "", api.Errorf(api.Unavailable, "zone %s: nothing changed: the folder %s cannot be looked at: %v", apex, h.shelf.Path("."), err)
	case another:
		return "", api.Errorf(api.Conflict, "zone %s: nothing changed: %s is another folder than the one that was read: reload first", apex, h.shelf.Path("."))
	}
	if was.File != "" {
		return was.File, h.isPlain(was.File)
	}
	name, ok := zoneFile(apex)
	if !ok {
		return "", api.Errorf(api.Invalid, "the name of zone %s is too long for a file's; write it into a file of another name, with $ORIGIN, and reload", apex)
	}
	if _, err := os.Lstat(h.shelf.Path(name)); err == nil {
		return "", api.Errorf(api.Conflict, "zone %s: there is a file %s already that is not served as it; look at it and reload", apex, h.shelf.Path(name))
	}
	return name, nil
}

// isPlain refuses to change what a link leads to.
func (h folderHome) isPlain(file string) error {
	info, err := os.Lstat(h.shelf.Path(file))
	if err == nil && !info.Mode().IsRegular() {
		return api.Errorf(api.Conflict, "%s is not a regular file; change what it leads to, and reload", h.shelf.Path(file))
	}
	return nil
}

func (h folderHome) content(c api.ZoneChange, _ string) ([]byte, error) { return c.Text, nil }

func (h folderHome) at(z *dnsserver.Loaded, file string) *dnsserver.Loaded {
	return h.running.Load().folder.At(z, file)
}

func (h folderHome) put(b *Built, z *dnsserver.Loaded) {
	b.folder.Put(z)
	b.Revision = b.folder.Revision()
	h.revised(b)
}

func (h folderHome) drop(b *Built, apex string) {
	b.folder.Drop(apex)
	b.Revision = b.folder.Revision()
	h.revised(b)
}

// revised notes the revision that a change of one zone made.
func (h folderHome) revised(b *Built) {
	state := *h.state.Load()
	state.Revision, state.Loaded = b.Revision, time.Now()
	h.state.Store(&state)
}
