package config

import "net/netip"

// RRL limits the replies to sources that nobody has proven, so that a forged
// one cannot make this server flood who it names. Queries over TCP and those
// with a valid cookie come from who they say and are not limited, nor are those
// from loopback.
type RRL struct {
	Rate      int            `yaml:"rate" json:"rate"`               // replies a second to a prefix of factor 1; 0 limits nobody (default 200, at most 100000)
	Burst     int            `yaml:"burst" json:"burst"`             // replies that such a prefix may get at once after a rest, at most a minute's worth (default 500)
	Slip      int            `yaml:"slip" json:"slip"`               // of the replies over the limit, one in so many asks the client to come by TCP or with a cookie, at random; 1: each, 0: none; the others are not sent (default 2, at most 100)
	V4        []*RRLPrefix   `yaml:"v4" json:"v4"`                   // which IPv4 prefixes are limited: all must have room (default /24 with factor 1, /20 with 8, /18 with 24)
	V6        []*RRLPrefix   `yaml:"v6" json:"v6"`                   // the same for IPv6 (default /56 with factor 1, /48 with 4, /32 with 64)
	Exempt    []netip.Prefix `yaml:"exempt" json:"exempt,omitempty"` // sources that are not limited, such as one's own resolvers
	DryRun    bool           `yaml:"dryRun" json:"dryRun"`           // count and log what would be limited, and limit nothing
	TableSize int            `yaml:"tableSize" json:"tableSize"`     // prefixes that can be under load at once, 1024 to 16777216; rounded up to a power of two, 8 bytes each (default 262144: 2 MiB)
}

// RRLPrefix is a length of prefix that is limited.
type RRLPrefix struct {
	Bits   int `yaml:"bits" json:"bits"`     // of the source's address: 1 to 32 for IPv4, 1 to 128 for IPv6
	Factor int `yaml:"factor" json:"factor"` // how many times rate and burst such a prefix has, 1 to 4096
}

// maxRRLRate bounds rate x factor: beyond it a prefix is as good as unlimited.
const maxRRLRate = 1000000

func (r *RRL) defaults() {
	*r = RRL{
		Rate: 200, Burst: 500, Slip: 2, TableSize: 1 << 18,
		V4: []*RRLPrefix{{24, 1}, {20, 8}, {18, 24}},
		V6: []*RRLPrefix{{56, 1}, {48, 4}, {32, 64}},
	}
}

func (r *RRL) check(c *checker) {
	between(c, &r.Rate, 0, 100000)
	between(c, &r.Slip, 0, 100)
	between(c, &r.TableSize, 1<<10, 1<<24)
	if r.Rate > 0 {
		switch most := 60 * r.Rate; {
		case r.Burst < 1:
			c.bad(&r.Burst, "%d is less than 1: nothing would be answered", r.Burst)
		case r.Burst > most:
			c.bad(&r.Burst, "%d is more than a minute's worth at rate %d: %d", r.Burst, r.Rate, most)
		}
	}
	c.rrlPrefixes(r, &r.V4, 32)
	c.rrlPrefixes(r, &r.V6, 128)
	distinct(c, r.Exempt)
}

func (c *checker) rrlPrefixes(r *RRL, list *[]*RRLPrefix, bits int) {
	const most = 8
	c.empty(list, len(*list))
	if len(*list) > most {
		c.bad(list, "has %d lengths of prefix; at most %d are looked at for each query", len(*list), most)
	}
	if !c.given(list) {
		for _, p := range *list {
			if r.Rate*p.Factor > maxRRLRate {
				c.bad(&r.Rate, "rate %d x factor %d of a /%d is more than %d a second", r.Rate, p.Factor, p.Bits, maxRRLRate)
			}
		}
		return
	}
	noun := c.noun
	defer c.of(noun)
	each(c, *list, func(p *RRLPrefix, c *checker) {
		if hasBits, hasFactor := c.need(&p.Bits, "bits"), c.need(&p.Factor, "factor"); !hasBits || !hasFactor {
			return
		}
		between(c, &p.Bits, 1, bits)
		between(c, &p.Factor, 1, 4096)
		if r.Rate*p.Factor > maxRRLRate {
			c.bad(&p.Factor, "rate %d x factor %d is more than %d a second", r.Rate, p.Factor, maxRRLRate)
		}
		for _, o := range *list {
			if o == p || !p.suits(c, o) {
				break
			}
		}
	})
}

// suits compares a prefix with one that stands before it.
func (p *RRLPrefix) suits(c *checker, o *RRLPrefix) bool {
	wide, long := p, o
	if p.Bits > o.Bits {
		wide, long = o, p
	}
	switch {
	case p.Bits == o.Bits:
		c.bad(&p.Bits, "/%d stands here twice", p.Bits)
		return false
	case o.Factor > 0 && wide.Factor <= long.Factor:
		c.bad(&p.Factor, "a /%d with factor %d lets every /%d have it all: a wider prefix has a larger factor than %d", wide.Bits, wide.Factor, long.Bits, long.Factor)
		return false
	}
	return true
}
