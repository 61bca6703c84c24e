package store

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/nettest"
)

// TestDamage: whatever happens to the files, a load gives the newest whole
// generation exactly as it was saved, or an error. Never half of one.
func TestDamage(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		s, err := Open(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		for i := 1; i <= 3; i++ {
			if err := s.SaveJSON("word", 1, strings.Repeat(fmt.Sprint(i), 40)); err != nil {
				rt.Fatal(err)
			}
		}
		want := 3
		broken := map[int]bool{}
		for n := 3; n >= 1; n-- {
			broken[n] = damage(rt, filepath.Join(dir, fmt.Sprintf("word.%d", n)))
		}
		for want > 0 && broken[want] {
			want--
		}
		var v string
		found, err := LoadJSON(s, "word", 1, &v)
		switch {
		case want == 0 && err == nil:
			rt.Fatalf("every generation is broken, got %q", v)
		case want == 0 && v != "":
			rt.Fatalf("an error and a value: %q", v)
		case want > 0 && (err != nil || v != strings.Repeat(fmt.Sprint(want), 40) || found.Generation != uint64(want)):
			rt.Fatalf("want generation %d, got %q %+v %v", want, v, found, err)
		}
	})
}

// damage does something to a file, or nothing, and says whether it did.
func damage(t *rapid.T, name string) bool {
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	at := rapid.IntRange(0, len(text)-1).Draw(t, "at")
	switch rapid.SampledFrom([]string{"leave", "cut", "flip", "zero", "append", "remove"}).Draw(t, "damage") {
	case "leave":
		return false
	case "cut":
		text = text[:at]
	case "flip":
		text[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
	case "zero": // what some file systems leave after a loss of power
		clear(text[at:])
	case "append":
		text = append(text, "more"...)
	case "remove":
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		return true
	}
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return true
}

// TestKilled kills a process that saves without pause, at points that come as
// they come, and looks at what is left.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("PORTOLAN_TEST_SAVE"); dir != "" {
		saveForever(t, dir)
	}
	dir := t.TempDir()
	for range 15 {
		killWhileSaving(t, dir, 1+rand.IntN(8))
		s := openStore(t, dir)
		b, found, err := s.LastGood()
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Files) != 3 || string(b.Files["a"]) != string(b.Files["b"]) || found.PassedOver != nil {
			t.Fatalf("a mixed bundle: %q %+v", b.Files, found)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for _, name := range names(t, dir) {
			if strings.HasPrefix(filepath.Base(name), ".") {
				t.Errorf("left over: %s", name)
			}
		}
	}
}

func saveForever(t *testing.T, dir string) {
	s := openStore(t, dir)
	for i := 0; ; i++ {
		text := fmt.Sprint(os.Getpid(), i)
		if err := s.SaveConfig(bundleOf("a", text, "b", text, "c", "same")); err != nil {
			t.Fatal(err)
		}
		fmt.Println("saved")
	}
}

// killWhileSaving lets a child save at least n bundles.
func killWhileSaving(t *testing.T, dir string, n int) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "PORTOLAN_TEST_SAVE="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for ; n > 0 && lines.Scan(); n-- {
	}
	if n > 0 {
		t.Errorf("the child stopped early: %q", lines.Text())
	}
	killed := cmd.Process.Kill()
	if err := cmd.Wait(); killed != nil || err == nil {
		t.Fatalf("kill: %v, wait: %v", killed, err)
	}
}

// TestDiskFull_Root saves on a file system of 256 KiB until it is full.
func TestDiskFull_Root(t *testing.T) {
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
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	old := bundleOf("a", "old")
	if err := errors.Join(s.SaveConfig(old), s.SaveJSON("word", 1, "old")); err != nil {
		t.Fatal(err)
	}
	before := names(t, dir)
	big := strings.Repeat("x", 300<<10)
	if err := s.SaveConfig(bundleOf("a", "new", "big", big)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("configuration: %v", err)
	}
	if err := s.SaveJSON("word", 1, big); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("state: %v", err)
	}
	if after := names(t, dir); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("left over: %v", after)
	}
	var v string
	if _, err := LoadJSON(s, "word", 1, &v); err != nil || v != "old" {
		t.Errorf("%q %v", v, err)
	}
	if b, _, err := s.LastGood(); err != nil || string(b.Files["a"]) != "old" {
		t.Errorf("%v %v", b, err)
	}
}

func FuzzStateFile(f *testing.F) {
	f.Add(header{kind: "states", version: 1}.seal([]byte("[]")))
	f.Add([]byte("portolan-state states 1 2026-01-02T03:04:05Z "))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		h, body, err := open(text)
		if err != nil {
			return
		}
		again := header{h.kind, h.version, h.saved}.seal(body)
		if _, back, err := open(again); err != nil || string(back) != string(body) {
			t.Errorf("sealed again it reads %q, %v", back, err)
		}
	})
}

func FuzzTree(f *testing.F) {
	dir := f.TempDir()
	s := openStore(f, dir)
	if err := s.SaveConfig(bundleOf("a", "x")); err != nil {
		f.Fatal(err)
	}
	_, body, err := s.read(kindConfig, 1)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(body)
	f.Add([]byte(`{"files":{"../../x":"` + string(sumOf([]byte("x"))) + `"}}`))
	f.Add([]byte(`{"files":{"a":"../lock"}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		b, err := s.bundle(body)
		if err != nil {
			return
		}
		for path, text := range b.Files {
			if !fs.ValidPath(path) || string(text) != "x" {
				t.Errorf("%q: %q", path, text)
			}
		}
	})
}
