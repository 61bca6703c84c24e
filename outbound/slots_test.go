package outbound

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func counted(s *Slots, ids ...uint16) (counts []int) {
	for _, id := range ids {
		counts = append(counts, s.Count(id))
	}
	return counts
}

// Test 25, 1.1.15: shares are exact to a slot, and who has a share has a slot.
func TestApportion(t *testing.T) {
	tests := []struct {
		parts []float64
		want  []int
	}{
		{[]float64{3, 2, 1}, []int{128, 85, 43}},
		{[]float64{1, 1, 1}, []int{86, 85, 85}},
		{[]float64{1}, []int{256}},
		{[]float64{0, 0}, []int{0, 0}},
		{[]float64{0, .3}, []int{0, 256}},
		{[]float64{100, 400, 300}, []int{32, 128, 96}},
		{[]float64{1, 65535}, []int{1, 255}},
		{[]float64{65535, 1, 1, 1}, []int{253, 1, 1, 1}},
		{[]float64{300, 299, 1, 1}, []int{127, 127, 1, 1}},
		{[]float64{1. / 256, 255. / 256}, []int{1, 255}},
	}
	for _, tt := range tests {
		got := make([]int, len(tt.parts))
		apportion(tt.parts, got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.parts, got, tt.want)
		}
	}
}

func drawParts(t *rapid.T) []float64 {
	return rapid.SliceOfN(rapid.OneOf(rapid.Just(0.), rapid.Float64Range(1e-9, 1), rapid.Float64Range(.1, 1)), 1, 300).Draw(t, "parts")
}

func TestApportionIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := drawParts(t)
		got := make([]int, len(parts))
		apportion(parts, got)
		sum, some, total, small := 0, 0, 0., 0
		for i, p := range parts {
			sum, total = sum+got[i], total+p
			if p > 0 {
				some++
			}
		}
		for _, p := range parts {
			if p > 0 && p/total*SlotCount < 1 {
				small++ // was given up to one that others lack
			}
		}
		switch {
		case some == 0 && sum == 0:
			return
		case sum != SlotCount:
			t.Fatalf("%d slots", sum)
		}
		for i, p := range parts {
			due := p / total * SlotCount
			switch {
			case p == 0 && got[i] != 0:
				t.Fatalf("%d has no part and %d slots", i, got[i])
			case p > 0 && got[i] == 0 && some <= SlotCount:
				t.Fatalf("%d of %d has a part and no slot", i, some)
			case math.Abs(due-float64(got[i])) > 1+float64(small):
				t.Fatalf("%d has %d, due are %.2f", i, got[i], due)
			}
		}
	})
}

// lumpsOf is lumps by its definition: all runs, from anywhere.
func lumpsOf(s *Slots, ids []uint16) (most float64) {
	for _, id := range ids {
		n := float64(s.Count(id))
		for from := range s {
			had := 0.
			for k := range SlotCount {
				if s[(from+k)%SlotCount] == id {
					had++
				}
				if had > 0 || k == 0 {
					most = max(most, math.Abs(had-float64(k+1)*n/SlotCount))
				}
			}
		}
	}
	return most
}

func drawCounts(t *rapid.T, n int) []int {
	counts := make([]int, n)
	parts := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 1000), rapid.IntRange(0, 5)), n, n).Draw(t, "parts")
	parts[rapid.IntRange(0, n-1).Draw(t, "some")]++
	f := make([]float64, n)
	for i, p := range parts {
		f[i] = float64(p)
	}
	apportion(f, counts)
	return counts
}

func ids(n int) (list []uint16) {
	for i := range n {
		list = append(list, uint16(i+1))
	}
	return list
}

// The table is what smooth weighted round robin gives, and has no lumps: any run
// of connections is shared as the whole is, to within 3 connections a link.
func TestLayOut(t *testing.T) {
	s := layOut(ids(3), []int{128, 85, 43})
	if got := counted(&s, 1, 2, 3); !slices.Equal(got, []int{128, 85, 43}) {
		t.Errorf("counts %v", got)
	}
	if got := s[:12]; !slices.Equal(got, []uint16{1, 2, 3, 1, 2, 1, 1, 2, 3, 1, 2, 1}) {
		t.Errorf("begins with %v", got)
	}
	if s := layOut(ids(3), []int{5, 1, 1}); !slices.Equal(s[:8], []uint16{1, 1, 2, 1, 3, 1, 1, 0}) {
		t.Errorf("5 1 1 is laid out as %v", s[:8])
	}
	worst := 0.
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "links")
		counts := drawCounts(t, n)
		s := layOut(ids(n), counts)
		if !slices.Equal(counted(&s, ids(n)...), counts) {
			t.Fatalf("counts %v, want %v", counted(&s, ids(n)...), counts)
		}
		stray := lumpsOf(&s, ids(n))
		worst = max(worst, stray)
		if stray > 3 {
			t.Fatalf("a run strays by %.2f: %v", stray, counts)
		}
	})
	t.Logf("a run strays by %.2f at most", worst)
}

// Minimal change: the same counts write nothing, others as many slots as there
// are gained, unless the table is laid out anew for its lumps; it has none
// however many steps went before.
func TestToward(t *testing.T) {
	again, steps, worst := 0, 0, 0.
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 12).Draw(t, "links")
		var s Slots
		place := placesOf(ids(n))
		counts := make([]int, n)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			was, had := s, counts
			if s.Empty() || rapid.IntRange(0, 3).Draw(t, "jump") == 0 {
				counts = drawCounts(t, n)
			} else {
				counts = slices.Clone(counts)
				from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
				moved := min(counts[from], rapid.IntRange(0, 5).Draw(t, "moved"))
				counts[from] -= moved
				counts[to] += moved
			}
			s = s.toward(ids(n), place, counts)
			if got := counted(&s, ids(n)...); !slices.Equal(got, counts) {
				t.Fatalf("counts %v, want %v", got, counts)
			}
			if same := s.toward(ids(n), place, counts); same != s {
				t.Fatal("the same counts change the table")
			}
			gained := 0
			for i, c := range counts {
				gained += max(c-had[i], 0)
			}
			steps++
			if changed := len(s.Changed(&was)); changed != gained {
				again++
				if s != layOut(ids(n), counts) || changed < gained {
					t.Fatalf("%d slots change for %d gained", changed, gained)
				}
			}
			l := s.lumps(place, counts)
			if l > 4 {
				t.Fatalf("a run strays by %.2f", l)
			}
			worst = max(worst, l)
		}
		if l, slow := s.lumps(place, counts), lumpsOf(&s, ids(n)); slow > l+1e-9 || slow < l/2-1e-9 {
			t.Fatalf("a run strays by %.2f, the slow twin says %.2f", l, slow)
		}
	})
	t.Logf("laid out anew %d times in %d steps; a run strays by %.2f at most", again, steps, worst)
}

// A table that was read back may hold anything.
func TestTowardFromAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Slots
		for i := range s {
			s[i] = rapid.SampledFrom([]uint16{0, 1, 2, 3, 9, 1023, 1024, 65535}).Draw(t, "id")
		}
		counts := drawCounts(t, 3)
		got := s.toward(ids(3), placesOf(ids(3)), counts)
		if !slices.Equal(counted(&got, 1, 2, 3), counts) {
			t.Fatalf("counts %v, want %v", counted(&got, 1, 2, 3), counts)
		}
	})
}

// T32: preferences are a strict order of all members for each slot; whoever is
// active, the table is shared evenly; a lost member moves only its own slots, and
// takes back only these.
func TestPreferences_T32(t *testing.T) {
	names := []string{"telecom", "unicom", "mobile", "cable", "dsl", "fibre", "lte", "sat", "wimax", "isdn"}
	for n := 1; n <= len(names); n++ {
		p := preferencesOf(names[:n])
		active := make([]bool, n)
		for i := range active {
			active[i] = true
		}
		for slot := range p {
			sorted := slices.Sorted(slices.Values(p[slot]))
			if len(sorted) != n || sorted[0] != 0 || sorted[n-1] != uint16(n-1) || len(slices.Compact(sorted)) != n {
				t.Fatalf("%d links: slot %d prefers %v", n, slot, p[slot])
			}
		}
		shares := func() []int {
			c := make([]int, n)
			for slot := range p {
				c[p.first(slot, active)]++
			}
			return c
		}
		all := shares()
		if slices.Max(all)-slices.Min(all) > 1 {
			t.Errorf("%d links share %v", n, all)
		}
		for lost := range n {
			if n == 1 {
				continue
			}
			before := [SlotCount]int{}
			for slot := range p {
				before[slot] = p.first(slot, active)
			}
			active[lost] = false
			for slot := range p {
				if now := p.first(slot, active); now != before[slot] && before[slot] != lost {
					t.Fatalf("%d links: slot %d moved from %d to %d, lost is %d", n, slot, before[slot], now, lost)
				}
			}
			c := slices.Delete(shares(), lost, lost+1)
			if slices.Max(c)-slices.Min(c) > 3 {
				t.Errorf("%d links without %d share %v", n, lost, c)
			}
			active[lost] = true
		}
	}
}

// The order of the file does not matter to who has a slot, and a link that is
// added to the configuration takes little more than its own part.
func TestPreferencesGrow_T32(t *testing.T) {
	names := []string{"telecom", "unicom", "mobile", "cable", "dsl", "fibre", "lte", "sat", "wimax", "isdn"}
	all := slices.Repeat([]bool{true}, len(names))
	for n := 1; n < len(names); n++ {
		turned := slices.Clone(names[:n])
		slices.Reverse(turned)
		p, q, grown := preferencesOf(names[:n]), preferencesOf(turned), preferencesOf(names[:n+1])
		moved := 0
		for slot := range p {
			was := names[p.first(slot, all)]
			if now := turned[q.first(slot, all)]; now != was {
				t.Fatalf("slot %d has %s, with the file turned %s", slot, was, now)
			}
			if names[grown.first(slot, all)] != was {
				moved++
			}
		}
		least := SlotCount / (n + 1)
		t.Logf("%d and one more: %d slots move, %d at least", n, moved, least)
		if moved > 2*least+8 {
			t.Errorf("%d links and one more: %d slots move, where %d have to", n, moved, least)
		}
	}
}

// moment spreads the turns of any few neighbours over the whole.
func TestMoment(t *testing.T) {
	var all []float64
	for slot := range SlotCount {
		all = append(all, moment(slot))
	}
	slices.SortFunc(all, cmp.Compare)
	for i, m := range all {
		if m != (float64(i)+.5)/SlotCount {
			t.Fatalf("moment %d is %v", i, m)
		}
	}
}
