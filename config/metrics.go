package config

import "net/netip"

// Metrics opens /metrics, /healthz and /readyz, and nothing else, on a TCP
// port, for those who cannot read the API's socket. They tell the names of
// pools, zones and virtual servers to whoever asks. A port that cannot be opened
// at start is an error in the log and an event; DNS is served.
type Metrics struct {
	Address netip.AddrPort `yaml:"address" json:"address,omitzero"` // default none: only on the API's socket
}

func (m *Metrics) check(c *checker) {
	if m.Address.Addr().IsMulticast() {
		c.bad(&m.Address, "%s is a multicast address", m.Address.Addr())
	}
	for _, l := range c.m.DNS.Listeners {
		if l != nil && l.takes(m.Address) {
			c.bad(&m.Address, "the listener on %s takes this address already", l.Address)
		}
	}
}
