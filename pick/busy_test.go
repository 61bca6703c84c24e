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
			b.Update(status.Row{ID: vs(name), Health: status.Up, Busy: state[name]})
		}
		if got := names(g.Active(b.Table())); got != step.want || g.Lapsed(b.Table()) != step.lapsed {
			t.Errorf("a %v, b %v Mbps: %s take part, lapsed %v; want %s, %v", step.a, step.b, got, g.Lapsed(b.Table()), step.want, step.lapsed)
		}
	}
}
