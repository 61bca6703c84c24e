package pick

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/portolan-lb/portolan/status"
)

// Member is one thing that can be chosen. It is not changed after NewGroup.
type Member struct {
	Index    int         // its place in the owner's own list
	Name     string      // what explain calls it; also its identity for hashing
	Weight   int         // share among equals; 0 is a reserve: takes part only when nothing else can
	Priority int         // higher goes first
	Needs    []status.ID // every row that must be usable
	Group    *Group      // a nested group; nil for a leaf
	Link     status.ID   // whose gauge has the rates of its line; empty: it has none
	Self     status.ID   // whose gauge has its own connections and latency

	hash uint64 // of Name
}

// share is the member's weight among equals; a reserve that takes part counts
// as one.
func (m *Member) share() uint64 { return uint64(max(m.Weight, 1)) }

// Spill is a set of reasons for which the next lower priority takes part.
type Spill uint8

// The reasons (FAQ 1.2.13, 1.2.14, C3).
const (
	SpillDown Spill = 1 << iota // members are down or held
	SpillBusy                   // members are busy
	SpillFull                   // members are at their limits
)

// Rules say who takes part.
type Rules struct {
	Name           string // what explain calls the group
	Min            int    // at least so many take part, by adding whole lower levels; 0 is 1
	Max            int    // at most so many; 0: no bound
	Spill          Spill
	BusyProtection bool // busy members are left out, unless all are (FAQ 1.2.26)
	Panic          int  // percent; below this share of usable members health is ignored; 0: never
	Quorum         int  // percent; below this share of usable members the group is down; 0: never
}

// Slot is a named algorithm of a chain.
type Slot struct {
	Name string // what explain calls it, "preferred: topology"
	Algorithm
}

// Group chooses among members. It is safe for concurrent use.
type Group struct {
	members   []*Member
	rules     Rules
	chain     []Slot
	needs     []status.ID // of all members, nested ones included
	nested    bool
	protected []status.ID // of needs, those whose load busy protection heeds
	live      bool        // its choices rest on gauges, its own or a nested group's

	current atomic.Pointer[activeSet]
}

// NewGroup compiles a group. The chain's slots are tried in order; a slot that
// declines passes on (FAQ 1.4.2).
func NewGroup(members []*Member, rules Rules, chain ...Slot) *Group {
	g := &Group{members: members, rules: rules, chain: chain}
	g.live = slices.ContainsFunc(chain, func(s Slot) bool { return isLive(s.Algorithm) })
	for _, m := range members {
		m.hash = hashString(m.Name)
		g.needs = append(g.needs, m.Needs...)
		if m.Group != nil {
			g.nested, g.live = true, g.live || m.Group.live
			g.needs = append(g.needs, m.Group.needs...)
			g.protected = append(g.protected, m.Group.protected...)
		}
		if rules.BusyProtection {
			g.protected = append(g.protected, m.Needs...)
		}
	}
	return g
}

// Needs gives every row that the group's choice may depend on.
func (g *Group) Needs() []status.ID { return g.needs }

// Heeds gives the rows of Needs, nested groups' included, that members leave
// when they are busy or shed clients. A row may come more than once.
func (g *Group) Heeds() []status.ID { return g.protected }

// Client is what is known of who asks.
type Client struct {
	Addr  netip.Addr // unmapped
	Class uint32     // what the owner's score functions know of Addr, looked up once
}

// Input is all that a choice may depend on, besides what the group was
// compiled with.
type Input struct {
	Table   *status.Table
	Gauges  *status.Gauges // live numbers; nil: none are known
	Now     time.Time
	Client  Client
	Draw    uint64 // round robin advances with it by one place, random draws anew
	Answers int    // how many distinct members are wanted; 0 is 1
	Notes   *Notes // takes what is to be remembered once this is served; nil: it is not served

	// Own is what the owner knows of members beside their rows, by
	// [Member.Index]; those beyond it are as their rows say. Nil: nothing. With
	// it the choice is for no client in particular: nobody sheds a slice of them.
	Own []Condition

	scratch *scratch
	trace   *SlotTrace
}

// Reason is how a choice ended.
type Reason uint8

// The reasons. Only Chosen comes with members.
const (
	Chosen   Reason = iota
	Declined        // members stand ready, but no slot chose
	Full            // all that take part are at their limits (FAQ 1.2.13)
	Down            // no usable member
	Held            // an operator holds every member
)

var reasonNames = [...]string{"chosen", "declined", "full", "down", "held"}

func (r Reason) String() string { return reasonNames[r] }

// Choice is what Pick chose.
type Choice struct {
	Members []*Member    // leaves, in answer order
	From    Distribution // without its Shares, which were used up
}

// scratch is memory that a choice needs and nobody keeps.
type scratch struct {
	shares []Share     // of Pick and Among
	equals []*Member   // of Best
	values []float64   // of the algorithms that compare live numbers
	links  []status.ID // of a nested group
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// Pick chooses up to in.Answers distinct members, appending to into. It
// allocates nothing if into has room and tr is nil.
func (g *Group) Pick(in Input, into []*Member, tr *Trace) (Choice, Reason) {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	d, reason := g.Shares(in, s.shares[:0], tr)
	s.shares = d.Shares[:0]
	if reason != Chosen {
		return Choice{Members: into}, reason
	}
	members := d.draw(in.Draw, in.answers(), into)
	tr.chose(members[len(into):])
	d.Shares = nil
	return Choice{Members: members, From: d}, Chosen
}

// Among is Pick by round robin over the given members: for the owner's rungs
// below the algorithms (all, last good, any). Nested members are not opened.
func Among(in Input, members []*Member, into []*Member) []*Member {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	d, ok := byWeight(members, s.shares[:0], Smooth)
	s.shares = d.Shares[:0]
	if !ok {
		return into
	}
	return d.draw(in.Draw, in.answers(), into)
}

func (in *Input) answers() int { return max(in.Answers, 1) }
