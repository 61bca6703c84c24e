package config

import (
	"strings"
	"time"
)

// Zone is an authoritative zone: a master file for static records, and names
// that are bound to pools.
type Zone struct {
	Name  string  `yaml:"name" json:"name"`             // the apex; canonical after Load
	File  string  `yaml:"file" json:"file"`             // master file (RFC 1035 5) of the static records
	View  string  `yaml:"view" json:"view,omitempty"`   // the view that alone sees it (default every view)
	ACL   *ACL    `yaml:"acl" json:"acl,omitempty"`     // which sources it answers (default all)
	Names []*Name `yaml:"names" json:"names,omitempty"` // those that pools answer
	Pos   Pos     `yaml:"-" json:"-"`

	Limits *ZoneLimits `yaml:"-" json:"-"` // those of dns.limits.zone, put here by Load; nil: the defaults
}

// Name is a dynamic name: the pool answers its A, AAAA and address hints.
type Name struct {
	Name  string `yaml:"name" json:"name"` // relative to the zone; "@" is the apex, "*" a wildcard
	Pool  string `yaml:"pool" json:"pool"` // the pool that answers
	TTL   TTL    `yaml:"ttl" json:"ttl"`
	Group string `yaml:"group" json:"group,omitempty"` // names of one group share a decision (default: the name itself)
	FQDN  string `yaml:"-" json:"fqdn"`                // canonical full name, filled in by Load
	Pos   Pos    `yaml:"-" json:"-"`
}

// TTL bounds the time to live of a dynamic name's answers. A single value
// sets both bounds. Default 30s to 30s. Range 0s to 24h in whole seconds.
type TTL struct {
	Min Duration `yaml:"min" json:"min"` // for degraded answers, and close to a coming change
	Max Duration `yaml:"max" json:"max"` // for all others
}

func (n *Name) defaults() { n.TTL.defaults() }

func (t *TTL) defaults() {
	const half = Duration(30 * time.Second)
	*t = TTL{Min: half, Max: half}
}

func (t *TTL) decodeShort(d *decoder, p *place) {
	d.textual(p, &t.Min)
	t.Max = t.Min
}

func (t *TTL) check(c *checker) {
	for _, bound := range []*Duration{&t.Min, &t.Max} {
		if *bound%Duration(time.Second) != 0 {
			c.bad(c.ttlField(t, bound), "%s is not a whole number of seconds", *bound)
		} else if *bound > Duration(24*time.Hour) {
			c.bad(c.ttlField(t, bound), "%s is out of range 0s to 24h", *bound)
		}
	}
	if t.Min > t.Max {
		c.bad(t, "min %s is larger than max %s", t.Min, t.Max)
	}
}

// ttlField is the bound if it was written, else the short form of both.
func (c *checker) ttlField(t *TTL, bound *Duration) any {
	if c.given(bound) {
		return bound
	}
	return t
}

// zones checks all zones, then their names, for a name may belong to another
// zone.
func (c *checker) zones() {
	if n, most := len(c.m.Zones), c.m.DNS.Limits.Zones; n > most && most > 0 {
		c.bad(&c.m.Zones, "%d zones are more than dns.limits.zones, %d", n, most)
	}
	zones := map[zoneView]*Zone{}
	each(c, c.m.Zones, func(z *Zone, c *checker) { z.check(c, zones) })
	names, groups := map[zoneView]*Name{}, map[zoneView]*Name{}
	seen := map[string]map[string]*Zone{}
	for _, z := range c.m.Zones {
		if seen[z.View] == nil {
			seen[z.View] = c.m.seen(z.View)
		}
		for _, n := range z.Names {
			c.of(n)
			n.check(c)
			if n.locate(c, z) {
				n.placed(c, z, seen[z.View], names)
			}
			n.joined(c, z, groups)
		}
	}
	c.circles(seen[""])
	for _, v := range c.m.Views {
		c.circles(seen[v.Name])
	}
}

func (z *Zone) check(c *checker, zones map[zoneView]*Zone) {
	z.Limits = &c.m.DNS.Limits.Zone
	if c.need(&z.Name, "name") && c.domainName(&z.Name) {
		if first := zones[zoneView{z.View, z.Name}]; first != nil && z.View != "" {
			c.bad(&z.Name, "%s is a zone of view %s already, at %s", z.Name, z.View, first.Pos)
		} else if first != nil {
			c.bad(&z.Name, "%s is a zone already, at %s", z.Name, first.Pos)
		} else {
			zones[zoneView{z.View, z.Name}] = z
		}
	}
	if c.need(&z.File, "file") {
		c.exists(&z.File)
	}
	if c.given(&z.View) {
		c.refer("view", &z.View)
	}
	z.ACL.check(c)
}

func (n *Name) check(c *checker) {
	c.need(&n.Name, "name")
	c.empty(&n.Name, len(n.Name))
	if c.need(&n.Pool, "pool") {
		c.refer("pool", &n.Pool)
	}
	n.TTL.check(c)
	c.empty(&n.Group, len(n.Group))
}

// locate finds the full name. It says whether there is one.
func (n *Name) locate(c *checker, z *Zone) bool {
	switch {
	case n.Name == "" || !strings.HasSuffix(z.Name, "."):
		return false // complained about already
	case n.Name == "@":
		n.FQDN = z.Name
		return true
	}
	full := n.Name
	if !strings.HasSuffix(full, ".") {
		full += "." + strings.TrimSuffix(z.Name, ".")
	}
	fqdn, err := canonical(full)
	if err != nil {
		c.bad(&n.Name, "%s %s", quote(n.Name), err)
		return false
	}
	if !under(fqdn, z.Name) {
		c.bad(&n.Name, "%s lies outside its zone %s", fqdn, z.Name)
		return false
	}
	n.FQDN = fqdn
	return true
}

// placed checks a name among the others.
func (n *Name) placed(c *checker, z *Zone, zones map[string]*Zone, names map[zoneView]*Name) {
	if first := names[zoneView{z.View, n.FQDN}]; first != nil {
		c.bad(&n.Name, "%s is bound already, at %s", n.FQDN, first.Pos)
	} else {
		names[zoneView{z.View, n.FQDN}] = n
	}
	if owner := closest(n.FQDN, zones); owner != nil && owner != z {
		c.bad(&n.Name, "is never asked here: %s belongs to the zone %s, at %s", n.FQDN, owner.Name, owner.Pos)
	}
	if n.FQDN == z.Name {
		if cname := c.mayCNAME(n.Pool); cname != "" {
			c.bad(&n.Pool, "the apex of a zone cannot be a CNAME (RFC 1034 3.6.2), and pool %q may answer %s", n.Pool, cname)
		}
	}
	doubled := strings.ToLower(n.Name) + "."
	if doubled == z.Name || strings.HasSuffix(doubled, "."+z.Name) {
		short := strings.TrimSuffix(strings.TrimSuffix(doubled, z.Name), ".")
		if short == "" {
			short = "@"
		}
		c.complain(&n.Name, didYouMean(short), true, "names are relative to the zone: this is "+n.FQDN)
	}
}

// closest gives the zone that answers for a name: the one with most labels.
func closest(fqdn string, zones map[string]*Zone) *Zone {
	for name := fqdn; ; {
		if z := zones[name]; z != nil {
			return z
		}
		_, rest, ok := strings.Cut(name, ".")
		if !ok || name == "." {
			return nil
		}
		if name = rest; name == "" {
			name = "."
		}
	}
}

// joined checks that names that share a decision ask the same pool.
func (n *Name) joined(c *checker, z *Zone, groups map[zoneView]*Name) {
	if n.Group == "" {
		return
	}
	first := groups[zoneView{z.View, n.Group}]
	if first == nil {
		groups[zoneView{z.View, n.Group}] = n
	} else if first.Pool != n.Pool {
		c.bad(&n.Pool, "group %q shares one decision and has pool %q, at %s", n.Group, first.Pool, first.Pos)
	}
}
