package config

import "net/netip"

// Overlap is connections that two virtual servers serve, and who has them.
type Overlap struct {
	With     string       `json:"with"`     // the other one
	Network  netip.Prefix `json:"network"`  // that both have
	Protocol IPProtocol   `json:"protocol"` // that both have; any: every one
	Ports    PortRange    `json:"ports"`    // that both have
	Has      string       `json:"has"`      // who has them
	Why      string       `json:"why"`
}

// Overlaps gives what a virtual server and others both serve, in the order of the
// configuration, at most so many of them; more says that there are others. The
// order among them is the one that [Serve] documents (FAQ 1.1.9, T47).
func (m *Model) Overlaps(v *VirtualServer, most int) (list []Overlap, more bool) {
	if !v.Served() {
		return nil, false
	}
	before := true // those in the file
	for _, o := range m.VirtualServers {
		if o == v {
			before = false
		}
		if o == v || !o.Served() {
			continue
		}
		for _, found := range overlapsOf(v, o, before) {
			if len(list) == most {
				return list, true
			}
			list = append(list, found)
		}
	}
	return list, false
}

// overlapsOf gives what two both serve; otherFirst says that o comes first in the
// file.
func overlapsOf(v, o *VirtualServer, otherFirst bool) (list []Overlap) {
	mine, other := v.Serve.Type.Protocol(), o.Serve.Type.Protocol()
	if mine != other && mine != ProtocolAny && other != ProtocolAny {
		return nil
	}
	protocol := mine
	if mine == ProtocolAny {
		protocol = other
	}
	for _, p := range v.ServedPrefixes() {
		for _, q := range o.ServedPrefixes() {
			if !p.Overlaps(q) {
				continue
			}
			network := p
			if q.Bits() > p.Bits() {
				network = q
			}
			for _, a := range claimed(v) {
				for _, b := range claimed(o) {
					both := PortRange{max(a.From, b.From), min(a.To, b.To)}
					if both.From > both.To {
						continue
					}
					w, why := wins(p, q, mine, other, a, b)
					has := v.Name
					if w > 0 || w == 0 && otherFirst {
						has = o.Name
					}
					list = append(list, Overlap{With: o.Name, Network: network, Protocol: protocol, Ports: both, Has: has, Why: why})
				}
			}
		}
	}
	return list
}

// wins says who of two has a connection that both serve: the first if w is below
// 0, the second if it is above, and else the one that comes first in the file.
func wins(p, q netip.Prefix, mine, other IPProtocol, a, b PortRange) (w int, why string) {
	anyway := func(t IPProtocol) int {
		if t == ProtocolAny {
			return 1
		}
		return 0
	}
	size := func(r PortRange) int { return int(r.To) - int(r.From) }
	if w = q.Bits() - p.Bits(); w != 0 {
		return w, "the longer mask"
	}
	if w = anyway(mine) - anyway(other); w != 0 {
		return w, "type ip comes last"
	}
	if w = size(a) - size(b); w != 0 {
		return w, "the smaller range of ports"
	}
	return 0, "it comes first in the file"
}
