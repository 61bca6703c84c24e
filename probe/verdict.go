package probe

import (
	"fmt"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Who found a state, as rows say it.
const (
	byProbe = "probe"
	byWarm  = status.WarmStart
)

// finding is what is known from one check now.
type finding struct {
	health  status.Health
	waiting bool
	saw     string
	since   time.Time
	seen    time.Time
	by      string
}

// score is how the probes of a verdict stand.
type score struct {
	up, down, all int
}

// health applies the criterion. It is decided as soon as the probes that are
// still unknown could not change it: n up, or so many down that n cannot be.
// want 0 means all.
func (s score) health(want int) status.Health {
	if want == 0 || want > s.all {
		want = s.all
	}
	switch {
	case s.all == 0:
		return status.Unknown
	case s.up >= want:
		return status.Up
	case s.all-s.down < want:
		return status.Down
	default:
		return status.Unknown
	}
}

// combine gives the health of one probe from that of its checks: down if any
// is down, up if all are up; where any will do, up if any is up, down if all are
// down.
func (n *Need) combine(of func(status.ID) finding) status.Health {
	decides, health := status.Down, status.Up
	if n.Any {
		decides, health = status.Up, status.Down
	}
	for _, id := range n.Checks {
		switch of(id).health {
		case decides:
			return decides
		case status.Unknown:
			health = status.Unknown
		}
	}
	return health
}

// judge makes the row of a verdict from the findings of its checks.
func judge(v *Verdict, of func(status.ID) finding) status.Row {
	row := status.Row{ID: v.ID, By: byProbe, Why: v.Note}
	if v.Missing {
		row.Health = status.Down
	}
	if len(v.Probes) == 0 {
		return row
	}
	s := score{all: len(v.Probes)}
	var since time.Time
	for _, need := range v.Probes {
		switch need.combine(of) {
		case status.Up:
			s.up++
		case status.Down:
			s.down++
		}
		for _, id := range need.Checks {
			f := of(id)
			row.Waiting = row.Waiting || f.waiting
			row.Seen, since = later(row.Seen, f.seen), later(since, f.since)
			if f.by == byWarm {
				row.By = byWarm
			}
		}
	}
	row.Health = s.health(v.AtLeast)
	row.Waiting = row.Waiting && row.Health == status.Unknown
	row.Why = explain(v, s, of)
	if row.By == byWarm {
		row.Since = since // else the board knows when Health changed
	}
	return row
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// explain is the evidence of a verdict: the tally if there are several probes,
// and what the first one in trouble saw.
func explain(v *Verdict, s score, of func(status.ID) finding) string {
	var parts []string
	if s.all > 1 {
		text := fmt.Sprintf("%d of %d probes succeed", s.up, s.all)
		if v.AtLeast > 0 {
			text += fmt.Sprintf(", %d needed", v.AtLeast)
		}
		parts = append(parts, text)
	}
	id, others := trouble(v, of)
	if id == "" && s.all == 1 {
		id = v.Probes[0].speaker(of)
	}
	if id != "" {
		parts = append(parts, fmt.Sprintf("%s: %s", id, of(id).saw))
	}
	if others > 0 {
		parts = append(parts, fmt.Sprintf("%d more fail", others))
	}
	return strings.Join(parts, "; ")
}

// speaker gives the check whose evidence is told of a probe that is not in
// trouble: the first, or the first that makes it so.
func (n *Need) speaker(of func(status.ID) finding) status.ID {
	for _, id := range n.Checks {
		if n.Any && of(id).health == status.Up {
			return id
		}
	}
	return n.Checks[0]
}

// trouble finds the first check that is down, else the first that is unknown,
// and counts the other checks that are down. A probe that any check makes good
// is in no trouble.
func trouble(v *Verdict, of func(status.ID) finding) (first status.ID, others int) {
	var unknown status.ID
	for _, need := range v.Probes {
		if need.Any && need.combine(of) == status.Up {
			continue
		}
		for _, id := range need.Checks {
			switch h := of(id).health; {
			case h == status.Down && first == "":
				first = id
			case h == status.Down:
				others++
			case h == status.Unknown && unknown == "":
				unknown = id
			}
		}
	}
	if first == "" {
		first = unknown
	}
	return first, others
}
