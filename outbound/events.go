package outbound

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
)

// Events beside those of rows, which the board makes by itself: that busy
// protection lapsed and works again, the phases of a link that comes back, and
// spells of limits.

// narrate records what changed with a tick of a group. The lock is held, and the
// result not yet noted.
func (o *Outbound) narrate(r *running, result *slots.Result, now time.Time) {
	o.narrateLapse(r, result)
	for i := range result.Members {
		s := &result.Members[i]
		if s.Full && s.Phase != slots.Out {
			o.spells.seen(spell{id: status.MakeID(status.KindLink, s.Name), what: limitReached}, now, o.opts.Board.Record)
		}
		if len(r.last.Members) != len(result.Members) || r.last.Members[i].Name != s.Name {
			continue // it has just begun, or was made anew
		}
		was := r.last.Members[i].Phase
		if why := phaseWhy(r, was, s); why != "" {
			o.opts.Board.Record(status.Event{ID: status.MakeID(status.KindLinkGroup, r.Group.Name, s.Name), Old: was.String(), New: s.Phase.String(), Why: why, By: Owner})
		}
	}
}

// phaseWhy says what a phase means that a link came to while it comes back; ""
// if the link's row or an operator's hold tells all there is.
func phaseWhy(r *running, was slots.Phase, s *slots.Standing) string {
	slow := r.Group.SlowOnline
	switch {
	case was == s.Phase:
	case s.Phase == slots.StandingBy:
		return fmt.Sprintf("it is back, and gets nothing new for %v", slow.Standby)
	case s.Phase == slots.Ramping:
		return fmt.Sprintf("its share grows for %v", slow.Ramp)
	case s.Phase == slots.Serving && (was == slots.StandingBy || was == slots.Ramping):
		return "it has its whole share again"
	}
	return ""
}

func (o *Outbound) narrateLapse(r *running, result *slots.Result) {
	was, is := len(r.last.Lapsed) > 0, len(result.Lapsed) > 0
	if was == is {
		return
	}
	whom := ""
	if r.Name != r.Group.Name {
		whom = ", for virtual servers with busyProtection"
	}
	e := status.Event{ID: groupRow(r.Group), Old: "busy protection lapsed", New: "busy protection works", Why: "not all are busy any more" + whom, By: Owner}
	if is {
		e.Old, e.New = "", "busy protection lapsed"
		e.Why = "all that take part are busy: " + names(result.Lapsed) + whom
	}
	o.opts.Board.Record(e)
}

// names lists rows, the first eight of them.
func names(ids []status.ID) string {
	const most = 8
	var list []string
	for _, id := range ids[:min(len(ids), most)] {
		list = append(list, string(id))
	}
	if more := len(ids) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}

// What a spell is of: its beginning, and how its end is called.
const (
	limitReached = "limit reached"
	noLink       = "no link"
)

var spellEnds = map[string]string{limitReached: "below its limit", noLink: "links again"}

// spell is a time in which something goes on: it is told when it begins and when
// it is over, not with every connection.
type spell struct {
	id    status.ID
	what  string
	tried uint64 // new connections that were refused
}

// spellQuiet is for how long nothing must be seen for a spell to be over.
const spellQuiet = 30 * time.Second

// spells are those that go on.
type spells map[[2]string]*ongoing

// ongoing is a spell that goes on.
type ongoing struct {
	spell
	from, last time.Time
}

// seen begins a spell, or has it go on.
func (all spells) seen(s spell, now time.Time, record func(status.Event)) {
	key := [2]string{string(s.id), s.what}
	if is := all[key]; is != nil {
		is.last, is.tried = now, is.tried+s.tried
		return
	}
	all[key] = &ongoing{s, now, now}
	record(status.Event{ID: s.id, New: s.what, Why: s.text(), By: Owner})
}

// over ends those of which nothing was seen of late, the oldest first.
func (all spells) over(now time.Time, record func(status.Event)) {
	oldest := func(a, b [2]string) int {
		return cmp.Or(all[a].from.Compare(all[b].from), slices.Compare(a[:], b[:]))
	}
	for _, key := range slices.SortedFunc(maps.Keys(all), oldest) {
		s := all[key]
		if now.Sub(s.last) < spellQuiet {
			continue
		}
		delete(all, key)
		record(status.Event{ID: s.id, Old: s.what, New: spellEnds[s.what], By: Owner,
			Why: fmt.Sprintf("%s, within %v", s.text(), s.last.Sub(s.from).Round(time.Second))})
	}
}

func (s *spell) text() string {
	switch {
	case s.what == noLink:
		return fmt.Sprintf("%d new connections found no link that could take them", s.tried)
	case s.tried == 0:
		return "it has as many connections as it may"
	case s.id.Kind() == status.KindLink:
		return fmt.Sprintf("%d new connections had to try another link", s.tried)
	}
	return fmt.Sprintf("%d new connections were refused", s.tried)
}
