package pick

import "time"

// SlowOnline is how a member that was down comes back: it stands by for a
// while, then its share rises evenly until it is whole (T31).
//
//	share 1 ┤                    ╭────────
//	        │                ╭───╯
//	        │            ╭───╯
//	      0 ┼────────────╯
//	        └ up ─ Standby ─┴─ Ramp ─┘
type SlowOnline struct {
	Standby time.Duration // 0: none
	Ramp    time.Duration // 0: none
}

// Share is how much of its work a member takes that has been back since a
// moment: 0 while it stands by, 1 when it is through. next is when that turns
// into something else than standby, ramp or the whole; zero: never.
func (s SlowOnline) Share(since, now time.Time) (share float64, next time.Time) {
	begin := since.Add(max(s.Standby, 0))
	end := begin.Add(max(s.Ramp, 0))
	switch {
	case now.Before(begin):
		return 0, begin
	case now.Before(end):
		return float64(now.Sub(begin)) / float64(s.Ramp), end
	default:
		return 1, time.Time{}
	}
}
