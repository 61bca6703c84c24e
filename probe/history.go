package probe

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// History is what is known of one check: the evidence behind its row. It is a
// copy.
type History struct {
	ID     status.ID `json:"id"`
	Probe  string    `json:"probe"`
	Kind   string    `json:"kind"`
	Target string    `json:"target"`
	Source string    `json:"source,omitempty"`

	Interface string `json:"interface,omitempty"` // the probe is pinned to it
	Mark      uint32 `json:"mark,omitempty"`      // of its packets

	Health   status.Health `json:"health"`
	Waiting  bool          `json:"waiting,omitempty"`
	Since    time.Time     `json:"since,omitzero"` // when Health took its value
	Seen     time.Time     `json:"seen,omitzero"`  // when the evidence was gathered
	Saw      string        `json:"saw"`            // the evidence
	By       string        `json:"by"`             // probe, warm start
	Rise     int           `json:"rise"`
	Fall     int           `json:"fall"`
	Streak   int           `json:"streak"`   // results like the last one in a row, voids left out
	Interval time.Duration `json:"interval"` // nanoseconds, as is Timeout
	Timeout  time.Duration `json:"timeout"`
	Running  bool          `json:"running,omitempty"` // a probe is out now
	Next     time.Time     `json:"next,omitzero"`     // when the next one starts
	Last     []Record      `json:"last"`              // at most 10, oldest first
	Failures []Record      `json:"failures"`          // at most 10, kept apart so that successes do not push them out
}

// History gives the evidence of a check, a row of kind probe.
func (p *Prober) History(id status.ID) (History, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.runners[id]; r != nil {
		return r.history(), true
	}
	return History{}, false
}

// Evidence gives the evidence behind any row: of a verdict all of its checks,
// in the order of the configuration; of a check itself; of an unknown id none.
func (p *Prober) Evidence(id status.ID) []History {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r := p.runners[id]; r != nil {
		return []History{r.history()}
	}
	var list []History
	for i := range p.verdicts {
		if p.verdicts[i].ID != id {
			continue
		}
		for _, need := range p.verdicts[i].Probes {
			for _, check := range need.Checks {
				if r := p.runners[check]; r != nil {
					list = append(list, r.history())
				}
			}
		}
	}
	return list
}

// Checks gives the evidence of every check, ordered by id.
func (p *Prober) Checks() []History {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := make([]History, 0, len(p.runners))
	for _, r := range p.runners {
		list = append(list, r.history())
	}
	slices.SortFunc(list, func(a, b History) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return list
}

func (r *runner) history() History {
	h := History{
		ID: r.check.ID, Probe: r.check.Probe.Name, Kind: r.check.Probe.Kind,
		Target: showTarget(r.check.Target),
		Health: r.health, Waiting: r.waiting, Since: r.since, Seen: r.seen, Saw: r.saw, By: r.by,
		Rise: r.rise, Fall: r.fall, Streak: r.streak,
		Interval: r.interval, Timeout: r.timeout, Running: r.running, Next: r.next,
		Last: slices.Clone(r.recent), Failures: slices.Clone(r.failures),
	}
	if pin := r.check.Pin; pin.Source.IsValid() {
		h.Source = pin.Source.String()
	}
	h.Interface, h.Mark = r.check.Pin.Device, r.check.Pin.Mark
	return h
}

func (r *runner) finding() finding {
	return finding{health: r.health, waiting: r.waiting, saw: r.saw, since: r.since, seen: r.seen, by: r.by}
}

// row is the check's own row: its evidence.
func (r *runner) row() status.Row {
	row := status.Row{
		ID: r.check.ID, Health: r.health, Waiting: r.waiting,
		Since: r.since, Seen: r.seen, Why: r.saw, By: r.by,
	}
	if r.streak > 1 {
		row.Why += fmt.Sprintf(" (%d in a row)", r.streak)
	}
	return row
}
