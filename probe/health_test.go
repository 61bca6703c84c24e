package probe

import (
	"testing"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// p a pass, f a failure, v a void; after each the health that must follow:
// ? unknown, U up, D down.
func TestTally_T56(t *testing.T) {
	for _, c := range []struct{ name, results, health string }{
		{"first pass counts at once", "p", "U"},
		{"first failure counts at once", "f", "D"},
		{"fall 3", "pffff", "UUUDD"},
		{"rise 2", "fppp", "DDUU"},
		{"a pass between starts fall again", "pffpfff", "UUUUUUD"},
		{"a failure between starts rise again", "fpfpp", "DDDDU"},
		{"void first leaves unknown, the next counts at once", "vvf", "??D"},
		{"void neither counts nor starts again", "pfvfvvf", "UUUUUUD"},
	} {
		tally := tally{rise: 2, fall: 3}
		got := ""
		for _, r := range c.results {
			tally.add(map[rune]Outcome{'p': Pass, 'f': Fail, 'v': Void}[r])
			got += map[status.Health]string{status.Unknown: "?", status.Up: "U", status.Down: "D"}[tally.health]
		}
		if got != c.health {
			t.Errorf("%s: %s gives %s, want %s", c.name, c.results, got, c.health)
		}
	}
}

func TestNextPoint_T51(t *testing.T) {
	const interval = 5 * time.Second
	at := time.Unix(1000, 0)
	for late, want := range map[time.Duration]struct {
		next    time.Duration
		skipped int
	}{
		0:                  {5 * time.Second, 0},
		3 * time.Second:    {5 * time.Second, 0},
		5 * time.Second:    {5 * time.Second, 0},
		5*time.Second + 1:  {10 * time.Second, 1},
		12 * time.Second:   {15 * time.Second, 2},
		-time.Microsecond:  {5 * time.Second, 0},
		1000 * time.Second: {1000 * time.Second, 199},
	} {
		next, skipped := nextPoint(at, interval, at.Add(late))
		if next.Sub(at) != want.next || skipped != want.skipped {
			t.Errorf("%s late: next after %s, %d skipped", late, next.Sub(at), skipped)
		}
	}
}

func TestPoints_T51(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		i, n                             int
		interval, timeout, first, second time.Duration
	}{
		{0, 1, 5000 * ms, 3000 * ms, 0, 5000 * ms}, // alone: on the grid from the start
		{99, 100, 5000 * ms, 3000 * ms, 990 * ms, 4950 * ms},
		{50, 100, 5000 * ms, 3000 * ms, 500 * ms, 7500 * ms}, // at 2.5 s the first may be out still
		{50, 100, 5000 * ms, 2000 * ms, 500 * ms, 2500 * ms},
		{1, 2, 200 * ms, 100 * ms, 100 * ms, 300 * ms},
	} {
		if first, second := points(c.i, c.n, c.interval, c.timeout); first != c.first || second != c.second {
			t.Errorf("%d of %d every %s: after %s and %s, want %s and %s", c.i, c.n, c.interval, first, second, c.first, c.second)
		}
	}
}

func TestKeep(t *testing.T) {
	var list []Record
	for i := range 25 {
		list = keep(list, Record{Took: time.Duration(i)}, 10)
	}
	if len(list) != 10 || list[0].Took != 15 || list[9].Took != 24 {
		t.Errorf("kept %v", list)
	}
}
