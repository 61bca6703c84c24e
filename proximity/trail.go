package proximity

import "math"

// trail is the last round trip times of one way, as methods found them or as
// clients' connections showed them: the least of each of three spans.
//
//	samples ──> least of a span ──> up to three spans ──> the middle one
//
//	spans   what counts     so that
//	none    nothing         unknown is never 0 (T28)
//	1       it              the first sample counts at once
//	2       the lesser      a queue makes a time longer, nothing makes it shorter
//	3       the middle one  one outlier moves nothing, two that agree move it
//
// A span of connections is ten seconds, so that a burst counts once; a round of
// measuring is a span of its own. Spans before a gap of more than four
// half-lives are forgotten when the next one begins. The zero trail has no
// samples.
type trail struct {
	least [3]uint32 // microseconds, newest first; 0: none
	since stamp     // when the newest span began
}

// How long samples are of one span, in seconds.
const (
	spanActive  = 0
	spanPassive = 10
)

// forgotten is after how many half-lives a sample weighs nothing.
const forgotten = 4

// add takes a sample of so many microseconds, 1 or more. Span and the half-life
// are in seconds. A sample from before the newest span, as a clock that was set back
// makes them, is of that span.
func (t *trail) add(micros uint32, at stamp, span, half uint32) {
	switch newer := age(t.since, at); {
	case t.least[0] == 0 || newer > forgotten*half:
		*t = trail{least: [3]uint32{micros}, since: at}
	case newer < span:
		t.least[0] = min(t.least[0], micros)
	default:
		*t = trail{least: [3]uint32{micros, t.least[0], t.least[1]}, since: max(at, t.since)}
	}
}

// micros gives what counts; 0: nothing.
func (t *trail) micros() uint32 {
	a, b, c := t.least[0], t.least[1], t.least[2]
	switch {
	case b == 0:
		return a
	case c == 0:
		return min(a, b)
	}
	return max(min(a, b), min(max(a, b), c))
}

// known says whether there is any sample.
func (t *trail) known() bool { return t.least[0] > 0 }

// unsettled says that the newest span differs from what counts, by more than a
// quarter and 5 ms: another sample soon tells a change from an outlier.
func (t *trail) unsettled() bool {
	a, b := int64(t.least[0]), int64(t.micros())
	return max(a, b)-min(a, b) > max(b/4, 5000)
}

// merge gives the one round trip time of what was measured and what was seen,
// in microseconds; 0: nothing is known. Each counts by its freshness: who is
// older by a half-life counts half as much, by more than four not at all. Only
// the difference of their ages matters, so that what was merged stays right
// until the next sample.
//
//	age of active    age of passive   half-life 5m: share of active
//	0                -                1
//	0                0                1/2
//	0                5m               2/3
//	0                10m              4/5
//	5m               0                1/3
//	0                over 20m         1
func merge(active, passive *trail, half uint32) uint32 {
	a, p := active.micros(), passive.micros()
	switch {
	case p == 0:
		return a
	case a == 0:
		return p
	}
	lead := float64(int64(active.since)-int64(passive.since)) / float64(max(half, 1))
	switch {
	case lead > forgotten:
		return a
	case lead < -forgotten:
		return p
	}
	share := 1 / (1 + math.Exp2(-lead))
	return uint32(math.Round(share*float64(a) + (1-share)*float64(p)))
}
