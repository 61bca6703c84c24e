package pick

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
)

// group makes a group from lines "name weight priority"; each member needs the
// row virtualServer/NAME.
func group(rules Rules, slots []Slot, members ...string) *Group {
	ms := make([]*Member, len(members))
	for i, line := range members {
		m := &Member{Index: i, Weight: 1}
		if n, _ := fmt.Sscan(line, &m.Name, &m.Weight, &m.Priority); n == 0 {
			panic("no name: " + line)
		}
		m.Needs = []status.ID{vs(m.Name)}
		ms[i] = m
	}
	if slots == nil {
		slots = []Slot{{"preferred: round-robin", RoundRobin(true)}}
	}
	return NewGroup(ms, rules, slots...)
}

func vs(name string) status.ID { return status.MakeID(status.KindVirtualServer, name) }

// rows makes a table from words "name:state", states joined by +.
func rows(words string) *status.Table {
	b := status.NewBoard(1)
	for _, w := range strings.Fields(words) {
		name, state, _ := strings.Cut(w, ":")
		r := status.Row{ID: vs(name), Health: status.Up, Why: state}
		l := status.Load{Why: state}
		for _, s := range strings.Split(state, "+") {
			switch s {
			case "down":
				r.Health = status.Down
			case "unknown":
				r.Health = status.Unknown
			case "busy":
				l.Busy = true
			case "full":
				l.Full = true
			case "waiting":
				r.Health, r.Waiting = status.Unknown, true
			case "held":
				_ = b.Hold(r.ID, status.Hold{Reason: "test", By: "tester"})
			case "drain":
				_ = b.Hold(r.ID, status.Hold{State: status.HoldDrain})
			case "forced":
				_ = b.Hold(r.ID, status.Hold{State: status.HoldUp})
			case "up":
			default:
				panic("unknown state " + s)
			}
		}
		b.Update(r)
		b.Mark(map[status.ID]status.Load{r.ID: l})
	}
	return b.Table()
}

func names(members []*Member) string {
	var out []string
	for _, m := range members {
		out = append(out, m.Name)
	}
	return strings.Join(out, " ")
}

func TestWhoTakesPart(t *testing.T) {
	tests := []struct {
		rule    string
		rules   Rules
		members []string
		rows    string
		want    string // active members, or the reason
	}{
		{"1.1.14 highest level only", Rules{}, []string{"a 1 8", "b 1 8", "c 1 4"}, "", "a b"},
		{"1.1.14 min adds the next whole level", Rules{Min: 2}, []string{"a 1 8", "b 1 4", "c 1 4", "d 1 2"}, "", "a b c"},
		{"1.1.14 fewer than min: all", Rules{Min: 9}, []string{"a 1 8", "b 1 4"}, "", "a b"},
		{"1.1.14 never more than max", Rules{Max: 2}, []string{"a", "b", "c"}, "", "a b"},
		{"1.1.14 min and max", Rules{Min: 2, Max: 2}, []string{"a 1 8", "b 1 4", "c 1 4"}, "", "a b"},
		{"1.1.14 order is priority, then the file", Rules{Min: 4}, []string{"c 1 1", "a 1 9", "d 1 1", "b 1 9"}, "", "a b c d"},

		{"1.2.14 failure spills", Rules{Spill: SpillDown}, []string{"a 1 8", "b 1 4"}, "a:down", "b"},
		{"1.2.14 a down member gives its place within the level", Rules{Spill: SpillDown, Max: 1}, []string{"a", "b"}, "a:down", "b"},
		{"1.2.14 a held member spills like a down one", Rules{Spill: SpillDown}, []string{"a 1 8", "b 1 4"}, "a:held", "b"},
		{"1.2.14 not when the operator took spill away", Rules{}, []string{"a 1 8", "b 1 4"}, "a:down", "down"},
		{"1.2.13 fullness does not spill (T24)", Rules{Spill: SpillDown}, []string{"a 1 8", "b 1 4"}, "a:full", "full"},
		{"1.2.13 nor with min (T24)", Rules{Spill: SpillDown, Min: 1}, []string{"a 1 8", "b 1 8", "c 1 4"}, "a:full b:full", "full"},
		{"1.2.13 full members are left out", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:full", "b"},
		{"1.2.13 full spills when asked to", Rules{Spill: SpillDown | SpillFull}, []string{"a 1 8", "b 1 4"}, "a:full", "b"},
		{"1.2.13 all full even then", Rules{Spill: SpillDown | SpillFull}, []string{"a 1 8", "b 1 4"}, "a:full b:full", "full"},

		{"1.2.26 busy members are left out", Rules{Spill: SpillDown, BusyProtection: true}, []string{"a", "b"}, "a:busy", "b"},
		{"1.2.26 busy counts only with busy protection", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:busy", "a b"},
		{"1.2.26 all busy: protection lapses", Rules{Spill: SpillDown, BusyProtection: true}, []string{"a", "b"}, "a:busy b:busy", "a b lapsed"},
		{"1.2.26 lapse keeps full ones out", Rules{Spill: SpillDown, BusyProtection: true}, []string{"a", "b"}, "a:busy b:busy+full", "a lapsed"},
		{"C3 busy does not spill across priorities", Rules{Spill: SpillDown, BusyProtection: true}, []string{"a 1 8", "b 1 4"}, "a:busy", "a lapsed"},
		{"C3 unless asked to", Rules{Spill: SpillDown | SpillBusy, BusyProtection: true}, []string{"a 1 8", "b 1 4"}, "a:busy", "b"},
		{"C3 asked to, all busy: back to the highest", Rules{Spill: SpillDown | SpillBusy, BusyProtection: true}, []string{"a 1 8", "b 1 4"}, "a:busy b:busy", "a lapsed"},

		{"C1 unknown is usable", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:unknown b:down", "a"},
		{"C1 a row nobody writes is usable", Rules{Spill: SpillDown}, []string{"a"}, "", "a"},
		{"hold: forced up beats a failed probe", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:down+forced", "a b"},
		{"hold: drain takes no new clients", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:drain", "b"},
		{"all held", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:held b:drain", "held"},
		{"held and down is down", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:held b:down", "down"},
		{"all down", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:down b:down", "down"},
		{"a held primary and a failed backup is down", Rules{Spill: SpillDown}, []string{"a 1 8", "b 1 4"}, "a:held b:down", "down"},
		{"a held member and a failed reserve is down", Rules{Spill: SpillDown}, []string{"a 1", "r 0"}, "a:held r:down", "down"},
		{"a held member and a held reserve is held", Rules{Spill: SpillDown}, []string{"a 1", "r 0"}, "a:held r:held", "held"},
		{"only reserves, all held", Rules{Spill: SpillDown}, []string{"a 0", "b 0"}, "a:held b:held", "held"},
		{"without spill, a held primary is down, not held", Rules{}, []string{"a 1 8", "b 1 4"}, "a:held", "down"},
		{"full and down is full", Rules{Spill: SpillDown}, []string{"a", "b"}, "a:full b:down", "full"},

		{"weight 0 is a reserve", Rules{Spill: SpillDown}, []string{"a 1", "b 0"}, "", "a"},
		{"reserve serves when nothing else can", Rules{Spill: SpillDown}, []string{"a 1", "b 0"}, "a:down", "b"},
		{"reserve stays out while a lower priority can", Rules{Spill: SpillDown}, []string{"a 1 8", "r 0 8", "b 1 4"}, "a:down", "b"},
		{"reserve does not relieve a full member", Rules{Spill: SpillDown}, []string{"a 1", "r 0"}, "a:full", "full"},
		{"all reserves", Rules{Spill: SpillDown}, []string{"a 0", "b 0"}, "", "a b"},

		{"panic ignores health below the share", Rules{Spill: SpillDown, Panic: 50}, []string{"a", "b", "c"}, "a:down b:down", "a b c"},
		{"panic: not at the share", Rules{Spill: SpillDown, Panic: 50}, []string{"a", "b"}, "a:down", "b"},
		{"panic respects holds", Rules{Spill: SpillDown, Panic: 50}, []string{"a", "b", "c"}, "a:held b:down c:down", "b c"},

		{"quorum: below the share it is down", Rules{Spill: SpillDown, Quorum: 50}, []string{"a", "b", "c"}, "a:down b:down", "down"},
		{"quorum: not at the share", Rules{Spill: SpillDown, Quorum: 50}, []string{"a", "b"}, "a:down", "b"},
		{"quorum: held members do not count", Rules{Spill: SpillDown, Quorum: 50}, []string{"a", "b", "c"}, "a:held b:down", "c"},
		{"quorum: all held is held", Rules{Spill: SpillDown, Quorum: 50}, []string{"a", "b"}, "a:held b:held", "held"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			g := group(tt.rules, nil, tt.members...)
			a := g.active(rows(tt.rows))
			got := names(a.members)
			if a.lapsed {
				got += " lapsed"
			}
			if a.reason != Chosen {
				got = a.reason.String()
			}
			if got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.rows, got, tt.want)
			}
		})
	}
}

func TestParticipantsFollowState_T25(t *testing.T) {
	b := status.NewBoard(1)
	g := group(Rules{Spill: SpillDown}, nil, "a 1 8", "b 1 4")
	for _, step := range []struct {
		health status.Health
		want   string
	}{{status.Up, "a"}, {status.Down, "b"}, {status.Unknown, "a"}} {
		b.Update(status.Row{ID: vs("a"), Health: step.health})
		if got := names(g.Active(b.Table())); got != step.want {
			t.Errorf("a %s: got %q, want %q", step.health, got, step.want)
		}
	}
}

// A table that changed elsewhere costs no new set, and asking about a table
// that is not the board's leaves the current set alone.
func TestActiveIsKeptWhileItsRowsStand(t *testing.T) {
	b := status.NewBoard(1)
	g := group(Rules{Spill: SpillDown}, nil, "a", "b")
	b.Update(status.Row{ID: vs("a"), Health: status.Up})
	g.Use(b.Table())
	first := g.active(b.Table())
	b.Update(status.Row{ID: vs("elsewhere"), Health: status.Up})
	if g.active(b.Table()) != first {
		t.Error("a row that the group does not need made a new set")
	}
	if got := names(g.Active(b.Table().With(status.Row{ID: vs("a"), Health: status.Down}))); got != "b" {
		t.Errorf("what if a were down: %q", got)
	}
	if g.active(b.Table()) != first {
		t.Error("a question about another table replaced the current set")
	}
}

func TestWaiting(t *testing.T) {
	g := group(Rules{}, nil, "a", "b")
	if _, waiting := g.State(rows("a:up b:waiting")); !waiting {
		t.Error("b has no first result: the group must wait")
	}
	if _, waiting := g.State(rows("a:up b:unknown")); waiting {
		t.Error("unknown is not waiting")
	}
}

var classA, classB = Client{Addr: netip.MustParseAddr("192.0.2.1"), Class: 1}, Client{Addr: netip.MustParseAddr("198.51.100.1"), Class: 2}

// topo prefers member a, then b, for class 1, and knows nothing of class 2.
func topo(in Input, m *Member) (int64, bool) {
	i := strings.Index("ba", m.Name)
	return int64(i), in.Client.Class == 1 && i >= 0
}

func TestSlots(t *testing.T) {
	tests := []struct {
		rule   string
		slots  []Slot
		rows   string
		client Client
		want   string
	}{
		{"1.4.2 T2 the first slot that chooses wins", []Slot{{"p", Best(topo, RoundRobin(true))}, {"a", First()}}, "", classA, "a"},
		{"1.4.2 T2 a slot that declines passes on", []Slot{{"p", Best(topo, RoundRobin(true))}, {"a", First()}}, "", classB, "a"},
		{"1.4.2 all declined", []Slot{{"p", Best(topo, RoundRobin(true))}}, "", classB, "declined"},
		{"1.4.4 T3 busy: the next that topology also matches", []Slot{{"p", Best(topo, RoundRobin(true))}, {"a", First()}}, "a:busy", classA, "b"},
		{"1.4.4 T3 no other match: the slot fails, not any idle one", []Slot{{"p", Best(topo, RoundRobin(true))}}, "a:busy b:busy", classA, "declined"},
		{"1.4.4 T3 then the next slot", []Slot{{"p", Best(topo, RoundRobin(true))}, {"a", First()}}, "a:busy b:busy", classA, "c"},
		{"T2 slots see only usable members", []Slot{{"p", Best(topo, RoundRobin(true))}}, "a:down", classA, "b"},
		{"1.2.26 lapse: topology decides as if none were busy", []Slot{{"p", Best(topo, RoundRobin(true))}}, "a:busy b:busy c:busy", classA, "a"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			g := group(Rules{Spill: SpillDown, BusyProtection: true}, tt.slots, "a", "b", "c")
			c, reason := g.Pick(Input{Table: rows(tt.rows), Client: tt.client}, nil, nil)
			got := names(c.Members)
			if reason != Chosen {
				got = reason.String()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Weights count only where 1.1.15 says, or the slot does (T27).
func TestWeights_1_1_15_T27(t *testing.T) {
	tests := []struct {
		name      string
		algorithm Algorithm
		want      [3]int // of 6 parts, weights 3 2 1
	}{
		{"round-robin", RoundRobin(true), [3]int{3, 2, 1}},
		{"round-robin told to ignore weights", RoundRobin(false), [3]int{2, 2, 2}},
		{"random ignores weights", Random(false), [3]int{2, 2, 2}},
		{"random weighted", Random(true), [3]int{3, 2, 1}},
		{"first ignores weights", First(), [3]int{6, 0, 0}},
		{"source-hash ignores weights", SourceHash(false, 32, 128), [3]int{2, 2, 2}},
		{"source-hash weighted", SourceHash(true, 32, 128), [3]int{3, 2, 1}},
		{"bandwidth", Bandwidth(busy.Total, true), [3]int{3, 2, 1}},
		{"bandwidth told to ignore weights", Bandwidth(busy.Total, false), [3]int{2, 2, 2}},
		{"max-bandwidth ignores weights", MaxBandwidth(busy.Total, 0), [3]int{6, 0, 0}},
		{"max-bandwidth ignores weights in what it spreads", MaxBandwidth(busy.Total, 1e6), [3]int{2, 2, 2}},
		{"least-connections ignores weights", LeastConnections(false, RoundRobin(false)), [3]int{2, 2, 2}},
		{"weighted-least-connections", LeastConnections(true, RoundRobin(true)), [3]int{6, 0, 0}},
		{"least-time ignores weights", LeastTime(RoundRobin(false)), [3]int{2, 2, 2}},
	}
	const n = 60000
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := lined(tt.algorithm, "a 3", "b 2", "c 1")
			gauges := measured("a:500 b:500 c:500 a:c=9 b:c=9 c:c=9 a:l=1 b:l=1 c:l=1") // all alike
			var got [3]int
			for i := range n {
				addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
				c, _ := g.Pick(Input{Table: rowsUp, Gauges: gauges, Client: Client{Addr: addr}, Draw: uint64(i)}, nil, nil)
				got[c.Members[0].Index]++
			}
			for i := range got {
				if diff := got[i] - n*tt.want[i]/6; diff < -n/100 || diff > n/100 {
					t.Errorf("member %d got %d of %d, want %d/6 within 1 %%", i, got[i], n, tt.want[i])
				}
			}
		})
	}
}

var rowsUp = rows("")

func TestRoundRobinIsSmooth(t *testing.T) {
	for _, tt := range []struct {
		members []string
		want    string
	}{
		{[]string{"a", "b", "c"}, "a b c a b c"},
		{[]string{"a 3", "b 1"}, "a a b a a a b a"},
		{[]string{"a 1", "b 2"}, "b a b b a b"},
		{[]string{"a 2", "b 2"}, "a b a b"},
	} {
		g := group(Rules{}, nil, tt.members...)
		var got []string
		for i := range len(strings.Fields(tt.want)) {
			c, _ := g.Pick(Input{Table: rowsUp, Draw: uint64(i)}, nil, nil)
			got = append(got, c.Members[0].Name)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%v: got %s, want %s", tt.members, s, tt.want)
		}
	}
}

func TestAnswersAreDistinct(t *testing.T) {
	for k, a := range []Algorithm{RoundRobin(true), Random(false), Random(true), First(), SourceHash(true, 24, 56)} {
		g := group(Rules{}, []Slot{{"s", a}}, "a 5", "b", "c 2")
		for draw := range uint64(50) {
			for n := 1; n <= 4; n++ {
				c, _ := g.Pick(Input{Table: rowsUp, Client: classA, Draw: draw, Answers: n}, nil, nil)
				if len(c.Members) != min(n, 3) {
					t.Fatalf("algorithm %d: asked %d of 3, got %q", k, n, names(c.Members))
				}
				for i, m := range c.Members {
					if slices.Contains(c.Members[:i], m) {
						t.Fatalf("twice the same: %q", names(c.Members))
					}
				}
			}
		}
	}
	g := group(Rules{}, nil, "a", "b", "c", "d")
	c, _ := g.Pick(Input{Table: rowsUp, Draw: 2, Answers: 3}, nil, nil)
	if got := names(c.Members); got != "c d a" {
		t.Errorf("rotation of several answers: %q", got)
	}
}

func TestNested(t *testing.T) {
	inner := func(name string, slots []Slot, members ...string) *Member {
		g := group(Rules{Name: name, Spill: SpillDown}, slots, members...)
		return &Member{Name: name, Weight: 1, Group: g}
	}
	x := inner("x", nil, "a 2", "b 1")
	y := inner("y", []Slot{{"p", Best(topo, RoundRobin(true))}}, "a", "c")
	g := NewGroup([]*Member{x, y}, Rules{Spill: SpillDown}, Slot{"s", RoundRobin(true)})
	for _, tt := range []struct {
		what, rows string
		client     Client
		want       string
	}{
		{"shares are split by the inner shares", "", classA, "a 2 b 1 a 3"},
		{"a group that declines this client is left out", "", classB, "a 2 b 1"},
		{"an inner member's failure", "b:down", classA, "a 1 a 1"},
		{"a group with no usable member is down", "a:down c:down", classA, "b 1"},
		{"all down", "a:down b:down c:down", classA, "down"},
	} {
		d, reason := g.Shares(Input{Table: rows(tt.rows), Client: tt.client}, nil, nil)
		var got []string
		for _, s := range d.Shares {
			got = append(got, fmt.Sprint(s.Member.Name, " ", s.Weight))
		}
		s := strings.Join(got, " ")
		if reason != Chosen {
			s = reason.String()
		}
		if s != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, s, tt.want)
		}
	}
}

func TestPanicOverNestedGroups(t *testing.T) {
	inner := group(Rules{Name: "x", Spill: SpillDown}, nil, "a", "b")
	g := NewGroup([]*Member{{Name: "x", Weight: 1, Group: inner}}, Rules{Spill: SpillDown, Panic: 50}, Slot{"s", RoundRobin(true)})
	if _, reason := g.Shares(Input{Table: rows("a:down b:down")}, nil, nil); reason != Down {
		t.Errorf("panic cannot conjure up a nested group's members: %s, want down", reason)
	}
	inner = group(Rules{Name: "x", Spill: SpillDown, Panic: 60}, nil, "a", "b")
	g = NewGroup([]*Member{{Name: "x", Weight: 1, Group: inner}}, Rules{Spill: SpillDown}, Slot{"s", RoundRobin(true)})
	if d, reason := g.Shares(Input{Table: rows("a:down")}, nil, nil); reason != Chosen || !d.Panic || len(d.Shares) != 2 {
		t.Errorf("an inner group's panic shows outside: %s %+v", reason, d)
	}
}

// Nesting costs no more than there are groups.
func TestDeepNestingIsCheap(t *testing.T) {
	asked := 0
	count := Func(func(in Input, active []*Member, into []Share) (Distribution, bool) {
		asked++
		return byWeight(active, into, Smooth)
	})
	g := NewGroup([]*Member{{Name: "leaf", Weight: 1}}, Rules{}, Slot{"s", count})
	for range 20 {
		g = NewGroup([]*Member{{Name: "inner", Weight: 1, Group: g}}, Rules{}, Slot{"s", count})
	}
	if _, reason := g.Shares(Input{Table: rowsUp}, nil, nil); reason != Chosen || asked != 21 {
		t.Errorf("%s after asking %d algorithms, want 21", reason, asked)
	}
}

func TestTraceSaysWhy(t *testing.T) {
	g := group(Rules{Name: "web", Spill: SpillDown, BusyProtection: true},
		[]Slot{{"preferred: topology", Best(topo, RoundRobin(true))}, {"fallback: first", First()}},
		"a 1 5", "b 1 5", "c 0 5", "d 1 1", "e 1 5")
	var tr Trace
	c, _ := g.Pick(Input{Table: rows("a:down b:busy e:held"), Client: classB}, nil, &tr)
	if got := names(c.Members); got != "b" || tr.Chosen[0] != "b" || !tr.Lapsed {
		t.Fatalf("chose %q, trace says %q, lapsed %v", got, tr.Chosen, tr.Lapsed)
	}
	want := map[string]string{
		"a": "down: virtualServer/a is down: down",
		"b": "busy, but all that take part are: virtualServer/b: busy",
		"c": "a reserve (weight 0): others are usable",
		"d": "priority 1: enough members of higher priority take part",
		"e": "held: virtualServer/e is held down by tester: test",
	}
	for _, m := range tr.Members {
		if m.Why != want[m.Member] {
			t.Errorf("%s: %q, want %q", m.Member, m.Why, want[m.Member])
		}
	}
	if !tr.Slots[0].Declined || tr.Slots[1].Declined || tr.Slots[0].Candidates[0].Matched {
		t.Errorf("slots: %+v %+v", tr.Slots[0], tr.Slots[1])
	}
}

func TestPickDoesNotAllocate(t *testing.T) {
	table := rows("a:up b:down")
	for _, a := range []Algorithm{RoundRobin(true), Random(true), First(), SourceHash(true, 24, 56), Best(topo, RoundRobin(true))} {
		g := group(Rules{Spill: SpillDown}, []Slot{{"s", a}}, "a 3", "b 2", "c 1")
		g.Use(table)
		into := make([]*Member, 0, 4)
		draw := uint64(0)
		if n := testing.AllocsPerRun(1000, func() {
			draw++
			g.Pick(Input{Table: table, Client: classA, Draw: draw, Answers: 2}, into, nil)
		}); n > 0 && !raceEnabled {
			t.Errorf("%v allocations a pick", n)
		}
	}
}

// A nested group that is given everything shares out as it does by itself,
// whoever gave it: in order (first) or by hash.
func TestNested_GivenEverything(t *testing.T) {
	inner := group(Rules{Name: "x", Spill: SpillDown}, nil, "a 3", "b 1")
	outer := func(a Algorithm) *Group {
		return NewGroup([]*Member{{Name: "x", Weight: 1, Priority: 1, Group: inner}, {Name: "c", Weight: 1}}, Rules{Spill: SpillDown}, Slot{"s", a})
	}
	for name, a := range map[string]Algorithm{"first": First(), "source-hash": SourceHash(false, 24, 56)} {
		for answers, want := range map[int]string{1: "a a b a", 2: "a+b a+b b+a a+b"} {
			var got []string
			for draw := range uint64(4) {
				in := Input{Table: rows("a:up b:up c:up"), Draw: draw, Answers: answers, Client: Client{Addr: netip.MustParseAddr("192.0.2.1")}}
				c, _ := outer(a).Pick(in, nil, nil)
				got = append(got, strings.ReplaceAll(names(c.Members), " ", "+"))
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("%s, %d answers: %s, want %s", name, answers, s, want)
			}
		}
	}
}
