package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/api"
)

func TestApply(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	apply := func(base, text string) (api.Applied, error) {
		return r.d.Apply(t.Context(), api.Change{Base: base, Files: map[string]string{"new.yaml": text}, By: "test"})
	}
	was := r.read("portolan.yaml")
	if _, err := apply(r.dir, r.config("192.0.2.2")+"nonsense: 1\n"); err == nil {
		t.Error("a bad configuration was applied")
	}
	r.write("b.zone", "bad")
	if _, err := apply(r.dir, r.config("192.0.2.2")); err == nil {
		t.Error("a configuration with a bad zone was applied")
	}
	r.write("b.zone", zoneText)
	if _, err := apply(t.TempDir(), r.config("192.0.2.2")); err == nil || !strings.Contains(err.Error(), "a.zone") {
		t.Errorf("relative references from another folder: %v", err)
	}
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.1" || r.read("portolan.yaml") != was {
		t.Errorf("refused changes left a trace: %s", got)
	}
	for i := 2; i <= 6; i++ {
		applied, err := apply(r.dir, r.config(fmt.Sprintf("192.0.2.%d", i)))
		if err != nil || !applied.Changed {
			t.Fatalf("apply: %+v, %v", applied, err)
		}
		if got, want := r.ask("www.a.example."), fmt.Sprintf("NOERROR 192.0.2.%d", i); got != want {
			t.Errorf("after apply: %s, want %s", got, want)
		}
	}
	for i, name := range []string{"portolan.yaml", "portolan.yaml.1", "portolan.yaml.2", "portolan.yaml.3"} {
		if r.read(name) != r.config(fmt.Sprintf("192.0.2.%d", 6-i)) {
			t.Errorf("%s is not the version %d before", name, i)
		}
	}
	if r.read("portolan.yaml.4") != "" {
		t.Error("a fourth version was kept")
	}
	if applied, err := apply(r.dir, r.config("192.0.2.6")); err != nil || applied.Changed {
		t.Errorf("the same again: %+v, %v", applied, err)
	}
}

// Apply is all or nothing: an include that was forgotten beside the server's
// configuration refuses it before the disk is touched.
func TestApplyChecksIncludes(t *testing.T) {
	r := newRig(t)
	r.start()
	base := t.TempDir()
	text := strings.Replace(r.config("192.0.2.2"), "pools:", "  - {name: c.example, file: c.zone}\npools:", 1)
	was := r.read("portolan.yaml")
	apply := func() error {
		_, err := r.d.Apply(t.Context(), api.Change{Base: base, Files: map[string]string{"new.yaml": text}, By: "test"})
		return err
	}
	for name, data := range map[string]string{"a.zone": zoneText, "b.zone": zoneText, "c.zone": zoneText + "$INCLUDE more.inc\n", "more.inc": "x A 192.0.2.7\n"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if name != "more.inc" {
			r.write(name, data)
		}
	}
	if err := apply(); err == nil || r.read("portolan.yaml") != was {
		t.Errorf("without the include: %v", err)
	}
	r.write("more.inc", "x A 192.0.2.8\n")
	if err := apply(); err == nil || !strings.Contains(err.Error(), "more.inc") || r.read("portolan.yaml") != was {
		t.Errorf("with another include: %v", err)
	}
	r.write("more.inc", "x A 192.0.2.7\n")
	if err := apply(); err != nil {
		t.Errorf("with the same include: %v", err)
	}
	if got := r.ask("x.c.example."); got != "NOERROR 192.0.2.7" {
		t.Errorf("after: %s", got)
	}
}

func TestApplyFollowsASymlink(t *testing.T) {
	r := newRig(t)
	if err := errors.Join(os.Rename(filepath.Join(r.dir, "portolan.yaml"), filepath.Join(r.dir, "real.yaml")),
		os.Symlink("real.yaml", filepath.Join(r.dir, "portolan.yaml"))); err != nil {
		t.Fatal(err)
	}
	r.start()
	text := r.config("192.0.2.2")
	if _, err := r.d.Apply(t.Context(), api.Change{Base: r.dir, Files: map[string]string{"new.yaml": text}}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Lstat(filepath.Join(r.dir, "portolan.yaml")); err != nil || info.Mode()&os.ModeSymlink == 0 || r.read("real.yaml") != text {
		t.Errorf("the link is %v (%v), the file %q", info, err, r.read("real.yaml"))
	}
}

// Apply refuses listeners that would keep the next start from listening.
func TestApplyTriesNewListeners(t *testing.T) {
	r := newRig(t)
	r.start()
	was := r.read("portolan.yaml")
	apply := func(address string) error {
		text := strings.Replace(r.config("192.0.2.1"), "listeners: [", fmt.Sprintf("listeners: [{address: %q}, ", address), 1)
		_, err := r.d.Apply(t.Context(), api.Change{Base: r.dir, Files: map[string]string{"new.yaml": text}})
		return err
	}
	if err := apply("198.51.100.53:53"); err == nil || !strings.Contains(err.Error(), "198.51.100.53") || r.read("portolan.yaml") != was {
		t.Errorf("an address that no interface has: %v", err)
	}
	if err := apply(freePort(t)); err != nil {
		t.Errorf("an address that is free: %v", err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start()
}
