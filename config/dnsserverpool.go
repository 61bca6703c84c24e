package config

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
)

// DNSServerPool is a group of DNS servers that the DNS proxy asks, each by its
// own link: the set that takes part by priority, min and max, then the
// algorithm.
type DNSServerPool struct {
	Name           string             `yaml:"name" json:"name"`
	Algorithm      string             `yaml:"algorithm" json:"algorithm" words:"dnsServerAlgorithm"`  // how queries are shared (default round-robin)
	Direction      string             `yaml:"direction" json:"direction,omitempty" words:"direction"` // bandwidth, max-bandwidth: of which traffic (default total)
	Mask           Mask               `yaml:"mask" json:"mask,omitzero"`                              // source-hash: leading bits of the client that count (default 32 and 128)
	Min            int                `yaml:"min" json:"min,omitempty"`                               // at least so many take part; 0: the highest level, whatever its size
	Max            int                `yaml:"max" json:"max,omitempty"`                               // at most so many; 0: no bound
	Spill          []Spill            `yaml:"spill" json:"spill" words:"spill"`                       // what makes room for lower priorities (default [down])
	BusyProtection bool               `yaml:"busyProtection" json:"busyProtection,omitempty"`         // DNS servers of busy links are not asked, unless all are busy
	Members        []*DNSServerMember `yaml:"members" json:"members"`                                 // at least one
	Pos            Pos                `yaml:"-" json:"-"`
}

// DNSServerMember is a DNS server in a pool. In YAML it is also the bare name
// of the server.
type DNSServerMember struct {
	Server   string `yaml:"server" json:"server"`     // the DNS server
	Weight   int    `yaml:"weight" json:"weight"`     // share among equals, 0 to 65535 (default 1); 0 is a reserve
	Priority int    `yaml:"priority" json:"priority"` // higher goes first, 0 to 255 (default 0)
	Pos      Pos    `yaml:"-" json:"-"`
}

// DNSServer is a resolver that the DNS proxy may ask. It owns the row
// dnsServer/NAME. With a link it is asked by that link only, and the link's row
// must be up too; without, by the routing table.
type DNSServer struct {
	Name       string       `yaml:"name" json:"name"`
	Address    netip.Addr   `yaml:"address" json:"-"`                              // the short form of Addresses
	Addresses  []netip.Addr `yaml:"addresses" json:"addresses,omitempty"`          // of the one server, asked in this order of what the link can reach
	Auto       bool         `yaml:"auto" json:"auto,omitempty"`                    // instead of addresses: those that the link's interface was given, by DHCP, PPP or router advertisements; followed as they change
	Port       uint16       `yaml:"port" json:"port"`                              // default 53; tls 853, https 443
	Link       string       `yaml:"link" json:"link,omitempty"`                    // that queries to it leave by
	Protocol   string       `yaml:"protocol" json:"protocol" words:"dnsTransport"` // how it is asked (default udp)
	ServerName string       `yaml:"serverName" json:"serverName,omitempty"`        // tls, https: the name that its certificate must have (default its address)
	Path       string       `yaml:"path" json:"path,omitempty"`                    // https: of its URL (default /dns-query)
	CAFile     string       `yaml:"caFile" json:"caFile,omitempty"`                // tls, https: trust these certificates instead of the system's
	Probes     []string     `yaml:"probes" json:"probes,omitempty"`
	Criteria   Criteria     `yaml:"criteria" json:"criteria,omitzero"`
	Pos        Pos          `yaml:"-" json:"-"`
}

// How a DNS server is asked.
const (
	DNSOverUDP   = "udp"
	DNSOverTCP   = "tcp"
	DNSOverTLS   = "tls"
	DNSOverHTTPS = "https"
)

func (p *DNSServerPool) defaults() {
	*p = DNSServerPool{Algorithm: "round-robin", Spill: []Spill{SpillDown}}
}

func (m *DNSServerMember) defaults() { *m = DNSServerMember{Weight: 1} }

func (m *DNSServerMember) decodeShort(d *decoder, p *place) {
	d.value(p, reflect.ValueOf(&m.Server).Elem(), "")
}

func (s *DNSServer) defaults() { *s = DNSServer{Protocol: DNSOverUDP} }

// settle moves the short form of the address into the list, and fills in what
// the protocol has of its own.
func (s *DNSServer) settle(c *checker) {
	if s.Address.IsValid() && !c.given(&s.Addresses) {
		s.Addresses = []netip.Addr{s.Address}
	}
	if !c.given(&s.Port) {
		s.Port = map[string]uint16{DNSOverUDP: 53, DNSOverTCP: 53, DNSOverTLS: 853, DNSOverHTTPS: 443}[s.Protocol]
	}
	if s.Protocol == DNSOverHTTPS && !c.given(&s.Path) {
		s.Path = "/dns-query"
	}
}

func (s *DNSServer) check(c *checker) {
	c.oneOf(s, []bool{c.given(&s.Address), c.given(&s.Addresses), s.Auto}, "address, addresses, auto")
	c.endpoint(&s.Address)
	c.empty(&s.Addresses, len(s.Addresses))
	if c.given(&s.Addresses) {
		distinct(c, s.Addresses)
		for i := range s.Addresses {
			c.endpoint(&s.Addresses[i])
		}
	}
	if c.given(&s.Port) {
		between(c, &s.Port, 1, 65535)
	}
	s.checkLink(c)
	s.checkSecure(c)
	on := attachment{what: "DNS server \"" + s.Name + "\"", addresses: s.Addresses, port: true, learnt: s.Auto}
	if l := c.gateway.links[s.Link]; l != nil {
		on.source = l.Source
	}
	c.attach(s.Probes, on)
	for i, name := range s.Probes {
		if p := c.probe[name]; p != nil && p.Link != "" && p.Link != s.Link {
			c.bad(&s.Probes[i], "probe %q goes over link %s, which says nothing of the way that queries take (T52)", name, quote(p.Link))
		}
	}
	c.criteria(&s.Criteria, s.Probes)
}

// checkLink checks what queries leave by.
func (s *DNSServer) checkLink(c *checker) {
	if !c.given(&s.Link) {
		if s.Auto {
			c.bad(&s.Auto, "needs a link: the addresses are those that its interface was given")
		}
		return
	}
	if !c.refer("link", &s.Link) {
		return
	}
	switch l := c.gateway.links[s.Link]; {
	case l.Interface == "" && s.Auto:
		c.bad(&s.Auto, "link %q has no interface here that could be given addresses", s.Link)
	case l.Interface == "" && l.Mark == 0 && !l.Source.IsValid():
		c.bad(&s.Link, "link %q has no interface, source or mark here, so nothing can be sent over it", s.Link)
	}
}

// checkSecure checks what belongs to TLS and HTTPS.
func (s *DNSServer) checkSecure(c *checker) {
	secure := s.Protocol == DNSOverTLS || s.Protocol == DNSOverHTTPS
	for _, f := range []struct {
		field *string
		of    string
		fits  bool
	}{{&s.ServerName, "tls and https", secure}, {&s.CAFile, "tls and https", secure}, {&s.Path, "https", s.Protocol == DNSOverHTTPS}} {
		if c.given(f.field) && !f.fits && s.Protocol != "" {
			c.bad(f.field, "belongs to %s, not to %s", f.of, s.Protocol)
		}
	}
	if _, err := netip.ParseAddr(s.ServerName); c.given(&s.ServerName) && err != nil && c.hostName(&s.ServerName) {
		s.ServerName = strings.TrimSuffix(s.ServerName, ".") // as certificates and SNI have it (RFC 6066 3)
	}
	if s.Auto && secure && !c.given(&s.ServerName) {
		c.bad(s, "serverName is missing: nobody tells by which certificate to know an address that was learnt")
	}
	if c.given(&s.Path) && (!strings.HasPrefix(s.Path, "/") || strings.ContainsAny(s.Path, " #?\t\r\n")) {
		c.bad(&s.Path, "%s is not a path that starts with /, without a space, ? or #", quote(s.Path))
	}
	if c.given(&s.CAFile) {
		c.exists(&s.CAFile)
	}
}

func (p *DNSServerPool) check(c *checker) {
	if c.need(&p.Members, "members") {
		c.empty(&p.Members, len(p.Members))
	}
	c.takesPart(&p.Min, &p.Max, p.Spill)
	c.hash(&p.Mask, p.Algorithm, p.Algorithm == "source-hash")
	first, links, without := map[string]*DNSServerMember{}, []*Link{}, ""
	each(c, p.Members, func(m *DNSServerMember, c *checker) {
		c.share(&m.Weight, &m.Priority, p.Algorithm, p.Algorithm == "round-robin" || p.Algorithm == "bandwidth")
		if !c.need(&m.Server, "server") || !c.refer("DNS server", &m.Server) {
			return
		}
		if other := first[m.Server]; other != nil {
			c.bad(&m.Server, "%s is a member already, at %s", m.Server, other.Pos)
			return
		}
		first[m.Server] = m
		if l := c.gateway.links[c.gateway.dnsServers[m.Server].Link]; l != nil {
			links = append(links, l)
		} else {
			without = or(without, m.Server)
		}
	})
	c.of(p)
	c.traffic(&p.Algorithm, &p.Direction, p.Algorithm, links)
	switch {
	case c.broken || len(first) == 0:
	case without != "" && (p.Algorithm == "bandwidth" || p.Algorithm == "max-bandwidth"):
		c.warn(&p.Algorithm, "%s knows nothing of DNS server %q, which has no link", p.Algorithm, without)
	case p.BusyProtection && !slices.ContainsFunc(links, canBeBusy):
		c.warn(&p.BusyProtection, "has no effect: no DNS server has a link with a maxBandwidth, so none is ever busy")
	}
	if i := slices.Index(p.Spill, SpillBusy); i >= 0 && !p.BusyProtection {
		c.warn(&p.Spill[i], "has no effect without busyProtection")
	}
	if i := slices.Index(p.Spill, SpillFull); i >= 0 {
		c.bad(&p.Spill[i], "DNS servers have no limit of connections; down and busy belong here")
	}
}
