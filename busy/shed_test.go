package busy

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// shedding feeds a Shed with a load a second, as shares of the threshold of the
// total, and gives the slices after each. A negative load is unknown.
func shedding(s *Shed, at *time.Time, dead time.Duration, loads ...float64) (n []int) {
	r := rule(Total)
	for _, load := range loads {
		if load < 0 {
			load = unknown
		}
		var v Verdict
		*at = at.Add(time.Second)
		*s, v = s.Next(r, Rates{load * r[Total].Threshold}, dead, *at)
		n = append(n, v.Slices)
	}
	return n
}

func repeat(load float64, n int) []float64 {
	loads := make([]float64, n)
	for i := range loads {
		loads[i] = load
	}
	return loads
}

func last(n []int) int { return n[len(n)-1] }

// A step: about 1 - 0.929/1.6 of 256 slices are shed within seconds, and no more
// because the rate does not fall at once: caches keep the old answers.
func TestShed_WaitsForCaches(t *testing.T) {
	var s Shed
	at := time.Unix(0, 0)
	if n := last(shedding(&s, &at, 10*time.Minute, repeat(0.9, 60)...)); n != 0 {
		t.Fatalf("under the threshold %d slices are shed", n)
	}
	n := shedding(&s, &at, 10*time.Minute, repeat(1.6, 120)...)
	if got := last(n); got < 100 || got > 115 {
		t.Errorf("2 minutes after the step %d slices are shed, want about 107: %v", got, n)
	}
}

// T28: unknown rates hold what is shed, however long; a gap makes the demand
// unknown, not 0.
func TestShed_UnknownHolds_T28(t *testing.T) {
	var s Shed
	at := time.Unix(0, 0)
	was := last(shedding(&s, &at, 5*time.Second, repeat(1.6, 30)...))
	if was == 0 {
		t.Fatal("nothing is shed")
	}
	if n := last(shedding(&s, &at, 5*time.Second, repeat(-1, 3600)...)); n != was {
		t.Errorf("an hour without rates made %d of %d", n, was)
	}
	if n := last(shedding(&s, &at, 5*time.Second, repeat(0.1, 100)...)); n != was {
		t.Errorf("100 s after the gap the demand's highest mean is not known, but %d became %d", was, n)
	}
	if n := last(shedding(&s, &at, 5*time.Second, repeat(0.1, 1000)...)); n != 0 {
		t.Errorf("with the load gone %d slices are shed", n)
	}
}

// T28: what grew before a gap is no trend after it.
func TestShed_GapEndsTheTrend_T28(t *testing.T) {
	var s Shed
	at := time.Unix(0, 0)
	for load := 0.1; load < 0.8; load += 0.001 { // in half of 10 minutes 0.3 more
		at = at.Add(time.Second)
		s.measure(load, 10*time.Minute, at)
	}
	grown := s
	if n := last(shedding(&grown, &at, 10*time.Minute, 0.8)); n == 0 {
		t.Error("the trend is not seen")
	}
	if n := last(shedding(&s, &at, 10*time.Minute, append(repeat(-1, 120), 0.8)...)); n != 0 {
		t.Errorf("after a gap %d slices are shed for a trend from before", n)
	}
}

// What had to be taken again doubles the wait before the next return, up to 32
// dead times; a return that lasted so long begins anew.
func TestShed_GivesBackLaterTheNextTime(t *testing.T) {
	s, at := Shed{}, time.Unix(0, 0)
	swing := func(calm time.Duration) time.Duration {
		s.note(change{at, 100}, time.Minute)
		s.note(change{at, 80}, time.Minute)
		at = at.Add(calm)
		s.note(change{at, 100}, time.Minute)
		return s.wait(time.Minute)
	}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 32} {
		if got := swing(time.Minute); got != want*time.Minute {
			t.Errorf("waits %s, want %d minutes", got, want)
		}
	}
	if got := swing(time.Hour); got != time.Minute {
		t.Errorf("after an hour of calm it waits %s", got)
	}
}

// T20: each direction counts, and is named; an unknown one holds.
func TestShed_Directions_T20(t *testing.T) {
	r, at := rule(Total, In, Out), time.Unix(0, 0)
	s, v := Shed{}.Next(r, Rates{50 * mega, 10 * mega, 90 * mega}, time.Second, at)
	if v.Slices == 0 || !v.Changed || !strings.HasPrefix(v.Why, "out will be at 129% of its threshold in 1s: sheds ") {
		t.Errorf("%+v", v)
	}
	if _, v = s.Next(r, Rates{50 * mega, unknown, 90 * mega}, time.Second, at.Add(time.Hour)); v.Changed || v.Slices == 0 {
		t.Errorf("an unknown direction: %+v", v)
	}
	if _, v = s.Next(Rule{}, Rates{50 * mega, 10 * mega, 90 * mega}, time.Second, at.Add(time.Hour)); v.Slices != 0 || !v.Changed {
		t.Errorf("T21, a rule that judges nothing: %+v", v)
	}
}

// Any loads, steps of time and dead times: bounded numbers, bounded steps, no
// more often than the pace allows, nothing given back over recovery, and a
// sentence where something changed. A copy of the state goes on by itself.
func TestShed_Pace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := rule(Total)
		dead := time.Duration(rapid.IntRange(0, 4000).Draw(t, "dead")) * time.Second
		tick := time.Duration(rapid.IntRange(1, 20).Draw(t, "tick")) * time.Second
		var s Shed
		at, changed, was := time.Unix(0, 0), time.Time{}, 0
		level := 1.0
		for range 300 {
			at = at.Add(tick)
			if rapid.IntRange(0, 20).Draw(t, "jump") == 0 {
				level = rapid.Float64Range(0, 4).Draw(t, "level")
			}
			load := level * rapid.Float64Range(0.9, 1.1).Draw(t, "noise")
			now := Rates{load * r[Total].Threshold}
			next, v := s.Next(r, now, dead, at)
			if again, w := s.Next(r, now, dead, at); again != next || w != v {
				t.Fatalf("the same again is not the same: %+v, %+v", v, w)
			}
			switch pause := at.Sub(changed); {
			case v.Slices < 0 || v.Slices > Slices || v.Slices-was > mostMore || was-v.Slices > mostBack:
				t.Fatalf("%d after %d", v.Slices, was)
			case v.Changed != (v.Slices != was) || v.Changed != (v.Why != ""):
				t.Fatalf("%+v after %d", v, was)
			case v.Slices > was && pause < dead/changesIn, v.Slices < was && pause < max(dead, leastWait):
				t.Fatalf("from %d to %d after %s of %s", was, v.Slices, pause, dead)
			case v.Slices < was && load >= 6.0/7:
				t.Fatalf("some are given back at %v", load)
			}
			if v.Changed {
				changed = at
			}
			s, was = next, v.Slices
		}
	})
}

// Any steady demand and TTL, with caches as they should be: after a step the
// rate is under the threshold one dead time later, and it comes to rest between
// the bounds, without ever giving back. When the demand goes all come back.
func TestShed_ComesToRest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		demand := rapid.Float64Range(0, 8).Draw(t, "demand")
		ttl := rapid.IntRange(1, 600).Draw(t, "ttl")
		dead := time.Duration(ttl) * time.Second
		recovery := rapid.IntRange(1, 70).Draw(t, "recovery")
		r := Rule{LimitOf(1e9, 70, recovery)}
		var s Shed
		shed := make([]int, ttl) // of the last seconds, round
		sum, rate := 0, 0.0
		second := func(i int, demand float64) Verdict {
			rate = demand * (1 - float64(sum)/float64(ttl)/Slices)
			var v Verdict
			s, v = s.Next(r, Rates{rate * r[Total].Threshold}, dead, time.Unix(int64(i), 0))
			sum += v.Slices - shed[i%ttl]
			shed[i%ttl] = v.Slices
			return v
		}
		for i := range 6 * (ttl + 60) {
			if v := second(i, demand); i > ttl+30+ttl/4 && (rate > 1.001 || v.Changed) {
				t.Fatalf("demand %v, second %d: rate %v, %+v", demand, i, rate, v)
			}
		}
		if low := min(float64(recovery)/70, 0.9); demand > 1 && rate < low*0.95 {
			t.Fatalf("demand %v: it rests at %v, recovery is %v", demand, rate, low)
		}
		for i := range 20*ttl + 3000 {
			second(i+6*(ttl+60), 0)
		}
		if s.slices != 0 {
			t.Fatalf("%d slices are shed of nothing", s.slices)
		}
	})
}

func BenchmarkShed(b *testing.B) {
	b.ReportAllocs()
	var s Shed
	r, at := rule(Total, In, Out), time.Unix(0, 0)
	for b.Loop() {
		at = at.Add(time.Second)
		s, _ = s.Next(r, Rates{60 * mega, 30 * mega, 30 * mega}, time.Minute, at)
	}
}
