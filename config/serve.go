package config

import (
	"net/netip"
)

// Serve makes this node answer at the addresses of a virtual server: each new
// connection that comes to them goes to a server of its farm, and stays there.
// Addresses and the switch are all that it needs; without a farm or a policy
// what comes is dropped.
//
// Of several virtual servers that a packet fits, one has it, in this order: the
// longest mask; then its very port; then a range of ports, the smaller one, of
// equal ones the first in the file; then every port of its protocol; then type
// ip (FAQ 1.1.9).
type Serve struct {
	Type        ServeType   `yaml:"type" json:"type" words:"serveType"`       // what is served (default tcp)
	Ports       []PortRange `yaml:"ports" json:"ports,omitempty"`             // tcp, udp: such as 443 or 8000-8100 (default the port of the virtual server; if it has none, every port)
	Mask        Mask        `yaml:"mask" json:"mask,omitzero"`                // leading bits of the addresses that count: with fewer than all, every address of the network is served, 1 to 32 and 1 to 128 (default 32 and 128)
	Interface   string      `yaml:"interface" json:"interface,omitempty"`     // network interface that Portolan puts the addresses on, and takes them from when they go; without, they are there already or are routed to this node
	Enabled     bool        `yaml:"enabled" json:"enabled"`                   // false: it takes nothing, and is down where pools have it (default true)
	Farm        string      `yaml:"farm" json:"farm,omitempty"`               // server farm of what no rule of the policy takes; without a policy, of all
	Backup      string      `yaml:"backup" json:"backup,omitempty"`           // server farm while farm is not available
	Persistence string      `yaml:"persistence" json:"persistence,omitempty"` // which clients keep the server that they have, in farm and backup; actions of a policy have their own
	Policy      string      `yaml:"policy" json:"policy,omitempty"`           // of slb.policies: decides by class, before farm does (FAQ 1.1.7)

	MaxConnections int        `yaml:"maxConnections" json:"maxConnections,omitempty"` // at once; more are dropped, 1 to 2000000000; 0: no bound. The first of two filters (FAQ 1.2.9)
	NewConnections int        `yaml:"newConnections" json:"newConnections,omitempty"` // a second; more are dropped, 1 to 10000000; 0: no bound
	RateLimit      Bandwidths `yaml:"rateLimit" json:"rateLimit,omitzero"`            // of all its connections together, in from clients, out to them; what is over is dropped
	LimitPolicy    string     `yaml:"limitPolicy" json:"limitPolicy,omitempty"`       // of slb.limitPolicies: limits by source, destination or service: the second filter (FAQ 1.2.9)
	TOS            *TOS       `yaml:"tos" json:"tos,omitempty"`                       // set in what goes to the client (FAQ 1.1.5); what goes to the server has that of the action
	Helper         Helper     `yaml:"helper" json:"helper,omitempty" words:"helper"`  // its protocol opens further connections, which follow the first one to its server
	Profile        string     `yaml:"profile" json:"profile,omitempty"`               // of slb.profiles; of kind http, it is not in effect on tcp, udp and ip (FAQ 1.1.10)
	Pos            Pos        `yaml:"-" json:"-"`

	idle []string // what is not in effect
}

// ServeType is what a virtual server serves.
type ServeType string

// What a virtual server serves in the kernel, by connections.
const (
	ServeTCP ServeType = "tcp" // TCP to its ports
	ServeUDP ServeType = "udp" // UDP to its ports
	ServeIP  ServeType = "ip"  // every protocol, whatever the port
)

// Protocol gives the IP protocol that is served; any for type ip.
func (t ServeType) Protocol() IPProtocol {
	switch t {
	case ServeTCP:
		return ProtocolTCP
	case ServeUDP:
		return ProtocolUDP
	}
	return ProtocolAny
}

func (s *Serve) defaults() {
	*s = Serve{Type: ServeTCP, Enabled: true}
	s.Mask.defaults()
}

// Default gives the action of what no rule of the policy takes: the farm of the
// virtual server. An action without a farm drops.
func (s *Serve) Default() FarmAction {
	if s.Farm == "" {
		return FarmAction{Do: FarmActionDrop}
	}
	return FarmAction{Farm: s.Farm, Backup: s.Backup, Persistence: s.Persistence, OnFailure: FailureDrop}
}

// Served says whether the virtual server is served by this node, as far as it
// says itself: slb as a whole may be switched off ([Model.Serves]).
func (v *VirtualServer) Served() bool { return v.Serve != nil && v.Serve.Enabled }

// ServedPrefixes gives the addresses and networks that are served, one a
// family at most; v is served.
func (v *VirtualServer) ServedPrefixes() []netip.Prefix {
	list := make([]netip.Prefix, 0, len(v.Addresses))
	for _, a := range v.Addresses {
		bits := v.Serve.Mask.V4
		if a.Is6() {
			bits = v.Serve.Mask.V6
		}
		if p, err := a.Prefix(bits); err == nil {
			list = append(list, p)
		}
	}
	return list
}

// ServedPorts gives the ports that are served; none: all, and of type ip. v is
// served.
func (v *VirtualServer) ServedPorts() []PortRange {
	switch {
	case v.Serve.Type == ServeIP:
		return nil
	case len(v.Serve.Ports) > 0:
		return v.Serve.Ports
	case v.Port > 0:
		return []PortRange{{v.Port, v.Port}}
	}
	return nil
}
