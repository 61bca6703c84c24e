package slots

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// Group is a compiled [Spec]. It keeps nothing from one tick to the next and is
// safe for concurrent use; whoever reloads may keep it as long as its Spec is the
// same.
type Group struct {
	spec    Spec
	who     *pick.Group  // who takes part, and by which shares
	whoBusy *pick.Group  // the same without busy protection; nil if there is none
	prefer  *preferences // of the hashes; nil for others
	ids     []ID         // of the members
	place   places       // of ids
	rising  []int        // places of members by rising ID
	pace    Pace
	bounded bool // some member has a limit of connections
}

// maxMembers is how many members a group may have.
const maxMembers = 1<<16 - 2

// New compiles a group. A group without members is one, of which nobody is ever
// usable.
func New(s Spec) (*Group, error) {
	s.Words.Members, s.Words.Group = cmp.Or(s.Words.Members, "members"), cmp.Or(s.Words.Group, "group")
	switch {
	case !s.Algorithm.Known():
		return nil, fmt.Errorf("%s %s: no algorithm is called %q", s.Words.Group, s.Name, s.Algorithm)
	case !slices.Contains(Sizes[:], s.Size):
		return nil, fmt.Errorf("%s %s: %d slots are not one of %v", s.Words.Group, s.Name, s.Size, Sizes)
	case len(s.Members) > maxMembers:
		return nil, fmt.Errorf("%s %s: more than %d %s", s.Words.Group, s.Name, maxMembers, s.Words.Members)
	}
	n := len(s.Members)
	g := &Group{spec: s, pace: Static, ids: make([]ID, n), rising: make([]int, n)}
	if s.Algorithm.meters() {
		g.pace = Metered
	}
	members := make([]*pick.Member, n)
	memory := make([]pick.Member, n)
	for i := range s.Members {
		m := &s.Members[i]
		g.ids[i], g.rising[i] = m.ID, i
		g.bounded = g.bounded || m.MaxConnections > 0 || m.MaxEverywhere > 0
		if m.RateLimit != [busy.Directions]float64{} {
			g.pace = Metered
		}
		memory[i] = pick.Member{Index: i, Name: m.Name, Weight: m.Weight, Priority: m.Priority, Needs: m.Needs, Link: m.Row, Self: m.Row}
		members[i] = &memory[i]
	}
	slices.SortFunc(g.rising, func(a, b int) int { return cmp.Compare(g.ids[a], g.ids[b]) })
	if err := s.distinct(g.rising); err != nil {
		return nil, err
	}
	g.place = placesOf(g.ids, g.rising)
	if g.bounded || s.Algorithm.Counts() {
		g.pace = Fast
	}
	rules := pick.Rules{Name: s.Name, Min: s.Min, Max: s.Max, Spill: s.Spill, BusyProtection: s.BusyProtection}
	g.who = pick.NewGroup(members, rules, s.chain()...)
	if rules.BusyProtection {
		rules.BusyProtection = false
		g.whoBusy = pick.NewGroup(members, rules, s.chain()...)
	}
	if s.Algorithm.Hashes() {
		g.prefer = preferencesOf(s.Members)
	}
	return g, nil
}

// distinct says whether names and numbers tell members apart.
func (s *Spec) distinct(rising []int) error {
	names := make([]string, len(rising))
	for k, i := range rising {
		m := &s.Members[i]
		switch {
		case m.ID == 0:
			return fmt.Errorf("%s %s: %q has no number", s.Words.Group, s.Name, m.Name)
		case k > 0 && s.Members[rising[k-1]].ID == m.ID:
			return fmt.Errorf("%s %s: %q and %q have the number %d", s.Words.Group, s.Name, s.Members[rising[k-1]].Name, m.Name, m.ID)
		}
		names[k] = m.Name
	}
	slices.Sort(names)
	for k := 1; k < len(names); k++ {
		if names[k] == names[k-1] {
			return fmt.Errorf("%s %s: %q is in it twice", s.Words.Group, s.Name, names[k])
		}
	}
	return nil
}

// chain gives the algorithm, and round robin by weight for when it knows
// nothing (T28). For the algorithms whose slots are laid out here pick says only
// who takes part.
func (s *Spec) chain() []pick.Slot {
	name, byWeight := string(s.Algorithm), pick.Slot{Name: string(RoundRobin), Algorithm: pick.RoundRobin(true)}
	switch s.Algorithm {
	case Bandwidth:
		return []pick.Slot{{Name: name, Algorithm: pick.Bandwidth(s.Direction, true)}, byWeight}
	case MaxBandwidth:
		return []pick.Slot{{Name: name, Algorithm: pick.MaxBandwidth(s.Direction, s.Debit)}, byWeight}
	default:
		return []pick.Slot{{Name: name, Algorithm: pick.RoundRobin(s.Algorithm.Weighs())}}
	}
}

// Spec gives what the group was made from. Nobody changes it.
func (g *Group) Spec() *Spec { return &g.spec }

// Needs gives the rows that a tick looks at, perhaps more than once: when one of
// them changes, a tick is due at once.
func (g *Group) Needs() []status.ID { return g.who.Needs() }

// Pace says how often the group wants ticks.
func (g *Group) Pace() Pace { return g.pace }

// Same says that a tick would give for one load what it gives for the other, if
// all else is the same: then it can be spared. every is the time between ticks.
// A group that goes by limits alone is the same as long as no member comes near
// its own.
func (g *Group) Same(a, b Load, every time.Duration) bool {
	if g.pace != Fast {
		return true
	}
	ea, eb := a.Arrivals.Expect(every), b.Arrivals.Expect(every)
	for i := range g.spec.Members {
		m := &g.spec.Members[i]
		if g.spec.Algorithm.Counts() && !same(a.live(&g.spec, i), b.live(&g.spec, i)) {
			return false
		}
		ra, rb := m.room(&a, i), m.room(&b, i)
		if near := ra < max(ea, 1) || rb < max(eb, 1); near && (ra != rb || ea != eb) {
			return false
		}
	}
	return !g.spec.Algorithm.Counts() || ea == eb
}

// same holds of what is equal, and of two that are not known.
func same(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }

// live gives the connections that the algorithm goes by; NaN: not known.
func (l *Load) live(s *Spec, i int) float64 {
	if s.Algorithm.ofGroup() {
		return at(l.Members, i)
	}
	return at(l.Everywhere, i)
}

// room gives how many more connections a member may have; +Inf: any number.
func (m *Member) room(l *Load, i int) float64 {
	room := math.Inf(1)
	for _, r := range [...]float64{limit(m.MaxEverywhere) - at(l.Everywhere, i), limit(m.MaxConnections) - at(l.Members, i)} {
		if !math.IsNaN(r) {
			room = min(room, max(r, 0))
		}
	}
	return room
}

// limit takes 0 for no limit.
func limit(most int) float64 {
	if most == 0 {
		return math.Inf(1)
	}
	return float64(most)
}

// at gives NaN beyond the list.
func at(list []float64, i int) float64 {
	if i < len(list) {
		return list[i]
	}
	return math.NaN()
}
