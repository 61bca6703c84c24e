package pick

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/status"
)

const mega = 1e6

// lined makes a group of members "name weight priority"; each is on a link of
// its own name, and reports as virtualServer/NAME.
func lined(a Algorithm, members ...string) *Group {
	g := group(Rules{Spill: SpillDown, BusyProtection: true}, []Slot{{"s", a}}, members...)
	for _, m := range g.members {
		m.Link, m.Self = status.MakeID(status.KindLink, m.Name), vs(m.Name)
	}
	return g
}

// measured makes gauges from words: "a:300" has 300 Mbps left in every
// direction, "a:?" is measured and unknown, "a:in=5" has 5 Mbps left of in
// alone, "a:c=7" reports 7 connections and "a:l=0.020" 20 ms.
func measured(words string) *status.Gauges {
	b := status.NewBoard(1)
	gauges := map[status.ID]status.Gauge{}
	at := func(id status.ID) status.Gauge {
		if g, ok := gauges[id]; ok {
			return g
		}
		return status.NoGauge()
	}
	for _, w := range strings.Fields(words) {
		name, value, _ := strings.Cut(w, ":")
		line, self := status.MakeID(status.KindLink, name), vs(name)
		l, s := at(line), at(self)
		var v float64
		switch key, number, found := strings.Cut(value, "="); {
		case value == "?":
		case !found:
			mustScan(value, &v)
			l.Remaining = [3]float64{v * mega, v * mega, v * mega}
		case key == "in":
			mustScan(number, &v)
			l.Remaining[busy.In] = v * mega
		case key == "c":
			mustScan(number, &s.Connections)
		case key == "l":
			mustScan(number, &s.Latency)
		default:
			panic("unknown gauge " + w)
		}
		gauges[line], gauges[self] = l, s
	}
	b.Measure(gauges)
	return b.Gauges()
}

func mustScan(s string, v *float64) {
	if _, err := fmt.Sscan(s, v); err != nil {
		panic(err)
	}
}

// sharesOf prints a distribution as "a 3 b 4", or how it ended.
func sharesOf(g *Group, in Input) string {
	if in.Table == nil {
		in.Table = rowsUp
	}
	d, reason := g.Shares(in, nil, nil)
	if reason != Chosen {
		return reason.String()
	}
	var parts []string
	for _, s := range d.Shares {
		parts = append(parts, fmt.Sprint(s.Member.Name, " ", s.Weight))
	}
	return strings.Join(parts, " ")
}

func TestLiveNumbers(t *testing.T) {
	total := busy.Total
	cores := []string{"a 3", "b 2", "c 1"}
	tests := []struct {
		rule      string
		algorithm Algorithm
		members   []string
		gauges    string
		want      string // shares, or how it ended
	}{
		{"1.2.15 T27 weight times remaining", Bandwidth(total, true), cores, "a:100 b:200 c:300", "a 3 b 4 c 3"},
		{"T27 remaining alone", Bandwidth(total, false), cores, "a:100 b:200 c:300", "a 1 b 2 c 3"},
		{"T27 nothing left, nothing given", Bandwidth(total, true), cores, "a:0 b:200 c:-50", "b 1"},
		{"T27 nothing left anywhere: the limit lapses", Bandwidth(total, true), cores, "a:0 b:-10 c:-50", "a 3 b 2 c 1"},
		{"T28 unknown counts with the mean of the known", Bandwidth(total, false), cores, "a:100 b:300 c:?", "a 1 b 3 c 2"},
		{"T28 that mean counts links over their limit as 0", Bandwidth(total, false), cores, "a:100 b:-900 c:?", "a 2 c 1"},
		{"T28 nobody measures", Bandwidth(total, true), cores, "", "declined"},
		{"T28 measured, and unknown", Bandwidth(total, true), cores, "a:? b:?", "declined"},
		{"one direction", Bandwidth(busy.In, true), cores, "a:in=10 b:in=30 c:in=60", "a 1 b 2 c 2"},
		{"another direction is not known by it", Bandwidth(busy.Out, true), cores, "a:in=10 b:in=30", "declined"},
		{"a share of a millionth is kept", Bandwidth(total, false), []string{"a", "b"}, "a:1000000 b:1", "a 1000000 b 1"},
		{"bits are exact up to where rounds end", Bandwidth(total, true), []string{"a 65535", "b 65535"}, "a:10000000000 b:10000000000", "a 1 b 1"},
		{"T22 a link without rateLimit beside one with", Bandwidth(total, true), []string{"a", "b"}, "a:100", "a 1 b 1"},

		{"1.2.15 C6 the largest remaining", MaxBandwidth(total, 0), cores, "a:100 b:200 c:300", "c 1"},
		{"T26 ties go to the first in the file", MaxBandwidth(total, 0), cores, "a:100 b:300 c:300", "b 1"},
		{"T26 as do those of another priority", MaxBandwidth(total, 0), []string{"a 1 1", "b 1 2", "c 1 2"}, "a:300 b:300 c:300", "b 1"},
		{"T27 weights are ignored", MaxBandwidth(total, 0), []string{"a 9", "b 1"}, "a:100 b:101", "b 1"},
		{"T28 unknown is left out", MaxBandwidth(total, 0), cores, "a:1 b:?", "a 1"},
		{"T28 nobody is known", MaxBandwidth(total, 0), cores, "b:?", "declined"},
		{"over the limit, all: the least", MaxBandwidth(total, 0), cores, "a:-5 b:-3 c:-4", "b 1"},
		{"one bit decides", MaxBandwidth(total, 0), []string{"a", "b"}, "a:10000000000 b:10000000000.000002", "b 1"},

		{"T26 debit: level water", MaxBandwidth(total, 150*mega), cores, "a:300 b:200 c:100", "a 5 b 1"},
		{"T26 debit: it reaches all", MaxBandwidth(total, 600*mega), cores, "a:300 b:200 c:100", "a 3 b 2 c 1"},
		{"T26 debit: more than there is", MaxBandwidth(total, 900*mega), cores, "a:300 b:200 c:100", "a 4 b 3 c 2"},
		{"T26 debit: one is far ahead", MaxBandwidth(total, 50*mega), cores, "a:300 b:200 c:100", "a 1"},
		{"T26 debit: equals share", MaxBandwidth(total, 1), cores, "a:300 b:300 c:100", "a 1 b 1"},
		{"T27 debit: nothing left, nothing given", MaxBandwidth(total, 900*mega), cores, "a:300 b:0 c:-100", "a 1"},
		{"T27 debit: nothing left anywhere", MaxBandwidth(total, 50*mega), []string{"a", "b"}, "a:-10 b:-20", "a 3 b 2"},
		{"T28 debit: unknown is left out", MaxBandwidth(total, 900*mega), cores, "a:300 b:?", "a 1"},
		{"T28 debit: nobody is known", MaxBandwidth(total, mega), cores, "", "declined"},
		{"debit of a bit beside a petabit", MaxBandwidth(total, 1), []string{"a", "b"}, "a:1000000000 b:1", "a 1"},
		{"debit too small for its link's numbers", MaxBandwidth(total, 1), []string{"a", "b"}, "a:10000000000 b:9000000000", "a 1"},

		{"fewest connections", LeastConnections(false, RoundRobin(false)), cores, "a:c=3 b:c=1 c:c=2", "b 1"},
		{"1.1.15 weights do not count, nor in the tie", LeastConnections(false, RoundRobin(false)), cores, "a:c=2 b:c=2 c:c=2", "a 1 b 1 c 1"},
		{"1.1.15 for its weight", LeastConnections(true, RoundRobin(true)), cores, "a:c=29 b:c=20 c:c=10", "a 1"},
		{"1.1.15 equal for its weight: by weight", LeastConnections(true, RoundRobin(true)), cores, "a:c=30 b:c=20 c:c=10", "a 3 b 2 c 1"},
		{"thirds are equal", LeastConnections(true, RoundRobin(false)), []string{"a 3", "b 6", "c 9"}, "a:c=1 b:c=2 c:c=3", "a 1 b 1 c 1"},
		{"and what is nearly a third is not", LeastConnections(true, First()), []string{"a 65535", "b 65534"}, "a:c=21845 b:c=21844", "b 1"},
		{"none at all is the fewest", LeastConnections(false, First()), cores, "a:c=1 b:c=0", "b 1"},
		{"T28 those that do not report are left out", LeastConnections(false, First()), cores, "a:c=9 b:?", "a 1"},
		{"T28 nobody reports", LeastConnections(true, First()), cores, "a:100", "declined"},

		{"least time", LeastTime(First()), cores, "a:l=0.020 b:l=0.0199 c:l=1", "b 1"},
		{"T28 no time is not no delay", LeastTime(First()), cores, "a:l=3 b:?", "a 1"},
		{"T28 nobody reports a time", LeastTime(First()), cores, "a:c=1", "declined"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			in := Input{Gauges: measured(tt.gauges)}
			if got := sharesOf(lined(tt.algorithm, tt.members...), in); got != tt.want {
				t.Errorf("%s: got %q, want %q", tt.gauges, got, tt.want)
			}
		})
	}
}

// 1.2.15: of 1,000 answers 300, 400 and 300 within 5 %, for the vendor's
// example and for numbers that have nothing in common.
func TestBandwidthRatio_1_2_15_T27(t *testing.T) {
	for _, tt := range []struct {
		gauges string
		want   [3]float64 // of 1000
	}{
		{"a:100 b:200 c:300", [3]float64{300, 400, 300}},
		{"a:100.000003 b:199.999999 c:300.000007", [3]float64{300, 400, 300}},
		{"a:0.1 b:99.7 c:0.2", [3]float64{1.5, 997.5, 1}},
		{"a:10000000 b:1 c:30000000", [3]float64{500, 0, 500}},
	} {
		g, in := lined(Bandwidth(busy.Total, true), "a 3", "b 2", "c 1"), Input{Table: rowsUp, Gauges: measured(tt.gauges)}
		var got [3]float64
		const n = 100_000
		for i := range n {
			in.Draw = uint64(7_000_000 + i)
			c, _ := g.Pick(in, nil, nil)
			got[c.Members[0].Index] += 1000.0 / n
		}
		for i := range got {
			if math.Abs(got[i]-tt.want[i]) > 0.05*tt.want[i]+0.02 {
				t.Errorf("%s: %v of 1000, want %v within 5 %%", tt.gauges, got, tt.want)
			}
		}
	}
}

// 1.2.26 (a): max-bandwidth gives all to the link with most left; once that is
// busy to the next, and to it again when it has recovered.
func TestMaxBandwidthAndBusy_1_2_26(t *testing.T) {
	g := lined(MaxBandwidth(busy.Total, 0), "a", "b")
	in := Input{Gauges: measured("a:300 b:200")}
	for _, step := range []struct{ rows, want string }{
		{"", "a 1"}, {"a:busy", "b 1"}, {"a:busy b:busy", "a 1"}, {"b:busy", "a 1"}, {"", "a 1"},
	} {
		if in.Table = rows(step.rows); sharesOf(g, in) != step.want {
			t.Errorf("%q: %s, want %s", step.rows, sharesOf(g, in), step.want)
		}
	}
}

// 1.2.16 for what is read live: a higher priority outranks more bandwidth.
func TestPriorityOutranksBandwidth(t *testing.T) {
	in := Input{Gauges: measured("a:1 b:900 c:2")}
	for name, a := range map[string]Algorithm{"max-bandwidth": MaxBandwidth(busy.Total, 0), "bandwidth": Bandwidth(busy.Total, true)} {
		if got := sharesOf(lined(a, "a 1 8", "b 1 4"), in); got != "a 1" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A nested group has what its links have together, each once; where one member
// must be the best, it is as good as its best leaf.
func TestNestedGroupsOfLinks(t *testing.T) {
	inner := lined(RoundRobin(true), "a", "b", "c")
	inner.members[2].Link = "link/a" // two servers on one link
	leaf := &Member{Name: "d", Weight: 1, Link: "link/d", Self: vs("d"), Needs: []status.ID{vs("d")}}
	outer := func(a Algorithm) *Group {
		return NewGroup([]*Member{{Name: "x", Weight: 2, Group: inner}, leaf}, Rules{Spill: SpillDown}, Slot{"s", a})
	}
	for _, tt := range []struct {
		what      string
		algorithm Algorithm
		rows      string
		gauges    string
		want      string
	}{
		{"its links together, times its weight", Bandwidth(busy.Total, true), "", "a:100 b:200 d:300", "a 2 b 2 c 2 d 3"},
		{"a link that no member is left on does not count", Bandwidth(busy.Total, true), "b:down", "a:100 b:200 d:300", "a 1 c 1 d 3"},
		{"T28 a link of it is not known: the mean of its others", Bandwidth(busy.Total, false), "", "a:100 b:? d:300", "a 2 b 2 c 2 d 9"},
		{"T28 none of its links is known: the mean of the others", Bandwidth(busy.Total, false), "", "d:300", "a 1 b 1 c 1 d 3"},
		{"most on one link", MaxBandwidth(busy.Total, 0), "", "a:100 b:200 d:250", "d 1"},
		{"its best leaf", MaxBandwidth(busy.Total, 0), "", "a:100 b:300 d:250", "a 1 b 1 c 1"},
		{"its best leaf, of those that take part", MaxBandwidth(busy.Total, 0), "b:down", "a:100 b:300 d:250", "d 1"},
		{"debit, its best leaf", MaxBandwidth(busy.Total, 100*mega), "", "a:100 b:250 d:250", "a 1 b 1 c 1 d 3"},
		{"the fewest connections of a leaf", LeastConnections(false, First()), "", "a:c=5 b:c=2 d:c=3", "a 1 b 1 c 1"},
		{"for the weight of the group", LeastConnections(true, First()), "", "a:c=5 d:c=3", "a 1 b 1 c 1"},
		{"the best time of a leaf", LeastTime(First()), "", "a:l=5 b:l=2 d:l=1", "d 1"},
	} {
		if got := sharesOf(outer(tt.algorithm), Input{Table: rows(tt.rows), Gauges: measured(tt.gauges)}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.what, got, tt.want)
		}
	}
}

// A nested group's own shares may be large numbers too: they keep their
// proportions when they are opened.
func TestOpeningKeepsProportions(t *testing.T) {
	x, y := lined(Bandwidth(busy.Total, true), "a", "b"), lined(Bandwidth(busy.Total, true), "c", "d")
	g := NewGroup([]*Member{{Name: "x", Weight: 3, Group: x}, {Name: "y", Weight: 1, Group: y}}, Rules{}, Slot{"s", RoundRobin(true)})
	d, _ := g.Shares(Input{Table: rowsUp, Gauges: measured("a:123.456789 b:987.654321 c:500.000009 d:1.000003")}, nil, nil)
	want := []float64{0.75 * 123.456789 / 1111.11111, 0.75 * 987.654321 / 1111.11111, 0.25 * 500.000009 / 501.000012, 0.25 * 1.000003 / 501.000012}
	for i, s := range d.Shares {
		if got := float64(s.Weight) / float64(total(d.Shares)); math.Abs(got-want[i]) > want[i]/100 {
			t.Errorf("%s has %.6f of all, want %.6f", s.Member.Name, got, want[i])
		}
	}
	if len(d.Shares) != 4 {
		t.Errorf("%d shares, want 4", len(d.Shares))
	}
}

// Under topology, what is read live is a tie; where it knows nothing the slot
// has found its members all the same.
func TestLiveTie(t *testing.T) {
	same := func(in Input, m *Member) (int64, bool) { return 7, m.Name != "c" }
	for _, tt := range []struct {
		tie    Algorithm
		gauges string
		want   string
	}{
		{MaxBandwidth(busy.Total, 0), "a:1 b:2 c:3", "b 1"},
		{Bandwidth(busy.Total, true), "a:1 b:2 c:3", "a 3 b 4"},
		{LeastConnections(false, Else(LeastTime(First()), RoundRobin(true))), "a:c=1 b:c=1 a:l=2 b:l=1", "b 1"},
		{LeastConnections(false, Else(LeastTime(First()), RoundRobin(true))), "a:c=1 b:c=1", "a 3 b 2"},
		{MaxBandwidth(busy.Total, 0), "c:3", "a 3 b 2"},
	} {
		g := lined(Best(same, Else(tt.tie, RoundRobin(true))), "a 3", "b 2", "c 1")
		if got := sharesOf(g, Input{Gauges: measured(tt.gauges)}); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.gauges, got, tt.want)
		}
	}
}

// What was chosen by one block of gauges says nothing of the next: the epoch
// moves with them where a slot reads them, in a nested group and in a tie too,
// and stands still where none does.
func TestEpochFollowsGauges(t *testing.T) {
	same := func(Input, *Member) (int64, bool) { return 1, true }
	one, two := measured("a:1"), measured("a:2")
	for _, tt := range []struct {
		what      string
		algorithm Algorithm
		moves     bool
	}{
		{"round-robin", RoundRobin(true), false}, {"topology", Best(same, RoundRobin(true)), false},
		{"bandwidth", Bandwidth(busy.Total, true), true}, {"max-bandwidth", MaxBandwidth(busy.Total, 0), true},
		{"debit", MaxBandwidth(busy.Total, 1), true}, {"connections", LeastConnections(true, First()), true},
		{"time", LeastTime(First()), true}, {"a tie", Best(same, LeastTime(First())), true},
		{"a tie behind a tie", Best(same, Else(LeastTime(First()), First())), true},
		{"the second of a tie", Best(same, Else(First(), LeastTime(First()))), true},
	} {
		inner := lined(tt.algorithm, "a")
		outer := NewGroup([]*Member{{Name: "x", Weight: 1, Group: inner}}, Rules{}, Slot{"s", First()})
		for _, g := range []*Group{inner, outer} {
			if moved := g.Epoch(rowsUp, one) != g.Epoch(rowsUp, two); moved != tt.moves {
				t.Errorf("%s: other gauges, another epoch: %v, want %v", tt.what, moved, tt.moves)
			}
			if first := g.Epoch(rowsUp, one); g.Epoch(rowsUp, one) != first {
				t.Errorf("%s: the same gauges, another epoch", tt.what)
			}
		}
	}
}

func TestLiveNumbersInWords(t *testing.T) {
	for _, tt := range []struct {
		algorithm Algorithm
		gauges    string
		want      string
	}{
		{Bandwidth(busy.Out, true), "a:340.06 b:? c:-2", "a: link/a: 340.06Mbps remain (out); b: link/b: what remains is not known, counts as the mean of the others, 170.03Mbps; c: link/c: nothing remains (out)"},
		{Bandwidth(busy.Total, true), "b:?", "-a: link/a: what remains is not known; -b: link/b: what remains is not known; -c: link/c: what remains is not known"},
		{MaxBandwidth(busy.Total, 0), "a:1200 b:-0.064 c:?", "a: link/a: 1.2Gbps remain (total); b: link/b: 64kbps over its limit (total); -c: link/c: what remains is not known"},
		{MaxBandwidth(busy.Total, 5), "a:0.0009 b:0.9999 c:999.9999", "a: link/a: 900bps remain (total); b: link/b: 1Mbps remain (total); c: link/c: 1Gbps remain (total)"},
		{LeastConnections(true, First()), "a:c=30 b:c=7", "a: 30 connections, weight 3: 10; b: 7 connections, weight 2: 3.5; -c: reports no connections"},
		{LeastConnections(false, First()), "a:c=30", "a: 30 connections; -b: reports no connections; -c: reports no connections"},
		{LeastTime(First()), "a:l=0.0071 b:l=1.5", "a: 7.1 ms to a first byte; b: 1500 ms to a first byte; -c: reports no time"},
	} {
		var tr Trace
		g := lined(tt.algorithm, "a 3", "b 2", "c 1")
		g.Pick(Input{Table: rowsUp, Gauges: measured(tt.gauges)}, nil, &tr)
		var got []string
		for _, c := range tr.Slots[0].Candidates {
			not := "-"
			if c.Matched {
				not = ""
			}
			got = append(got, not+c.Member+": "+c.Text)
		}
		if s := strings.Join(got, "; "); s != tt.want {
			t.Errorf("got  %s\nwant %s", s, tt.want)
		}
	}
}
