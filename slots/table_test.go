package slots

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func counted(s Slots, ids ...ID) (counts []int) {
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
		apportion(tt.parts, got, 256)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.parts, got, tt.want)
		}
	}
}

func drawParts(t *rapid.T) []float64 {
	return rapid.SliceOfN(rapid.OneOf(rapid.Just(0.), rapid.Float64Range(1e-9, 1), rapid.Float64Range(.1, 1)), 1, 300).Draw(t, "parts")
}

// drawSize draws the largest seldom: twins are slow.
func drawSize(t *rapid.T) int {
	return rapid.SampledFrom([]int{16, 64, 16, 64, 256, 16, 64, 256, 1024}).Draw(t, "size")
}

func TestApportionIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := drawParts(t)
		got, size := make([]int, len(parts)), drawSize(t)
		apportion(parts, got, size)
		sum, some, total, small := 0, 0, 0., 0
		for i, p := range parts {
			sum, total = sum+got[i], total+p
			if p > 0 {
				some++
			}
		}
		for _, p := range parts {
			if p > 0 && p/total*float64(size) < 1 {
				small++ // was given up to one that others lack
			}
		}
		switch {
		case some == 0 && sum == 0:
			return
		case sum != size:
			t.Fatalf("%d slots", sum)
		}
		for i, p := range parts {
			due := p / total * float64(size)
			switch {
			case p == 0 && got[i] != 0:
				t.Fatalf("%d has no part and %d slots", i, got[i])
			case p > 0 && got[i] == 0 && some <= size:
				t.Fatalf("%d of %d has a part and no slot", i, some)
			case math.Abs(due-float64(got[i])) > 1+float64(small):
				t.Fatalf("%d has %d, due are %.2f", i, got[i], due)
			}
		}
	})
}

// lumpsOf is lumps by its definition: all runs, from anywhere; of large tables
// for some members only.
func lumpsOf(s Slots, ids []ID) (most float64) {
	if len(s) > 256 {
		ids = ids[:1]
	}
	for _, id := range ids {
		n := float64(s.Count(id))
		for from := range s {
			had := 0.
			for k := range len(s) {
				if s[(from+k)%len(s)] == id {
					had++
				}
				if had > 0 || k == 0 {
					most = max(most, math.Abs(had-float64(k+1)*n/float64(len(s))))
				}
			}
		}
	}
	return most
}

func drawCounts(t *rapid.T, n, size int) []int {
	counts := make([]int, n)
	parts := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(0, 1000), rapid.IntRange(0, 5)), n, n).Draw(t, "parts")
	parts[rapid.IntRange(0, n-1).Draw(t, "some")]++
	f := make([]float64, n)
	for i, p := range parts {
		f[i] = float64(p)
	}
	apportion(f, counts, size)
	return counts
}

func ids(n int) (list []ID) {
	for i := range n {
		list = append(list, ID(i+1))
	}
	return list
}

// The table is what smooth weighted round robin gives, and has no lumps: any run
// of connections is shared as the whole is, to within 3 connections a link.
func TestLayOut(t *testing.T) {
	s := layOut(ids(3), []int{128, 85, 43}, 256)
	if got := counted(s, 1, 2, 3); !slices.Equal(got, []int{128, 85, 43}) {
		t.Errorf("counts %v", got)
	}
	if got := s[:12]; !slices.Equal(got, []ID{1, 2, 3, 1, 2, 1, 1, 2, 3, 1, 2, 1}) {
		t.Errorf("begins with %v", got)
	}
	if s := layOut(ids(3), []int{5, 1, 1}, 16); !slices.Equal(s[:8], []ID{1, 1, 2, 1, 3, 1, 1, 0}) {
		t.Errorf("5 1 1 is laid out as %v", s[:8])
	}
	worst := 0.
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "links")
		size := drawSize(t)
		counts := drawCounts(t, n, size)
		s := layOut(ids(n), counts, size)
		if !slices.Equal(counted(s, ids(n)...), counts) {
			t.Fatalf("counts %v, want %v", counted(s, ids(n)...), counts)
		}
		stray := lumpsOf(s, ids(n))
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
		size := drawSize(t)
		s := make(Slots, size)
		place := placesFor(ids(n))
		counts := make([]int, n)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			was, had := s, counts
			if s.Empty() || rapid.IntRange(0, 3).Draw(t, "jump") == 0 {
				counts = drawCounts(t, n, size)
			} else {
				counts = slices.Clone(counts)
				from, to := rapid.IntRange(0, n-1).Draw(t, "from"), rapid.IntRange(0, n-1).Draw(t, "to")
				moved := min(counts[from], rapid.IntRange(0, 5).Draw(t, "moved"))
				counts[from] -= moved
				counts[to] += moved
			}
			s = s.toward(ids(n), place, counts)
			if got := counted(s, ids(n)...); !slices.Equal(got, counts) {
				t.Fatalf("counts %v, want %v", got, counts)
			}
			if same := s.toward(ids(n), place, counts); !same.Equal(s) {
				t.Fatal("the same counts change the table")
			}
			gained := 0
			for i, c := range counts {
				gained += max(c-had[i], 0)
			}
			steps++
			if changed := len(s.Changed(was)); changed != gained {
				again++
				if !s.Equal(layOut(ids(n), counts, size)) || changed < gained {
					t.Fatalf("%d slots change for %d gained", changed, gained)
				}
			}
			l := s.lumps(place, counts)
			if l > 4 {
				t.Fatalf("a run strays by %.2f", l)
			}
			worst = max(worst, l)
		}
		if l, slow := s.lumps(place, counts), lumpsOf(s, ids(n)); slow > l+1e-9 || size <= 256 && slow < l/2-1e-9 {
			t.Fatalf("a run strays by %.2f, the slow twin says %.2f", l, slow)
		}
	})
	t.Logf("laid out anew %d times in %d steps; a run strays by %.2f at most", again, steps, worst)
}

func placesFor(ids []ID) *places {
	rising := make([]int, len(ids))
	for i := range rising {
		rising[i] = i
	}
	slices.SortFunc(rising, func(a, b int) int { return cmp.Compare(ids[a], ids[b]) })
	p := placesOf(ids, rising)
	return &p
}

// A table that was read back may hold anything, and numbers may be anywhere.
func TestTowardFromAnything(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := make(Slots, drawSize(t))
		for i := range s {
			s[i] = rapid.SampledFrom([]ID{0, 1, 2, 3, 9, 1023, 1024, 65535, 1 << 31, 1<<32 - 1}).Draw(t, "id")
		}
		list := rapid.SampledFrom([][]ID{{1, 2, 3}, {3, 1, 2}, {1<<32 - 1, 1, 9}, {1 << 31, 1<<31 + 9, 1<<31 + 7}}).Draw(t, "ids")
		counts := drawCounts(t, 3, len(s))
		got := s.toward(list, placesFor(list), counts)
		if !slices.Equal(counted(got, list...), counts) {
			t.Fatalf("counts %v, want %v", counted(got, list...), counts)
		}
	})
}

func TestPlaces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.OneOf(rapid.Uint32Range(1, 40), rapid.Uint32Min(1))
		list := rapid.SliceOfNDistinct(rapid.Map(number, func(n uint32) ID { return ID(n) }), 0, 20, rapid.ID).Draw(t, "ids")
		p := placesFor(list)
		for _, id := range append(slices.Clone(list), 0, 1, 39, 1<<32-1, ID(number.Draw(t, "other"))) {
			if got, want := p.of(id), slices.Index(list, id); got != want {
				t.Fatalf("%d is at %d of %v, want %d", id, got, list, want)
			}
		}
	})
}
