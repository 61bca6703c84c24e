package probe

import (
	"time"

	"github.com/portolan-lb/portolan/status"
)

// tally is rise and fall, over the outcomes of one check:
//
//	first result ever sets the state at once (T56)
//	rise passes in a row   -> up
//	fall failures in a row -> down
//	void              changes nothing; as first result it leaves unknown
type tally struct {
	rise, fall int
	health     status.Health
	streakOf   Outcome // Pass or Fail
	streak     int     // results alike in a row, voids left out; 0: none to this definition
	settled    bool    // has had its first result
}

// startAgain forgets the counts but not the state: a definition was changed,
// and from now on it takes rise or fall results to the new one to change it.
func (t *tally) startAgain() { t.streak = 0 }

// add counts one outcome and reports whether health changed.
func (t *tally) add(o Outcome) (changed bool) {
	if o == Void {
		return false
	}
	first := !t.settled
	t.settled = true
	if o != t.streakOf {
		t.streakOf, t.streak = o, 0
	}
	t.streak++
	need, next := t.rise, status.Up
	if o == Fail {
		need, next = t.fall, status.Down
	}
	if t.health == next || (!first && t.streak < need) {
		return false
	}
	t.health = next
	return true
}

// Kept results of each check.
const (
	keepLast     = 10
	keepFailures = 10
)

// Record is one finished probe.
type Record struct {
	At      time.Time     `json:"at"`   // when it started
	Took    time.Duration `json:"took"` // nanoseconds
	Outcome Outcome       `json:"outcome"`
	Saw     string        `json:"saw"`
}

// keep appends to a list that holds at most n, the oldest giving way.
func keep(list []Record, r Record, n int) []Record {
	if len(list) >= n {
		list = append(list[:0], list[len(list)-n+1:]...)
	}
	return append(list, r)
}

// nextPoint gives the first point of a check's grid after prev that is not in
// the past, and how many points were skipped because the probe of prev was
// still running (T51).
func nextPoint(prev time.Time, interval time.Duration, now time.Time) (next time.Time, skipped int) {
	steps := max((now.Sub(prev)+interval-1)/interval, 1)
	return prev.Add(steps * interval), int(steps - 1)
}

// points gives the first two points of check i of n that start together, from
// now. The first ones are spread over at most a second, so that all of them are
// out by then and do not go at once. From the second on they are spread over
// the interval, so that each part of it has the same work (R5); it is the
// first point of that grid by which the first probe has ended for certain, at
// most timeout + interval after it.
func points(i, n int, interval, timeout time.Duration) (first, second time.Duration) {
	first = min(interval, time.Second) * time.Duration(i) / time.Duration(n)
	second = interval * time.Duration(i) / time.Duration(n)
	if second < first+timeout {
		second += interval
	}
	return first, second
}
