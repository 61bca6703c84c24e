package config

// SNAT says which source address connections have that leave by a link. In
// YAML it is a word, or {addresses: [...]}. By default masquerade.
type SNAT struct {
	Mode      SNATMode       `yaml:"mode" json:"mode,omitempty" words:"snat"` // instead of addresses; also written bare (default masquerade, if there are no addresses)
	Addresses []AddressRange `yaml:"addresses" json:"addresses,omitempty"`    // one of these, of the family of the connection; a client keeps its own. A family without any is masqueraded
}

// SNATMode is a way to choose source addresses.
type SNATMode string

// The ways to choose source addresses without naming them.
const (
	SNATMasquerade SNATMode = "masquerade" // the address of the interface that it leaves by, as it is at the time
	SNATNone       SNATMode = "none"       // it stays as it is: the other side knows the way back
)

func (s *SNAT) defaults() { *s = SNAT{} }

func (s *SNAT) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "snat") {
		s.Mode = SNATMode(word)
	}
}

// maxPool bounds the addresses of a range, and maxRanges the ranges of a link.
const (
	maxPool   = 65536
	maxRanges = 64
)

// For gives how connections of a family get their source address: by the mode,
// or, if pool is not empty, one of pool.
func (s *SNAT) For(v6 bool) (mode SNATMode, pool []AddressRange) {
	if s.Mode == SNATNone {
		return SNATNone, nil
	}
	for _, r := range s.Addresses {
		if r.From.Is6() == v6 {
			pool = append(pool, r)
		}
	}
	return SNATMasquerade, pool
}

func (s *SNAT) check(c *checker, l *Link) {
	c.empty(&s.Addresses, len(s.Addresses))
	if c.given(s) && !c.places[s].bad && s.Mode == "" && !c.given(&s.Addresses) {
		c.bad(s, "exactly one of mode, addresses belongs here")
	}
	if s.Mode != "" && c.given(&s.Addresses) {
		c.bad(&s.Addresses, "has no place beside mode: %s", s.Mode)
	}
	if len(s.Addresses) > maxRanges {
		c.bad(&s.Addresses, "%d ranges are more than %d", len(s.Addresses), maxRanges)
		return
	}
	for i := range s.Addresses {
		s.checkRange(c, l, i)
	}
}

// checkRange checks a range of addresses among those before it.
func (s *SNAT) checkRange(c *checker, l *Link, i int) {
	r := &s.Addresses[i]
	if !c.sourceRange(s.Addresses, i) {
		return
	}
	hop := l.NextHop
	if v6 := r.From.Is6(); hop.IsValid() && hop.Is6() != v6 && !l.NextHop6.IsValid() {
		c.warn(r, "is of another family than the link's next hop, %s: nothing goes out from it unless a default route of its family leads over %s", hop, l.Interface)
	}
}
