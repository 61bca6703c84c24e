package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/nettest"
)

func place(t *testing.T, s *Shelf, name, text string) (kept string) {
	t.Helper()
	f, err := s.Stage(name, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if kept, err = f.Place(); err != nil {
		t.Fatal(err)
	}
	return kept
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// What was replaced or taken away stays, and a file keeps its mode.
func TestShelf(t *testing.T) {
	s := NewShelf(t.TempDir(), 0o640)
	if kept := place(t, s, "a.zone", "one"); kept != "" {
		t.Errorf("nothing was there, and %s is kept", kept)
	}
	if err := os.Chmod(s.Path("a.zone"), 0o604); err != nil {
		t.Fatal(err)
	}
	kept := place(t, s, "a.zone", "two")
	if kept != s.Kept("a.zone") || content(t, kept) != "one" || content(t, s.Path("a.zone")) != "two" {
		t.Errorf("%s", kept)
	}
	if info, err := os.Stat(s.Path("a.zone")); err != nil || info.Mode().Perm() != 0o604 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	kept, err := s.Take("a.zone")
	if err != nil || content(t, kept) != "two" {
		t.Errorf("%s %v", kept, err)
	}
	if _, err := s.Take("a.zone"); !errors.Is(err, os.ErrNotExist) || content(t, kept) != "two" {
		t.Errorf("taken twice: %v", err)
	}
	f, err := s.Stage("b.zone", []byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Drop(), s.Sync()); err != nil {
		t.Error(err)
	}
	if names, err := s.Names(); err != nil || len(names) != 0 {
		t.Errorf("%v %v", names, err)
	}
}

// A name of a file is nothing but that.
func TestShelfNames(t *testing.T) {
	s := NewShelf(t.TempDir(), 0o640)
	for _, name := range []string{"", ".", "..", "../x", "/etc/x", "a/b", ".hidden", strings.Repeat("x", 300)} {
		if f, err := s.Stage(name, nil); err == nil {
			if _, err := f.Place(); err == nil {
				t.Errorf("%q is a file now", name)
			}
		}
	}
	if left := names(t, s.dir); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

// What a process that was cut off left is swept, and nothing else.
func TestShelfSweep(t *testing.T) {
	s := NewShelf(t.TempDir(), 0o640)
	place(t, s, "a.zone", "one")
	if _, err := s.Stage("a.zone", []byte("two")); err != nil { // and cut off
		t.Fatal(err)
	}
	if err := os.WriteFile(s.Path(".other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Sweep(); err != nil {
		t.Fatal(err)
	}
	if left := names(t, s.dir); len(left) != 2 || content(t, s.Path("a.zone")) != "one" {
		t.Errorf("left: %v", left)
	}
}

// A process that is killed while it replaces a file leaves the old one under two
// names. Taking it away then takes it away (rename does nothing for two names
// of one file).
func TestShelfAfterAKillInsidePlace(t *testing.T) {
	for what, then := range map[string]func(s *Shelf) error{
		"take":    func(s *Shelf) error { _, err := s.Take("a.zone"); return err },
		"replace": func(s *Shelf) error { place(t, s, "a.zone", "two"); _, err := s.Take("a.zone"); return err },
	} {
		s := NewShelf(t.TempDir(), 0o640)
		place(t, s, "a.zone", "one")
		if err := errors.Join(os.Mkdir(s.Kept(""), 0o700), os.Link(s.Path("a.zone"), s.Kept("a.zone"))); err != nil {
			t.Fatal(err)
		}
		if err := then(s); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(s.dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != KeptFolder {
			t.Errorf("%s: left %v, %v", what, entries, err)
		}
	}
}

// The kept versions are bounded, and the oldest go first.
func TestShelfForgets(t *testing.T) {
	s := NewShelf(t.TempDir(), 0o640)
	if err := os.Mkdir(s.Kept(""), 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range maxKept + keptOver {
		if err := os.WriteFile(s.Kept(fmt.Sprintf("old%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	place(t, s, "new", "text")
	if _, err := s.Take("new"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(s.Kept(""))
	if err != nil || len(entries) != maxKept || content(t, s.Kept("new")) != "text" {
		t.Errorf("%d are kept, %v", len(entries), err)
	}
}

// A kept zone comes back as it was; any damage is an error.
func TestZoneSeal(t *testing.T) {
	dir := t.TempDir()
	want := Zone{Name: "a.example.", From: "b\nc", By: "ann", At: time.Now().UTC().Truncate(time.Millisecond), Text: []byte("\x00any\ntext\xff")}
	text, err := want.Seal()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "z")
	read := func(text []byte) (Zone, error) {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return ReadZone(path)
	}
	got, err := read(text)
	if err != nil || got.Name != want.Name || got.From != want.From || got.By != want.By || !got.At.Equal(want.At) || string(got.Text) != string(want.Text) {
		t.Errorf("%+v %v", got, err)
	}
	for i := range text {
		damaged := append([]byte(nil), text...)
		damaged[i] ^= 4
		if _, err := read(damaged); err == nil {
			t.Errorf("octet %d is damaged, and nobody sees it", i)
		}
		if _, err := read(text[:i]); err == nil {
			t.Errorf("cut at %d, and nobody sees it", i)
		}
	}
}

// TestShelfDiskFull_Root: a full disk refuses what is new and harms nothing.
func TestShelfDiskFull_Root(t *testing.T) {
	nettest.NeedRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}()
	s := NewShelf(dir, 0o640)
	place(t, s, "a.zone", "one")
	if _, err := s.Stage("a.zone", make([]byte, 300<<10)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("staged: %v", err)
	}
	if left := names(t, dir); len(left) != 1 || content(t, s.Path("a.zone")) != "one" {
		t.Errorf("left: %v", left)
	}
	place(t, s, "a.zone", "two")
}
