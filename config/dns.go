package config

import (
	"net/netip"
	"slices"
)

// DNS is the authoritative engine's own section.
type DNS struct {
	Listeners []*Listener `yaml:"listeners" json:"listeners,omitempty"` // default one, on 127.0.0.1:53
	ECS       bool        `yaml:"ecs" json:"ecs"`                       // use EDNS Client Subnet as the client (default false, T7)
	UDPSize   int         `yaml:"udpSize" json:"udpSize"`               // largest UDP answer in bytes, 512 to 1232 (default 1232)
	NSID      string      `yaml:"nsid" json:"nsid,omitempty"`           // answered to those who ask for it, at most 128 bytes; default none
	Cookies   Cookies     `yaml:"cookies" json:"cookies"`
	Chaos     Chaos       `yaml:"chaos" json:"chaos,omitzero"` // what the server says of itself in class CH

	UDPSockets    int           `yaml:"udpSockets" json:"udpSockets,omitempty"` // sockets of a listener that answer over UDP at the same time, 0 to 256 (default 0, one a CPU); a change needs a restart
	Limits        Limits        `yaml:"limits" json:"limits"`
	ACL           *ACL          `yaml:"acl" json:"acl,omitempty"`           // which sources may ask at all (default all)
	RRL           RRL           `yaml:"rrl" json:"rrl"`                     // limits replies to sources that may be forged
	Amplification Amplification `yaml:"amplification" json:"amplification"` // bounds how much larger than the query a reply is (default off)

	MinimalResponses *bool `yaml:"minimalResponses" json:"minimalResponses,omitempty"` // positive answers carry no NS of the zone and no addresses of them (default true)
}

// Minimal says whether answers leave out what no RFC asks for; true unless the
// configuration says no.
func (d *DNS) Minimal() bool { return d.MinimalResponses == nil || *d.MinimalResponses }

// safeUDPSize fits every path of the Internet without fragments (DNS
// flag day 2020; RFC 9715, appendix A).
const safeUDPSize = 1232

// Listener is one address that DNS is served on.
type Listener struct {
	Address   netip.AddrPort `yaml:"address" json:"address"`                      // port 0: any free port
	Protocols []string       `yaml:"protocols" json:"protocols" words:"protocol"` // default both
	ACL       *ACL           `yaml:"acl" json:"acl,omitempty"`                    // which sources may ask here (default all)
}

// The default listener is on loopback, so that a first configuration harms
// nobody; and on IPv4 alone, so that it starts on hosts without IPv6.
func (d *DNS) defaults() {
	l := &Listener{Address: netip.MustParseAddrPort("127.0.0.1:53")}
	l.defaults()
	*d = DNS{Listeners: []*Listener{l}, UDPSize: safeUDPSize, Limits: DefaultLimits()}
	d.Cookies.defaults()
	d.RRL.defaults()
	d.Amplification.defaults()
}

func (l *Listener) defaults() { *l = Listener{Address: l.Address, Protocols: []string{"udp", "tcp"}} }

func (d *DNS) check(c *checker) {
	between(c, &d.UDPSize, 512, safeUDPSize)
	if len(d.NSID) > 128 {
		c.bad(&d.NSID, "is longer than 128 bytes")
	}
	d.Cookies.check(c)
	d.Chaos.check(c)
	between(c, &d.UDPSockets, 0, 256)
	d.Limits.check(c)
	d.ACL.check(c)
	d.RRL.check(c)
	d.Amplification.check(c)
	c.empty(&d.Listeners, len(d.Listeners))
	first, spots := map[netip.AddrPort]bool{}, map[spot]*Listener{}
	each(c, d.Listeners, func(l *Listener, c *checker) {
		l.check(c)
		plain := netip.AddrPortFrom(l.Address.Addr().Unmap(), l.Address.Port())
		if first[plain] && plain.Port() != 0 {
			c.bad(&l.Address, "there is a listener on %s already", plain)
		}
		first[plain] = true
		l.overlaps(c, spots)
	})
}

// takes says whether a listener stands in the way of another TCP socket.
func (l *Listener) takes(other netip.AddrPort) bool {
	a, b := l.Address.Addr().Unmap(), other.Addr().Unmap()
	return slices.Contains(l.Protocols, "tcp") && l.Address.Port() == other.Port() && other.Port() != 0 &&
		a.Is4() == b.Is4() && (a == b || a.IsUnspecified() || b.IsUnspecified())
}

// spot is what one socket takes: all addresses of a family, or at least one.
type spot struct {
	v4, all  bool
	port     uint16
	protocol string
}

// overlaps refuses a listener on all addresses of a family beside one of them:
// the second cannot be opened.
func (l *Listener) overlaps(c *checker, spots map[spot]*Listener) {
	a := l.Address.Addr().Unmap()
	if !a.IsValid() || l.Address.Port() == 0 {
		return
	}
	for _, protocol := range l.Protocols {
		s := spot{v4: a.Is4(), all: a.IsUnspecified(), port: l.Address.Port(), protocol: protocol}
		other := s
		other.all = !s.all
		switch o := spots[other]; {
		case o == nil:
		case s.all:
			c.bad(&l.Address, "%s takes every address, and there is a listener on %s already", l.Address, o.Address)
		default:
			c.bad(&l.Address, "the listener on %s takes this address already", o.Address)
		}
		if spots[s] == nil {
			spots[s] = l
		}
	}
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
	l.ACL.check(c)
}
