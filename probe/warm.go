package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Warm is the state of one check, to be kept over a restart.
type Warm struct {
	ID     status.ID     `json:"id"`
	Health status.Health `json:"health"`
	Since  time.Time     `json:"since"` // when Health took its value
	Seen   time.Time     `json:"seen"`  // when the evidence was gathered
}

// Snapshot gives the state of every check that has one, ordered by id.
func (p *Prober) Snapshot() []Warm {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []Warm
	for id, r := range p.runners {
		if r.health != status.Unknown {
			list = append(list, Warm{ID: id, Health: r.health, Since: r.since, Seen: r.seen})
		}
	}
	slices.SortFunc(list, func(a, b Warm) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return list
}

// Restore puts back what Snapshot gave before a restart. It counts for the
// first plan only, so it must come before the first Want. Checks with a warm
// state are not Waiting; their first result sets their state as any first
// result does. States of checks that the plan does not have are forgotten. The
// caller decides how old a state may be.
func (p *Prober) Restore(list []Warm) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.warm = make(map[status.ID]Warm, len(list))
	for _, w := range list {
		if w.Health == status.Up || w.Health == status.Down {
			p.warm[w.ID] = w
		}
	}
}

// warm gives a new runner the state it had before the restart.
func (r *runner) warm(w Warm, now time.Time) {
	r.health, r.since, r.seen, r.by = w.Health, w.Since, w.Seen, byWarm
	r.saw = fmt.Sprintf("%s when last probed, %s before the start", w.Health, now.Sub(w.Seen).Round(time.Second))
}
