package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/deploy/peers"
	"github.com/portolan-lb/portolan/nettest"
	"github.com/portolan-lb/portolan/status"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if err := os.RemoveAll(buildFolder()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func buildFolder() string {
	return filepath.Join(os.TempDir(), fmt.Sprintf("portolan-gateway-test-%d", os.Getpid()))
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

// portolan is the program, at work in a gateway.
type portolan struct {
	*nettest.Gateway
	t       testing.TB
	program string
	dir     string
	api     *client.Client

	strange atomic.Int64 // clients that strangers has given

	server *peers.Server
	cmd    *exec.Cmd
	end    context.CancelFunc
}

// start starts the program in a gateway and waits until it is ready. It ends
// with the test. What it said is shown if the test fails.
func start(t testing.TB, g *nettest.Gateway, configuration string) *portolan {
	t.Helper()
	p := prepare(t, g)
	p.begin(configuration)
	return p
}

// prepare has the program and a folder for it.
func prepare(t testing.TB, g *nettest.Gateway) *portolan {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	p := &portolan{Gateway: g, t: t, program: program, dir: t.TempDir()}
	p.api = client.New(p.file("sock"))
	return p
}

func (p *portolan) begin(configuration string) {
	p.t.Helper()
	p.write(configuration)
	p.run()
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.tell()
		}
		p.stop()
	})
}

// run starts the program with the configuration that was written last.
func (p *portolan) run() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p.end = cancel
	p.server = &peers.Server{Name: "portolan"}
	p.cmd = peers.Command(ctx, p.program, "serve", "-c", p.file("portolan.yaml"), "--state", p.file("state"), "--socket", p.file("sock"))
	var err error
	p.Do(func() { err = p.server.Start(p.cmd) })
	if err != nil {
		p.t.Fatal(err)
	}
	err = p.server.Ready(p.t.Context(), func() error {
		r, err := p.api.Ready(p.t.Context())
		if err == nil && !r.Ready {
			err = fmt.Errorf("not ready: %v", r.NotReady)
		}
		return err
	})
	if err != nil {
		p.t.Fatalf("%v; it said:\n%s", err, p.server.Said())
	}
}

// stop ends the program as an operator would.
func (p *portolan) stop() {
	p.end()
	p.server.Wait()
}

// kill ends it with SIGKILL.
func (p *portolan) kill() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		p.t.Fatal(err)
	}
	p.server.Wait()
	p.end()
}

// tell shows what there is to see after a failure.
func (p *portolan) tell() {
	p.t.Logf("portolan said:\n%s", p.server.Said())
	for _, line := range []string{"nft list ruleset", "ip rule", "ip route show table all", "ip -6 rule", "ip -6 route show table all", "ip -s link"} {
		words := strings.Fields(line)
		out, err := p.Run("", words[0], words[1:]...)
		p.t.Logf("$ %s\n%s%s", line, shortened(out), cause(err))
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

func (p *portolan) file(name string) string { return filepath.Join(p.dir, name) }

func (p *portolan) write(configuration string) {
	p.t.Helper()
	if err := os.WriteFile(p.file("portolan.yaml"), []byte(configuration), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

// apply puts another configuration in place; it is at work when this returns.
func (p *portolan) apply(configuration string) {
	p.t.Helper()
	p.write(configuration)
	p.does("apply", p.file("portolan.yaml"))
}

// applies does so by the API, as the command does, and without a new process.
func (p *portolan) applies(configuration string) {
	p.t.Helper()
	p.write(configuration)
	_, err := p.api.Apply(p.t.Context(), api.Change{Base: p.dir, Files: map[string]string{"portolan.yaml": configuration}})
	if err != nil {
		p.t.Fatal(err)
	}
}

// does runs a command of the program against the one that serves.
func (p *portolan) does(args ...string) string {
	p.t.Helper()
	out, err := p.command(args...)
	if err != nil {
		p.t.Fatal(err)
	}
	return out
}

func (p *portolan) command(args ...string) (string, error) {
	cmd := exec.CommandContext(p.t.Context(), p.program, args...)
	cmd.Env = append(os.Environ(), "PORTOLAN_SOCKET="+p.file("sock"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("portolan %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// row waits until the row of a link is as wanted, and says how long that took.
func (p *portolan) row(link string, bound time.Duration, what string, is func(status.Row) bool) time.Duration {
	p.t.Helper()
	return p.until(bound, func() error {
		l, err := p.api.Link(p.t.Context(), link)
		if err == nil && !is(l.Row) {
			err = fmt.Errorf("link %s is not %s: health %v, busy %v: %s", link, what, l.Row.Health, l.Row.Busy, l.Row.Why)
		}
		return err
	})
}

func (p *portolan) up(links ...string) {
	p.t.Helper()
	for _, l := range links {
		p.row(l, 10*time.Second, "up", func(r status.Row) bool { return r.Health == status.Up })
	}
}

// strangers go to the first server of a network, each from a client that has
// been nowhere before, as long as there are such.
func (p *portolan) strangers(network int) nettest.Route {
	return func(int) (netip.Addr, netip.AddrPort) {
		return nettest.Client4(2000 - int(p.strange.Add(1))%1000), netip.AddrPortFrom(nettest.Server4(network, 1), 80)
	}
}

// link gives a link as the program shows it.
func (p *portolan) link(name string) api.Link {
	p.t.Helper()
	l, err := p.api.Link(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// until polls until a condition holds, and says how long that took.
func (p *portolan) until(bound time.Duration, is func() error) time.Duration {
	p.t.Helper()
	took, err := within(p.t.Context(), bound, is)
	if err != nil {
		p.t.Fatal(err)
	}
	return took
}

func within(ctx context.Context, bound time.Duration, is func() error) (time.Duration, error) {
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

// sleep lets time pass for the world outside: an entry that has to age, a rate
// that has to be measured.
func (p *portolan) sleep(d time.Duration) {
	select {
	case <-p.t.Context().Done():
	case <-time.After(d):
	}
}
