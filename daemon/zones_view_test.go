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

// dns.limits.zones holds for zones that were added by command on reload, apply
// and at start too: the first by name stay, the others are told and counted, and
// come back when there is room.
func TestZonesLimitAfterZonesWereAdded(t *testing.T) {
	r := newRig(t)
	r.start()
	for _, name := range []string{"l3.example", "l1.example", "l2.example"} {
		r.mustZone(api.AddZone, name, 1)
	}
	small := strings.Replace(r.config("192.0.2.1"), "dns: {", "dns: {limits: {zones: 3}, ", 1)
	served := func(when, want string) {
		t.Helper()
		var got []string
		for _, name := range []string{"l1", "l2", "l3"} {
			got = append(got, strings.TrimSuffix(r.ask("www."+name+".example."), " 192.0.2.1"))
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	reload := func() []api.Detail {
		t.Helper()
		done, err := r.d.Reload(t.Context(), "test")
		if err != nil {
			t.Fatal(err)
		}
		return done.Warnings
	}
	r.write("portolan.yaml", small)
	if w := reload(); len(w) != 1 || !strings.Contains(w[0].Text, "(dns.limits.zones): l2.example., l3.example.;") {
		t.Errorf("not told: %+v", w)
	}
	served("after a reload", "NOERROR REFUSED REFUSED")
	if n := r.d.stats().Limits["zones"].Reached; n != 2 {
		t.Errorf("counted %d times", n)
	}
	if done := r.mustZone(api.RemoveZone, "l3.example", 0); done.Before == nil || *done.Before != 1 {
		t.Errorf("one that is not served is not forgotten: %+v", done)
	}
	if n := r.d.stats().Limits["zones"].Reached; n != 2 {
		t.Errorf("forgetting it counts the limit: %d", n)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r.start()
	served("after a start", "NOERROR REFUSED REFUSED")
	apply := func(text string) {
		t.Helper()
		if _, err := r.d.Apply(t.Context(), api.Change{Base: r.dir, Files: map[string]string{"portolan.yaml": text}, By: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	apply(strings.Replace(small, "zones: 3", "zones: 4", 1))
	served("with room", "NOERROR NOERROR REFUSED")
	apply(small)
	served("after an apply", "NOERROR REFUSED REFUSED")
}

// Forgetting a zone that gave way to the configuration changes nothing that is
// served, and counts no limit again.
func TestForgettingAShadowedZoneCountsNoLimit(t *testing.T) {
	r := newRig(t)
	r.start()
	r.mustZone(api.AddZone, "live.example", 1)
	text := string(liveText(1))
	for i := range 14 {
		text += "sub NS ns" + string(rune('a'+i)) + ".other.\n"
	}
	r.write("l.zone", text)
	r.write("portolan.yaml", strings.Replace(r.config("192.0.2.1"), "zones:\n", "zones:\n  - {name: live.example, file: l.zone}\n", 1))
	if _, err := r.d.Reload(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	reached := func() uint64 { return r.d.stats().Limits["zone.nameServers"].Reached }
	before := reached()
	r.mustZone(api.RemoveZone, "live.example", 0)
	if after := reached(); before == 0 || after != before {
		t.Errorf("reached %d times, then %d", before, after)
	}
}

// Adding a zone that a view has a version of says whose clients do not see it.
func TestAddingAZoneThatAViewHas(t *testing.T) {
	r := newRig(t)
	r.viewed(false)
	r.start()
	if w := r.mustZone(api.AddZone, "v.example", 2).Warnings; len(w) != 1 || !strings.HasSuffix(w[0].Text, "own version, not this one: inside") {
		t.Errorf("warnings: %+v", w)
	}
	if got := r.ask("www.v.example."); got != "NOERROR 192.0.2.1" {
		t.Errorf("in the view: %s", got)
	}
	if w := r.mustZone(api.AddZone, "other.example", 2).Warnings; len(w) != 0 {
		t.Errorf("of no view: %+v", w)
	}
}
