package slots

import (
	"github.com/portolan-lb/portolan/busy"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
)

// ID is the number of a member, as the kernel's tables hold it; 0 is nobody.
type ID uint32

// Spec is what a group is compiled from.
type Spec struct {
	Name      string    // what explain calls it
	Row       status.ID // in which the owner says whether it is available, and an operator holds it
	Words     Words     // what sentences call it
	Algorithm Algorithm
	Direction busy.Direction // whose rates bandwidth and max-bandwidth go by
	Debit     float64        // of max-bandwidth: bits a second that are expected until the next tick; 0: none
	Size      int            // slots: one of [Sizes]

	Min   int // at least so many take part; 0 is 1 (FAQ 1.1.14)
	Max   int // at most so many; 0: no bound
	Spill pick.Spill

	BusyProtection bool
	Activate       Activation
	Slow           pick.SlowOnline
	Force          bool // wants [Result.Forced]

	Members []Member // in the order of the configuration: it breaks ties (T26)
}

// Words are what sentences for people call a group and its members. The zero
// Words say "members" and "group".
type Words struct {
	Members string // "links", "servers"
	Group   string // "group", "farm"
}

// Sizes are how many slots a group may have.
var Sizes = [...]int{16, 64, 256, 1024}

// Member is what can be given a connection. The same link or real server may be
// a member of several groups.
type Member struct {
	Name     string      // what explain calls it; hashes go by it too, so it must be unique in the group
	ID       ID          // its number; not 0, unique in the group
	Weight   int         // 0 is a reserve: takes part only when nobody else can
	Priority int         // higher goes first
	Needs    []status.ID // every row that must be usable
	Row      status.ID   // whose gauge has its rates and its time to a first byte

	// MaxConnections are those of this membership alone, MaxEverywhere those of the
	// link or real server, in whatever group. 0: no limit.
	MaxConnections int
	MaxEverywhere  int
	RateLimit      [busy.Directions]float64 // bits a second; 0: none. At it, it gets nothing new unless all are
}

// weight is the member's share among equals.
func (m *Member) weight() float64 { return float64(max(m.Weight, 1)) }

// Algorithm shares connections among members. Its text is what configurations
// call it.
type Algorithm string

// The algorithms. Which address and port a hash is of, and how a slot is drawn,
// is the owner's and the kernel's.
const (
	RoundRobin                     Algorithm = "round-robin"                       // in turn, by weight
	Random                         Algorithm = "random"                            // by lot; weights do not count
	LeastConnections               Algorithm = "least-connections"                 // the fewest connections everywhere
	WeightedLeastConnections       Algorithm = "weighted-least-connections"        // the fewest for its weight
	MemberLeastConnections         Algorithm = "member-least-connections"          // the fewest connections of this group
	WeightedMemberLeastConnections Algorithm = "weighted-member-least-connections" // the fewest of this group for its weight
	LeastTime                      Algorithm = "least-time"                        // the shortest time to a first byte, times its connections
	SourceHash                     Algorithm = "source-hash"
	DestinationHash                Algorithm = "destination-hash"
	SourceDestinationHash          Algorithm = "source-destination-hash"
	SourcePortHash                 Algorithm = "source-port-hash"
	Bandwidth                      Algorithm = "bandwidth"     // by weight times what remains below the rate limit (T27)
	MaxBandwidth                   Algorithm = "max-bandwidth" // the one of which most remains, the first of equals (T26)
)

// Known says whether there is such an algorithm.
func (a Algorithm) Known() bool {
	return a.Hashes() || a.Counts() || a.meters() || a == RoundRobin || a == Random
}

// Hashes says whether a slot follows from the packet.
func (a Algorithm) Hashes() bool {
	switch a {
	case SourceHash, DestinationHash, SourceDestinationHash, SourcePortHash:
		return true
	}
	return false
}

// Counts says whether the algorithm goes by live numbers of connections.
func (a Algorithm) Counts() bool {
	switch a {
	case LeastConnections, WeightedLeastConnections, MemberLeastConnections, WeightedMemberLeastConnections, LeastTime:
		return true
	}
	return false
}

// meters says whether it goes by rates.
func (a Algorithm) meters() bool { return a == Bandwidth || a == MaxBandwidth }

// ofGroup says whether the connections that count are those of the group alone.
func (a Algorithm) ofGroup() bool {
	return a == MemberLeastConnections || a == WeightedMemberLeastConnections
}

// Weighs says whether weights count (FAQ 1.1.15).
func (a Algorithm) Weighs() bool {
	switch a {
	case RoundRobin, Bandwidth, WeightedLeastConnections, WeightedMemberLeastConnections:
		return true
	}
	return false
}

// Activation is when a group is available, by the share of its members that are
// usable, in percent: no longer below Lower, again from Upper on, and between
// them as before (T30). One that is 0 is as the other; both 0: while one is
// usable.
//
//	share  100 ┤ ╲             ╱
//	     upper ┤- ╲ - - - - - ╱┬─ available again
//	     lower ┤- -╲┬- - - - ╱ │
//	         0 ┤    ╲┴──────╱  │
//
// Who is down, held, drains or stands by is not usable; who is busy or full is,
// for that is no failure (FAQ 1.2.13).
type Activation struct{ Lower, Upper int }

// Pace is how often a group wants ticks while no row of its Needs changes and
// [Result.Next] has not come.
type Pace uint8

// The paces.
const (
	Static  Pace = iota // none: what it is stays
	Metered             // whenever rates are measured anew
	Fast                // several a second: it goes by numbers of connections (but see [Group.Same])
)
