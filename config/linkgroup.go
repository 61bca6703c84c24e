package config

import (
	"reflect"
	"slices"
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

// Activate says when a link group or a server farm is available, by the share of
// its members that are: no longer below lower, again at upper, and between them
// as before. In YAML a share alone stands for both. Without it a group is
// available while one member is.
type Activate struct {
	Lower Percent `yaml:"lower" json:"lower"` // below it the group or farm is not available, 1% to 100% (default upper)
	Upper Percent `yaml:"upper" json:"upper"` // from here on it is again, lower to 100% (default lower)
}

// SlowOnline is how a link or a server that was down gets new connections again. In YAML
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

func (g *LinkGroup) check(c *checker) {
	links := g.linksOf(c)
	c.takesPart(&g.Min, &g.Max, g.Spill)
	c.hash(&g.Mask, string(g.Algorithm), g.Algorithm.Hashes())
	c.traffic(&g.Algorithm, &g.Direction, string(g.Algorithm), links)
	switch {
	case c.given(&g.Debit) && g.Algorithm != LinkMaxBandwidth:
		c.bad(&g.Debit, "belongs to max-bandwidth, not to %s", g.Algorithm)
	case c.given(&g.Debit) && g.Debit == 0:
		c.bad(&g.Debit, "is 0: nothing would be spread")
	}
	if c.given(&g.Activate) {
		g.Activate.check(c)
	}
	between(c, &g.SlowOnline.Standby, 0, Duration(time.Hour))
	between(c, &g.SlowOnline.Ramp, 0, Duration(time.Hour))
	if c.given(&g.SlowOnline.Standby) && c.given(&g.SlowOnline.Ramp) && !g.SlowOnline.On() {
		c.warn(&g.SlowOnline, "has no effect: standby and ramp are both 0s")
	}
	g.checkMembers(c)
	g.warn(c, links)
}

func (g *LinkGroup) checkMembers(c *checker) {
	if c.need(&g.Members, "members") {
		c.empty(&g.Members, len(g.Members))
	}
	first := map[string]*LinkMember{}
	each(c, g.Members, func(m *LinkMember, c *checker) {
		if c.need(&m.Link, "link") && c.refer("link", &m.Link) {
			if l := c.gateway.links[m.Link]; l.Interface == "" {
				c.bad(&m.Link, "link %q has no interface here, so nothing can be sent over it", m.Link)
			}
			if other := first[m.Link]; other != nil {
				c.bad(&m.Link, "%s is a member already, at %s", m.Link, other.Pos)
			} else {
				first[m.Link] = m
			}
		}
		c.share(&m.Weight, &m.Priority, string(g.Algorithm), g.Algorithm.Weighs())
		if c.given(&m.MaxConnections) {
			between(c, &m.MaxConnections, 1, maxConnections)
		}
	})
	c.of(g)
}

// warn warns of what has no effect.
func (g *LinkGroup) warn(c *checker, links []*Link) {
	busy := slices.ContainsFunc(links, canBeBusy)
	if g.BusyProtection && !busy && len(links) > 0 {
		c.warn(&g.BusyProtection, "has no effect: no link of the group has a maxBandwidth, so none is ever busy")
	}
	if i := slices.Index(g.Spill, SpillBusy); i >= 0 && !g.BusyProtection && !c.gateway.protected[g.Name] {
		c.warn(&g.Spill[i], "has no effect without busyProtection, of the group or of a virtual server")
	}
	if x := &c.m.Proximity; g.Proximity && !x.Measures() && (!x.Enabled || len(x.Static) == 0) && !c.broken {
		c.warn(&g.Proximity, "has no effect: proximity measures nothing, for it has no methods or is switched off (FAQ 1.2.21)")
	}
}

func (a *Activate) check(c *checker) {
	p := c.places[a]
	lower, upper := c.given(&a.Lower), c.given(&a.Upper)
	switch {
	case p.bad:
		return
	case lower && !upper:
		a.Upper = a.Lower
	case upper && !lower:
		a.Lower = a.Upper
	case !lower && !isScalar(p.node):
		c.bad(a, "at least one of lower, upper belongs here")
	case !lower && a.Lower == 0:
		c.bad(a, "%v is out of range 1%% to 100%%", a.Lower)
	}
	if lower {
		between(c, &a.Lower, 1, 100)
	}
	if upper {
		between(c, &a.Upper, 1, 100)
	}
	if a.Lower > a.Upper {
		c.bad(&a.Lower, "lower %v is above upper %v: it would be available and not at the same time", a.Lower, a.Upper)
	}
}
