package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/nettest"
)

// blocksOf gives the code blocks of a language in a part of a page.
func blocksOf(part, language string) (blocks []string) {
	for _, b := range strings.Split(part, "\n```"+language+"\n")[1:] {
		if block, _, ok := strings.Cut(b, "\n```"); ok {
			blocks = append(blocks, block+"\n")
		}
	}
	return blocks
}

// The first farm of the manual works as it stands there: its commands, in their
// order, with its configuration.
func TestManualFirstFarm_Root(t *testing.T) {
	nettest.NeedRoot(t)
	for _, tool := range []string{"curl", "python3", "unshare", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			nettest.Missing(t, "%s: %v", tool, err)
		}
	}
	page, err := os.ReadFile("../../docs/manual/slb.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(page), "\n## A first farm in five minutes\n")
	part, _, _ = strings.Cut(part, "\n## ")
	steps, conf := blocksOf(part, "sh"), blocksOf(part, "yaml")
	if len(steps) != 4 || len(conf) != 1 {
		t.Fatalf("%d steps, %d configurations", len(steps), len(conf))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "farm.yaml"), []byte(conf[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	until := func(pattern string) string {
		return "tries=0; until portolan get farms 2>/dev/null | grep -Eq '" + pattern + "'; do tries=$((tries+1)); test $tries -lt 200 || { cat log; exit 1; }; sleep 0.1; done\n"
	}
	script := "set -e\nmount -t tmpfs tmpfs /run\n" + steps[0] + steps[1] + until("^web +up .*s11 50%, s12 25%, s13 25%") +
		"echo first\n" + steps[2] + until("s12 down") + "echo second\n" + steps[3]
	script = strings.ReplaceAll(script, "/tmp/farm", dir)
	// All of it ends with the namespaces: what runs beside it too.
	cmd := exec.CommandContext(t.Context(), "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	first, second, _ := strings.Cut(string(out), "\nsecond\n")
	for text, patterns := range map[string][]string{
		first:  {`(?m)^ +[345] server 11$`, `(?m)^ +[123] server 12$`, `(?m)^ +[123] server 13$`, `(?m)^web/s11 +up .* yes +10\.0\.0\.11:8080 +2 +0 +50% `, `(?m)^virtualServer +shop +taken +8 `, `(?m)^realServer +web/s11 +taken +[345] `},
		second: {`(?m)^web +up .* s12 down`, `(?m)^ +[456] server 11$`, `(?m)^ +[234] server 13$`},
	} {
		for _, p := range patterns {
			if !regexp.MustCompile(p).MatchString(text) {
				t.Errorf("there is no %s in\n%s", p, text)
			}
		}
	}
	if strings.Contains(second, "server 12\n") {
		t.Errorf("a server that was stopped answers:\n%s", second)
	}
}
