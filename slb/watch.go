package slb

import (
	"fmt"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/slb/l4"
	"github.com/portolan-lb/portolan/status"
)

// A server is shut down by what its connections show, without a probe: by resets
// that it sends, which the kernel counts, and by TCP connections that it does not
// answer, which conntrack has. Then it is out until its recovery is over,
// and comes back as one that was down does: slowly, if the farm says so. Nothing is
// asked of those that are left: if all servers do so the farm is not available, and
// the DNS can go elsewhere.

// watch is what the connections of a server have shown of late.
type watch struct {
	resets, unanswered window
	out                bool
	until              time.Time // then it is tried again; zero: when an operator says so
	why                string
	again              time.Time // when it was tried again last, or an operator held it up still
}

// answerWithin is for how long a server may leave a TCP connection without any
// answer. A client tries after one second and after three: a server that was full for
// a moment has answered the second try by then.
const answerWithin = 3 * time.Second

// answerLate is how long after a server is tried again, or let go, connections may be counted
// that it left unanswered before: they wait for answerWithin, and are looked for
// each second, by one who may be late.
const answerLate = 2 * answerWithin

// awaits says for how long servers may leave connections without an answer; 0: nobody
// looks at that, and it costs nothing.
func (s *SLB) awaits() time.Duration {
	for _, m := range s.watched {
		if m.farm.AutoShutdown.Unanswered > 0 {
			return answerWithin
		}
	}
	return 0
}

// newWatch gives the watch of a server; nil: it is not watched.
func newWatch(m *member) *watch {
	if m.farm.AutoShutdown == nil {
		return nil
	}
	return &watch{}
}

// window is how a counter grew over a time. It keeps no more than windowParts
// readings.
type window struct {
	at []time.Time
	n  []uint64
}

const windowParts = 20

// grew takes a reading, and gives by how much the counter grew within a time, or a
// little more.
func (w *window) grew(now time.Time, total uint64, within time.Duration) uint64 {
	if k := len(w.n); k > 0 && total < w.n[k-1] { // it was made anew
		w.at, w.n = w.at[:0], w.n[:0]
	}
	drop := 0
	for drop+1 < len(w.at) && now.Sub(w.at[drop+1]) >= within {
		drop++
	}
	w.at, w.n = append(w.at[:0], w.at[drop:]...), append(w.n[:0], w.n[drop:]...)
	if k := len(w.at); k == 0 || now.Sub(w.at[k-1]) >= within/windowParts {
		w.at, w.n = append(w.at, now), append(w.n, total)
	}
	return total - w.n[0]
}

// watch looks at what the connections of servers have shown.
func (s *SLB) watch(now time.Time, refusals map[l4.ID]uint64) {
	rows := s.opts.Board.Table()
	var changed []status.Row
	var gone []status.ID
	for _, m := range s.watched {
		w, spec := m.watch, m.farm.AutoShutdown
		held := rows.Row(m.row).Hold
		switch {
		case w.out && held != nil && held.State == status.HoldUp:
			s.back(m, now, "an operator holds it up")
			gone = append(gone, m.own)
			continue
		case w.out && !w.until.IsZero() && !now.Before(w.until):
			s.back(m, now, fmt.Sprintf("it was out for %v, and is tried again", spec.Recovery))
			gone = append(gone, m.own)
			continue
		case w.out:
			continue
		case held != nil && held.State == status.HoldUp: // what it shows meanwhile is the operator's to judge
			*w = watch{again: now}
			continue
		}
		if why := w.judge(now, refusals[m.id], m.unanswered, spec); why != "" {
			*w = watch{out: true, why: why}
			if spec.Recovery > 0 {
				w.until = now.Add(time.Duration(spec.Recovery))
			}
			row, _ := m.ownRow()
			changed = append(changed, row)
		}
	}
	if len(changed)+len(gone) > 0 {
		for _, row := range changed {
			s.rows[row.ID] = true
		}
		s.opts.Board.Replace(changed, gone)
	}
}

// judge takes readings of both counters, and says why the server is to go out; "":
// it is not.
func (w *watch) judge(now time.Time, resets, unanswered uint64, spec *config.AutoShutdown) string {
	if now.Sub(w.again) < answerLate { // what is counted now is of before
		w.unanswered = window{}
	}
	r := w.resets.grew(now, resets, time.Duration(spec.Within))
	u := w.unanswered.grew(now, unanswered, time.Duration(spec.Within))
	switch {
	case spec.Resets > 0 && r >= uint64(spec.Resets):
		return fmt.Sprintf("it reset %d connections within %v", r, spec.Within)
	case spec.Unanswered > 0 && u >= uint64(spec.Unanswered):
		return fmt.Sprintf("it did not answer %d connections within %v", u, spec.Within)
	}
	return ""
}

// back has a server tried again.
func (s *SLB) back(m *member, now time.Time, why string) {
	*m.watch = watch{again: now}
	delete(s.rows, m.own)
	s.opts.Board.Record(status.Event{ID: m.row, Old: "shut down by itself", New: "tried again", Why: why, By: Owner})
}

// ownRow is the row by which a server is out for a reason of ours; out is false if
// there is none.
func (m *member) ownRow() (row status.Row, out bool) {
	row = status.Row{ID: m.own, Health: status.Down, By: Owner}
	switch w := m.watch; {
	case w != nil && w.out && w.until.IsZero():
		row.Why = "shut down by itself: " + w.why + "; it is tried again when an operator holds it up"
	case w != nil && w.out:
		row.Why = fmt.Sprintf("shut down by itself: %s; it is tried again at %s", w.why, w.until.Format(time.RFC3339))
	case m.Host != "" && !m.addrs[0].IsValid() && !m.addrs[1].IsValid():
		row.Why = fmt.Sprintf("no address is known of %s yet", shown(m.Host))
	default:
		return status.Row{}, false
	}
	return row, true
}
