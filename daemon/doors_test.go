package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/config"
)

// takenPort gives an address that another program has.
func takenPort(t *testing.T) (string, net.Listener) {
	l, err := net.Listen("tcp", "127.78.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), l
}

func (r *rig) withMetrics(address, metrics string) string {
	return r.config(address) + fmt.Sprintf("metrics: {address: %q}\n", metrics)
}

func (r *rig) apply(text string) (api.Applied, error) {
	return r.d.Apply(r.t.Context(), api.Change{Base: r.dir, Files: map[string]string{"new.yaml": text}, By: "test"})
}

// A port for metrics that another program has stops no DNS: it is logged and an
// event, and changes go on.
func TestNoMetricsPortNoHarm(t *testing.T) {
	r := newRig(t)
	address, theirs := takenPort(t)
	r.write("portolan.yaml", r.withMetrics("192.0.2.1", address))
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	if !r.logged("level=ERROR msg=\"NO METRICS AND NO HEALTH ON THEIR PORT") || !r.logged("address already in use") {
		t.Error("the log is silent about the port")
	}
	events := r.d.board.Events(0)
	told := false
	for _, e := range events {
		told = told || e.ID == "metrics" && e.New == "failed" && strings.Contains(e.Why, address)
	}
	if !told {
		t.Errorf("no event about the port: %+v", events)
	}
	// The same port stands in the way of no other change, and is told of.
	applied, err := r.apply(r.withMetrics("192.0.2.2", address))
	if err != nil || !warned(applied, "nobody answers there until a restart") || !warned(applied, "THE NEXT START WILL BE WITHOUT METRICS") {
		t.Fatalf("apply: %+v, %v", applied, err)
	}
	r.becomes("www.a.example.", "NOERROR 192.0.2.2")
	_ = theirs.Close()
	if applied, err = r.d.Reload(t.Context(), "test"); err != nil || len(applied.Warnings) != 1 {
		t.Errorf("reload with the port free: %+v, %v", applied, err)
	}
	r.write("portolan.yaml", r.config("192.0.2.2")) // nothing is open that would have to be closed
	if applied, err = r.d.Reload(t.Context(), "test"); err != nil || len(applied.Warnings) != 0 {
		t.Errorf("reload without metrics: %+v, %v", applied, err)
	}
}

func warned(a api.Applied, text string) bool {
	for _, w := range a.Warnings {
		if w.Warning && strings.Contains(w.Text, text) {
			return true
		}
	}
	return false
}

// apply refuses a port for metrics that the next start could not open; a reload
// takes the rest and says so.
func TestAChangeOfTheMetricsPortIsTried(t *testing.T) {
	r := newRig(t)
	own := freePort(t)
	r.write("portolan.yaml", r.withMetrics("192.0.2.1", own))
	r.start()
	r.becomes("www.a.example.", "NOERROR 192.0.2.1")
	address, _ := takenPort(t)
	was := r.read("portolan.yaml")
	for _, bad := range []string{address, "192.0.2.200:9100"} { // another's; no address of this machine
		text := r.withMetrics("192.0.2.2", bad)
		_, err := r.apply(text)
		var errs config.Errors
		if !errors.As(err, &errs) || !strings.Contains(err.Error(), "metrics.address") || !strings.Contains(err.Error(), "the next start would be without metrics") {
			t.Errorf("apply of %s: %v", bad, err)
		}
		if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.1" || r.read("portolan.yaml") != was {
			t.Errorf("a refused change left a trace: %s", got)
		}
	}
	// What this server has itself is free for the next one.
	_, port, err := net.SplitHostPort(own)
	if err != nil {
		t.Fatal(err)
	}
	for _, good := range []string{own, "0.0.0.0:" + port, freePort(t)} {
		if applied, err := r.apply(r.withMetrics("192.0.2.1", good)); err != nil || warned(applied, "THE NEXT START") {
			t.Errorf("apply of %s: %+v, %v", good, applied, err)
		}
	}
	r.write("portolan.yaml", r.withMetrics("192.0.2.3", address))
	applied, err := r.d.Reload(t.Context(), "test")
	if err != nil || !warned(applied, "metrics changed") || !warned(applied, "THE NEXT START WILL BE WITHOUT METRICS") {
		t.Errorf("reload: %+v, %v", applied, err)
	}
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.3" {
		t.Errorf("after the reload: %s", got)
	}
	resp, err := http.Get("http://" + own + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
}

// Nobody is told that the server serves when its API's socket cannot be opened.
func TestServingIsNotSaidTooEarly(t *testing.T) {
	r := newRig(t)
	opts := Options{Config: filepath.Join(r.dir, "portolan.yaml"), Socket: filepath.Join(r.dir, "no", "sock"), Log: slog.New(slog.NewTextHandler(r, nil)),
		Ready: func(*Daemon) { t.Error("ready without a socket") }}
	if err := New(opts).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "api socket") {
		t.Errorf("run: %v", err)
	}
	if r.logged("msg=serving") {
		t.Error("the log says that it serves")
	}
}

// A change that cannot be kept for the next start is in force, and whoever made
// it is told.
func TestAChangeThatIsNotKeptIsToldOf(t *testing.T) {
	r := newRig(t)
	r.start()
	blobs := filepath.Join(r.dir, "state", "blobs")
	if err := os.Rename(blobs, blobs+".away"); err != nil {
		t.Fatal(err)
	}
	r.write(filepath.Join("state", "blobs"), "no folder")
	applied, err := r.apply(r.config("192.0.2.2"))
	if err != nil || !warned(applied, "not kept as the last good configuration: ") {
		t.Errorf("apply: %+v, %v", applied, err)
	}
	if got := r.ask("www.a.example."); got != "NOERROR 192.0.2.2" {
		t.Errorf("after apply: %s", got)
	}
	r.write("portolan.yaml", r.config("192.0.2.3"))
	if applied, err = r.d.Reload(t.Context(), "test"); err != nil || !warned(applied, "not kept") {
		t.Errorf("reload: %+v, %v", applied, err)
	}
}
