package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing/fstest"
	"time"

	"github.com/google/renameio/v2"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/dnsserver"
	"github.com/portolan-lb/portolan/status"
)

// use swaps a configuration in. It cannot fail: the answers first, then what
// is probed for them. It warns if b could not be kept for the next start.
func (d *Daemon) use(b *Built) config.Errors {
	d.markBy(b)
	d.links.Want(b.Model.Links) // so that the rows of interfaces are there
	d.learner.Want(b.Model)
	d.wanting.Lock() // and no plan of before comes after this one's
	d.measureFor(b)  // before anybody is answered by it
	d.board.Still(func(t *status.Table) {
		b.DNS.Ready(t, nil)
		d.dns.Use(b.DNS)
		d.proxy.Use(b.Proxy)
		d.running.Store(b)
	})
	d.probeFor(b)
	d.wanting.Unlock()
	d.balance(b)
	d.serveFrom(b)
	d.intercept(b)
	d.report.want(b.Model.VirtualServers)
	errs := d.keepConfig(b)
	b.forget()
	return errs
}

// Reload reads the configuration on disk again. A configuration that cannot be
// used changes nothing. A zone whose file is bad stays as it was; the rest is
// taken into use, and the error is of kind [api.Partial]. What is Linux' part of it
// is waited for.
func (d *Daemon) Reload(ctx context.Context, by string) (api.Applied, error) {
	defer d.stands(ctx)
	return d.reload(by)
}

func (d *Daemon) reload(by string) (api.Applied, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.opts.Zones != "" {
		return d.reloadFolder(by)
	}
	src, err := SourceOf(d.opts.Config)
	if err != nil {
		return api.Applied{}, err
	}
	built, errs := Build(src, d.running.Load(), d.lastGood())
	d.tell(errs)
	if built == nil {
		d.failed(errs, "reload", by)
		return api.Applied{}, errs
	}
	live := d.withLive(built)
	d.tell(live)
	applied := d.taken(built, append(errs, live...), "reload", by)
	if errs.Failed() {
		d.fell(errs)
		return applied, partly(built, errs, applied.Warnings[len(errs):])
	}
	return applied, nil
}

// partly says which zones a reload could not take over, and what else it warns of.
func partly(b *Built, errs config.Errors, more []api.Detail) error {
	var zones []string
	for _, z := range b.DNS.ZoneStates() {
		switch {
		case z.Origin == dnsserver.OriginLive: // no reload reads it
		case z.Stale:
			zones = append(zones, z.Name+" stays as it was")
		case z.Twice:
			zones = append(zones, z.Name+" is in two files")
		case z.Error != "":
			zones = append(zones, z.Name+" is not served")
		}
	}
	files := "1 zone file is bad"
	if len(zones) != 1 {
		files = fmt.Sprintf("%d zone files are bad", len(zones))
	}
	if rest := len(zones) - mostTold; rest > 0 {
		zones = append(zones[:mostTold], fmt.Sprintf("and %d more", rest))
	}
	what := files + ": " + strings.Join(zones, ", ")
	if len(zones) == 0 { // what is wrong is no zone's
		what = failure(errs)
	}
	return &api.Error{Kind: api.Partial, Details: append(api.Details(errs[:min(len(errs), mostDetails)]), more...), Text: "reloaded, but " + what}
}

// mostDetails is how many errors of a reload travel.
const mostDetails = 1000

// taken takes a new configuration into use and says what that did.
func (d *Daemon) taken(built *Built, errs config.Errors, what, by string) api.Applied {
	before := d.running.Load()
	later := d.needRestart(built.Model)
	d.tell(later)
	applied := api.Applied{Changed: built.Revision != before.Revision, Revision: built.Revision, Warnings: api.Details(append(errs, later...))}
	applied.Warnings = append(applied.Warnings, api.Details(d.use(built))...)
	now := time.Now()
	state := &api.ConfigState{Revision: built.Revision, Loaded: d.state.Load().Loaded, LastTry: now}
	if applied.Changed || d.state.Load().LastGood {
		state.Loaded = now
	}
	d.state.Store(state)
	d.board.Record(status.Event{ID: "config", Old: before.Revision, New: built.Revision, Why: what, By: by})
	d.log.Info("configuration in use", "revision", built.Revision, "changed", applied.Changed, "by", by, "tables", built.DNS.String())
	d.notify("STATUS=serving " + built.DNS.String())
	return applied
}

// failed notes that a change was refused.
func (d *Daemon) failed(errs config.Errors, what, by string) {
	d.board.Record(status.Event{ID: "config", New: what + " refused", Why: failure(errs), By: by})
	d.log.Error(what+" refused: nothing was changed", "by", by, "errors", len(errs))
	d.fell(errs)
}

// fell keeps why the last try did not succeed in full.
func (d *Daemon) fell(errs config.Errors) {
	state := *d.state.Load()
	state.LastTry, state.LastFailed = time.Now(), failure(errs)
	d.state.Store(&state)
}

// keptVersions is how many earlier versions of the configuration file stay
// beside it, as NAME.1 (the newest) to NAME.3.
const keptVersions = 3

// Apply puts a configuration in the place of the one on disk and takes it into
// use, all or nothing: on any error, in a zone file too, the disk and what
// runs stay as they are. What is Linux' part of it is waited for.
func (d *Daemon) Apply(ctx context.Context, c api.Change) (api.Applied, error) {
	defer d.stands(ctx)
	return d.apply(c)
}

func (d *Daemon) apply(c api.Change) (api.Applied, error) {
	d.changing.Lock()
	defer d.changing.Unlock()
	if d.opts.Zones != "" {
		return api.Applied{}, api.Errorf(api.Conflict, "this server runs from a folder of zones, without a configuration: change its files and reload, or use zone add, replace and remove")
	}
	own, err := SourceOf(d.opts.Config)
	if err != nil {
		return api.Applied{}, err
	}
	text, err := onlyFile(c, own)
	if err != nil {
		return api.Applied{}, err
	}
	src := own
	src.FS = layered{over: overlay(own.Path(own.Name), text), under: own.FS}
	built, errs := Build(src, d.running.Load(), nil)
	if built != nil && !errs.Failed() {
		errs = append(errs, movedReferences(built, own, c.Base)...)
		errs = append(errs, d.cannotStart(built.Model, own.Show(own.Name))...)
	}
	if errs.Failed() {
		d.failed(errs, "apply", c.By)
		return api.Applied{}, errs
	}
	if err := replaceFile("/"+own.Path(own.Name), text); err != nil {
		return api.Applied{}, fmt.Errorf("nothing was changed: %w", err)
	}
	live := d.withLive(built)
	d.tell(live)
	return d.taken(built, append(errs, live...), "apply", c.By), nil
}

// onlyFile gives the one file of a change.
func onlyFile(c api.Change, own config.Source) ([]byte, error) {
	if own.Name == "." {
		return nil, api.Errorf(api.Conflict, "this server runs from a folder of files: change them there and reload")
	}
	if len(c.Files) != 1 {
		return nil, api.Errorf(api.Invalid, "apply takes one file, not %d", len(c.Files))
	}
	if !filepath.IsAbs(c.Base) {
		return nil, api.Errorf(api.Invalid, "base %q is not an absolute path", c.Base)
	}
	var text []byte
	for _, t := range c.Files {
		text = []byte(t)
	}
	return text, nil
}

// overlay is a file system of one file.
func overlay(name string, text []byte) fs.FS {
	return fstest.MapFS{name: &fstest.MapFile{Data: text, Mode: 0o444}}
}

// movedReferences refuses relative references, of zone files too, that mean
// another file in the folder base, where the operator checked them, than in the
// server's own.
func movedReferences(b *Built, own config.Source, base string) (errs config.Errors) {
	from := own
	from.Dir = strings.TrimPrefix(filepath.Clean(base), "/")
	if from.Dir == own.Dir {
		return nil
	}
	refs := append(b.Model.Files(), b.Model.Geo.Databases...)
	for z := range b.DNS.Zones() {
		refs = append(refs, z.Files()...)
	}
	slices.Sort(refs)
	for _, ref := range slices.Compact(refs) {
		if ref == own.Name || filepath.IsAbs(ref) {
			continue
		}
		was, err := from.ReadFile(ref)
		is, ownErr := own.ReadFile(ref)
		if err != nil || ownErr != nil || !bytes.Equal(was, is) {
			errs = append(errs, &config.Error{Pos: config.Pos{File: own.Show(own.Name)}, Text: fmt.Sprintf(
				"%q is another file in %s than in the server's folder /%s: put it there first, or write an absolute path", ref, base, own.Dir)})
		}
	}
	return errs
}

// replaceFile replaces a file, or the one that a link leads to, atomically,
// with its mode and owner, and keeps the last versions of it beside it.
func replaceFile(name string, text []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	old, err := os.ReadFile(name)
	if err != nil || bytes.Equal(old, text) {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	for i := keptVersions - 1; i >= 1; i-- {
		from, to := fmt.Sprintf("%s.%d", name, i), fmt.Sprintf("%s.%d", name, i+1)
		if err := os.Rename(from, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := writeLike(info, name+".1", old); err != nil {
		return err
	}
	return writeLike(info, name, text)
}

// writeLike writes a file atomically with the mode and, where we may, the owner
// of another.
func writeLike(like fs.FileInfo, name string, text []byte) error {
	f, err := renameio.NewPendingFile(name, renameio.WithStaticPermissions(like.Mode().Perm()))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }() // of what is still pending
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		_ = f.Chown(int(st.Uid), int(st.Gid)) // allowed to root, or a no-op
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
