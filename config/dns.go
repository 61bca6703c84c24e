package config

import "net/netip"

// DNS is the authoritative engine's own section.
type DNS struct {
	Listeners []*Listener `yaml:"listeners" json:"listeners,omitempty"`
	ECS       bool        `yaml:"ecs" json:"ecs"`             // use EDNS Client Subnet as the client (default false, T7)
	UDPSize   int         `yaml:"udpSize" json:"udpSize"`     // largest UDP answer in bytes, 512 to 4096 (default 1232)
	NSID      string      `yaml:"nsid" json:"nsid,omitempty"` // answered to those who ask for it; default none
}

// Listener is one address that DNS is served on.
type Listener struct {
	Address   netip.AddrPort `yaml:"address" json:"address"`
	Protocols []string       `yaml:"protocols" json:"protocols"` // udp, tcp (default both)
}
