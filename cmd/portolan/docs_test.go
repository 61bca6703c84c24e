package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/config"
)

const docsZone = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 1209600 60\n@ NS ns\nns A 192.0.2.53\n"

var word = regexp.MustCompile(`"[^"]*"|\S+`)

// commandsOf gives the portolan commands of the plain code blocks in a text,
// each as words; what is piped into them is left out.
func commandsOf(text string) (commands [][]string) {
	for i, block := range strings.Split(text, "\n```") {
		if i%2 == 0 || !strings.HasPrefix(block, "\n") {
			continue
		}
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line[strings.LastIndex(line, "| ")+1:])
			if words := word.FindAllString(strings.ReplaceAll(line, "'", ""), -1); len(words) > 0 && words[0] == "portolan" {
				commands = append(commands, words[1:])
			}
		}
	}
	return commands
}

// The commands of the README's part about a folder of zones work as they stand
// there, in their order.
func TestREADMECommands(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, part, _ := strings.Cut(string(readme), "\n## A folder of zones\n")
	part, _, _ = strings.Cut(part, "\n## ")
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.Mkdir("zones", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"zones/example.com.zone", "example.net.zone"} {
		if err := os.WriteFile(name, []byte(docsZone), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PORTOLAN_SOCKET", filepath.Join(dir, "portolan.sock"))
	address, err := freePort("127.77.255.1")
	if err != nil {
		t.Fatal(err)
	}
	commands := commandsOf(part)
	if len(commands) != 7 {
		t.Errorf("%d commands: %q", len(commands), commands)
	}
	var server *exec.Cmd
	for _, words := range commands {
		var said bytes.Buffer
		for i := range words {
			words[i] = strings.ReplaceAll(words[i], "127.0.0.1:5300", address)
		}
		cmd := exec.Command("portolan", words...)
		cmd.Stdout, cmd.Stderr = &said, &said
		if words[0] != "serve" {
			if err := cmd.Run(); err != nil {
				t.Errorf("%q: %v\n%s", words, err, &said)
			}
			continue
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		server = cmd
		if !poll(func() bool { _, err := client.New("portolan.sock").Ready(t.Context()); return err == nil }) {
			t.Errorf("it does not serve: %s", &said)
		}
	}
	if server == nil {
		t.Fatal("nothing serves")
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := server.Wait(); err != nil {
		t.Error(err)
	}
}

// The commands of the manual are commands, with flags and arguments that they
// take.
func TestManualCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/manual/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, words := range commandsOf(string(text)) {
			seen++
			if err := accepts(words); err != nil {
				t.Errorf("%s: portolan %s: %v", page, strings.Join(words, " "), err)
			}
		}
	}
	if seen < 8 {
		t.Errorf("only %d commands were found", seen)
	}
}

// The whole configurations of the manual are right, without a warning.
func TestManualConfigurations(t *testing.T) {
	pages, err := filepath.Glob("../../docs/manual/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range wholeConfigurations(string(text)) {
			seen++
			src := config.Source{FS: fstest.MapFS{}, Dir: ".", Name: page}
			if _, errs := config.LoadBytes([]byte(block), src); len(errs) > 0 {
				t.Errorf("%s:\n%s", page, errs.Render())
			}
		}
	}
	if seen < 1 {
		t.Error("none was found")
	}
}

// wholeConfigurations gives the blocks of YAML that begin with the version.
func wholeConfigurations(text string) (blocks []string) {
	for _, part := range strings.Split(text, "\n```yaml\n")[1:] {
		if block, _, ok := strings.Cut(part, "\n```"); ok && strings.HasPrefix(block, "version: ") {
			blocks = append(blocks, block+"\n")
		}
	}
	return blocks
}

// accepts says why a command line is none, without carrying it out.
func accepts(words []string) error {
	if i := slices.Index(words, "#"); i >= 0 {
		words = words[:i]
	}
	cmd, rest, err := newRoot().Find(words)
	if err != nil {
		return err
	}
	if !cmd.Runnable() {
		return fmt.Errorf("%s does nothing", cmd.CommandPath())
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}
