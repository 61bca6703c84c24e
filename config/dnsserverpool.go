package config

import (
	"net/netip"
	"reflect"
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
