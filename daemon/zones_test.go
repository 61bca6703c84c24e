package daemon

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/portolan-lb/portolan/api"
)

// liveText is a zone with one name whose address tells the version.
func liveText(serial int) []byte {
	return fmt.Appendf(nil, "$TTL 60\n@ SOA ns hostmaster %d 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\nwww A 192.0.2.%d\n", serial, serial)
}

func (r *rig) zone(verb api.ZoneVerb, name string, serial int) (api.ZoneChanged, error) {
	return r.d.ChangeZone(r.t.Context(), api.ZoneChange{Verb: verb, Name: name, From: "x.zone", Text: liveText(serial), By: "test"})
}

func (r *rig) mustZone(verb api.ZoneVerb, name string, serial int) api.ZoneChanged {
	r.t.Helper()
	done, err := r.zone(verb, name, serial)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

// A change is served when it returns, is an event with who made it, and costs
// the zones beside it nothing.
func TestLiveZone(t *testing.T) {
	r := newRig(t)
	r.start()
	r.mustZone(api.AddZone, "Live.Example", 1)
	if got := r.ask("www.live.example."); got != "NOERROR 192.0.2.1" {
		t.Errorf("added: %s", got)
	}
	beside := r.d.dns.Table().Zone("a.example.")
	if done := r.mustZone(api.ReplaceZone, "live.example.", 2); done.Serial != 2 || *done.Before != 1 || done.Records != 4 || len(done.Warnings) != 0 {
		t.Errorf("replaced: %+v", done)
	}
	if got := r.ask("www.live.example."); got != "NOERROR 192.0.2.2" || r.d.dns.Table().Zone("a.example.") != beside {
		t.Errorf("replaced: %s", got)
	}
	if _, err := r.d.Reload(t.Context(), "test"); err != nil {
		t.Error(err)
	}
	if got := r.ask("www.live.example."); got != "NOERROR 192.0.2.2" {
		t.Errorf("after a reload: %s", got)
	}
	r.mustZone(api.RemoveZone, "live.example.", 0)
	if got := r.ask("www.live.example."); got != "REFUSED" {
		t.Errorf("removed: %s", got)
	}
	var told []string
	for _, e := range r.d.board.Events(0) {
		if e.ID == "zone/live.example." {
			told = append(told, e.Old+">"+e.New+" "+e.By)
		}
	}
	if got := strings.Join(told, ", "); got != ">serial 1 test, serial 1>serial 2 test, serial 2>removed test" {
		t.Errorf("events: %s", got)
	}
}

// A kept zone that is damaged answers SERVFAIL: its name is not somebody
// else's, and neither its zone nor another is lost in silence. Replace mends it.
func TestDamagedLiveZone(t *testing.T) {
	r := newRig(t)
	r.start()
	r.mustZone(api.AddZone, "live.example", 1)
	r.mustZone(api.AddZone, "other.example", 1)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join("state", "zones", "live.example.zone")
	text := r.read(name)
	r.write(name, strings.Replace(text, "192.0.2.1", "192.0.2.9", 1))
	r.write(filepath.Join("state", "zones", "moved.example.zone"), text)
	r.start()
	for zone, want := range map[string]string{"live": "SERVFAIL", "moved": "SERVFAIL", "other": "NOERROR 192.0.2.1"} {
		if got := r.ask("www." + zone + ".example."); got != want {
			t.Errorf("%s: %s", zone, got)
		}
	}
	if !r.logged("A ZONE THAT WAS ADDED IS DAMAGED") || len(r.d.NotReady()) == 0 {
		t.Error("nobody is told")
	}
	r.mustZone(api.ReplaceZone, "live.example", 3)
	r.mustZone(api.RemoveZone, "moved.example", 0)
	if got := r.ask("www.live.example.") + " " + r.ask("www.moved.example."); got != "NOERROR 192.0.2.3 REFUSED" {
		t.Errorf("mended: %s", got)
	}
}

// A disk that does not take the change leaves everything as it was.
func TestZoneThatCannotBeKept(t *testing.T) {
	r := newRig(t)
	r.start()
	r.mustZone(api.AddZone, "live.example", 1)
	zones := filepath.Join(r.dir, "state", "zones")
	if err := errors.Join(os.Rename(zones, zones+".aside"), os.WriteFile(zones, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []api.ZoneVerb{api.ReplaceZone, api.RemoveZone} {
		var e *api.Error
		if _, err := r.zone(verb, "live.example", 2); !errors.As(err, &e) || e.Kind != api.Unavailable || !strings.Contains(e.Text, "nothing changed") {
			t.Errorf("%s: %v", verb, err)
		}
	}
	if got := r.ask("www.live.example."); got != "NOERROR 192.0.2.1" {
		t.Errorf("after it: %s", got)
	}
	if err := errors.Join(os.Remove(zones), os.Rename(zones+".aside", zones)); err != nil {
		t.Fatal(err)
	}
	r.mustZone(api.ReplaceZone, "live.example", 2)
}

// Of two that add one zone at once one does; of many at once all are there.
func TestZonesAtOnce(t *testing.T) {
	r := newRig(t)
	r.start()
	var done sync.WaitGroup
	won := make(chan int, 8)
	for i := range 8 {
		done.Go(func() {
			if _, err := r.zone(api.AddZone, "one.example", i+1); err == nil {
				won <- i + 1
			}
			if _, err := r.zone(api.AddZone, fmt.Sprintf("own%d.example", i), i+1); err != nil {
				t.Error(err)
			}
		})
	}
	done.Wait()
	close(won)
	if len(won) != 1 {
		t.Fatalf("%d added the same zone", len(won))
	}
	if got, want := r.ask("www.one.example."), fmt.Sprintf("NOERROR 192.0.2.%d", <-won); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, "state", "zones"))
	if err != nil || len(entries) != 9 {
		t.Errorf("%d files are kept, %v", len(entries), err)
	}
}

// dns.limits.zones and dns.limits.zone hold for what commands add too.
func TestZoneLimits(t *testing.T) {
	r := newRig(t)
	r.write("portolan.yaml", strings.Replace(r.config("192.0.2.1"), "dns: {", "dns: {limits: {zones: 3, zone: {records: 10}}, ", 1))
	r.start()
	r.mustZone(api.AddZone, "live.example", 1)
	if _, err := r.zone(api.AddZone, "more.example", 1); err == nil || !strings.Contains(err.Error(), "there are 3 zones already, and no more may be (dns.limits.zones)") {
		t.Errorf("one too many: %v", err)
	}
	r.mustZone(api.ReplaceZone, "live.example", 2)
	many := liveText(3)
	for i := range 10 {
		many = fmt.Appendf(many, "x%d A 192.0.2.1\n", i)
	}
	_, err := r.d.ChangeZone(t.Context(), api.ZoneChange{Verb: api.ReplaceZone, Name: "live.example", From: "x", Text: many})
	var e *api.Error
	if !errors.As(err, &e) || len(e.Details) == 0 || !strings.Contains(e.Details[0].Text, "(dns.limits.zone.records)") {
		t.Errorf("too many records: %v", err)
	}
	limits := r.d.stats().Limits
	if limits["zones"].Reached != 1 || limits["zone.records"].Reached == 0 {
		t.Errorf("not counted: %+v", limits)
	}
}

// addresses reads host:port.
func addresses(t testing.TB, text ...string) (list []netip.AddrPort) {
	t.Helper()
	for _, s := range text {
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}
