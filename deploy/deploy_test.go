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

// The configurations in the README are checked as they stand there, beside the
// sample's zone file.
func TestREADMEConfigurationsAreGood(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	zone, err := os.ReadFile("example.com.zone")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "```yaml\n")[1:]
	if len(blocks) != 4 {
		t.Errorf("the README has %d configurations, not 4", len(blocks))
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		dir := t.TempDir()
		for name, data := range map[string]string{"portolan.yaml": text, "example.com.zone": string(zone)} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		checkConfig(t, filepath.Join(dir, "portolan.yaml"))
	}
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

// A gateway's drop-in gives what changing Linux' networking takes, and nothing
// that the unit does not take back without it.
func TestGatewayDropIn(t *testing.T) {
	text, err := os.ReadFile("gateway.conf")
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	want := "[Service] AmbientCapabilities=CAP_NET_ADMIN CapabilityBoundingSet=CAP_NET_ADMIN ProtectKernelTunables=no ProcSubset=all"
	if got := strings.Join(lines, " "); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
