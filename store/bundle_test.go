package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

func bundleOf(pairs ...string) Bundle {
	b := Bundle{Files: map[string][]byte{}, Dir: "etc/portolan", Name: "portolan.yaml", Shown: "/etc/portolan"}
	for i := 0; i < len(pairs); i += 2 {
		b.Files[pairs[i]] = []byte(pairs[i+1])
	}
	return b
}

func TestLastGood(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	one := bundleOf("etc/portolan/portolan.yaml", "version: 1", "srv/geo.mmdb", "big")
	two := bundleOf("etc/portolan/portolan.yaml", "version: 1 # two", "srv/geo.mmdb", "big")
	if err := errors.Join(s.SaveConfig(one), s.SaveConfig(two)); err != nil {
		t.Fatal(err)
	}
	b, found, err := s.LastGood()
	if err != nil || !reflect.DeepEqual(b, two) || found.Generation != 2 {
		t.Fatalf("%+v %+v %v", b, found, err)
	}
	if b.Revision() != two.Revision() || b.Revision() == one.Revision() || len(b.Revision()) != 12 {
		t.Errorf("revisions %s %s %s", b.Revision(), two.Revision(), one.Revision())
	}
	if blobs := names(t, filepath.Join(dir, blobFolder)); len(blobs) != 3 {
		t.Errorf("a shared content is kept more than once: %v", blobs)
	}
	text, err := b.Source().ReadFile("portolan.yaml")
	if err != nil || string(text) != "version: 1 # two" {
		t.Errorf("%q %v", text, err)
	}
}

func TestOldContentsGo(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for i := range 10 {
		if err := s.SaveConfig(bundleOf("a", fmt.Sprint(i), "same", "s")); err != nil {
			t.Fatal(err)
		}
	}
	if blobs := names(t, filepath.Join(dir, blobFolder)); len(blobs) != 4 {
		t.Errorf("%d contents, want those of three generations and the shared one", len(blobs))
	}
}

func TestDamagedContentIsWrittenAgain(t *testing.T) {
	s := openStore(t, t.TempDir())
	b := bundleOf("a", "content")
	if err := s.SaveConfig(b); err != nil {
		t.Fatal(err)
	}
	name := s.blob(sumOf([]byte("content")))
	if err := os.WriteFile(name, []byte("c0ntent"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.LastGood(); err == nil || !strings.Contains(err.Error(), "content of a") {
		t.Errorf("damaged content: %v", err)
	}
	if err := s.SaveConfig(b); err != nil {
		t.Fatal(err)
	}
	if got, _, err := s.LastGood(); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("%v %v", got, err)
	}
}

func TestBundleBounds(t *testing.T) {
	s := openStore(t, t.TempDir())
	for _, b := range []Bundle{
		{},
		bundleOf("/etc/passwd", "x"),
		bundleOf("../x", "x"),
		bundleOf("a//b", "x"),
		bundleOf(".", "x"),
		{Files: map[string][]byte{"big": make([]byte, maxBundle+1)}},
	} {
		if err := s.SaveConfig(b); err == nil {
			t.Errorf("saved a bundle of %d files", len(b.Files))
		}
	}
	if _, _, err := s.LastGood(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was kept: %v", err)
	}
}

// TestFailedSaveLeavesTheOld stands for every failed write, without root: the
// contents' folder cannot be written because it is no folder.
func TestFailedSaveLeavesTheOld(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	old := bundleOf("a", "old")
	if err := s.SaveConfig(old); err != nil {
		t.Fatal(err)
	}
	blobs := filepath.Join(dir, blobFolder)
	if err := os.Rename(blobs, blobs+".aside"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(blobs, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveConfig(bundleOf("a", "new")); err == nil {
		t.Error("saved into a file")
	}
	if err := errors.Join(os.Remove(blobs), os.Rename(blobs+".aside", blobs)); err != nil {
		t.Fatal(err)
	}
	got, found, err := s.LastGood()
	if err != nil || !reflect.DeepEqual(got, old) || found.PassedOver != nil {
		t.Errorf("%+v %+v %v", got, found, err)
	}
	if left := names(t, dir); len(left) != 3 {
		t.Errorf("left over: %v", left)
	}
}

func TestBundleFS(t *testing.T) {
	b := bundleOf("etc/portolan.yaml", "x", "etc/zones/a.zone", "yy", "top", "")
	if err := fstest.TestFS(b.FS(), "etc/portolan.yaml", "etc/zones/a.zone", "top"); err != nil {
		t.Error(err)
	}
	if err := fstest.TestFS(Bundle{}.FS()); err != nil {
		t.Error(err)
	}
	if _, err := fs.ReadFile(b.FS(), "etc/zones"); err == nil {
		t.Error("read a folder")
	}
}

func TestRecorder(t *testing.T) {
	disk := fstest.MapFS{
		"etc/a.yaml": {Data: []byte("a")},
		"etc/b.yaml": {Data: []byte("b")},
		"etc/unused": {Data: []byte("u")},
	}
	r := Record(disk)
	entries, err := fs.ReadDir(r, "etc")
	if err != nil || len(entries) != 3 {
		t.Fatalf("%v %v", entries, err)
	}
	for _, name := range []string{"etc/a.yaml", "etc/b.yaml"} {
		if _, err := fs.ReadFile(r, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fs.ReadFile(r, "etc/missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	disk["etc/a.yaml"] = &fstest.MapFile{Data: []byte("changed")}
	if text, err := fs.ReadFile(r, "etc/a.yaml"); err != nil || string(text) != "a" {
		t.Errorf("the second read gives %q, %v", text, err)
	}
	files := r.Files()
	if len(files) != 2 || !bytes.Equal(files["etc/a.yaml"], []byte("a")) || !bytes.Equal(files["etc/b.yaml"], []byte("b")) {
		t.Errorf("recorded %q", files)
	}
}

func TestRecorderBound(t *testing.T) {
	r := Record(fstest.MapFS{"a": {Data: []byte("12345")}})
	r.size = maxBundle - 4
	if _, err := fs.ReadFile(r, "a"); err == nil || len(r.Files()) != 0 {
		t.Errorf("read over the bound: %v", err)
	}
	r.size = maxBundle - 5
	if text, err := fs.ReadFile(r, "a"); err != nil || !slices.Equal(text, []byte("12345")) {
		t.Errorf("%q %v", text, err)
	}
}
