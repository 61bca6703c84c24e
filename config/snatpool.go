package config

// SNATPool is a pool of source addresses that servers see in place of the
// clients' own. It owns the row snatPool/NAME. The addresses must lead back to
// this node: they are put on an interface here, or are routed to it.
type SNATPool struct {
	Name      string         `yaml:"name" json:"name"`
	Addresses []AddressRange `yaml:"addresses" json:"addresses"`           // of both families; a connection gets one of its own
	Ports     PortRange      `yaml:"ports" json:"ports"`                   // source ports that are used, with the clients' own kept where it is free and within (default 1024-65535)
	Interface string         `yaml:"interface" json:"interface,omitempty"` // network interface towards the servers that Portolan puts the addresses on; without, they are there already or are routed to this node
	Pos       Pos            `yaml:"-" json:"-"`
}

func (p *SNATPool) defaults() { *p = SNATPool{Ports: PortRange{1024, 65535}} }

// For gives the ranges of a family.
func (p *SNATPool) For(v6 bool) (list []AddressRange) {
	for _, r := range p.Addresses {
		if r.From.Is6() == v6 {
			list = append(list, r)
		}
	}
	return list
}
