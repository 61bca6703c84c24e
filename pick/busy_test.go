package pick

import (
	"testing"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
)

// 1.2.26, T18, T19 from rates to members: a busy link's member leaves and comes
// back at recovery, not before; with all busy, protection lapses.
func TestBusyRuleAndWhoTakesPart_1_2_26(t *testing.T) {
	r := busy.Rule{busy.LimitOf(100e6, 70, 60)}
	g := group(Rules{Spill: SpillDown, BusyProtection: true}, nil, "a", "b")
	b := status.NewBoard(1)
	state := map[string]bool{}
	for _, step := range []struct {
		a, b   float64 // Mbps
		want   string
		lapsed bool
	}{
		{50, 50, "a b", false},
		{71, 50, "b", false},
		{65, 69, "b", false},
		{65, 71, "a b", true}, // all busy
		{59, 65, "a", false},
		{59, 59, "a b", false},
	} {
		for name, rate := range map[string]float64{"a": step.a, "b": step.b} {
			state[name] = r.Next(state[name], busy.Rates{rate * 1e6}).Busy
			b.Mark(map[status.ID]status.Load{vs(name): {Busy: state[name]}})
		}
		if got := names(g.Active(b.Table())); got != step.want || g.Lapsed(b.Table()) != step.lapsed {
			t.Errorf("a %v, b %v Mbps: %s take part, lapsed %v; want %s, %v", step.a, step.b, got, g.Lapsed(b.Table()), step.want, step.lapsed)
		}
	}
}

// 1.2.12 (h): who is left out as busy or full is told with the row that is, and
// its figures; not with another row that stands beside it, nor with what probes
// say of it.
func TestLoadIsBlamedOnItsRow_1_2_12(t *testing.T) {
	members := []*Member{
		{Index: 0, Name: "a", Weight: 1, Needs: []status.ID{"virtualServer/a", "link/l"}},
		{Index: 1, Name: "b", Weight: 1, Needs: []status.ID{"virtualServer/b", "link/m"}},
		{Index: 2, Name: "c", Weight: 1, Needs: []status.ID{"virtualServer/c"}},
	}
	g := NewGroup(members, Rules{Spill: SpillDown, BusyProtection: true})
	b := status.NewBoard(1)
	for _, id := range []status.ID{"virtualServer/a", "virtualServer/b", "virtualServer/c", "link/l", "link/m"} {
		b.Update(status.Row{ID: id, Health: status.Up, Why: "probe is fine"})
	}
	b.Mark(map[status.ID]status.Load{
		"virtualServer/a": {Full: true, Why: "120 connections, at most 100"},
		"link/l":          {Busy: true, Why: "in 812Mbps is over 700Mbps"},
		"link/m":          {Busy: true, Why: "out 90Mbps is over 70Mbps"},
	})
	tr := g.Explain(b.Table())
	for i, want := range []string{"full: virtualServer/a: 120 connections, at most 100", "busy: link/m: out 90Mbps is over 70Mbps", ""} {
		if got := tr.Members[i].Why; got != want {
			t.Errorf("%s: %q, want %q", tr.Members[i].Member, got, want)
		}
	}
	if row := tr.Members[1].Rows[1]; row.Load() != "busy" || row.LoadWhy != "out 90Mbps is over 70Mbps" || row.LoadSince.IsZero() || row.Evidence != "probe is fine" {
		t.Errorf("%+v", row)
	}
}
