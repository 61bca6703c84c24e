package dnsserver

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/config"
)

// Folder is the zones of a folder of master files, one file a zone, as they
// were last read. A zone is that of its file's SOA record; the file's name is
// where relative names start. Subfolders hold what the files include.
//
// Its methods are for one goroutine at a time.
type Folder struct {
	src   config.Source
	most  config.Limits
	files map[string]*folderFile // by name
	zones map[string]*Loaded     // by apex, as served
	was   fs.FileInfo            // of the folder itself when it was read
	sum   [sha256.Size]byte      // of all that is served
}

// NewFolder gives a folder that nothing was read of yet. The source's Dir is
// the folder; most is how much its files may hold.
func NewFolder(src config.Source, most config.Limits) *Folder { return &Folder{src: src, most: most} }

// Source is where the folder is read from.
func (f *Folder) Source() config.Source { return f.src }

// FolderCounts tells what a look at a folder found.
type FolderCounts struct {
	Zones, Read, Gone, Bad int // zones; files read, for they are new or have changed; files that went away; bad files
}

var (
	errEmptied = errors.New("it holds no zone any more, and that is not believed: bring them back, or restart")
	errOthers  = errors.New("it holds none of the zones that are served, and that is not believed: bring those back, or restart")
)

// Refresh reads what is new or has changed. The error is set when the folder
// cannot be read, or when it has lost every zone that served at once, as one that
// is not mounted has; then nothing has changed. Bad files are told in the errors: a
// zone with an earlier version keeps that, one without is served SERVFAIL.
func (f *Folder) Refresh() (FolderCounts, config.Errors, error) {
	info, err := fs.Stat(f.src.FS, f.src.Path("."))
	if err != nil {
		return FolderCounts{}, nil, reason(err)
	}
	names, err := f.list()
	if err != nil {
		return FolderCounts{}, nil, err
	}
	list := f.readAll(names)
	next := &Folder{src: f.src, most: f.most, was: info, files: make(map[string]*folderFile, len(list)), zones: make(map[string]*Loaded, len(list))}
	counts, errs := next.take(list, f.zones)
	if err := f.lost(next); err != nil {
		return FolderCounts{}, nil, err
	}
	for name := range f.files {
		if next.files[name] == nil {
			counts.Gone++
		}
	}
	for _, file := range list {
		if file.changed && file.good != nil && f.zones[file.apex] != nil {
			if text := file.good.SerialWarning(f.zones[file.apex].Zone()); text != "" {
				errs = append(errs, &config.Error{Warning: true, Pos: config.Pos{File: f.src.Show(file.name)}, Text: text})
			}
		}
		file.changed = false
	}
	*f = *next
	return counts, errs, nil
}

// lost says why the next look cannot be believed: a folder that is not mounted
// is empty, or holds what somebody wrote below the mount.
func (f *Folder) lost(next *Folder) error {
	served := false
	for apex, z := range f.zones {
		if next.zones[apex] != nil {
			return nil
		}
		served = served || z.Zone() != nil
	}
	switch {
	case len(next.zones) == 0 && len(f.zones) > 0:
		return errEmptied
	case served:
		return errOthers
	}
	return nil
}

// Another says whether the folder is another directory than the one that was
// read, as it is when something was mounted, unmounted or moved meanwhile. The
// error is set if it cannot be looked at.
func (f *Folder) Another() (bool, error) {
	info, err := fs.Stat(f.src.FS, f.src.Path("."))
	if err != nil {
		return false, reason(err)
	}
	return !os.SameFile(f.was, info), nil
}

// list gives the names of the files that may be zones, sorted.
func (f *Folder) list() ([]string, error) {
	entries, err := fs.ReadDir(f.src.FS, f.src.Path("."))
	if err != nil {
		return nil, reason(err)
	}
	has := func(name string) bool {
		_, found := slices.BinarySearchFunc(entries, name, func(e fs.DirEntry, name string) int { return cmp.Compare(e.Name(), name) })
		return found
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() || isLeftover(e.Name(), has) {
			continue
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if info, err := fs.Stat(f.src.FS, f.src.Path(e.Name())); err == nil && info.IsDir() {
				continue
			}
		}
		names = append(names, e.Name())
	}
	return names, nil
}

// readAll reads files, as far as they have changed, on every core.
func (f *Folder) readAll(names []string) []*folderFile {
	list := make([]*folderFile, len(names))
	var next atomic.Int64
	var done sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(names)) {
		done.Go(func() {
			wire := make([]byte, math.MaxUint16+512)
			for i := int(next.Add(1)) - 1; i < len(names); i = int(next.Add(1)) - 1 {
				list[i] = f.read(names[i], wire)
			}
		})
	}
	done.Wait()
	return list
}

// read gives a file as it is now; of a bad one, with the version before.
func (f *Folder) read(name string, wire []byte) *folderFile {
	was := f.files[name]
	if was != nil && was.fresh(f.src) {
		return was
	}
	file := readFolderFile(f.src, name, &f.most.Zone, wire)
	if file.good == nil && was != nil {
		if file.last = was.good; file.last == nil {
			file.last = was.last
		}
	}
	return file
}

// take makes zones of files; was is what served before.
func (f *Folder) take(list []*folderFile, was map[string]*Loaded) (counts FolderCounts, errs config.Errors) {
	included := map[string]bool{}
	for _, file := range list {
		f.files[file.name] = file
		for _, inc := range file.includes() {
			included[path.Clean(inc.ref)] = true
		}
		if file.changed {
			counts.Read++
		}
	}
	var claims []claim
	for _, file := range list {
		if file.good == nil && file.noSOA && included[file.name] {
			continue
		}
		errs = append(errs, file.errs...)
		if file.good == nil {
			counts.Bad++
		}
		if z := f.zoneOf(file); z != nil {
			claims = append(claims, claimOf(z, was[z.Name()]))
		}
	}
	slices.SortStableFunc(claims, claim.before)
	for _, c := range claims {
		errs = append(errs, f.put(c.zone)...)
	}
	slices.SortStableFunc(errs, func(a, b *config.Error) int { return cmp.Compare(a.Pos.File, b.Pos.File) })
	counts.Zones = len(f.zones)
	for _, z := range f.zones {
		f.add(z)
	}
	return counts, errs
}

// zoneOf gives what is served of a file.
func (f *Folder) zoneOf(file *folderFile) *Loaded {
	if file.good != nil {
		return file.good
	}
	why := errors.New("bad")
	if i := slices.IndexFunc(file.errs, func(e *config.Error) bool { return !e.Warning }); i >= 0 {
		why = file.errs[i]
	}
	switch {
	case file.last != nil:
		z := *file.last.served
		z.state.Stale, z.state.Error = true, why.Error()
		return &Loaded{&z}
	case file.apex == "":
		return nil
	}
	return Bad(file.apex, file.name, OriginFolder, why)
}

// put enters a zone, unless another file has it.
func (f *Folder) put(z *Loaded) config.Errors {
	first := f.zones[z.Name()]
	switch {
	case first == nil && len(f.zones) >= f.most.Zones:
		return config.Errors{{Pos: config.Pos{File: f.src.Show(z.State().File)}, Limit: limitNames[limitZones],
			Text: fmt.Sprintf("zone %s is not served: there are %d already (dns.limits.zones)", z.Name(), len(f.zones))}}
	case first == nil:
		f.zones[z.Name()] = z
		return nil
	}
	e := &config.Error{Pos: config.Pos{File: f.src.Show(z.State().File)},
		Text: fmt.Sprintf("zone %s is in %s already, which is served", z.Name(), f.src.Show(first.State().File))}
	twice := *first.served
	twice.state.Twice = true
	if twice.state.Error == "" {
		twice.state.Error = e.Error()
	}
	f.zones[z.Name()] = &Loaded{&twice}
	return config.Errors{e}
}

// Zones gives every zone of the folder, in no order.
func (f *Folder) Zones() []*Loaded {
	list := make([]*Loaded, 0, len(f.zones))
	for _, z := range f.zones {
		list = append(list, z)
	}
	return list
}

// Has says whether a file of this name was there at the last look.
func (f *Folder) Has(file string) bool { return f.files[file] != nil }

// At gives a zone as one that is about to be written to a file of the folder. If
// another file has the zone too, that stays said.
func (f *Folder) At(z *Loaded, file string) *Loaded {
	z = z.At(file, f.src.Show(file), OriginFolder)
	if was := f.zones[z.Name()]; was != nil && was.State().Twice {
		z.served.state.Twice, z.served.state.Error = true, "another file has zone "+z.Name()+" too; a reload says which"
	}
	return z
}

// Put notes that a zone was written to a file of the folder.
func (f *Folder) Put(z *Loaded) {
	f.Drop(z.Name())
	file := z.State().File
	f.files[file] = &folderFile{name: file, apex: z.Name(), good: z, errs: z.Zone().Warnings(), seen: see(f.src, z.Zone(), time.Now())}
	f.zones[z.Name()] = z
	f.add(z)
}

// Drop notes that the file of a zone was taken away.
func (f *Folder) Drop(apex string) {
	if was := f.zones[apex]; was != nil {
		f.add(was)
		delete(f.zones, apex)
		delete(f.files, was.State().File)
	}
}

// add adds a zone to the sum, or takes it out again: the order of the zones
// does not matter, and a change costs no look at the others.
func (f *Folder) add(z *Loaded) {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\n%t\n", z.State().File, z.Zone() == nil) // a hash takes everything
	if zone := z.Zone(); zone != nil {
		for _, file := range zone.files {
			h.Write(file.sum[:])
		}
	}
	for i, octet := range h.Sum(nil) {
		f.sum[i] ^= octet
	}
}

// Revision names what is served: the same for the same files. 12 hexadecimal
// digits.
func (f *Folder) Revision() string { return hex.EncodeToString(f.sum[:])[:12] }
