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
	SNATMasquerade SNATMode = "masquerade" // the address of the link's interface, as it is at the time
	SNATNone       SNATMode = "none"       // it stays as it is: the other side knows the way back
)

func (s *SNAT) defaults() { *s = SNAT{} }

func (s *SNAT) decodeShort(d *decoder, p *place) {
	if word, _, _ := scalarText(p.node); d.word(p, word, "snat") {
		s.Mode = SNATMode(word)
	}
}
