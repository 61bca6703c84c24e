package config

import (
	"net/netip"
	"strconv"
	"time"
)

// endpoint is where a server is reached; port 0: at the port that the client
// asked for.
type endpoint struct {
	addr netip.Addr
	port uint16
}

func (e endpoint) String() string {
	if e.port == 0 {
		return e.addr.String()
	}
	return netip.AddrPortFrom(e.addr, e.port).String()
}

func (s *RealServer) check(c *checker, f *ServerFarm) {
	if c.places[s] != nil && c.places[s].bad {
		return
	}
	if c.given(&s.Name) && (s.Name == "" || !isName(s.Name)) {
		c.bad(&s.Name, "%s is not a name: letters, digits and . _ - inside, at most 63, no address", quote(s.Name))
	}
	c.oneOf(s, []bool{s.Address.IsValid() || c.given(&s.Address), c.given(&s.Addresses), c.given(&s.Host)}, "address, addresses, host")
	s.checkAddresses(c, f)
	if c.given(&s.Host) {
		c.hostName(&s.Host)
	}
	if c.given(&s.Port) {
		between(c, &s.Port, 1, 65535)
	}
	c.share(&s.Weight, &s.Priority, string(f.Algorithm), f.Algorithm.Weighs())
	s.checkLimits(c, f)
	on := attachment{what: "server " + strconv.Quote(s.Name), addresses: s.Addresses, port: s.Port != 0, learnt: s.Host != ""}
	if probes, _ := f.ProbesOf(s); len(s.Probes) > 0 || c.given(&s.Probes) {
		c.empty(&s.Probes, len(s.Probes))
		c.attach(s.Probes, on)
	} else {
		for _, name := range probes {
			if p := c.probe[name]; p != nil {
				c.aim(s, p, on, "inherited ")
			}
		}
	}
	probes, _ := f.ProbesOf(s)
	c.criteria(&s.Criteria, probes)
}

func (s *RealServer) checkAddresses(c *checker, f *ServerFarm) {
	c.empty(&s.Addresses, len(s.Addresses))
	for i := range s.Addresses {
		a := &s.Addresses[i]
		field := any(a)
		switch {
		case c.given(&s.Address):
			field = &s.Address
		case !c.given(a):
			field = s
		}
		switch v := *a; {
		case !v.IsValid():
			continue
		case v.IsUnspecified(), v.Is4() && v.As4()[0] == 0:
			c.bad(field, "%s is no host's address", v)
		case v.IsMulticast():
			c.bad(field, "%s is a multicast address", v)
		case v == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
			c.bad(field, "%s is the broadcast address", v)
		case v.IsLoopback():
			c.bad(field, "%s is a loopback address: what comes from outside cannot be sent there", v)
		case v.IsLinkLocalUnicast():
			c.bad(field, "%s is a link-local address, which says nothing without its interface", v)
		}
		for _, other := range s.Addresses[:i] {
			if a.IsValid() && other.IsValid() && a.Is4() == other.Is4() {
				c.bad(a, "%s is of the same family as %s; a server has at most one address a family", a, other)
				break
			}
		}
	}
}

// checkLimits checks limits, and what busy protection goes by.
func (s *RealServer) checkLimits(c *checker, f *ServerFarm) {
	if c.given(&s.MaxConnections) {
		between(c, &s.MaxConnections, 1, maxConnections)
	}
	if c.given(&s.NewConnections) {
		between(c, &s.NewConnections, 1, maxNewConnections)
	}
	s.RateLimit.check(c)
	s.MaxBandwidth.check(c)
	for _, field := range []any{&s.MaxConnections, &s.NewConnections, &s.RateLimit, &s.MaxBandwidth} {
		if c.given(field) && f.Mode != FarmNAT && f.Mode != "" {
			c.bad(field, "has no place in mode %s: nothing tracks its connections", f.Mode)
		}
	}
	b := &s.Busy
	if !c.given(b) {
		b.defaults()
		return
	}
	c.shares(&b.Rate, &b.Recovery, defaultRate, defaultRecovery)
	between(c, &b.Window, Duration(time.Second), Duration(300*time.Second))
	if s.MaxBandwidth == (Bandwidths{}) {
		c.warn(b, "has no effect: the server has no maxBandwidth, so it is never busy")
	}
}
