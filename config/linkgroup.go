package config

import (
	"reflect"
	"time"
)

// LinkGroup is a group of links, and how new connections are shared among
// them: the set that takes part by priority, min and max (FAQ 1.1.14), then
// persistence, proximity and the algorithm, in this order (FAQ 1.2.18).
type LinkGroup struct {
	Name      string        `yaml:"name" json:"name"`
	Algorithm LinkAlgorithm `yaml:"algorithm" json:"algorithm" words:"linkAlgorithm"`       // how connections are shared (default round-robin)
	Direction string        `yaml:"direction" json:"direction,omitempty" words:"direction"` // bandwidth, max-bandwidth: of which traffic (default total)
	Debit     Bandwidth     `yaml:"debit" json:"debit,omitzero"`                            // max-bandwidth: the load that is expected to come within a second; it is spread so that what then remains is level, instead of all going to one link (default 0)
	Mask      Mask          `yaml:"mask" json:"mask,omitzero"`                              // the hashes: leading bits of the addresses that count (default 32 and 128)
	Proximity bool          `yaml:"proximity" json:"proximity,omitempty"`                   // the nearest of the links to the destination's network goes before the algorithm, where it is known
	Min       int           `yaml:"min" json:"min,omitempty"`                               // at least so many take part; 0: the highest level, whatever its size
	Max       int           `yaml:"max" json:"max,omitempty"`                               // at most so many; 0: no bound
	Spill     []Spill       `yaml:"spill" json:"spill" words:"spill"`                       // what makes room for lower priorities (default [down])
	Activate  Activate      `yaml:"activate" json:"activate,omitzero"`

	BusyProtection bool        `yaml:"busyProtection" json:"busyProtection,omitempty"` // busy links get no new connections, unless all are busy
	OnFailure      LinkFailure `yaml:"onFailure" json:"onFailure" words:"linkFailure"` // of the connections of a link that fails, if another is alive (default keep)
	SlowOnline     SlowOnline  `yaml:"slowOnline" json:"slowOnline,omitzero"`          // a link that comes back gets new connections slowly (default at once)

	Members []*LinkMember `yaml:"members" json:"members"` // at least one
	Pos     Pos           `yaml:"-" json:"-"`
}

// LinkMember is a link in a group. In YAML it is also the bare name of the
// link.
type LinkMember struct {
	Link           string `yaml:"link" json:"link"`                               // which has an interface
	Weight         int    `yaml:"weight" json:"weight"`                           // share among equals, 0 to 65535 (default 1); 0 is a reserve
	Priority       int    `yaml:"priority" json:"priority"`                       // higher goes first, 0 to 255 (default 0)
	MaxConnections int    `yaml:"maxConnections" json:"maxConnections,omitempty"` // of the link at once for this group, 1 to 2000000000; 0: no bound but the link's own
	Pos            Pos    `yaml:"-" json:"-"`
}

// Activate says when a link group is available, by the share of its links that
// are: no longer below lower, again at upper, and between them as before. In
// YAML a share alone stands for both. Without it a group is available while
// one link is.
type Activate struct {
	Lower Percent `yaml:"lower" json:"lower"` // below it the group is not available, 1% to 100% (default upper)
	Upper Percent `yaml:"upper" json:"upper"` // from here on it is again, lower to 100% (default lower)
}

// SlowOnline is how a link that was down gets new connections again. In YAML
// it is also true: with both defaults.
type SlowOnline struct {
	Standby Duration `yaml:"standby" json:"standby"` // none for so long, 0s to 1h (default 5s)
	Ramp    Duration `yaml:"ramp" json:"ramp"`       // then for so long a share that grows from nothing to its own, 0s to 1h (default 5s)
}

// LinkAlgorithm shares connections among links.
type LinkAlgorithm string

// The algorithms of link groups.
const (
	LinkRoundRobin               LinkAlgorithm = "round-robin"                // in turn, by weight
	LinkRandom                   LinkAlgorithm = "random"                     // by lot; weights do not count
	LinkLeastConnections         LinkAlgorithm = "least-connections"          // the link with the fewest connections; weights do not count
	LinkWeightedLeastConnections LinkAlgorithm = "weighted-least-connections" // the fewest for its weight
	LinkSourceHash               LinkAlgorithm = "source-hash"                // a client keeps its link; losing a link moves only its own clients; weights do not count
	LinkDestinationHash          LinkAlgorithm = "destination-hash"           // all connections to a destination take one link
	LinkSourceDestinationHash    LinkAlgorithm = "source-destination-hash"    // all connections between two hosts take one link
	LinkSourcePortHash           LinkAlgorithm = "source-port-hash"           // by address and port of the client, so that the connections of one client are spread
	LinkBandwidth                LinkAlgorithm = "bandwidth"                  // in turn, by weight times what remains of the link below its rateLimit
	LinkMaxBandwidth             LinkAlgorithm = "max-bandwidth"              // the link of which most remains below its rateLimit, the first in the file of several
)

// Hashes says whether the algorithm goes by a hash of addresses.
func (a LinkAlgorithm) Hashes() bool {
	switch a {
	case LinkSourceHash, LinkDestinationHash, LinkSourceDestinationHash, LinkSourcePortHash:
		return true
	}
	return false
}

// Counts says whether the algorithm needs the live numbers of connections.
func (a LinkAlgorithm) Counts() bool {
	return a == LinkLeastConnections || a == LinkWeightedLeastConnections
}

// Weighs says whether weights count (FAQ 1.1.15).
func (a LinkAlgorithm) Weighs() bool {
	return a == LinkRoundRobin || a == LinkBandwidth || a == LinkWeightedLeastConnections
}

// LinkFailure says what becomes of the connections of a link that fails.
type LinkFailure string

// What becomes of the connections of a link that fails (T38). None of them is
// touched while no other link of the group is alive.
const (
	FailureKeep       LinkFailure = "keep"       // they stay: their own timers end them, or the link comes back
	FailureReschedule LinkFailure = "reschedule" // the next packet goes by another link; what is translated gets another source address there, which TCP does not survive
	FailureReset      LinkFailure = "reset"      // TCP is reset, others are told by ICMP that the way is closed
)

// Given says whether there are thresholds at all.
func (a Activate) Given() bool { return a != Activate{} }

// On says whether links come back slowly at all.
func (s SlowOnline) On() bool { return s != SlowOnline{} }

func (g *LinkGroup) defaults() {
	*g = LinkGroup{Algorithm: LinkRoundRobin, Spill: []Spill{SpillDown}, OnFailure: FailureKeep}
}

func (m *LinkMember) defaults() { *m = LinkMember{Weight: 1} }

func (m *LinkMember) decodeShort(d *decoder, p *place) {
	d.value(p, reflect.ValueOf(&m.Link).Elem(), "")
}

func (a *Activate) decodeShort(d *decoder, p *place) {
	d.textual(p, &a.Lower)
	a.Upper = a.Lower
}

func (s *SlowOnline) defaults() {
	*s = SlowOnline{Standby: Duration(5 * time.Second), Ramp: Duration(5 * time.Second)}
}

func (s *SlowOnline) decodeShort(d *decoder, p *place) {
	on := true
	if d.value(p, reflect.ValueOf(&on).Elem(), ""); !on {
		*s = SlowOnline{}
	}
}
