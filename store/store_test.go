package store

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/status"
)

func openStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it itself
	return s
}

// names lists every file under a folder.
func names(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, name)
			list = append(list, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestOpenMakesThePrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "state")
	s := openStore(t, dir)
	if err := s.SaveJSON("word", 1, "x"); err != nil {
		t.Fatal(err)
	}
	for name, max := range map[string]fs.FileMode{dir: 0o750, filepath.Join(dir, "word.1"): 0o640} {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if extra := st.Mode().Perm() &^ max; extra != 0 {
			t.Errorf("%s has mode %v, more than %v", name, st.Mode(), max)
		}
	}
}

func TestTwoOnOneFolder(t *testing.T) {
	dir := t.TempDir()
	first := openStore(t, dir)
	_, err := Open(dir)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "process") {
		t.Fatalf("got %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir)
}

func TestOpenFails(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(file, "state")); err == nil || !strings.Contains(err.Error(), "state folder "+file) {
		t.Errorf("below a file: %v", err)
	}
	if os.Geteuid() == 0 {
		return // root may write anywhere
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(filepath.Join(dir, "state")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read-only: %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // so that it can be removed
		t.Fatal(err)
	}
}

func TestOpenSweepsOrphans(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if err := s.SaveConfig(Bundle{Files: map[string][]byte{"a": []byte("x")}, Dir: ".", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	for _, orphan := range []string{".config.2123456", "blobs/." + strings.Repeat("a", 64) + "99"} {
		if err := os.WriteFile(filepath.Join(dir, orphan), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitkeep"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	openStore(t, dir)
	if after := names(t, dir); !slices.Equal(after, append([]string{".gitkeep"}, before...)) {
		t.Errorf("after: %v\nbefore: %v", after, before)
	}
}

func TestThreeGenerations(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for i := range 5 {
		if err := s.SaveJSON("word", 1, i); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := names(t, dir), []string{"lock", "word.3", "word.4", "word.5"}; !slices.Equal(got, want) {
		t.Errorf("files %v, want %v", got, want)
	}
	var v int
	found, err := LoadJSON(s, "word", 1, &v)
	if err != nil || v != 4 || found.Generation != 5 || time.Since(found.Saved) > time.Minute || found.PassedOver != nil {
		t.Errorf("%d %+v %v", v, found, err)
	}
}

func TestUnchangedIsNotSavedAgain(t *testing.T) {
	dir := t.TempDir()
	for range 3 { // over restarts as well
		s := openStore(t, dir)
		for range 2 {
			if err := s.SaveJSON("word", 1, "same"); err != nil {
				t.Fatal(err)
			}
			if err := s.SaveConfig(Bundle{Files: map[string][]byte{"a": []byte("x")}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names(t, dir) {
		if strings.HasSuffix(name, ".2") {
			t.Errorf("%s: saved again", name)
		}
	}
}

func TestNothingSaved(t *testing.T) {
	s := openStore(t, t.TempDir())
	if _, _, err := s.LastGood(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("configuration: %v", err)
	}
	if _, _, err := s.LoadHolds(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("holds: %v", err)
	}
}

// TestUnknownVersion_D3: what a newer portolan wrote is refused, and not
// bridged with an older generation as if nothing had happened.
func TestUnknownVersion_D3(t *testing.T) {
	s := openStore(t, t.TempDir())
	for version, v := range []string{"old", "older", "new"} {
		if err := s.SaveJSON("word", version, v); err != nil {
			t.Fatal(err)
		}
	}
	v := "untouched"
	_, err := LoadJSON(s, "word", 1, &v)
	if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), "word.3 is version 2") || v != "untouched" {
		t.Errorf("%q, %v", v, err)
	}
}

func TestDamagedIsPassedOver(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for _, v := range []string{"one", "two", "three"} {
		if err := s.SaveJSON("word", 1, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "word.3"), 100); err != nil {
		t.Fatal(err)
	}
	// Whole, but not what it should be: another kind's file under this name.
	other := header{kind: "other", version: 1}.seal([]byte(`"two"`))
	if err := os.WriteFile(filepath.Join(dir, "word.2"), other, 0o600); err != nil {
		t.Fatal(err)
	}
	var v string
	found, err := LoadJSON(s, "word", 1, &v)
	if err != nil || v != "one" || found.Generation != 1 {
		t.Fatalf("%q %+v %v", v, found, err)
	}
	want := []string{
		filepath.Join(dir, "word.3") + " passed over: does not begin with a whole portolan-state line",
		filepath.Join(dir, "word.2") + ` passed over: holds "other"`,
	}
	for i, err := range found.PassedOver {
		if i >= len(want) || err.Error() != want[i] {
			t.Errorf("passed over: %v", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "word.1")); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadJSON(s, "word", 1, &v); err == nil || !strings.Contains(err.Error(), want[0]) {
		t.Errorf("with none left: %v", err)
	}
	// Saving goes on above the damaged ones.
	if err := s.SaveJSON("word", 1, "four"); err != nil {
		t.Fatal(err)
	}
	if found, err := LoadJSON(s, "word", 1, &v); err != nil || v != "four" || found.Generation != 4 {
		t.Errorf("%q %+v %v", v, found, err)
	}
}

func TestBodyOfTheWrongForm(t *testing.T) {
	s := openStore(t, t.TempDir())
	if err := s.SaveJSON("word", 1, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveJSON("word", 1, []any{"b", 2}); err != nil {
		t.Fatal(err)
	}
	var v map[string]int
	found, err := LoadJSON(s, "word", 1, &v)
	if err != nil || !maps.Equal(v, map[string]int{"a": 1}) || len(found.PassedOver) != 1 {
		t.Errorf("%v %+v %v", v, found, err)
	}
}

func TestKindsAreOurWords(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	for _, kind := range []string{"", "../x", "a/b", "UP", "-rf", "a.b", "$(x)", strings.Repeat("a", 40)} {
		if err := s.SaveJSON(kind, 1, 1); err == nil {
			t.Errorf("%q was taken for a kind", kind)
		}
	}
	if got := names(t, dir); !slices.Equal(got, []string{"lock"}) {
		t.Errorf("files %v", got)
	}
}

func TestTooLarge(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if err := s.SaveJSON("word", 1, strings.Repeat("x", maxFile)); err == nil {
		t.Error("saved")
	}
	name := filepath.Join(dir, "word.7")
	if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Truncate(name, maxFile+1)); err != nil { // a sparse file
		t.Fatal(err)
	}
	var v string
	if _, err := LoadJSON(s, "word", 1, &v); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("loaded: %v", err)
	}
}

func TestHoldsAndSets(t *testing.T) {
	s := openStore(t, t.TempDir())
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	want := map[status.ID]status.Hold{
		"link/a":             {State: status.HoldDrain, Reason: "work", By: "ann", At: at, Until: at.Add(time.Hour)},
		"virtualServer/b":    {State: status.HoldDown, Reason: "broken", By: "bob", At: at},
		"pool/web/192.0.2.1": {State: status.HoldUp, Reason: "lab", By: "bob", At: at},
	}
	if err := errors.Join(s.SaveHolds(want), s.SaveLastGoodSets(map[string][]string{"web": {"a", "b"}})); err != nil {
		t.Fatal(err)
	}
	holds, _, err := s.LoadHolds()
	if err != nil || !maps.Equal(holds, want) {
		t.Errorf("holds %+v, %v", holds, err)
	}
	sets, _, err := s.LoadLastGoodSets()
	if err != nil || !slices.Equal(sets["web"], []string{"a", "b"}) {
		t.Errorf("sets %v, %v", sets, err)
	}
}
