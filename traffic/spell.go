package traffic

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Spell is a time in which something goes on: it is told when it begins and when
// it is over, not with every connection.
type Spell struct {
	ID    status.ID
	What  string // as the event of its beginning says, such as "limit reached"
	Over  string // and that of its end, such as "below its limit"
	Whom  string // what is counted, such as "new connections were refused"
	Why   string // instead, where nothing is counted
	Tried uint64 // how many there were
}

// spellQuiet is for how long nothing must be seen for a spell to be over.
const spellQuiet = 30 * time.Second

// Spells are those that go on. It is for one goroutine at a time; the zero Spells
// has none.
type Spells struct{ all map[[2]string]*ongoing }

// ongoing is a spell that goes on.
type ongoing struct {
	Spell
	from, last time.Time
}

// Seen begins a spell, or has it go on. by is who says so.
func (s *Spells) Seen(sp Spell, by string, now time.Time, record func(status.Event)) {
	key := [2]string{string(sp.ID), sp.What}
	if is := s.all[key]; is != nil {
		is.last, is.Tried = now, is.Tried+sp.Tried
		if sp.Whom != "" { // what began without a count has one now
			is.Whom = sp.Whom
		}
		return
	}
	if s.all == nil {
		s.all = map[[2]string]*ongoing{}
	}
	s.all[key] = &ongoing{sp, now, now}
	record(status.Event{ID: sp.ID, New: sp.What, Why: sp.text(), By: by})
}

// End ends those of which nothing was seen of late, the oldest first.
func (s *Spells) End(by string, now time.Time, record func(status.Event)) {
	oldest := func(a, b [2]string) int {
		return cmp.Or(s.all[a].from.Compare(s.all[b].from), slices.Compare(a[:], b[:]))
	}
	for _, key := range slices.SortedFunc(maps.Keys(s.all), oldest) {
		sp := s.all[key]
		if now.Sub(sp.last) < spellQuiet {
			continue
		}
		delete(s.all, key)
		record(status.Event{ID: sp.ID, Old: sp.What, New: sp.Over, By: by,
			Why: fmt.Sprintf("%s, within %v", sp.text(), sp.last.Sub(sp.from).Round(time.Second))})
	}
}

func (sp *Spell) text() string {
	if sp.Tried == 0 {
		return sp.Why
	}
	return fmt.Sprintf("%d %s", sp.Tried, sp.Whom)
}
