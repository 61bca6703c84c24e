package config

import "net/netip"

// LimitPolicy bounds the connections of a virtual server by where they come
// from or go to. The first rule that matches a connection decides; what none
// matches is not bounded. What is counted is counted for each virtual server, and
// of each family, by itself.
type LimitPolicy struct {
	Name  string       `yaml:"name" json:"name"`
	Rules []*LimitRule `yaml:"rules" json:"rules"` // at least one
	Pos   Pos          `yaml:"-" json:"-"`
}

// LimitRule is one bound: at upper new connections are refused, and taken
// again only when there are fewer than lower (T29).
type LimitRule struct {
	Sources      []netip.Prefix `yaml:"sources" json:"sources,omitempty"`           // networks that it is for (default all)
	Destinations []netip.Prefix `yaml:"destinations" json:"destinations,omitempty"` // networks that it is for (default all)
	Per          []string       `yaml:"per" json:"per,omitempty" words:"limitPer"`  // what is counted for itself; several: each combination (default nothing: all together)
	Upper        int            `yaml:"upper" json:"upper"`                         // connections at once, 1 to 2000000000
	Lower        int            `yaml:"lower" json:"lower"`                         // 1 to upper (default upper)
	Pos          Pos            `yaml:"-" json:"-"`
}

// What a rule of a limit policy counts for itself.
const (
	LimitPerSource      = "source"
	LimitPerDestination = "destination"
	LimitPerService     = "service"
)

// maxConnections bounds every limit of connections.
const maxConnections = 2_000_000_000

// maxLimitRules bounds the rules of a limit policy: the kernel tries them one
// after another.
const maxLimitRules = 1000

func (p *LimitPolicy) check(c *checker) { p.checkRules(c, c.gateway.usedBy["limit policy "+p.Name]) }

func (p *LimitPolicy) checkRules(c *checker, used bool) {
	if c.need(&p.Rules, "rules") {
		c.empty(&p.Rules, len(p.Rules))
	}
	if len(p.Rules) > maxLimitRules {
		c.bad(&p.Rules, "%d rules are more than %d", len(p.Rules), maxLimitRules)
		return
	}
	if !used {
		c.warn(&p.Name, "no virtual server uses it")
	}
	seen := map[netip.Prefix]map[netip.Prefix]int{} // from, to
	for i, r := range p.Rules {
		c.of(r)
		sound := c.sound(func() { r.check(c) })
		w, single := r.ways()
		if at := w.within(seen); single && at > 0 {
			c.bad(r, "is never reached: rule %d takes all of it already", at)
		} else if single && sound {
			if seen[w.from] == nil {
				seen[w.from] = map[netip.Prefix]int{}
			}
			seen[w.from][w.to] = i + 1
		}
	}
	c.of(p)
}

func (r *LimitRule) check(c *checker) {
	for _, list := range []*[]netip.Prefix{&r.Sources, &r.Destinations} {
		c.empty(list, len(*list))
		distinct(c, *list)
	}
	if !sameFamily(r.Sources, r.Destinations) {
		c.bad(r, "matches nothing: sources and destinations have no family in common")
	}
	c.empty(&r.Per, len(r.Per))
	distinct(c, r.Per)
	if c.need(&r.Upper, "upper") {
		between(c, &r.Upper, 1, maxConnections)
	}
	switch {
	case !c.given(&r.Lower):
		r.Lower = r.Upper
	case r.Lower > r.Upper && r.Upper > 0:
		c.bad(&r.Lower, "lower %d is above upper %d", r.Lower, r.Upper)
	default:
		between(c, &r.Lower, 1, maxConnections)
	}
}

// ways is from where to where; the zero prefix is everywhere.
type ways struct{ from, to netip.Prefix }

// ways gives the one pair of networks that the rule is for; ok is false if
// there are several.
func (r *LimitRule) ways() (w ways, ok bool) {
	one := func(list []netip.Prefix) (p netip.Prefix) {
		if len(list) == 1 {
			p = list[0]
		}
		return p
	}
	return ways{one(r.Sources), one(r.Destinations)}, len(r.Sources) <= 1 && len(r.Destinations) <= 1
}

// within gives the earlier rule that has all of w, by its number, or 0.
func (w ways) within(seen map[netip.Prefix]map[netip.Prefix]int) int {
	for _, from := range wider(w.from) {
		inner := seen[from]
		if inner == nil {
			continue
		}
		for _, to := range wider(w.to) {
			if at := inner[to]; at > 0 {
				return at
			}
		}
	}
	return 0
}

// wider lists a prefix, those around it, and everywhere.
func wider(p netip.Prefix) (list []netip.Prefix) {
	for bits := p.Bits(); bits >= 0; bits-- {
		outer, _ := p.Addr().Prefix(bits)
		list = append(list, outer)
	}
	return append(list, netip.Prefix{})
}
