package config

import (
	"io/fs"
	"path"
	"strings"
)

// Source is where a configuration and the files it refers to are read from:
// the disk, the last good bundle, or a test's map.
type Source struct {
	FS    fs.FS  // rooted where absolute references start ("/" for the disk)
	Dir   string // folder in FS that relative references start from; "." is the root
	Name  string // the configuration itself, a file or folder, relative to Dir
	Shown string // folder that messages print before names, as the user typed it; may be empty
}

// Path gives the place of a reference in FS.
func (s Source) Path(ref string) string {
	if strings.HasPrefix(ref, "/") {
		return path.Clean(strings.TrimLeft(ref, "/"))
	}
	return path.Join(s.Dir, ref)
}

// Show gives a reference as messages print it.
func (s Source) Show(ref string) string {
	if strings.HasPrefix(ref, "/") {
		return ref
	}
	return path.Join(s.Shown, ref)
}

// ReadFile reads a referenced file whole.
func (s Source) ReadFile(ref string) ([]byte, error) { return fs.ReadFile(s.FS, s.Path(ref)) }

// Open opens a referenced file.
func (s Source) Open(ref string) (fs.File, error) { return s.FS.Open(s.Path(ref)) }
