package config

import (
	"net/netip"
	"slices"
	"strings"
)

// maxServed bounds the virtual servers that are served: their numbers stand in
// sixteen bits of the kernel's connection marks.
const maxServed = 65535

// check checks what a virtual server serves.
func (s *Serve) check(c *checker, v *VirtualServer) {
	defer c.of(v)
	c.of(s)
	s.checkAddresses(c, v)
	s.checkPorts(c, v)
	s.checkHelper(c, v)
	s.checkWay(c)
	if c.given(&s.MaxConnections) {
		between(c, &s.MaxConnections, 1, maxConnections)
	}
	if c.given(&s.NewConnections) {
		between(c, &s.NewConnections, 1, maxNewConnections)
	}
	s.RateLimit.check(c)
	if c.given(&s.LimitPolicy) {
		c.refer("limit policy of slb", &s.LimitPolicy)
	}
	if c.given(&s.Profile) {
		c.refer("profile", &s.Profile)
	}
	s.notInEffect(c)
	if c.given(&v.MaxConnections) {
		c.warn(&v.MaxConnections, "does nothing: it goes by what others report, and this virtual server is served here; serve.maxConnections bounds its connections")
	}
	if c.given(&v.Probes) {
		c.bad(&v.Probes, "have no place here: a virtual server that is served has the health of its farm; give them to the farm or its servers")
	}
}

// checkAddresses refuses addresses that this node cannot answer at.
func (s *Serve) checkAddresses(c *checker, v *VirtualServer) {
	between(c, &s.Mask.V4, 1, 32)
	between(c, &s.Mask.V6, 1, 128)
	network := false
	for i := range v.Addresses {
		a, field := v.Addresses[i], any(&v.Addresses[i])
		if c.given(&v.Address) {
			field = &v.Address
		}
		bits := s.Mask.V4
		if a.Is6() {
			bits = s.Mask.V6
		}
		p, err := a.Prefix(bits)
		network = network || err == nil && !p.IsSingleIP()
		switch hop := c.farms.hops[a]; {
		case !a.IsValid() || err != nil || bits < 1: // told elsewhere
		case a.IsLoopback():
			c.bad(field, "%s is a loopback address: nobody outside can ask for it", a)
		case a.IsLinkLocalUnicast():
			c.bad(field, "%s is a link-local address: nobody beyond a router can ask for it", a)
		case a.Is4() && a.As4()[0] == 0:
			c.bad(field, "%s is no host's address", a)
		case hop != nil:
			c.bad(field, "%s is the next hop of link %q, another machine: it is not ours to answer for", a, hop.Name)
		case p.Addr() != a:
			c.hinted(field, didYouMean(p.Addr().String()), "%s has bits set beyond the mask, /%d", a, bits)
		}
	}
	if !c.given(&s.Interface) {
		return
	}
	switch {
	case !isInterface(s.Interface):
		c.bad(&s.Interface, "%s is no name of a network interface: 1 to 15 characters, no space, slash or colon", quote(s.Interface))
	case network:
		c.bad(&s.Interface, "an interface is given single addresses, and mask makes a network of these; route it to this node")
	default:
		for i := range v.Addresses {
			c.putOn(&s.Interface, s.Interface, AddressRange{v.Addresses[i], v.Addresses[i]})
		}
	}
}

// putOn refuses an address that is put on two interfaces.
func (c *checker) putOn(field *string, name string, r AddressRange) {
	if !r.From.IsValid() || r.From != r.To {
		return
	}
	switch other := c.farms.puts[r.From]; {
	case other == nil:
		c.farms.puts[r.From] = field
	case *other != name:
		c.bad(field, "%s is put on %s already, at %s", r.From, *other, c.where(other).pos())
	}
}

func (s *Serve) checkPorts(c *checker, v *VirtualServer) {
	c.portRanges(&s.Ports)
	if s.Type != ServeIP {
		return
	}
	if len(s.Ports) > 0 {
		c.bad(&s.Ports, "have no place in type ip, which takes every port and protocol")
	} else if v.Port > 0 {
		c.warn(&s.Type, "takes every port and protocol; port %d of the virtual server is for probes alone", v.Port)
	}
}

// portRanges checks a list of ports: no two have a port in common.
func (c *checker) portRanges(list *[]PortRange) {
	ports := *list
	c.empty(list, len(ports))
	for i := range ports {
		for _, other := range ports[:min(i, maxPortRanges)] {
			if p := ports[i]; p.From > 0 && (p.Has(other.From) || other.Has(p.From)) {
				c.bad(&ports[i], "%s has ports in common with %s", p, other)
				break
			}
		}
	}
	if len(ports) > maxPortRanges {
		c.bad(list, "%d ranges are more than %d", len(ports), maxPortRanges)
	}
}

// checkHelper refuses helpers where what they read does not come by.
func (s *Serve) checkHelper(c *checker, v *VirtualServer) {
	if s.Helper == "" {
		return
	}
	fits := map[Helper][]ServeType{HelperFTP: {ServeTCP}, HelperTFTP: {ServeUDP}, HelperSIP: {ServeUDP, ServeTCP}}[s.Helper]
	switch {
	case !slices.Contains(fits, s.Type) && s.Type != "":
		c.bad(&s.Helper, "%s belongs to type %s, not to %s", s.Helper, joinTypes(fits), s.Type)
	case len(v.ServedPorts()) == 0:
		c.bad(&s.Helper, "needs ports: what comes to every port would be read as %s", s.Helper)
	}
}

func joinTypes(types []ServeType) string {
	words := make([]string, len(types))
	for i, t := range types {
		words[i] = string(t)
	}
	return strings.Join(words, " and ")
}

// checkWay checks where what comes is sent.
func (s *Serve) checkWay(c *checker) {
	for _, field := range []*string{&s.Backup, &s.Persistence} {
		if c.given(field) && !c.given(&s.Farm) {
			c.bad(field, "belongs to a farm, which is not given; actions of a policy have their own")
		}
	}
	if c.given(&s.Policy) {
		c.refer("policy of slb", &s.Policy)
	}
	c.farmAndBackup(&s.Farm, &s.Backup)
	if c.given(&s.Persistence) {
		c.refer("persistence", &s.Persistence)
	}
	if !c.given(&s.Farm) && !c.given(&s.Policy) && s.Enabled {
		c.warn(s, "nothing serves it: it has neither farm nor policy, so its connections are dropped")
	}
}

// farmAndBackup checks a pair of references to farms.
func (c *checker) farmAndBackup(farm, backup *string) {
	if c.given(farm) {
		c.refer("server farm", farm)
	}
	if c.given(backup) {
		c.refer("server farm", backup)
	}
	if *farm != "" && *farm == *backup {
		c.bad(backup, "%q is the farm itself", *backup)
	}
}

// check refuses limits of which one can never be reached.
func (b *Bandwidths) check(c *checker) {
	if !c.given(b) {
		return
	}
	for _, one := range []*Bandwidth{&b.In, &b.Out} {
		if b.Total > 0 && *one > b.Total {
			c.bad(one, "%v is above total %v, so it is never reached", *one, b.Total)
		}
	}
	if *b == (Bandwidths{}) && !c.places[b].bad {
		c.bad(b, "is 0: nothing would be let through; leave it away for no limit")
	}
}

// clash refuses virtual servers in whose place this program listens itself.
func (v *VirtualServer) clash(c *checker) {
	ports, warned := v.ServedPorts(), false
	for _, l := range c.farms.own {
		if l.protocol != v.Serve.Type.Protocol() && v.Serve.Type != ServeIP || !takesPort(ports, l.at.Port()) {
			continue
		}
		for _, p := range v.ServedPrefixes() {
			switch broad := (l.every || !p.IsSingleIP()) && len(ports) == 0; {
			case !l.on(p):
			case !broad:
				c.bad(v.Serve, "port %d is taken: %s is on %s here, and would get nothing that comes to %s; give one of them another address or port",
					l.at.Port(), l.what, l.at, p.Addr())
				return
			case !warned:
				c.warn(v.Serve, "takes what comes to port %d of %s, and others, from %s on %s", l.at.Port(), p.Addr(), l.what, l.at)
				warned = true
			}
		}
	}
}

// on says whether a socket is on an address of a network.
func (l *ownSocket) on(p netip.Prefix) bool {
	if l.every {
		return l.both || p.Addr().Is4() == l.at.Addr().Is4()
	}
	return p.Contains(l.at.Addr())
}

func takesPort(ports []PortRange, port uint16) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(r PortRange) bool { return r.Has(port) })
}

// ownSocket is a socket that this program listens on.
type ownSocket struct {
	what     string
	at       netip.AddrPort
	protocol IPProtocol
	every    bool // on every address of the family
	both     bool // of both families
}

// ownSockets lists the sockets that this program listens on.
func (c *checker) ownSockets() (list []ownSocket) {
	add := func(what string, at netip.AddrPort, protocol IPProtocol, both bool) {
		a := at.Addr().Unmap()
		if at.Port() == 0 || !a.IsValid() {
			return
		}
		list = append(list, ownSocket{what, netip.AddrPortFrom(a, at.Port()), protocol, a.IsUnspecified(), both})
	}
	for _, l := range c.m.DNS.Listeners {
		if l == nil {
			continue
		}
		for _, p := range l.Protocols {
			add("the listener of dns", l.Address, IPProtocol(p), false)
		}
	}
	add("the listener of metrics", c.m.Metrics.Address, ProtocolTCP, false)
	if p := c.m.DNSProxy; p != nil && p.Enabled {
		for _, protocol := range []IPProtocol{ProtocolTCP, ProtocolUDP} {
			add("dnsProxy", netip.AddrPortFrom(netip.IPv4Unspecified(), p.Port), protocol, true)
		}
	}
	return list
}
