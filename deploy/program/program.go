package program

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/deploy/peers"
)

// Main runs the tests of a package and removes what they built.
func Main(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(buildFolder()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func buildFolder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("portolan-program-test-%d", os.Getpid()))
}

// built builds the program once for all tests. PORTOLAN_PROGRAM names another.
var built = sync.OnceValues(func() (string, error) {
	if program := os.Getenv("PORTOLAN_PROGRAM"); program != "" {
		return program, nil
	}
	program := filepath.Join(buildFolder(), "portolan")
	out, err := exec.Command("go", "build", "-o", program, "github.com/portolan-lb/portolan/cmd/portolan").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build portolan: %w: %s", err, out)
	}
	return program, nil
})

// Place is where the program runs: a namespace (nettest.Space).
type Place interface {
	Do(job func()) // on a thread of it
	Run(input, program string, args ...string) (string, error)
}

// Program is the program, with a folder of its own.
type Program struct {
	T      testing.TB
	Path   string // of the program
	API    *client.Client
	Server *peers.Server // of the run that is under way
	Cmd    *exec.Cmd

	place Place
	dir   string
	end   context.CancelFunc
}

// New has the program and a folder for it; nothing runs yet.
func New(t testing.TB, place Place) *Program {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	p := &Program{T: t, Path: path, place: place, dir: t.TempDir()}
	p.API = client.New(p.File("sock"))
	return p
}

// Begin starts the program and waits until it is ready. It ends with the test.
// What it said is shown if the test fails.
func (p *Program) Begin(configuration string) {
	p.T.Helper()
	p.Write(configuration)
	p.Start()
	p.T.Cleanup(func() {
		if p.T.Failed() {
			p.Tell()
		}
		p.Stop()
	})
}

// Start starts the program with the configuration that was written last.
func (p *Program) Start() {
	p.T.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.end = cancel
	p.Server = &peers.Server{Name: "portolan"}
	p.Cmd = peers.Command(ctx, p.Path, "serve", "-c", p.File("portolan.yaml"), "--state", p.File("state"), "--socket", p.File("sock"))
	var err error
	p.place.Do(func() { err = p.Server.Start(p.Cmd) })
	if err != nil {
		p.T.Fatal(err)
	}
	err = p.Server.Ready(p.T.Context(), func() error {
		r, err := p.API.Ready(p.T.Context())
		if err == nil && !r.Ready {
			err = fmt.Errorf("not ready: %v", r.NotReady)
		}
		return err
	})
	if err != nil {
		p.T.Fatalf("%v; it said:\n%s", err, p.Server.Said())
	}
}

// Stop ends the program as an operator would.
func (p *Program) Stop() {
	p.end()
	p.Server.Wait()
}

// Kill ends it with SIGKILL.
func (p *Program) Kill() {
	p.T.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGKILL); err != nil {
		p.T.Fatal(err)
	}
	p.Server.Wait()
	p.end()
}

// Tell shows what there is to see after a failure.
func (p *Program) Tell() {
	p.T.Logf("portolan said:\n%s", p.Server.Said())
	for _, line := range []string{"nft list ruleset", "ip rule", "ip route show table all", "ip -6 rule", "ip -6 route show table all", "ip -s link"} {
		words := strings.Fields(line)
		out, err := p.place.Run("", words[0], words[1:]...)
		p.T.Logf("$ %s\n%s%s", line, shortened(out), cause(err))
	}
}

func cause(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// shortened keeps what a person reads of a long text.
func shortened(text string) string {
	const most = 20 << 10
	if len(text) > most {
		return text[:most] + "...\n"
	}
	return text
}

// File gives the path of a file in the program's folder.
func (p *Program) File(name string) string { return filepath.Join(p.dir, name) }

// Write writes the configuration; the program is not told.
func (p *Program) Write(configuration string) {
	p.T.Helper()
	if err := os.WriteFile(p.File("portolan.yaml"), []byte(configuration), 0o644); err != nil {
		p.T.Fatal(err)
	}
}

// Apply puts another configuration in place; it is at work when this returns.
func (p *Program) Apply(configuration string) {
	p.T.Helper()
	p.Write(configuration)
	p.Does("apply", p.File("portolan.yaml"))
}

// Applies does so by the API, as the command does, and without a new process.
func (p *Program) Applies(configuration string) {
	p.T.Helper()
	p.Write(configuration)
	_, err := p.API.Apply(p.T.Context(), api.Change{Base: p.dir, Files: map[string]string{"portolan.yaml": configuration}})
	if err != nil {
		p.T.Fatal(err)
	}
}

// Does runs a command of the program against the one that serves.
func (p *Program) Does(args ...string) string {
	p.T.Helper()
	out, err := p.Command(args...)
	if err != nil {
		p.T.Fatal(err)
	}
	return out
}

// Command is Does, and gives the error.
func (p *Program) Command(args ...string) (string, error) {
	cmd := exec.CommandContext(p.T.Context(), p.Path, args...)
	cmd.Env = append(os.Environ(), "PORTOLAN_SOCKET="+p.File("sock"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("portolan %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Until polls until a condition holds, and says how long that took.
func (p *Program) Until(bound time.Duration, is func() error) time.Duration {
	p.T.Helper()
	took, err := Within(p.T.Context(), bound, is)
	if err != nil {
		p.T.Fatal(err)
	}
	return took
}

// Within is Until without a program.
func Within(ctx context.Context, bound time.Duration, is func() error) (time.Duration, error) {
	began := time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := is()
		took := time.Since(began)
		switch {
		case err == nil:
			return took, nil
		case took > bound:
			return took, fmt.Errorf("not within %s: %w", bound, err)
		}
		select {
		case <-ctx.Done():
			return took, errors.Join(ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// Pause lets time pass for the world outside: an entry that has to age, a rate
// that has to be measured.
func (p *Program) Pause(d time.Duration) {
	select {
	case <-p.T.Context().Done():
	case <-time.After(d):
	}
}
