package config

import "net/netip"

// Class says what traffic a rule of a policy is for. Inside a list one entry
// must match; of the lists that are given all must, or any, as match says. The
// lists of ISPs, ASNs and countries are about the destination.
type Class struct {
	Name         string         `yaml:"name" json:"name"`
	Match        string         `yaml:"match" json:"match" words:"classMatch"`      // how many of the lists must match (default all)
	Sources      []netip.Prefix `yaml:"sources" json:"sources,omitempty"`           // networks that it comes from
	Destinations []netip.Prefix `yaml:"destinations" json:"destinations,omitempty"` // networks that it goes to
	ISPs         []string       `yaml:"isps" json:"isps,omitempty"`                 // it goes to one of their networks
	ASNs         []uint32       `yaml:"asns" json:"asns,omitempty"`                 // it goes to one of these autonomous systems, 1 to 4294967295
	Countries    []string       `yaml:"countries" json:"countries,omitempty"`       // it goes to one of these countries, ISO 3166-1 alpha-2
	Services     []Service      `yaml:"ports" json:"ports,omitempty"`               // applications by protocol and port of the destination, such as tcp/443, udp/53, 8080, icmp
	Interfaces   []string       `yaml:"interfaces" json:"interfaces,omitempty"`     // it comes in by one of these, which outbound.interfaces holds
	Times        []*Schedule    `yaml:"times" json:"times,omitempty"`               // it is one of these times
	Classes      []string       `yaml:"classes" json:"classes,omitempty"`           // one of these classes matches; loops are refused
	Pos          Pos            `yaml:"-" json:"-"`
}

// How many lists of a class must match.
const (
	MatchAll = "all"
	MatchAny = "any"
)

func (k *Class) defaults() { k.Match = MatchAll }
