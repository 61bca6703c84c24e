package dnsserver

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/store"
)

// apexSearch finds the apex of a zone whose file does not say it from outside:
// the owner of its first SOA record.
type apexSearch struct {
	on    bool
	found string // the owner; empty before the SOA
	again bool   // records were judged by another apex before it was found
}

// settleApex takes the apex from the first SOA record, if it is looked for.
func (l *loader) settleApex(rr dns.RR) {
	if !l.apex.on || l.apex.found != "" || rr.Header().Rrtype != dns.TypeSOA {
		return
	}
	l.apex.found = canonical(rr.Header().Name)
	switch {
	case l.apex.found == l.zone.apex:
	case len(l.zone.nodes) == 0 && l.errors == 0:
		l.zone.apex = l.apex.found
	default:
		l.apex.again = true
	}
}

// loadByApex is loadZone for a file whose zone is the one of its SOA record.
// The name is only where relative names start; it is not known whether the
// file is a zone at all: without a SOA record noSOA is true.
func loadByApex(src config.Source, c *config.Zone, wire []byte) (z *Zone, noSOA bool, errs config.Errors) {
	apex, search := c.Name, apexSearch{on: true}
	for {
		l := &loader{src: src, folder: path.Dir(c.File), limits: zoneLimits(c), zone: &records{apex: apex, nodes: map[string]*node{}}, wire: wire, apex: search}
		l.decl.File = src.Show(c.File)
		l.include(c.File, l.decl, setting{origin: c.Name, ttl: noTTL})
		if l.apex.again {
			apex, search = l.apex.found, apexSearch{found: l.apex.found}
			continue
		}
		l.finish()
		l.check()
		return &Zone{records: l.zone}, l.apex.found == "", l.errs
	}
}

// zoneSuffixes are what a zone's file may end with after the zone's name.
var zoneSuffixes = []string{".zone", ".db", ".txt"}

// stemsOfFile gives what of a file name may be a zone's, the likeliest first.
func stemsOfFile(file string) (stems []string) {
	for _, suffix := range zoneSuffixes {
		if stem, ok := strings.CutSuffix(file, suffix); ok && stem != "" {
			stems = append(stems, stem)
		}
	}
	if stem, ok := strings.CutPrefix(file, "db."); ok && stem != "" {
		stems = append(stems, stem)
	}
	return append(stems, file)
}

// namesOfFile gives the zones that a file name may mean, the likeliest first:
// example.com.zone, example.com.db, example.com.txt, db.example.com and
// example.com are example.com. The likeliest is where the relative names of
// the file start. None if the name is no zone's, or not UTF-8.
func namesOfFile(file string) (names []string) {
	if notUTF8(file) {
		return nil
	}
	for _, stem := range stemsOfFile(file) {
		name, err := store.ZoneOfFile(stem)
		if err != nil {
			continue
		}
		if name, err = ZoneName(strings.TrimSuffix(name, ".") + "."); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// leftovers are the ends of files that editors, packages and other servers
// leave beside a zone's file.
var leftovers = []string{"~", ".bak", ".swp", ".swo", ".orig", ".old", ".tmp", ".jnl", ".rpmsave", ".rpmnew", ".dpkg-old", ".dpkg-new", ".dpkg-dist"}

// isLeftover tells the files of a folder that are no zones: hidden ones, what
// editors leave, and NAME.1 to NAME.9 beside a NAME, earlier versions.
func isLeftover(file string, has func(string) bool) bool {
	if file[0] == '.' || file[0] == '#' || slices.ContainsFunc(leftovers, func(end string) bool { return strings.HasSuffix(file, end) }) {
		return true
	}
	n := len(file)
	return n > 2 && file[n-2] == '.' && '1' <= file[n-1] && file[n-1] <= '9' && has(file[:n-2])
}

// folderFile is a file of a folder of zones, as it was last read.
type folderFile struct {
	name    string
	noSOA   bool
	apex    string // of its zone; empty if neither it nor its name says one
	good    *Loaded
	errs    config.Errors // warnings too
	seen    []seenFile    // itself and what it includes
	last    *Loaded       // of a bad file: the version before, if there was a good one
	changed bool          // it was read anew
}

// seenFile is a file as it was when it was read.
type seenFile struct {
	ref   string
	stamp fileStamp
}

// fileStamp tells one state of a file from another without reading it.
type fileStamp struct {
	size        int64
	mtime       time.Time
	ctime       syscall.Timespec
	inode, disk uint64
	settled     bool // it did not change shortly before it was read, so a change since shows in the times
}

// settleTime is more than the grain of any file system's times.
const settleTime = 2 * time.Second

func stampOf(info fs.FileInfo, read time.Time) fileStamp {
	s := fileStamp{size: info.Size(), mtime: info.ModTime()}
	last := s.mtime
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		s.ctime, s.inode, s.disk = st.Ctim, st.Ino, st.Dev
		last = time.Unix(st.Ctim.Unix())
	}
	s.settled = read.Sub(last) > settleTime
	return s
}

// same says whether a file is surely as it was.
func (s fileStamp) same(now fileStamp) bool {
	now.settled = s.settled
	return s.settled && s == now
}

// fresh says whether reading the file would give the same again. It reads only
// files that may have changed. Bad files are always looked at again: what they
// lack may be elsewhere.
func (f *folderFile) fresh(src config.Source) bool {
	if f.good == nil || len(f.seen) == 0 {
		return false
	}
	read := time.Now()
	now := make([]seenFile, len(f.seen))
	sure := true
	for i, s := range f.seen {
		info, err := fs.Stat(src.FS, src.Path(s.ref))
		if err != nil {
			return false
		}
		now[i] = seenFile{s.ref, stampOf(info, read)}
		sure = sure && s.stamp.same(now[i].stamp)
	}
	if !sure {
		f.seen = now
		return f.good.Zone().Fresh(src, &config.Zone{Name: f.apex, File: f.name})
	}
	return true
}

// readFolderFile reads a file of a folder.
func readFolderFile(src config.Source, name string, most *config.ZoneLimits, wire []byte) *folderFile {
	read := time.Now()
	f := &folderFile{name: name, changed: true}
	names := namesOfFile(name)
	if len(names) == 0 {
		f.errs = config.Errors{{Pos: config.Pos{File: src.Show(strings.ToValidUTF8(name, "?"))}, Text: noZoneName(name)}}
		return f
	}
	z, noSOA, errs := loadByApex(src, &config.Zone{Name: names[0], File: name, Limits: most}, wire)
	f.apex, f.noSOA = z.apex, noSOA
	f.seen = see(src, z, read)
	if z.apex == "." && !slices.Contains(names, ".") {
		// The root has every name that no zone has: it is not taken by accident.
		f.apex = names[0]
		errs = append(errs, &config.Error{Pos: config.Pos{File: src.Show(name)},
			Text: "its SOA record makes it the root zone, and its name zone " + names[0] + "; call the file root.zone if it is the root, else write $ORIGIN " + names[0]})
	}
	if errs.Failed() {
		f.errs = errs
		return f
	}
	f.good = loaded(z, errs, read)
	f.good.served.state.File, f.good.served.state.Origin = name, OriginFolder
	f.errs = z.warnings
	if !slices.Contains(names, z.apex) {
		f.errs = append(f.errs, &config.Error{Warning: true, Pos: config.Pos{File: src.Show(name)},
			Text: "its SOA record makes it zone " + z.apex + ", its name says " + names[0]})
	}
	return f
}

// see looks at the files of a zone, the master file first. It gives nothing if
// one went away meanwhile.
func see(src config.Source, z *Zone, read time.Time) []seenFile {
	seen := make([]seenFile, len(z.files))
	for i, file := range z.files {
		info, err := fs.Stat(src.FS, src.Path(file.ref))
		if err != nil {
			return nil
		}
		seen[i] = seenFile{file.ref, stampOf(info, read)}
	}
	return seen
}

// includes gives what the file reads beside itself.
func (f *folderFile) includes() []seenFile {
	if len(f.seen) < 2 {
		return nil
	}
	return f.seen[1:]
}
