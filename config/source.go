package config

import (
	"errors"
	"io/fs"
	"path"
	"strings"
)

// Source is where a configuration and the files it refers to are read from:
// the disk, the last good bundle, or a test's map. Its FS should be an [fs.StatFS], or
// looking at a pipe or a device opens it.
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

// ReadFile reads a referenced file whole. Like Open it reads nothing but
// regular files.
func (s Source) ReadFile(ref string) ([]byte, error) {
	if err := s.readable(ref); err != nil {
		return nil, err
	}
	return fs.ReadFile(s.FS, s.Path(ref))
}

// Open opens a referenced file or folder. A pipe or a device is an error:
// opening or reading it may never come to an end.
func (s Source) Open(ref string) (fs.File, error) {
	if err := s.readable(ref); err != nil {
		return nil, err
	}
	return s.FS.Open(s.Path(ref))
}

var errNotRegular = errors.New("not a regular file")

// readable looks before a file is opened, for opening a pipe waits for whoever
// writes to it.
func (s Source) readable(ref string) error {
	info, err := fs.Stat(s.FS, s.Path(ref))
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: s.Path(ref), Err: errNotRegular}
	}
	return err
}
