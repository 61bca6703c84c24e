package daemon

import (
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/api"
)

// viewed gives the rig's configuration with v.example for a view that takes
// every client, from v.zone, and if shared for the others too, from s.zone.
func (r *rig) viewed(shared bool) {
	zones := "views:\n  - {name: inside, clients: [127.0.0.0/8]}\nzones:\n  - {name: v.example, file: v.zone, view: inside}\n"
	if shared {
		zones += "  - {name: v.example, file: s.zone}\n"
		r.write("s.zone", string(liveText(3)))
	}
	r.write("v.zone", string(liveText(1)))
	r.write("portolan.yaml", strings.Replace(r.config("192.0.2.1"), "zones:\n", zones, 1))
}

// A bad file of a view's zone leaves the version before of that view, never
// that of the zone without a view: on reload, at start, and when the
// configuration itself is bad at start.
func TestBadFileOfAViewsZone(t *testing.T) {
	for name, shared := range map[string]bool{"in a view alone": false, "shared too": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.viewed(shared)
			r.start()
			still := func(when string) {
				t.Helper()
				if got := r.ask("www.v.example."); got != "NOERROR 192.0.2.1" {
					t.Errorf("%s: %s", when, got)
				}
			}
			still("good")
			r.write("v.zone", "this is no zone\n")
			if _, err := r.d.Reload(t.Context(), "test"); err == nil || !strings.Contains(err.Error(), "v.example. stays as it was") {
				t.Errorf("reload: %v", err)
			}
			still("after a reload")
			restart := func() {
				t.Helper()
				if err := r.stop(); err != nil {
					t.Fatal(err)
				}
				r.start()
			}
			restart()
			still("after a start")
			r.write("portolan.yaml", "nonsense: [")
			restart()
			still("from the last good configuration")
		})
	}
}

// A zone that was added by command and that the configuration takes over with a
// bad file has no good file of the configuration's: it is told, and all else is
// kept as the last good configuration.
func TestLiveZoneTakenOverWithABadFile(t *testing.T) {
	r := newRig(t)
	r.start()
	r.mustZone(api.AddZone, "v.example", 1)
	r.viewed(true)
	r.write("s.zone", "nonsense\n")
	if _, err := r.d.Reload(t.Context(), "test"); err == nil {
		t.Error("a bad file is no error")
	}
	if !r.logged("is not kept: after a restart") || r.logged("was not kept as the last good one") {
		t.Error("nobody is told of the zone alone")
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.write("portolan.yaml", "nonsense: [")
	r.start()
	if got := r.ask("www.v.example."); got != "NOERROR 192.0.2.1" { // that of the view is new in this configuration
		t.Errorf("the configuration was not kept: %s", got)
	}
}
