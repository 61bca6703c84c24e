package daemon

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/maxmind/mmdbwriter"
	"github.com/maxmind/mmdbwriter/mmdbtype"

	"github.com/portolan-lb/portolan/status"
)

func TestStartFromTheLastGoodConfiguration(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.write("portolan.yaml", "version: 1\npools: {")
	r.write("a.zone", "bad")
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if s := r.d.state.Load(); !s.LastGood || s.LastFailed == "" {
		t.Errorf("state does not say that the last good one runs: %+v", s)
	}
	if !r.logged("THE CONFIGURATION IS BAD") {
		t.Error("the log is silent about it")
	}
}

func TestNoGoodConfigurationAtAll(t *testing.T) {
	r := newRig(t)
	r.write("portolan.yaml", "version: 1\npoools: []\n")
	d := New(Options{Config: filepath.Join(r.dir, "portolan.yaml"), State: filepath.Join(r.dir, "state"), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	err := d.Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), `did you mean "pools"`) && !strings.Contains(err.Error(), "poools") {
		t.Errorf("got %v", err)
	}
}

// A restart answers at once from the states that were kept, with holds in
// force, although nothing has been probed yet.
func TestWarmStart(t *testing.T) {
	r := newRig(t)
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if err := r.d.board.Hold("site/nowhere", status.Hold{Reason: "test", By: "test"}); err != nil {
		t.Fatal(err)
	}
	if err := r.d.store.SaveHolds(r.d.board.Holds()); err != nil {
		t.Fatal(err)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start()
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.1" {
		t.Errorf("the first query after a restart: %s", got)
	}
	if h := r.d.board.Holds(); h["site/nowhere"].Reason != "test" {
		t.Errorf("holds after a restart: %+v", h)
	}
}

func TestTwoDaemonsOnOneFolder(t *testing.T) {
	r := newRig(t)
	r.start()
	d := New(Options{Config: r.d.opts.Config, State: r.d.opts.State, Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err := d.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second daemon on the same folder: %v", err)
	}
}

// A geo database that is torn when the server restarts does not keep it from
// starting: the one it had is kept with the configuration.
func TestTornDatabaseAtStart(t *testing.T) {
	r := newRig(t)
	tree, err := mmdbwriter.New(mmdbwriter.Options{DatabaseType: "Country", IncludeReservedNetworks: true})
	if err != nil {
		t.Fatal(err)
	}
	_, network, _ := net.ParseCIDR("127.0.0.0/8")
	if err := tree.Insert(network, mmdbtype.Map{"country_code": mmdbtype.String("CN")}); err != nil {
		t.Fatal(err)
	}
	var data strings.Builder
	if _, err := tree.WriteTo(&data); err != nil {
		t.Fatal(err)
	}
	r.write("country.mmdb", data.String())
	config := r.config("192.0.2.1") + "geo: {databases: [country.mmdb]}\nregions: [{name: cn, any: [{country: CN}]}]\ntopology: [{region: cn, prefer: {virtualServer: one}}]\n"
	r.write("portolan.yaml", strings.Replace(config, "{name: web, ", "{name: web, preferred: topology, ", 1))
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.write("country.mmdb", data.String()[:data.Len()/2])
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if !r.logged("THE CONFIGURATION IS BAD") {
		t.Error("the log is silent about it")
	}
}

// A SIGHUP that comes while the server still starts does not end it.
func TestHangupDuringStart(t *testing.T) {
	r := newRig(t)
	ready := make(chan struct{})
	r.d = New(Options{Config: filepath.Join(r.dir, "portolan.yaml"), State: filepath.Join(r.dir, "state"),
		Log: slog.New(hangupAt{slog.NewTextHandler(r, nil), "kept state restored"}), Ready: func(*Daemon) { close(ready) }})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.d.Run(ctx) }()
	<-ready
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// hangupAt is a log that sends the process a SIGHUP at a message.
type hangupAt struct {
	slog.Handler
	message string
}

func (h hangupAt) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == h.message {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			return err
		}
	}
	return h.Handler.Handle(ctx, r)
}

// systemd hears when the server serves, what it serves, and when it stops.
func TestReadyIsAnnounced(t *testing.T) {
	r := newRig(t)
	socket := filepath.Join(r.dir, "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	t.Setenv("NOTIFY_SOCKET", socket)
	hear := func(want string) {
		t.Helper()
		buf := make([]byte, 4096)
		if err := l.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			t.Fatal(err)
		}
		n, err := l.Read(buf)
		if err != nil || !strings.Contains(string(buf[:n]), want) {
			t.Errorf("heard %q, %v; want %q", buf[:n], err, want)
		}
	}
	r.start()
	hear("READY=1\nSTATUS=serving 2 zones, 1 pool")
	if _, err := r.d.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	hear("STATUS=serving 2 zones, 1 pool")
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	hear("STOPPING=1")
}
