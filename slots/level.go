package slots

import (
	"math"
	"time"
)

// Least-connections by a table that stands for a while: to give everything to
// the member with the fewest would send a whole tick's connections there, and
// swing. So the connections that are expected until the next tick are poured
// over the members like water into a vessel of uneven ground, in as many small
// portions as there are slots, each to the member that then has the fewest for
// its weight:
//
//	connections  300 ┤ ████                     300 expected: all of them go to b
//	             200 ┤ ████                     and c, 150 each, and the next tick
//	             100 ┤ ████  ░░░░  ░░░░         begins with 300, 150, 150
//	               0 ┴──a─────b─────c──
//
// pour gives each member of live connections its portions of size. Those that are not
// known (NaN) have as many, for their weight, as the others in the mean (T28);
// if none is known all have 0. weights are above 0.
func pour(live, weights []float64, arrivals float64, portions []int, size int) {
	n := len(live)
	clear(portions)
	if n == 0 {
		return
	}
	var a [3 * 16]float64
	m := a[:]
	if n > 16 {
		m = make([]float64, 3*n)
	}
	level, step, turns := m[:n], m[n:2*n], m[2*n:3*n]
	sum, known := 0.0, 0
	for i, l := range live {
		level[i] = max(l, 0) / weights[i]
		if !math.IsNaN(l) {
			sum, known = sum+level[i], known+1
		}
	}
	// With nothing expected one connection for each member is, so that what does
	// come is not all given to one.
	portion := max(arrivals, float64(n)) / float64(size)
	for i := range level {
		if math.IsNaN(level[i]) {
			level[i] = sum / float64(max(known, 1))
		}
		step[i] = portion / weights[i]
	}
	for range size {
		low := 0
		for i := 1; i < n; i++ {
			if level[i] < level[low] || level[i] == level[low] && turns[i] < turns[low] {
				low = i
			}
		}
		level[low] += step[low]
		turns[low] += 1 / weights[low]
		portions[low]++
	}
}

// clip bounds each part, of all connections that are expected, to the room that
// its member has below its limit (room +Inf: no limit), and gives what is over to
// those that have room left, in proportion to their parts; to those that have no
// part only if nobody with one has room. Where there is less room than
// connections are expected, each gets by its room: a limit is passed by less
// than what arrives in one tick, and nothing is dropped while there is room by
// the count of the tick. parts sum up to 1; members that are not active have
// no room to give.
func clip(parts, room []float64, active []bool, arrivals float64) {
	if arrivals <= 0 {
		return
	}
	total := 0.0
	for i, r := range room {
		if active[i] {
			total += r
		}
	}
	if total <= arrivals {
		for i, r := range room {
			parts[i] = 0
			if active[i] && total > 0 {
				parts[i] = r / total
			}
		}
		return
	}
	for range parts { // each round fills one member or is the last
		over, open := 0.0, 0.0
		for i := range parts {
			if most := room[i] / arrivals; parts[i] > most {
				over += parts[i] - most
				parts[i] = most
			} else if active[i] && parts[i] < most {
				open += parts[i]
			}
		}
		if over < 1e-12 {
			return
		}
		spread(parts, room, active, arrivals, over, open)
	}
}

// spread gives what is over to the members with room. open is the sum of their
// parts.
func spread(parts, room []float64, active []bool, arrivals, over, open float64) {
	n := 0
	for i := range parts {
		if active[i] && parts[i] < room[i]/arrivals {
			n++
		}
	}
	for i := range parts {
		switch {
		case !active[i] || parts[i] >= room[i]/arrivals:
		case open > 0:
			parts[i] += over * parts[i] / open
		default:
			parts[i] += over / float64(n)
		}
	}
}

// Arrivals is how many new connections come, from a counter that is read each
// tick. The zero value has read nothing yet. It is a value: reading gives the
// next one.
type Arrivals struct {
	Total uint64    // the counter, as read last
	At    time.Time // when that was; zero: never
	Mean  float64   // connections a second, the last few seconds weighing most
	Last  float64   // connections a second between the last two readings
	Known bool      // there have been two readings
}

// arrivalsMemory is how long ago weighs 1/e of now in the mean.
const arrivalsMemory = 2 * time.Second

// arrivalsLeast is the least time between two readings: what came in less, as
// between two changes of rows, says nothing of a rate.
const arrivalsLeast = 50 * time.Millisecond

// Read takes a reading of the counter into account. One that is less than the
// last, as after a restart of whoever counts, says nothing of what came.
func (a Arrivals) Read(total uint64, now time.Time) Arrivals {
	between := now.Sub(a.At)
	switch {
	case a.At.IsZero() || total < a.Total:
		a.Total, a.At = total, now
		return a
	case between < arrivalsLeast:
		return a
	}
	a.Last = float64(total-a.Total) / between.Seconds()
	fresh := 1 - math.Exp(-between.Seconds()/arrivalsMemory.Seconds())
	if !a.Known {
		fresh = 1
	}
	a.Mean += (a.Last - a.Mean) * fresh
	a.Total, a.At, a.Known = total, now, true
	return a
}

// Expect gives how many are to come within a time: by the mean, or by what came
// last if that is more. To expect too many spreads them more evenly than need
// be, to expect too few gives too many to one member.
func (a Arrivals) Expect(within time.Duration) float64 {
	return max(a.Mean, a.Last) * within.Seconds()
}
