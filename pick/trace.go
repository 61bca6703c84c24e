package pick

import (
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Trace collects why a group chose as it did. All its methods do nothing on a
// nil Trace.
type Trace struct {
	Group   string        `json:"pool"`
	Members []MemberTrace `json:"members"`
	Panic   bool          `json:"panic,omitempty"`  // too few usable members: health was ignored
	Lapsed  bool          `json:"lapsed,omitempty"` // all busy: busy protection lapsed
	Nested  []*Trace      `json:"nested,omitempty"`
	Slots   []*SlotTrace  `json:"slots,omitempty"`
	Reason  string        `json:"reason"`
	Chosen  []string      `json:"chosen,omitempty"`
}

// MemberTrace says whether a member takes part, and why not.
type MemberTrace struct {
	Member string     `json:"member"`
	Active bool       `json:"active"`
	Why    string     `json:"why,omitempty"`
	Rows   []RowTrace `json:"rows,omitempty"` // what it needs, with the evidence
}

// RowTrace is a row as the choice saw it.
type RowTrace struct {
	ID       status.ID    `json:"id"`
	Health   string       `json:"health"`
	Busy     bool         `json:"busy,omitempty"`
	Full     bool         `json:"full,omitempty"`
	Shed     uint16       `json:"shed,omitempty"` // of [status.Slices] slices of clients
	Evidence string       `json:"evidence,omitempty"`
	Since    time.Time    `json:"since,omitzero"`
	Hold     *status.Hold `json:"hold,omitempty"`

	LoadWhy   string    `json:"loadWhy,omitempty"` // of Busy, Full or Shed, or of their end
	LoadSince time.Time `json:"loadSince,omitzero"`
}

// Load names what the row says of load; empty if it says nothing.
func (r RowTrace) Load() string {
	return (&status.Row{Busy: r.Busy, Full: r.Full, Shed: r.Shed}).Load()
}

// SlotTrace says what one slot made of the active members.
type SlotTrace struct {
	Slot       string           `json:"slot"`
	Declined   bool             `json:"declined,omitempty"`
	Candidates []CandidateTrace `json:"candidates,omitempty"`
	Shares     []ShareTrace     `json:"shares,omitempty"`
}

// CandidateTrace is a member that a slot scored.
type CandidateTrace struct {
	Member  string `json:"member"`
	Score   int64  `json:"score,omitempty"`
	Matched bool   `json:"matched"`        // false: the slot has no score for it
	Text    string `json:"text,omitempty"` // what was looked at, in words

	member *Member
}

// ShareTrace is a member's share of the answers, in percent.
type ShareTrace struct {
	Member  string  `json:"member"`
	Percent float64 `json:"percent"`
}

// Index gives the owner's number of a candidate.
func (c CandidateTrace) Index() int { return c.member.Index }

func (tr *Trace) nest() *Trace {
	if tr == nil {
		return nil
	}
	n := &Trace{}
	tr.Nested = append(tr.Nested, n)
	return n
}

func (tr *Trace) slot(name string) *SlotTrace {
	if tr == nil {
		return nil
	}
	s := &SlotTrace{Slot: name}
	tr.Slots = append(tr.Slots, s)
	return s
}

func (tr *Trace) ended(d Distribution, r Reason) (Distribution, Reason) {
	if tr != nil {
		tr.Reason = r.String()
	}
	return d, r
}

func (tr *Trace) chose(members []*Member) {
	if tr == nil {
		return
	}
	for _, m := range members {
		tr.Chosen = append(tr.Chosen, m.Name)
	}
}

// score records what a score was made of, or the score itself.
func (s *SlotTrace) score(in Input, m *Member, score int64, ok bool, say func(Input, *Member) string) {
	if s == nil {
		return
	}
	if say != nil {
		in.Tell(m, ok, say(in, m))
		return
	}
	s.Candidates = append(s.Candidates, CandidateTrace{Member: m.Name, Score: score, Matched: ok, member: m})
}

// Tell records in words what an algorithm saw in a member; known false: nothing
// that it could go by. It does nothing unless somebody asks why, which Traced
// says before the words are made.
func (in *Input) Tell(m *Member, known bool, text string) {
	if in.trace != nil {
		in.trace.Candidates = append(in.trace.Candidates, CandidateTrace{Member: m.Name, Matched: known, Text: text, member: m})
	}
}

// Traced says whether somebody asks why.
func (in *Input) Traced() bool { return in.trace != nil }

func (s *SlotTrace) declined() {
	if s != nil {
		s.Declined = true
	}
}

func (s *SlotTrace) took(d Distribution) {
	if s == nil {
		return
	}
	sum := total(d.Shares)
	for i, sh := range d.Shares {
		percent := 100 * float64(sh.Weight) / float64(sum)
		if d.Mode == Ordered {
			percent = 0
			if i == 0 {
				percent = 100
			}
		}
		s.Shares = append(s.Shares, ShareTrace{sh.Member.Name, percent})
	}
}

// standings records each member's state: what evaluate decided, in words.
func (tr *Trace) standings(t *status.Table, e *evaluation) {
	tr.Group, tr.Panic, tr.Lapsed = e.group.rules.Name, e.panicked, e.set.lapsed
	for _, s := range e.all {
		m := MemberTrace{Member: s.Name}
		m.Active, m.Why = e.why(s)
		for _, id := range s.Needs {
			r, ok := t.Lookup(id)
			if !ok {
				continue // nobody writes it, so it has nothing to say
			}
			m.Rows = append(m.Rows, RowTrace{ID: id, Health: r.Health.String(), Busy: r.Busy, Full: r.Full, Shed: r.Shed,
				Evidence: r.Why, Since: r.Since, Hold: r.Hold, LoadWhy: r.LoadWhy, LoadSince: r.LoadSince})
		}
		tr.Members = append(tr.Members, m)
	}
}

// Explain tells who takes part, without choosing for anybody.
func (g *Group) Explain(t *status.Table) *Trace {
	tr := &Trace{}
	_, _ = tr.ended(Distribution{}, g.evaluate(t, nil, nil, tr).reason)
	return tr
}
