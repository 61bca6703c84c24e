package config

import (
	"net/netip"
	"time"
)

// Proximity is the measured distance of networks over each link: those of
// clients for pools whose slots say proximity, those that connections go to for
// link groups that do, in one table (FAQ 1.2.23). An entry is made when a client
// asks or connects, and counts once its warm-up is over.
type Proximity struct {
	Enabled bool     `yaml:"enabled" json:"enabled"`                // false: nothing is measured and entries do not count; they stay until they age (default true)
	Methods []string `yaml:"methods" json:"methods" words:"method"` // how distance is measured, tried in order until one yields; none: no entry is ever made (FAQ 1.1.6)
	Port    uint16   `yaml:"port" json:"port"`                      // tcp: the port that is connected to (default 53)
	Mask    Mask     `yaml:"mask" json:"mask"`                      // networks that share an entry: 8 to 32 and 16 to 128 bits (default 24 and 56)

	Weights ProximityWeights `yaml:"weights" json:"weights"`
	Margin  Percent          `yaml:"margin" json:"margin"` // the best link of an entry gives way only to one that is better by so much (default 10%)

	WarmUp  Duration `yaml:"warmUp" json:"warmUp"`   // an entry counts so long after it was made, 1s to 1m (default 10s, FAQ 1.4.5)
	Timeout Duration `yaml:"timeout" json:"timeout"` // an entry that nobody asked for goes after so long, 10s to 168h; make it longer than your TTLs (default 30m)
	Refresh Duration `yaml:"refresh" json:"refresh"` // what is older is measured again when somebody asks, 10s to 24h (default 5m)

	MaxEntries      int            `yaml:"maxEntries" json:"maxEntries"`           // 100 to 5000000; at the bound no new ones are made (default 100000)
	NewPerSecond    int            `yaml:"newPerSecond" json:"newPerSecond"`       // new entries a second, 1 to 100000 (default 500)
	ProbesPerSecond int            `yaml:"probesPerSecond" json:"probesPerSecond"` // packets a second for measuring, over all links, 1 to 100000 (default 200)
	PerTarget       Duration       `yaml:"perTarget" json:"perTarget"`             // one network is not measured again sooner, 1s to 1h (default 30s)
	Exclude         []netip.Prefix `yaml:"exclude" json:"exclude,omitempty"`       // networks that nothing is ever sent to

	Static  []*StaticProximity `yaml:"static" json:"static,omitempty"` // outranks what is measured
	Passive Passive            `yaml:"passive" json:"passive"`
}

// ProximityWeights say how much each factor counts: 0 not at all, else 1 to
// 1000 (FAQ 1.2.3, 1.2.29).
type ProximityWeights struct {
	RTT  int `yaml:"rtt" json:"rtt"`   // the time there and back (default 100)
	TTL  int `yaml:"ttl" json:"ttl"`   // the routers on the way (default 100)
	Cost int `yaml:"cost" json:"cost"` // the link's cost (default 100)
	In   int `yaml:"in" json:"in"`     // what is used of the link's rateLimit, received (default 100)
	Out  int `yaml:"out" json:"out"`   // what is used of the link's rateLimit, sent (default 100)
}

// StaticProximity says which link is best for a network.
type StaticProximity struct {
	Prefix netip.Prefix `yaml:"prefix" json:"prefix"` // the clients' network; the longest that matches counts
	Link   string       `yaml:"link" json:"link"`     // the best for it, where it is usable
	Pos    Pos          `yaml:"-" json:"-"`
}

// Passive takes the round trip times of clients' own DNS connections over TCP
// as measurements of the link that they came in by. It sends nothing.
type Passive struct {
	Enabled bool    `yaml:"enabled" json:"enabled"` // default true, where proximity has methods
	Solicit Solicit `yaml:"solicit" json:"solicit"`
}

// Solicit asks some clients whose network lacks measurements to come over TCP,
// by an answer with TC.
type Solicit struct {
	Share     Percent `yaml:"share" json:"share"`         // of networks that lack measurements (default 0%: none)
	PerSecond int     `yaml:"perSecond" json:"perSecond"` // such answers a second, 1 to 1000 (default 5)
}

func (p *Proximity) defaults() {
	*p = Proximity{
		Enabled: true, Port: 53, Mask: Mask{V4: 24, V6: 56}, Weights: ProximityWeights{100, 100, 100, 100, 100}, Margin: 10,
		WarmUp: Duration(10 * time.Second), Timeout: Duration(30 * time.Minute), Refresh: Duration(5 * time.Minute),
		MaxEntries: 100_000, NewPerSecond: 500, ProbesPerSecond: 200, PerTarget: Duration(30 * time.Second),
		Passive: Passive{Enabled: true, Solicit: Solicit{PerSecond: 5}},
	}
}

// Measures says whether distances are measured at all.
func (p *Proximity) Measures() bool { return p.Enabled && len(p.Methods) > 0 }

func (p *Proximity) check(c *checker) {
	distinct(c, p.Methods)
	between(c, &p.Port, 1, 65535)
	between(c, &p.Mask.V4, 8, 32)
	between(c, &p.Mask.V6, 16, 128)
	for _, w := range []*int{&p.Weights.RTT, &p.Weights.TTL, &p.Weights.Cost, &p.Weights.In, &p.Weights.Out} {
		between(c, w, 0, 1000)
	}
	if p.Weights == (ProximityWeights{}) {
		c.bad(&p.Weights, "all are 0: every link would be as good as any other")
	}
	between(c, &p.Margin, 0, 100)
	between(c, &p.WarmUp, Duration(time.Second), Duration(time.Minute))
	between(c, &p.Timeout, Duration(10*time.Second), Duration(168*time.Hour))
	between(c, &p.Refresh, Duration(10*time.Second), Duration(24*time.Hour))
	between(c, &p.MaxEntries, 100, 5_000_000)
	between(c, &p.NewPerSecond, 1, 100_000)
	between(c, &p.ProbesPerSecond, 1, 100_000)
	between(c, &p.PerTarget, Duration(time.Second), Duration(time.Hour))
	distinct(c, p.Exclude)
	between(c, &p.Passive.Solicit.PerSecond, 1, 1000)
	between(c, &p.Passive.Solicit.Share, 0, 100)
	if !p.Passive.Enabled && p.Passive.Solicit.Share > 0 {
		c.warn(&p.Passive.Solicit, "asks clients to come over TCP for nothing: passive is not enabled")
	}
	if p.Timeout <= p.WarmUp {
		c.bad(&p.Timeout, "%v is not longer than warmUp %v: no entry would ever count", p.Timeout, p.WarmUp)
	}
	p.checkStatic(c)
	if c.given(p) && len(p.Methods) == 0 && len(p.Static) == 0 {
		c.warn(p, "has no methods: nothing is ever measured (FAQ 1.1.6)")
	}
}

func (p *Proximity) checkStatic(c *checker) {
	at := map[netip.Prefix]*StaticProximity{}
	each(c, p.Static, func(s *StaticProximity, c *checker) {
		if c.need(&s.Link, "link") {
			c.refer("link", &s.Link)
		}
		if !c.need(&s.Prefix, "prefix") {
			return
		}
		if other := at[s.Prefix]; other != nil {
			c.bad(&s.Prefix, "%s stands here twice, first at %s", s.Prefix, other.Pos)
		}
		at[s.Prefix] = s
	})
}
