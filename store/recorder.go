package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"sync"
)

// Recorder is a file system that remembers what was read through it, so that
// whoever compiles a configuration ends with the files of a [Bundle]. A file
// that is read twice gives the same bytes twice, even if it changed on disk in
// between. It is safe for concurrent use.
type Recorder struct {
	under fs.FS

	mu    sync.Mutex
	size  int64
	files map[string][]byte
	modes map[string]fs.FileMode // of files, as they were on disk
}

// Record gives a recorder over a file system.
func Record(under fs.FS) *Recorder {
	return &Recorder{under: under, files: map[string][]byte{}, modes: map[string]fs.FileMode{}}
}

// Files gives what was read until now. The contents must not be changed.
func (r *Recorder) Files() map[string][]byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.files)
}

// Forget lets go of what was read: from now on the files are those of the file
// system below, and nothing is remembered.
func (r *Recorder) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.files = nil
}

// Stat implements [fs.StatFS]. It opens nothing, so that pipes and devices can
// be told from files, and remembers nothing.
func (r *Recorder) Stat(name string) (fs.FileInfo, error) {
	r.mu.Lock()
	text, ok := r.files[name]
	mode := r.modes[name]
	r.mu.Unlock()
	if ok {
		return info{name: path.Base(name), size: int64(len(text)), mode: mode}, nil
	}
	return fs.Stat(r.under, name)
}

// Open implements [fs.FS]. Folders are passed on as they are; files are read
// whole, at most as much as a bundle may hold.
func (r *Recorder) Open(name string) (fs.File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.files == nil {
		return r.under.Open(name)
	}
	text, ok := r.files[name]
	if !ok {
		f, err := r.under.Open(name)
		if err != nil {
			return nil, err
		}
		st, err := f.Stat()
		if err == nil && st.IsDir() {
			return f, nil
		}
		if err == nil {
			r.modes[name] = st.Mode()
			text, err = r.read(f)
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, &fs.PathError{Op: "open", Path: name, Err: err}
		}
		r.size += int64(len(text))
		r.files[name] = text
	}
	return &openFile{bytes.NewReader(text), info{name: path.Base(name), size: int64(len(text)), mode: r.modes[name]}}, nil
}

// Lstat and ReadLink implement [fs.ReadLinkFS]: links are those of the file
// system below, so that where a file leads to can be checked before it is read.
func (r *Recorder) Lstat(name string) (fs.FileInfo, error) { return fs.Lstat(r.under, name) }

// ReadLink gives where a symbolic link leads.
func (r *Recorder) ReadLink(name string) (string, error) { return fs.ReadLink(r.under, name) }

func (r *Recorder) read(f fs.File) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(f, maxBundle-r.size+1))
	if err == nil && r.size+int64(len(text)) > maxBundle {
		err = fmt.Errorf("with it the configuration has more than %d bytes", maxBundle)
	}
	return text, err
}
