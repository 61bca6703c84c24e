package pick

import (
	"slices"
	"testing"
	"time"

	"github.com/portolan-lb/portolan/status"
	"pgregory.net/rapid"
)

// What the owner says of members leads to what the same words on their rows do
// (T24, C3, 1.2.26), for nested groups too; and it is said of no other choice.
func TestConditionsAreAsRows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		members, table := drawMembers(t)
		for i, m := range members {
			m.Index = len(members) - 1 - i // not the place in the group
		}
		rules := Rules{Min: rapid.IntRange(0, 3).Draw(t, "min"), Max: rapid.IntRange(0, 3).Draw(t, "max"),
			Spill: Spill(rapid.IntRange(0, 7).Draw(t, "spill")), BusyProtection: rapid.Bool().Draw(t, "protect"),
			Quorum: rapid.SampledFrom([]int{0, 50}).Draw(t, "quorum")}
		own := make([]Condition, rapid.IntRange(0, len(members)).Draw(t, "conditions"))
		said := table
		for i := range own {
			own[i] = Condition{Full: rapid.Bool().Draw(t, "full"), Busy: rules.BusyProtection && rapid.Bool().Draw(t, "busy"), Aside: rapid.Bool().Draw(t, "aside"), Unbounded: rapid.IntRange(0, 3).Draw(t, "unbounded") == 0}
			id := members[len(members)-1-i].Needs[0]
			row := *table.Row(id)
			row.ID = id
			row.Full, row.Busy = (row.Full || own[i].Full) && !own[i].Unbounded, row.Busy || own[i].Busy
			if own[i].Aside && !row.Held() {
				row.Hold, row.Health = nil, status.Down
			}
			said = said.With(row)
		}
		slot := Slot{"s", RoundRobin(true)}
		g := NewGroup(members, rules, slot)
		twin := NewGroup(slices.Clone(members), rules, slot)
		if rapid.Bool().Draw(t, "nested") {
			g = NewGroup([]*Member{{Index: 99, Name: "inner", Weight: 1, Group: g}}, rules, slot)
			twin = NewGroup([]*Member{{Index: 99, Name: "inner", Weight: 1, Group: twin}}, rules, slot)
		}
		got, reason := g.Shares(Input{Table: table, Own: own}, nil, nil)
		want, wantReason := twin.Shares(Input{Table: said}, nil, nil)
		if reason != wantReason || reason == Chosen && (!got.Equal(want) || got.Lapsed != want.Lapsed) {
			t.Fatalf("%v %v, rows that say the same give %v %v", reason, got, wantReason, want)
		}
		tr := &Trace{}
		traced, _ := g.Shares(Input{Table: table, Own: own}, nil, tr)
		if reason == Chosen && !traced.Equal(got) {
			t.Fatal("explain differs")
		}
		plain, reason := g.Shares(Input{Table: table}, nil, nil)
		again, wantReason := NewGroup(g.members, rules, slot).Shares(Input{Table: table}, nil, nil)
		if reason != wantReason || reason == Chosen && !plain.Equal(again) {
			t.Fatal("conditions outlive the choice that they were said for")
		}
	})
}

// What the owner says is busy is left out in a group that heeds no busy rows
// too, beside which rows that are busy do not count; and if all are so it lapses.
func TestOwnersBusy(t *testing.T) {
	g := group(Rules{Spill: SpillDown}, []Slot{{"s", RoundRobin(true)}}, "a", "b", "c")
	for i, m := range g.members {
		m.Index = i
	}
	table := rows("a:busy")
	for _, tt := range []struct {
		own    []Condition
		want   string
		lapsed bool
	}{
		{[]Condition{{}, {Busy: true}}, "a 1 c 1", false},
		{[]Condition{{Busy: true}, {Busy: true}, {Full: true}}, "a 1 b 1", true},
		{[]Condition{{}}, "a 1 b 1 c 1", false},
	} {
		in := Input{Table: table, Own: tt.own}
		d, _ := g.Shares(in, nil, nil)
		if got := sharesOf(g, in); got != tt.want || d.Lapsed != tt.lapsed {
			t.Errorf("%v: %s, lapsed %v, want %s", tt.own, got, d.Lapsed, tt.want)
		}
	}
}

func TestConditionsAreTold(t *testing.T) {
	g := group(Rules{Spill: SpillDown, BusyProtection: true}, []Slot{{"s", First()}}, "a", "b", "c", "d")
	for i, m := range g.members {
		m.Index = i
	}
	tr := &Trace{}
	g.Shares(Input{Table: rowsUp, Own: []Condition{
		{Aside: true, Why: "back, and stands by"}, {Full: true, Why: "10 of at most 10"}, {Busy: true}, {Why: "half of its share"},
	}}, nil, tr)
	want := []string{"not yet in service: back, and stands by", "full: 10 of at most 10", "busy", "half of its share"}
	for i, m := range tr.Members {
		if m.Why != want[i] || m.Active != (i == 3) {
			t.Errorf("%s: active %v, %q, want %q", m.Member, m.Active, m.Why, want[i])
		}
	}
}

// T31: nothing while it stands by, then a share that grows evenly.
func TestSlowOnline_T31(t *testing.T) {
	back := time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	both := SlowOnline{Standby: 5 * time.Second, Ramp: 10 * time.Second}
	for _, tt := range []struct {
		slow  SlowOnline
		after time.Duration
		share float64
		next  time.Duration // after back; 0: none
	}{
		{both, -time.Second, 0, 5 * time.Second},
		{both, 0, 0, 5 * time.Second},
		{both, 5*time.Second - 1, 0, 5 * time.Second},
		{both, 5 * time.Second, 0, 15 * time.Second},
		{both, 7500 * time.Millisecond, .25, 15 * time.Second},
		{both, 10 * time.Second, .5, 15 * time.Second},
		{both, 15 * time.Second, 1, 0},
		{both, time.Hour, 1, 0},
		{SlowOnline{}, 0, 1, 0},
		{SlowOnline{Standby: time.Second}, time.Second - 1, 0, time.Second},
		{SlowOnline{Standby: time.Second}, time.Second, 1, 0},
		{SlowOnline{Ramp: 4 * time.Second}, time.Second, .25, 4 * time.Second},
	} {
		share, next := tt.slow.Share(back, back.Add(tt.after))
		if share != tt.share || next.IsZero() != (tt.next == 0) || tt.next != 0 && !next.Equal(back.Add(tt.next)) {
			t.Errorf("%+v after %v: %v until %v, want %v until %v", tt.slow, tt.after, share, next, tt.share, tt.next)
		}
	}
}
