package config

import "net/netip"

// DNS is the authoritative engine's own section.
type DNS struct {
	Listeners []*Listener `yaml:"listeners" json:"listeners,omitempty"` // default one, on 127.0.0.1:53
	ECS       bool        `yaml:"ecs" json:"ecs"`                       // use EDNS Client Subnet as the client (default false, T7)
	UDPSize   int         `yaml:"udpSize" json:"udpSize"`               // largest UDP answer in bytes, 512 to 4096 (default 1232)
	NSID      string      `yaml:"nsid" json:"nsid,omitempty"`           // answered to those who ask for it, at most 128 bytes; default none
}

// Listener is one address that DNS is served on.
type Listener struct {
	Address   netip.AddrPort `yaml:"address" json:"address"`                      // port 0: any free port
	Protocols []string       `yaml:"protocols" json:"protocols" words:"protocol"` // udp, tcp (default both)
}

// The default listener is on loopback, so that a first configuration harms
// nobody; and on IPv4 alone, so that it starts on hosts without IPv6.
func (d *DNS) defaults() {
	l := &Listener{Address: netip.MustParseAddrPort("127.0.0.1:53")}
	l.defaults()
	*d = DNS{Listeners: []*Listener{l}, UDPSize: 1232}
}

func (l *Listener) defaults() { *l = Listener{Address: l.Address, Protocols: []string{"udp", "tcp"}} }

func (d *DNS) check(c *checker) {
	between(c, &d.UDPSize, 512, 4096)
	if len(d.NSID) > 128 {
		c.bad(&d.NSID, "is longer than 128 bytes")
	}
	c.empty(&d.Listeners, len(d.Listeners))
	first := map[netip.AddrPort]bool{}
	each(c, d.Listeners, func(l *Listener, c *checker) {
		l.check(c)
		if first[l.Address] && l.Address.Port() != 0 {
			c.bad(&l.Address, "there is a listener on %s already", l.Address)
		}
		first[l.Address] = true
	})
}

func (l *Listener) check(c *checker) {
	if c.given(l) {
		c.need(&l.Address, "address")
	}
	if l.Address.Addr().IsMulticast() {
		c.bad(&l.Address, "%s is a multicast address", l.Address.Addr())
	}
	c.empty(&l.Protocols, len(l.Protocols))
	distinct(c, l.Protocols)
}
