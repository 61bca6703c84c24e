package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file of cookie secrets that every user can read is warned about when the
// configuration is built from the disk, by check, reload and start alike.
func TestBuild_CookieSecretsThatAllCanRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secrets := write("secrets", "e5e973e5a6b2a43f48e7dc849e37bfcf\n")
	src, err := SourceOf(write("portolan.yaml", "version: 1\ndns: {cookies: {secretFile: secrets}}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for mode, warns := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o604: true} {
		if err := os.Chmod(secrets, mode); err != nil {
			t.Fatal(err)
		}
		built, errs := Build(src, nil, nil)
		if built == nil || errs.Failed() {
			t.Fatal(errs)
		}
		if got := len(errs) == 1 && strings.Contains(errs[0].Error(), "can read the cookie secrets"); got != warns || len(errs) > 1 {
			t.Errorf("mode %o: %v", mode, errs)
		}
		built, errs = Build(built.bundle().Source(), nil, nil) // what is kept is not on the disk
		if built == nil || len(errs) > 0 {
			t.Errorf("mode %o: the last good configuration: %v", mode, errs)
		}
	}
}
