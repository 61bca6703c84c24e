package config

import "time"

// Persistence keeps clients on the link, the real server or the DNS server that
// they were given: an entry is made by the first connection, renewed by each
// further one and goes after timeout without any. An entry whose link or server
// is down is made anew.
type Persistence struct {
	Name            string   `yaml:"name" json:"name"`
	By              string   `yaml:"by" json:"by" words:"persistenceBy"`           // what makes two connections similar (default source)
	Mask            Mask     `yaml:"mask" json:"mask"`                             // leading bits of the source that count, 1 to 32 and 1 to 128 (default 32 and 128)
	DestinationMask Mask     `yaml:"destinationMask" json:"destinationMask"`       // destination, source-destination: leading bits of the destination that count, as in mask
	Timeout         Duration `yaml:"timeout" json:"timeout"`                       // an entry goes after so long without a new connection, 1s to 168h (default 10m)
	OverrideLimit   bool     `yaml:"overrideLimit" json:"overrideLimit,omitempty"` // whoever has an entry passes every limit of the link and of the virtual server, and busy protection (FAQ 1.2.8); without, an entry whose link is at a limit is passed over
	OverrideBusy    bool     `yaml:"overrideBusy" json:"overrideBusy,omitempty"`   // whoever has an entry passes busy protection, but no limit (C2)
	Shared          bool     `yaml:"shared" json:"shared,omitempty"`               // slb: one entry holds for all virtual servers that use the same server farm (default false: each has its own)
	Cookie          string   `yaml:"cookie" json:"cookie,omitempty"`               // cookie: its name
	Header          string   `yaml:"header" json:"header,omitempty"`               // header: its name
	MaxEntries      int      `yaml:"maxEntries" json:"maxEntries"`                 // a family, for each link group that uses it, 256 to 4000000 (default 65536); at the bound no new ones are made
	Pos             Pos      `yaml:"-" json:"-"`
}

// What makes two connections similar.
const (
	PersistBySource            = "source"
	PersistBySourcePort        = "source-port"
	PersistByDestination       = "destination"
	PersistBySourceDestination = "source-destination"
	PersistByCookie            = "cookie"
	PersistByHeader            = "header"
	PersistByURL               = "url"
	PersistBySSLSession        = "ssl-session"
)

func (p *Persistence) defaults() {
	*p = Persistence{By: PersistBySource, Timeout: Duration(10 * time.Minute), MaxEntries: 65536}
	p.Mask.defaults()
	p.DestinationMask.defaults()
}

func (p *Persistence) check(c *checker) {
	for _, m := range []*Mask{&p.Mask, &p.DestinationMask} {
		between(c, &m.V4, 1, 32)
		between(c, &m.V6, 1, 128)
	}
	if c.given(&p.DestinationMask) && p.By != PersistBySourceDestination && p.By != PersistByDestination && p.By != "" {
		c.bad(&p.DestinationMask, "belongs to by: destination and source-destination, not to %s", p.By)
	}
	if c.given(&p.Mask) && p.By == PersistByDestination {
		c.bad(&p.Mask, "is about sources, which do not count in by: %s; write destinationMask", p.By)
	}
	if c.given(&p.Mask) && p.Requests() {
		c.bad(&p.Mask, "is about addresses, which do not count in by: %s", p.By)
	}
	for _, named := range []struct {
		field *string
		by    string
	}{{&p.Cookie, PersistByCookie}, {&p.Header, PersistByHeader}} {
		switch {
		case c.given(named.field) && p.By != named.by && p.By != "":
			c.bad(named.field, "belongs to by: %s, not to %s", named.by, p.By)
		case p.By == named.by:
			if !c.given(named.field) {
				c.bad(p, "%s is missing: the name of the %s", named.by, named.by)
			}
			c.empty(named.field, len(*named.field))
		}
	}
	if p.Shared && !c.farms.usedBy["persistence "+p.Name] && !c.broken {
		c.warn(&p.Shared, "has no effect: no virtual server that is served uses it")
	}
	between(c, &p.Timeout, Duration(time.Second), Duration(168*time.Hour))
	between(c, &p.MaxEntries, 256, 4_000_000)
	if p.OverrideBusy && p.OverrideLimit {
		c.warn(&p.OverrideBusy, "has no effect: overrideLimit passes busy protection too")
	}
}

// keepsLink refuses a persistence that links cannot be kept by.
func (c *checker) keepsLink(ref *string) {
	switch by := c.gateway.persistence[*ref].By; by {
	case PersistBySource, PersistBySourceDestination, "":
	default:
		c.bad(ref, "persistence %q is by %s; that of outbound is by source or source-destination", *ref, by)
	}
}
