package store

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// memory is a read-only file system over contents in memory. It is immutable
// and safe for any number of readers.
type memory struct {
	files   map[string][]byte
	folders map[string][]fs.DirEntry // sorted by name
}

func newMemory(files map[string][]byte) *memory {
	m := &memory{files, map[string][]fs.DirEntry{".": nil}}
	for name, text := range files {
		m.link(name, info{name: path.Base(name), size: int64(len(text))})
	}
	for _, entries := range m.folders {
		slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	}
	return m
}

// link enters a file or folder into the folder above it, making that as
// needed.
func (m *memory) link(name string, i info) {
	above := path.Dir(name)
	_, known := m.folders[above]
	m.folders[above] = append(m.folders[above], fs.FileInfoToDirEntry(i))
	if !known {
		m.link(above, info{name: path.Base(above), folder: true})
	}
}

// Open implements [fs.FS].
func (m *memory) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	if text, ok := m.files[name]; ok {
		return &openFile{bytes.NewReader(text), info{name: path.Base(name), size: int64(len(text))}}, nil
	}
	if entries, ok := m.folders[name]; ok {
		return &openFolder{info{name: path.Base(name), folder: true}, name, entries}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}

type openFile struct {
	*bytes.Reader
	info info
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return nil }

type openFolder struct {
	info info
	path string
	rest []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.path, Err: fs.ErrInvalid}
}

// ReadDir implements [fs.ReadDirFile].
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n > 0 && len(f.rest) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.rest) {
		n = len(f.rest)
	}
	entries := slices.Clone(f.rest[:n])
	f.rest = f.rest[n:]
	return entries, nil
}

// info describes a file or folder that has no time and no owner.
type info struct {
	mode   fs.FileMode // 0: of a file that is kept
	name   string
	size   int64
	folder bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return time.Time{} }
func (i info) IsDir() bool        { return i.folder }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	switch {
	case i.folder:
		return fs.ModeDir | 0o550
	case i.mode != 0:
		return i.mode
	}
	return 0o440
}
