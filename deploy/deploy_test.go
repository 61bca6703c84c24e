package deploy

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/daemon"
)

func checkConfig(t *testing.T, path string) {
	t.Helper()
	src, err := daemon.SourceOf(path)
	if err != nil {
		t.Fatal(err)
	}
	if built, errs := daemon.Build(src, nil, nil); built == nil || len(errs) > 0 {
		t.Errorf("%s:\n%s", path, errs.Render())
	}
}

func TestSampleConfigurationIsGood(t *testing.T) { checkConfig(t, "portolan.yaml") }

// The configuration in the README is checked as it stands there, beside the
// sample's zone file.
func TestREADMEConfigurationIsGood(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(readme), "```yaml\n")
	text, _, closed := strings.Cut(text, "```")
	if !ok || !closed {
		t.Fatal("the README has no configuration")
	}
	dir := t.TempDir()
	zone, err := os.ReadFile("example.com.zone")
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"portolan.yaml": text, "example.com.zone": string(zone)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	checkConfig(t, filepath.Join(dir, "portolan.yaml"))
}

// The unit runs without root, with the two capabilities that the program can
// use and no others.
func TestUnit(t *testing.T) {
	unit, err := os.ReadFile("portolan.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"Type=notify", "User=portolan", "NoNewPrivileges=yes", "Restart=always",
		"CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_NET_RAW", "StateDirectory=portolan", "RuntimeDirectory=portolan"} {
		if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line) + `$`).Match(unit) {
			t.Errorf("the unit lacks %q", line)
		}
	}
}
