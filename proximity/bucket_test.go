package proximity

import (
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// In no span of time is more given out than the burst and what comes in, however
// it is asked for, and nobody waits longer than that takes.
func TestBucket(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.IntRange(1, 1000).Draw(t, "rate")
		now := time.Unix(1000, 0)
		var b bucket
		b.setRate(float64(rate), now)
		type grant struct {
			at time.Time
			n  int
		}
		var grants []grant
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "ms")) * time.Millisecond)
			n := rapid.IntRange(1, 7).Draw(t, "n")
			grants = append(grants, grant{now.Add(b.reserve(n, now)), n})
		}
		for i := range grants {
			total := 0
			for _, g := range grants[i:] {
				total += g.n
				if most := b.burst + float64(rate)*g.at.Sub(grants[i].at).Seconds(); float64(total) > most+1e-6 {
					t.Fatalf("%d within %s, want at most %.3f", total, g.at.Sub(grants[i].at), most)
				}
			}
			if i > 0 && grants[i].at.Before(grants[i-1].at) {
				t.Fatalf("grant %d goes before the one that asked first", i)
			}
		}
	})
}

// All of a budget can be used.
func TestBucketGivesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bucket
		b.setRate(50, time.Now())
		start := time.Now()
		for range 507 {
			if err := b.spend(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		// 7 at once and 500 in 10 s.
		if d := time.Since(start); d < 10*time.Second-time.Millisecond || d > 10*time.Second+time.Millisecond {
			t.Errorf("took %s", d)
		}
		if err := b.idle(t.Context()); err != nil || time.Since(start) < 10*time.Second+19*time.Millisecond {
			t.Errorf("idle after %s: %v", time.Since(start), err)
		}
	})
}
