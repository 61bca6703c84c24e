package config

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
)

// Slot names an algorithm. In YAML it is a bare name or
// {algorithm, weighted, mask, tie, direction, from, debit}.
type Slot struct {
	Algorithm string    `yaml:"algorithm" json:"algorithm,omitempty" words:"algorithm"` // empty: the slot is not set
	Weighted  *bool     `yaml:"weighted" json:"weighted,omitempty"`                     // do weights count? of the tie, where there is one; default: for round-robin and bandwidth, but not in a tie under least-connections, least-time or cost (FAQ 1.1.15)
	Mask      Mask      `yaml:"mask" json:"mask,omitzero"`                              // source-hash: network bits that count (default 32 and 128)
	Tie       string    `yaml:"tie" json:"tie,omitempty" words:"tie"`                   // topology, least-connections, weighted-least-connections, least-time, cost, proximity: who chooses among those that are equally good (default round-robin); where it knows nothing, round-robin does
	Direction string    `yaml:"direction" json:"direction,omitempty" words:"direction"` // bandwidth, max-bandwidth: of which traffic (default total)
	From      string    `yaml:"from" json:"from,omitempty" words:"from"`                // bandwidth, max-bandwidth: who counts it (default meter)
	Debit     Bandwidth `yaml:"debit" json:"debit,omitzero"`                            // max-bandwidth: the load that is expected to come between two measurements; it is spread so that what then remains is level, instead of all going to one member (default 0)
	Pos       Pos       `yaml:"-" json:"-"`
}

// Mask gives how many leading bits of a client address count, per family.
// 0 to 32 and 0 to 128, default 32 and 128. In YAML it is a number (IPv4) or
// {v4, v6}.
type Mask struct {
	V4 int `yaml:"v4" json:"v4"` // bits of an IPv4 address
	V6 int `yaml:"v6" json:"v6"` // bits of an IPv6 address
}

func (s *Slot) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "algorithm") {
		s.Algorithm = word
	}
}

func (m *Mask) defaults() { *m = Mask{V4: 32, V6: 128} }

func (m *Mask) decodeShort(d *decoder, p *place) { d.value(p, reflect.ValueOf(&m.V4).Elem(), "") }

// looksAt names what an algorithm goes by and may find nothing of: then it
// chooses nobody, and the next slot has its turn (FAQ 1.4.2). It is empty for
// those that always choose. Two slots that look at the same decline alike.
func (s *Slot) looksAt() string {
	switch s.Algorithm {
	case "topology":
		return "rules"
	case "bandwidth", "max-bandwidth":
		return "bandwidth " + s.Direction
	case "least-connections", "weighted-least-connections":
		return "connections"
	case "least-time":
		return "time"
	case "cost":
		return "cost"
	case "proximity":
		return "distance"
	}
	return ""
}

func (s *Slot) declines() bool { return s.looksAt() != "" }

// ranks says whether an algorithm finds the best members, of which there may be
// several: a tie.
func (s *Slot) ranks() bool {
	return s.declines() && s.Algorithm != "bandwidth" && s.Algorithm != "max-bandwidth"
}

// last is the algorithm that has the last word: the tie where there is one.
func (s *Slot) last() string {
	if s.ranks() {
		return s.Tie
	}
	return s.Algorithm
}

func (p *Pool) checkSlots(c *checker) {
	slots := []*Slot{&p.Preferred, &p.Alternate, &p.Fallback}
	names := []string{"preferred", "alternate", "fallback"}
	last := -1 // the slot that ends the chain
	for i, s := range slots {
		s.check(c)
		if s.Algorithm == "" {
			continue
		}
		if !c.broken { // what is written wrong may be the slot before, or what it looks at
			alike := s.alike(slots[:i])
			switch {
			case last >= 0:
				c.bad(s, "is never reached: %s is %s, which always chooses", names[last], slots[last].Algorithm)
			case alike != nil && alike.Algorithm == s.Algorithm:
				c.bad(s, "is never of use: %s declines here too", s.Algorithm)
			case alike != nil:
				c.bad(s, "is never of use: where %s declines, %s does too", alike.Algorithm, s.Algorithm)
			}
			p.warnSlot(c, s)
		}
		if last < 0 && !s.declines() {
			last = i
		}
	}
}

// alike gives the first of the slots before that declines where s does, or nil.
func (s *Slot) alike(before []*Slot) *Slot {
	if i := slices.IndexFunc(before, func(o *Slot) bool { return s.declines() && o.looksAt() == s.looksAt() }); i >= 0 {
		return before[i]
	}
	return nil
}

func (s *Slot) check(c *checker) {
	if s.Algorithm == "" {
		if c.given(s) {
			c.bad(s, "algorithm is missing")
		}
		return
	}
	switch {
	case c.given(&s.Tie) && s.Algorithm == "max-bandwidth":
		c.bad(&s.Tie, "has no place here: the earlier member in the file has what is equal (FAQ 1.2.15)")
	case c.given(&s.Tie) && !s.ranks():
		c.bad(&s.Tie, "belongs to topology, least-connections, weighted-least-connections, least-time, cost and proximity, not to %s", s.Algorithm)
	case s.Tie == s.Algorithm:
		c.bad(&s.Tie, "%s has said all that it can before", s.Tie)
	case s.ranks():
		s.Tie = cmp.Or(s.Tie, "round-robin")
	}
	s.checkDraw(c)
	s.checkTraffic(c)
	if s.Algorithm == "topology" && len(c.m.Topology) == 0 && !c.broken {
		c.warn(s, "always declines: there are no topology rules")
	}
}

// checkDraw checks what belongs to algorithms that share out.
func (s *Slot) checkDraw(c *checker) {
	draws := s.last()
	weighs := draws == "round-robin" || draws == "random" || draws == "source-hash" || draws == "bandwidth"
	if c.given(&s.Weighted) && !weighs {
		c.bad(&s.Weighted, "belongs to round-robin, random, source-hash and bandwidth, not to %s", draws)
	}
	switch {
	case !c.given(&s.Mask) || draws == "source-hash":
	case s.ranks():
		c.bad(&s.Mask, "belongs to tie: source-hash, and the tie is %s", draws)
	default:
		c.bad(&s.Mask, "belongs to source-hash, not to %s", draws)
	}
	if draws == "source-hash" && !c.given(&s.Mask) {
		s.Mask.defaults()
	}
	between(c, &s.Mask.V4, 0, 32)
	between(c, &s.Mask.V6, 0, 128)
}

// checkTraffic checks what belongs to algorithms that look at what remains of
// links.
func (s *Slot) checkTraffic(c *checker) {
	looks := s.last()
	if looks != "bandwidth" && looks != "max-bandwidth" {
		for _, field := range []*string{&s.Direction, &s.From} {
			if c.given(field) {
				c.bad(field, "belongs to bandwidth and max-bandwidth, not to %s", looks)
			}
		}
	} else {
		s.Direction, s.From = cmp.Or(s.Direction, "total"), cmp.Or(s.From, "meter")
	}
	switch {
	case !c.given(&s.Debit):
	case looks != "max-bandwidth":
		c.bad(&s.Debit, "belongs to max-bandwidth, not to %s", looks)
	case s.Debit == 0:
		c.bad(&s.Debit, "is 0: nothing would be spread")
	}
}

// warnSlot warns of a slot that has nothing to go by.
func (p *Pool) warnSlot(c *checker, s *Slot) {
	if c.given(&s.Direction) && c.places[&s.Direction].bad {
		return
	}
	field, what := any(s), "always declines"
	looks := s.Algorithm
	if s.ranks() && s.Algorithm != "cost" && s.Algorithm != "proximity" {
		field, what, looks = &s.Tie, "has no effect", s.Tie
	}
	meant, lacks := func(*Link) bool { return true }, "a link"
	switch looks {
	case "bandwidth", "max-bandwidth":
		meant = func(l *Link) bool { return l.RateLimit.of(s.Direction) > 0 }
		lacks = "a link with a rateLimit, direction " + s.Direction
	case "proximity":
		if x := &c.m.Proximity; !x.Measures() && (!x.Enabled || len(x.Static) == 0) {
			c.warn(field, "%s: proximity measures nothing, for it has no methods or is switched off (FAQ 1.1.6)", what)
			return
		}
	case "cost":
	default:
		return
	}
	if !p.hasLink(c, map[*Pool]bool{}, meant) {
		c.warn(field, "%s: no member is on %s", what, lacks)
		return
	}
	if looks == "bandwidth" { // counts them with the mean of the others
		return
	}
	var out []string
	for _, m := range p.Members {
		if m.Pool == "" && !m.onLink(c, meant) {
			out = append(out, m.Target())
		}
	}
	if len(out) > 0 {
		c.warn(field, "%s never chooses %s: not on %s", looks, strings.Join(out, ", "), lacks)
	}
}

// of gives the bandwidth of one direction.
func (b Bandwidths) of(direction string) Bandwidth {
	switch direction {
	case "in":
		return b.In
	case "out":
		return b.Out
	}
	return b.Total
}

// hasLink says whether a member, nested ones included, is on a link that is
// meant. seen are the pools that were asked.
func (p *Pool) hasLink(c *checker, seen map[*Pool]bool, meant func(*Link) bool) bool {
	seen[p] = true
	return slices.ContainsFunc(p.Members, func(m *Member) bool {
		if inner := c.pools[m.Pool]; inner != nil {
			return !seen[inner] && inner.hasLink(c, seen, meant)
		}
		return m.onLink(c, meant)
	})
}

// onLink says whether a member is a virtual server on a link that is meant.
func (m *Member) onLink(c *checker, meant func(*Link) bool) bool {
	v := c.hosts[m.VirtualServer]
	return v != nil && v.Link != "" && slices.ContainsFunc(c.m.Links, func(l *Link) bool { return l != nil && l.Name == v.Link && meant(l) })
}
