package busy

import (
	"math"
	"slices"
	"time"
)

// trend is how a demand moves, told from its means over equal spans of the last
// dead time, or of leastTrend if that is longer.
type trend struct {
	means [spans]float64 // oldest first
	count int            // of means
	span  time.Duration
	since time.Time // when the span began that is being filled
	sum   float64
	added int
}

// The slopes are taken over spans so far apart that a step of the load, which
// is no trend, bears on fewer than half of them.
const (
	spans = 16
	apart = 4
)

// add takes a demand in. Another dead time starts anew.
func (t *trend) add(demand float64, dead time.Duration, at time.Time) {
	if span := max(dead, leastTrend) / spans; t.span != span {
		*t = trend{span: span, since: at}
	}
	if at.Sub(t.since) >= t.span {
		copy(t.means[:], t.means[1:])
		t.means[spans-1] = t.sum / float64(t.added)
		t.count, t.since, t.sum, t.added = min(t.count+1, spans), at, 0, 0
	}
	t.sum += demand
	t.added++
}

// over gives what the demand is likely to grow by in a time ahead: by the median
// of the slopes. That it will fall is not counted on.
func (t *trend) over(ahead time.Duration, demand float64) float64 {
	if t.count < spans {
		return 0
	}
	var rises [spans - apart]float64
	for i := range rises {
		rises[i] = t.means[i+apart] - t.means[i]
	}
	slices.Sort(rises[:])
	rise := rises[len(rises)/2] * float64(ahead) / float64(apart*t.span)
	return min(max(rise, 0), demand*mostTrend)
}

// highest gives the highest of the means; infinite until all are there.
func (t *trend) highest() float64 {
	if t.count < spans {
		return math.Inf(1)
	}
	return slices.Max(t.means[:])
}
