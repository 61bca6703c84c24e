package probe

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/portolan-lb/portolan/status"
)

// The obvious twin of score.health: let each unknown probe turn out up or down
// in every way. If all ways agree that enough succeed (or that they do not),
// that is the verdict.
func twin(probes []status.Health, want int) status.Health {
	if want == 0 {
		want = len(probes)
	}
	var enough, tooFew bool
	for ways := range 1 << len(probes) {
		up := 0
		for i, h := range probes {
			if h == status.Up || (h == status.Unknown && ways&(1<<i) != 0) {
				up++
			}
		}
		enough = enough || up >= want
		tooFew = tooFew || up < want
	}
	switch {
	case enough && tooFew:
		return status.Unknown
	case enough:
		return status.Up
	default:
		return status.Down
	}
}

func TestVerdictTwin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		health := rapid.SampledFrom([]status.Health{status.Unknown, status.Up, status.Down})
		probes := rapid.SliceOfN(rapid.SliceOfN(health, 1, 2), 1, 5).Draw(t, "probes")
		v := Verdict{ID: "virtualServer/x", AtLeast: rapid.IntRange(0, len(probes)).Draw(t, "atLeast")}
		known := map[status.ID]finding{}
		flat := make([]status.Health, len(probes))
		for i, checks := range probes {
			need := Need{Probe: fmt.Sprint(i)}
			for j, h := range checks {
				id := status.ID(fmt.Sprintf("probe/%d/%d", i, j))
				need.Checks = append(need.Checks, id)
				known[id] = finding{health: h, waiting: h == status.Unknown}
			}
			v.Probes = append(v.Probes, need)
			flat[i] = twin(checks, 0) // a probe needs all of its addresses
		}
		row := judge(&v, func(id status.ID) finding { return known[id] })
		if want := twin(flat, v.AtLeast); row.Health != want {
			t.Fatalf("at least %d of %v: %s, want %s", v.AtLeast, probes, row.Health, want)
		}
		// A decided verdict waits for nobody; an undecided one for its checks.
		if row.Waiting != (row.Health == status.Unknown) {
			t.Fatalf("%s and waiting %v", row.Health, row.Waiting)
		}
	})
}

func TestVerdictWhy(t *testing.T) {
	known := map[status.ID]finding{
		"probe/a/http": {health: status.Down, saw: "HTTP 503 Service Unavailable in 3 ms"},
		"probe/b/http": {health: status.Down, saw: "connection refused"},
		"probe/a/icmp": {health: status.Up, saw: "reply in 1 ms"},
		"probe/b/icmp": {health: status.Unknown, saw: "no result yet"},
	}
	need := func(name string, checks ...status.ID) Need { return Need{Probe: name, Checks: checks} }
	for _, c := range []struct {
		v    Verdict
		want string
	}{
		{Verdict{Note: "not probed"}, "unknown: not probed"},
		{Verdict{Probes: []Need{need("icmp", "probe/a/icmp")}}, "up: probe/a/icmp: reply in 1 ms"},
		{Verdict{Probes: []Need{need("http", "probe/a/http")}}, "down: probe/a/http: HTTP 503 Service Unavailable in 3 ms"},
		{Verdict{Probes: []Need{need("http", "probe/a/http", "probe/b/http")}}, "down: probe/a/http: HTTP 503 Service Unavailable in 3 ms; 1 more fail"},
		{Verdict{Probes: []Need{need("icmp", "probe/a/icmp", "probe/b/icmp")}}, "unknown: probe/b/icmp: no result yet"},
		{
			Verdict{AtLeast: 1, Probes: []Need{need("http", "probe/a/http"), need("icmp", "probe/a/icmp")}},
			"up: 1 of 2 probes succeed, 1 needed; probe/a/http: HTTP 503 Service Unavailable in 3 ms",
		},
	} {
		row := judge(&c.v, func(id status.ID) finding { return known[id] })
		if got := row.Health.String() + ": " + row.Why; got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}
