package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const zoneText = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\nstatic A 192.0.2.80\n"

// rig is a daemon over a folder of files.
type rig struct {
	t      *testing.T
	dir    string
	listen string // host:port of DNS
	target string // what the probes connect to
	log    *strings.Builder
	logMu  sync.Mutex

	d    *Daemon
	stop func() error
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, dir: t.TempDir(), log: &strings.Builder{}, listen: freePort(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	r.target = l.Addr().String()
	r.write("a.zone", zoneText)
	r.write("b.zone", zoneText)
	r.write("portolan.yaml", r.config("192.0.2.1"))
	return r
}

// freePort gives an address that nothing listens on now, by UDP and TCP: no
// other package's tests use this one.
func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.78.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// config has two zones, each with a dynamic name www that answers an address.
func (r *rig) config(address string) string {
	return fmt.Sprintf(`version: 1
dns: {listeners: [{address: %q}]}
zones:
  - {name: a.example, file: a.zone, names: [{name: www, pool: web, ttl: 30s}]}
  - {name: b.example, file: b.zone, names: [{name: www, pool: web, ttl: 30s}]}
pools:
  - {name: web, members: [{virtualServer: one}]}
virtualServers:
  - {name: one, address: %s, probes: [tcp]}
probes:
  - {name: tcp, kind: tcp, target: %q, interval: 100ms, timeout: 50ms}
`, r.listen, address, r.target)
}

func (r *rig) write(name, text string) {
	r.t.Helper()
	if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) read(name string) string {
	text, _ := os.ReadFile(filepath.Join(r.dir, name))
	return string(text)
}

// Write collects the log.
func (r *rig) Write(p []byte) (int, error) {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return r.log.Write(p)
}

func (r *rig) logged(text string) bool {
	r.logMu.Lock()
	defer r.logMu.Unlock()
	return strings.Contains(r.log.String(), text)
}

// start runs the daemon until the test ends, or stop.
func (r *rig) start() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	r.d = New(Options{
		Config: filepath.Join(r.dir, "portolan.yaml"), State: filepath.Join(r.dir, "state"), Socket: filepath.Join(r.dir, "sock"),
		Log: slog.New(slog.NewTextHandler(r, nil)), Ready: func(*Daemon) { close(ready) },
	})
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx) }()
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Errorf("run: %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		done <- nil
		r.t.Fatalf("did not start: %v", err)
	}
}

// ask asks over UDP and prints the answer as "RCODE value".
func (r *rig) ask(name string) string {
	m, err := dns.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), r.listen)
	if err != nil {
		return err.Error()
	}
	s := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		s += " " + rr.(*dns.A).A.String()
	}
	return s
}

// becomes asks until the answer is as wanted.
func (r *rig) becomes(name, want string) {
	r.t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	got := ""
	for tick := time.NewTicker(10 * time.Millisecond); time.Now().Before(deadline); <-tick.C {
		if got = r.ask(name); got == want {
			return
		}
	}
	r.t.Fatalf("%s is answered %q, want %q", name, got, want)
}

func TestABadConfigurationChangesNothing(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	r.write("portolan.yaml", r.config("192.0.2.2")+"nonsense: true\n")
	_, err := r.d.Reload(t.Context(), "test")
	var errs config.Errors
	if !errors.As(err, &errs) || !strings.Contains(err.Error(), "nonsense") {
		t.Fatalf("reload of a bad file: %v", err)
	}
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.1" {
		t.Errorf("after the refused reload: %s", got)
	}
	if s := r.d.state.Load(); !strings.Contains(s.LastFailed, "nonsense") {
		t.Errorf("state does not say why: %+v", s)
	}
	r.write("portolan.yaml", r.config("192.0.2.2"))
	if applied, err := r.d.Reload(t.Context(), "test"); err != nil || !applied.Changed {
		t.Fatalf("reload of a good file: %+v, %v", applied, err)
	}
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.2" {
		t.Errorf("after the reload: %s", got)
	}
	if s := r.d.state.Load(); s.LastFailed != "" {
		t.Errorf("the failure outlives the success: %+v", s)
	}
}

// A reload of a changed pool answers at once: what was not probed yet is
// unknown and usable, and unchanged rows keep their state (T60).
func TestReloadKeepsRows_T60(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	before := r.d.board.Table().Row("virtualServer/one")
	r.write("portolan.yaml", strings.Replace(r.config("192.0.2.1"), "members: [", "members: [{address: 192.0.2.9}, ", 1))
	if _, err := r.d.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	if after := r.d.board.Table().Row("virtualServer/one"); after != before {
		t.Errorf("an unchanged row was written anew: %+v, was %+v", after, before)
	}
}

func TestABadZoneFileKeepsItsLastGoodVersion(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	r.write("a.zone", "this is no zone file\n")
	r.write("b.zone", strings.Replace(zoneText, "192.0.2.80", "192.0.2.81", 1))
	_, err := r.d.Reload(t.Context(), "test")
	var partial *api.Error
	if !errors.As(err, &partial) || partial.Kind != api.Partial || len(partial.Details) == 0 ||
		partial.Text != "reloaded, but 1 zone file is bad: a.example. stays as it was" {
		t.Errorf("the reload does not tell of the bad zone: %v", err)
	}
	for name, want := range map[string]string{"static.a.example.": "NOERROR 192.0.2.80", "static.b.example.": "NOERROR 192.0.2.81",
		"www.a.example.": "NOERROR 192.0.2.1"} {
		if got := r.ask(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	byName := func(a, b api.Zone) int { return strings.Compare(a.Name, b.Name) }
	if z := slices.SortedFunc(r.d.zones(), byName); z[0].State != "last good" || !strings.Contains(z[0].Error, "a.zone") || z[1].State != "ok" {
		t.Errorf("zones: %+v", z)
	}
	// A restart finds the last good version too.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start()
	if got := r.ask("static.a.example."); got != "NOERROR 192.0.2.80" {
		t.Errorf("after a restart: %s", got)
	}
}

// SIGHUP under load loses no query and never shows half a configuration.
func TestHangupUnderLoad(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var asked, bad atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				asked.Add(1)
				if got := r.ask("www.b.example."); !strings.HasPrefix(got, "NOERROR 192.0.2.") {
					bad.Add(1)
					t.Errorf("under reload: %s", got)
					return
				}
			}
		})
	}
	for i := 2; i < 22; i++ {
		r.write("portolan.yaml", r.config(fmt.Sprintf("192.0.2.%d", i)))
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		r.becomes("www.a.example.", fmt.Sprintf("NOERROR 192.0.2.%d", i))
	}
	cancel()
	wg.Wait()
	t.Logf("%d queries, %d bad, over 20 reloads", asked.Load(), bad.Load())
}

// Metrics and health stand on a port of their own if the configuration says
// so, without the rest of the API.
func TestMetricsPort(t *testing.T) {
	r := newRig(t)
	address := freePort(t)
	r.write("portolan.yaml", r.config("192.0.2.1")+fmt.Sprintf("metrics: {address: %q}\n", address))
	r.start()
	for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/v1/pools": 404, "/v1/reload": 404} {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	r.write("portolan.yaml", r.config("192.0.2.1"))
	for range 2 {
		if applied, err := r.d.Reload(t.Context(), "test"); err != nil || len(applied.Warnings) != 1 || !strings.Contains(applied.Warnings[0].Text, "restart") {
			t.Errorf("reload: %+v, %v", applied, err)
		}
	}
}

// A virtual server that comes back while it is held is never answered, not even
// between the swap and the first row of the prober.
func TestHoldOutlivesItsRow(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if err := r.d.board.Hold("virtualServer/two", status.Hold{Reason: "broken", By: "test"}); err != nil {
		t.Fatal(err)
	}
	two := strings.Replace(r.config("192.0.2.1"), "members: [", "members: [{virtualServer: two}, ", 1)
	r.write("portolan.yaml", strings.Replace(two, "virtualServers:\n", "virtualServers:\n  - {name: two, address: 192.0.2.2}\n", 1))
	src, err := SourceOf(r.d.opts.Config)
	if err != nil {
		t.Fatal(err)
	}
	b, errs := Build(src, r.d.running.Load(), nil)
	if b == nil {
		t.Fatal(errs)
	}
	b.DNS.Ready(r.d.board.Table(), nil)
	r.d.dns.Use(b.DNS) // the first half of use
	for range 4 {
		if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.1" {
			t.Errorf("a held server is answered: %s", got)
		}
	}
	e, err := b.Explain(r.d.board.Table(), nil, Query{Name: "www.a.example", Client: netip.MustParseAddr("192.0.2.99"), Down: []status.ID{"virtualServer/one", "virtualServer/two"}})
	if err != nil || len(e.Answer) != 1 || !strings.HasSuffix(e.Answer[0], "192.0.2.1") {
		t.Errorf("both assumed to be down, two held: %+v, %v", e, err)
	}
}

// One bad zone does not keep what else is new from being the last good.
func TestLastGoodGoesOnBesideABadZone(t *testing.T) {
	r := newRig(t)
	r.start()
	r.write("a.zone", "bad\n")
	r.write("portolan.yaml", r.config("192.0.2.7"))
	if _, err := r.d.Reload(t.Context(), "test"); err == nil {
		t.Fatal("the bad zone is not told")
	}
	r.becomes("www.b.example.", "NOERROR 192.0.2.7")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.write("portolan.yaml", "version: 1\npools: {")
	r.start()
	r.becomes("www.b.example.", "NOERROR 192.0.2.7")
	if got := r.ask("static.a.example."); got != "NOERROR 192.0.2.80" {
		t.Errorf("the bad zone after a restart: %s", got)
	}
}

// The log alone tells an operator when the server began, what fell, and that
// answers suffer.
func TestTheLogTellsWhatHappens(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if err := r.d.board.Hold("virtualServer/one", status.Hold{Reason: "disk", By: "ann"}); err != nil {
		t.Fatal(err)
	}
	r.becomes("www.a.example.", "NOERROR")
	for _, want := range []string{"level=INFO msg=serving udp=", "of=virtualServer/one from=waiting to=up",
		`of=virtualServer/one from="" to="held down" why=disk by=ann`, `to=held why="every member is held: NODATA" by=daemon`} {
		deadline := time.Now().Add(5 * time.Second)
		for tick := time.NewTicker(10 * time.Millisecond); !r.logged(want); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("the log does not say %s:\n%s", want, r.log)
			}
		}
	}
}
