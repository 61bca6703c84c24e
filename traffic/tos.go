package traffic

import (
	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// TypeOfService writes a type of service into packets that pass all of when, of
// either family. The bits of ECN stay (RFC 3168 5).
func TypeOfService(t config.TOS, when ...kernel.Step) (rules []kernel.Rule) {
	for _, f := range Families() {
		do := append(append([]kernel.Step{}, when...), f.Only(), kernel.SetTOS{IPv6: f.IPv6(), TOS: uint8(t)})
		rules = append(rules, Rule("type of service "+t.String(), do...))
	}
	return rules
}

// Labelled goes on for packets of connections that have a type of service by
// their label.
func Labelled() kernel.Step {
	label := kernel.ServiceLabel(0)
	return kernel.Is{Of: kernel.Masked{Of: kernel.CtLabel, Mask: label}, Op: kernel.NotEqual, To: make([]byte, len(label))}
}

// LabelledServices writes the chain that writes what the label of a connection
// says into its packets, and gives its name. A type of service that no
// configuration has any more is not written.
func (b *Builder) LabelledServices(name string, list []config.TOS) string {
	return b.Chain(name, func() (rules []kernel.Rule) {
		for _, t := range list {
			is := kernel.Is{Of: kernel.Masked{Of: kernel.CtLabel, Mask: kernel.ServiceMask()}, To: kernel.ServiceLabel(uint8(t))}
			rules = append(rules, TypeOfService(t, is)...)
		}
		return rules
	})
}
