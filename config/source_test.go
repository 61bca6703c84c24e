package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// A pipe that nobody writes to, or a device that never ends, is refused before
// it is opened, wherever a file belongs.
func TestLoad_NothingButRegularFiles(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skipf("no pipes here: %v", err)
	}
	for text, want := range map[string]string{
		"zones: [{name: example.com, file: pipe}]":         "c.yaml:2:35: zones[0].file: pipe: cannot read it: not a regular file",
		"isps: [{name: a, prefixFile: /dev/zero}]":         "c.yaml:2:30: isps[0].prefixFile: /dev/zero: cannot read it: not a regular file",
		"geo: {databases: [pipe]}":                         "c.yaml:2:19: geo.databases[0]: pipe: cannot read it: not a regular file",
		"probes: [{name: a, kind: https, caFile: ./pipe}]": "c.yaml:2:41: probes[0].caFile: pipe: cannot read it: not a regular file",
	} {
		if err := os.WriteFile(filepath.Join(dir, "c.yaml"), []byte("version: 1\n"+text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		src := Source{FS: os.DirFS("/"), Dir: strings.TrimPrefix(dir, "/"), Name: "c.yaml"}
		if _, errs := Load(src); errs.Error() != want {
			t.Errorf("got %q, want %q", errs.Error(), want)
		}
	}

	src := Source{FS: os.DirFS(dir), Dir: ".", Name: "pipe"}
	atOnce(t, pipe, func() error { _, errs := Load(src); return errs })
	atOnce(t, pipe, func() error { _, err := src.ReadFile("pipe"); return err })
	atOnce(t, pipe, func() error { _, err := src.Open("pipe"); return err })
	if _, err := src.Open("."); err != nil {
		t.Errorf("a folder: %v", err)
	}
}

// denied lets nobody read one file.
type denied struct {
	fs.FS
	name string
}

func (d denied) Open(name string) (fs.File, error) {
	if name == d.name {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	return d.FS.Open(name)
}

// Who asks whether a configuration is good must be able to tell no from nobody
// knows.
func TestLoad_Unread(t *testing.T) {
	files := fstest.MapFS{"conf/a.yaml": {Data: []byte("version: 1\n")}, "conf/b.yaml": {Data: []byte("pools: []\n")}}
	for _, c := range []struct {
		name   string
		denied string
		unread string // the error that says so
	}{
		{"conf/a.yaml", "conf/a.yaml", "conf/a.yaml: cannot read it: permission denied"},
		{"conf", "conf", "conf: cannot read it: permission denied"},
		{"conf", "conf/b.yaml", "conf/b.yaml: cannot read it: permission denied"},
		{"gone", "", "gone: cannot read it: file does not exist"},
		{"conf", "", ""},
	} {
		_, errs := Load(Source{FS: denied{files, c.denied}, Dir: ".", Name: c.name})
		got := ""
		for _, e := range errs {
			if e.Unread {
				got += e.Error()
			}
		}
		if got != c.unread {
			t.Errorf("%s without %q: got %q, want %q", c.name, c.denied, got, c.unread)
		}
	}
}

// atOnce calls f, which must give an error without waiting for the pipe's other
// end.
func atOnce(t *testing.T, pipe string, f func() error) {
	t.Helper()
	failed := make(chan error, 1)
	go func() { failed <- f() }()
	select {
	case err := <-failed:
		if err == nil || !strings.Contains(err.Error(), errNotRegular.Error()) {
			t.Errorf("got %v, want %v", err, errNotRegular)
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for the pipe")
		if fd, err := syscall.Open(pipe, syscall.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil { // lets it go
			_ = syscall.Close(fd)
		}
		<-failed
	}
}
