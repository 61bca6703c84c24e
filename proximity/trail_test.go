package proximity

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

const fiveMinutes = 300

// follow makes a trail of samples a minute apart, the last at 1000 minutes.
func follow(micros ...uint32) *trail {
	t := &trail{}
	for i, m := range micros {
		t.add(m, uint32(60*(1000+i-len(micros)+1)), spanPassive, fiveMinutes)
	}
	return t
}

// The chart of trail.
func TestTrail(t *testing.T) {
	for _, test := range []struct {
		name    string
		samples []uint32
		want    uint32
	}{
		{"none", nil, 0},
		{"one", []uint32{20}, 20},
		{"two", []uint32{20, 25}, 20},
		{"two, the later is less", []uint32{25, 20}, 20},
		{"a late packet", []uint32{20, 21, 900}, 21},
		{"a late packet in between", []uint32{20, 900, 21}, 21},
		{"somebody nearer", []uint32{20, 21, 1}, 20},
		{"farther from now on", []uint32{20, 21, 80, 81}, 80},
		{"nearer from now on", []uint32{20, 21, 5, 6}, 6},
	} {
		if got := follow(test.samples...).micros(); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// A burst counts once; a gap forgets what was before it; a sample of the past
// undoes nothing.
func TestTrail_Time(t *testing.T) {
	tr := follow(20, 21, 22)
	at := tr.since
	for i := range uint32(spanPassive) {
		tr.add(900-i, at+60+i, spanPassive, fiveMinutes)
	}
	if got := tr.micros(); got != 22 || tr.least[0] != 900-spanPassive+1 {
		t.Errorf("after a burst: %d of %v", got, tr.least)
	}
	tr.add(901, at+60+spanPassive, spanPassive, fiveMinutes)
	if got := tr.micros(); got != 891 {
		t.Errorf("after the next span: %d of %v", got, tr.least)
	}
	tr.add(7, at, spanPassive, fiveMinutes)
	if tr.least[0] != 7 || tr.since != at+60+spanPassive {
		t.Errorf("after a sample of before: %+v", tr)
	}
	tr.add(50, tr.since+forgotten*fiveMinutes+1, spanPassive, fiveMinutes)
	if got := tr.micros(); got != 50 || tr.least[1] != 0 {
		t.Errorf("after a gap: %d of %v", got, tr.least)
	}
}

func TestTrail_Unsettled(t *testing.T) {
	for _, test := range []struct {
		samples []uint32
		want    bool
	}{
		{nil, false}, {[]uint32{40_000}, false}, {[]uint32{40_000, 50_000}, false}, {[]uint32{40_000, 50_001}, true},
		{[]uint32{40_000, 41_000, 80_000}, true}, {[]uint32{40_000, 41_000, 80_000, 81_000}, false}, {[]uint32{40_000, 41_000, 5_000}, true},
		{[]uint32{1000, 6000}, false}, {[]uint32{1000, 6001}, true},
	} {
		if got := follow(test.samples...).unsettled(); got != test.want {
			t.Errorf("%v: %v", test.samples, got)
		}
	}
}

// The chart of merge.
func TestMerge(t *testing.T) {
	at := func(micros uint32, minutesAgo int) *trail {
		tr := &trail{}
		tr.add(micros, uint32(100_000-60*minutesAgo), spanPassive, fiveMinutes)
		return tr
	}
	none := &trail{}
	for _, test := range []struct {
		name            string
		active, passive *trail
		want            uint32
	}{
		{"nothing", none, none, 0},
		{"active alone", at(100, 0), none, 100},
		{"passive alone, old", none, at(100, 1000), 100},
		{"both as fresh", at(100, 3), at(200, 3), 150},
		{"passive a half-life older", at(100, 0), at(400, 5), 200},
		{"passive two half-lives older", at(100, 0), at(600, 10), 200},
		{"active a half-life older", at(400, 5), at(100, 0), 200},
		{"the same, later", at(400, 25), at(100, 20), 200},
		{"passive long ago", at(100, 0), at(600, 21), 100},
		{"active long ago", at(600, 21), at(100, 0), 100},
	} {
		if got := merge(test.active, test.passive, fiveMinutes); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}

// slowTrail is the twin of trail: it keeps all samples.
type slowTrail struct {
	spans [][]uint32
	since []uint32
}

func (s *slowTrail) add(micros, at, span, half uint32) {
	n := len(s.spans)
	if n > 0 && int64(at)-int64(s.since[n-1]) > int64(forgotten*half) {
		s.spans, s.since, n = nil, nil, 0
	}
	if n > 0 && int64(at)-int64(s.since[n-1]) < int64(span) && span > 0 {
		s.spans[n-1] = append(s.spans[n-1], micros)
		return
	}
	if n > 0 {
		at = max(at, s.since[n-1])
	}
	s.spans, s.since = append(s.spans, []uint32{micros}), append(s.since, at)
}

func (s *slowTrail) micros() uint32 {
	var last []uint32
	for _, samples := range s.spans[max(0, len(s.spans)-3):] {
		last = append(last, slices.Min(samples))
	}
	slices.Sort(last)
	if len(last) == 0 {
		return 0
	}
	return last[(len(last)-1)/2]
}

// Whatever comes, when ever it comes: the twin agrees; unknown never becomes 0
// (T28), nor does what is known become unknown; what counts is a time that was
// measured.
func TestTrail_Twin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.Uint32Range(10, 86400).Draw(t, "half")
		span := rapid.SampledFrom([]uint32{spanActive, spanPassive}).Draw(t, "span")
		var tr trail
		var slow slowTrail
		now, seen := int64(before), map[uint32]bool{}
		for range rapid.IntRange(1, 30).Draw(t, "samples") {
			now += rapid.OneOf(rapid.Int64Range(-30, 30), rapid.Int64Range(0, 5*int64(half))).Draw(t, "later")
			micros := rapid.Uint32Range(1, math.MaxUint32).Draw(t, "micros")
			tr.add(micros, uint32(now), span, half)
			slow.add(micros, uint32(now), span, half)
			if seen[micros] = true; !seen[tr.micros()] {
				t.Fatalf("%d was never measured", tr.micros())
			}
			if got, want := tr.micros(), slow.micros(); got != want {
				t.Fatalf("%d, want %d", got, want)
			}
		}
	})
}

// With three spans that agree within a tenth, no one sample takes what counts
// out of their range.
func TestTrail_OneOutlier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := rapid.Uint32Range(1000, 500_000)
		first := base.Draw(t, "base")
		near := rapid.Uint32Range(first, first+first/10)
		all := []uint32{near.Draw(t, "1"), near.Draw(t, "2"), near.Draw(t, "3")}
		low, high := slices.Min(all), slices.Max(all)
		tr := follow(append(all, rapid.Uint32Range(1, math.MaxUint32).Draw(t, "outlier"))...)
		if got := tr.micros(); got < low || got > high {
			t.Fatalf("%d is not within %d and %d", got, low, high)
		}
		tr.add(near.Draw(t, "after"), tr.since+60, spanPassive, fiveMinutes)
		if got := tr.micros(); got < first || got > first+first/10 {
			t.Fatalf("%d after the outlier", got)
		}
	})
}

// What is merged lies between its parts, nearer to the fresher one, and is 0
// only if both are unknown. The younger the one, the more it counts.
func TestMerge_Property(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.Uint32Range(1, math.MaxUint32)
		half := rapid.Uint32Range(10, 86400).Draw(t, "half")
		make := func(name string) *trail {
			tr := &trail{}
			if rapid.Bool().Draw(t, name+" known") {
				tr.add(times.Draw(t, name), before+rapid.Uint32Range(0, 6*half).Draw(t, name+" at"), spanPassive, half)
			}
			return tr
		}
		active, passive := make("active"), make("passive")
		a, p := float64(active.micros()), float64(passive.micros())
		got := float64(merge(active, passive, half))
		switch {
		case a == 0 || p == 0:
			if got != a+p {
				t.Fatalf("%v alone became %v", a+p, got)
			}
			return
		case got < min(a, p) || got > max(a, p):
			t.Fatalf("%v is not between %v and %v", got, a, p)
		}
		fresh, old := a, p
		if passive.since > active.since {
			fresh, old = p, a
		}
		if active.since != passive.since && math.Abs(got-fresh) > math.Abs(got-old)+1 {
			t.Fatalf("%v is nearer to the old %v than to the fresh %v", got, old, fresh)
		}
		younger := *passive
		younger.since += half / 2
		if then := float64(merge(active, &younger, half)); math.Abs(then-p) > math.Abs(got-p)+1 {
			t.Fatalf("a younger %v made %v of %v", p, then, got)
		}
	})
}
