package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Shelf is a folder of files that come and go one at a time, such as zones
// that operators add by command. A file is put in place whole or not at all,
// and the version before of one that was replaced or taken away stays in
// [KeptFolder] of it. Its methods may be called from any goroutine; two at
// once for one name are for the caller to prevent.
type Shelf struct {
	dir  string
	mode fs.FileMode // of new files; one that is replaced keeps its own

	mu   sync.Mutex
	kept int // files in KeptFolder, or -1: not counted yet
}

// KeptFolder is where, in a shelf's folder, the version before lies of what
// was replaced or taken away: one of a name, and the newest thousand in all.
const KeptFolder = ".kept"

const (
	maxKept  = 1000
	keptOver = 100 // too many before the oldest go, for looking at all of them costs
	newMark  = ".portolan-new-"
)

// NewShelf gives the shelf of a folder, which it does not touch yet. Mode is
// that of new files.
func NewShelf(dir string, mode fs.FileMode) *Shelf { return &Shelf{dir: dir, mode: mode, kept: -1} }

// Path is the place of a file of the shelf.
func (s *Shelf) Path(name string) string { return filepath.Join(s.dir, name) }

// Kept is the place of the version before of a file.
func (s *Shelf) Kept(name string) string { return filepath.Join(s.dir, KeptFolder, name) }

// Names lists the files of the shelf, sorted; hidden ones are not of it.
func (s *Shelf) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	var names []string
	for _, e := range entries {
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Sweep removes what a process that was cut off left half written.
func (s *Shelf) Sweep() error {
	entries, err := os.ReadDir(s.dir)
	for _, e := range entries {
		if e.Type().IsRegular() && strings.HasPrefix(e.Name(), newMark) {
			err = errors.Join(err, os.Remove(s.Path(e.Name())))
		}
	}
	return err
}

// Staged is the content of a file that is on the disk already, under another
// name. One of Place and Drop ends it.
type Staged struct {
	shelf *Shelf
	name  string
	temp  string
}

// Stage writes a content to the disk, with fsync, and puts it nowhere yet. On
// an error nothing is left of it.
func (s *Shelf) Stage(name string, text []byte) (_ *Staged, err error) {
	if !fs.ValidPath(name) || name == "." || strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("%q is not a name for a file", name)
	}
	f, err := os.CreateTemp(s.dir, newMark)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	mode := s.mode
	if was, err := os.Stat(s.Path(name)); err == nil {
		mode = was.Mode().Perm()
		if st, ok := was.Sys().(*syscall.Stat_t); ok {
			_ = f.Chown(int(st.Uid), int(st.Gid)) // allowed to root, or a no-op
		}
	}
	if err := f.Chmod(mode); err != nil {
		return nil, err
	}
	if _, err := f.Write(text); err != nil {
		return nil, err
	}
	return &Staged{s, name, f.Name()}, f.Sync()
}

// Place puts the file in its place, and keeps the one that stood there. It
// gives the path of that, or nothing. It outlives a loss of power after the
// next [Shelf.Sync].
func (f *Staged) Place() (kept string, err error) {
	s := f.shelf
	if _, err := os.Lstat(s.Path(f.name)); err == nil {
		// A second name for the old content, so that its place is never empty.
		link := f.temp + "-old"
		if err := os.Link(s.Path(f.name), link); err != nil {
			return "", errors.Join(err, f.Drop())
		}
		if kept, err = s.keep(f.name, link); err != nil {
			return "", errors.Join(err, os.Remove(link), f.Drop())
		}
	}
	if err := os.Rename(f.temp, s.Path(f.name)); err != nil {
		return "", errors.Join(err, f.Drop())
	}
	return kept, nil
}

// Drop takes back what was staged.
func (f *Staged) Drop() error { return os.Remove(f.temp) }

// Take takes a file away, and gives the path where it lies now.
func (s *Shelf) Take(name string) (kept string, err error) { return s.keep(name, s.Path(name)) }

// keep moves a file to where the version before of name lies. It is the newest
// there from then on, however old its content.
func (s *Shelf) keep(name, from string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := os.MkdirAll(s.Kept(""), folderMode); err != nil {
		return "", err
	}
	was, err := os.Lstat(s.Kept(name))
	known := err == nil
	if err := move(from, was, s.Kept(name)); err != nil {
		return "", err
	}
	if s.kept >= 0 && !known {
		s.kept++
	}
	if s.kept < 0 || s.kept > maxKept+keptOver {
		s.kept = s.prune()
	}
	return s.Kept(name), nil
}

// move renames a file over another, which is was, or nil. Of two names of one
// file rename keeps both and says nothing, as a process leaves them that is
// killed inside Place.
func move(from string, was fs.FileInfo, to string) error {
	is, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if was != nil && os.SameFile(is, was) {
		return os.Remove(from)
	}
	return os.Rename(from, to)
}

// prune removes the oldest kept files over maxKept, and counts the rest. What
// cannot be removed is tried again at the next occasion.
func (s *Shelf) prune() int {
	type file struct {
		name string
		at   time.Time
	}
	entries, err := os.ReadDir(s.Kept(""))
	if err != nil || len(entries) <= maxKept {
		return len(entries)
	}
	var files []file
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files = append(files, file{e.Name(), changedAt(info)})
		}
	}
	slices.SortFunc(files, func(a, b file) int { return a.at.Compare(b.at) })
	for len(files) > maxKept {
		_ = os.Remove(s.Kept(files[0].name))
		files = files[1:]
	}
	return len(files)
}

// changedAt is when the entry of a file changed last, by a rename too.
func changedAt(info fs.FileInfo) time.Time {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Ctim.Unix())
	}
	return info.ModTime()
}

// Sync makes everything that was placed and taken away outlive a loss of power.
func (s *Shelf) Sync() error {
	err := syncFolder(s.dir)
	if kept := syncFolder(s.Kept("")); !errors.Is(kept, fs.ErrNotExist) {
		err = errors.Join(err, kept)
	}
	return err
}
