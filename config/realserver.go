package config

import (
	"net/netip"
	"strconv"
	"time"
)

// RealServer is a server in a farm: what connections are sent to. It owns the
// row realServer/FARM/NAME. The same address may stand in several farms, each
// time with weight, limits and probes of its own (slb.oneFarm forbids it). In
// YAML it is also a bare address, with or without a port, which is its name
// too.
type RealServer struct {
	Name      string       `yaml:"name" json:"name"`                     // unique in its farm (default its address and port, or its host)
	Enabled   bool         `yaml:"enabled" json:"enabled"`               // false: it gets no connections; what becomes of those that it has, slowOffline says (default true)
	Address   netip.Addr   `yaml:"address" json:"-"`                     // the short form of Addresses
	Addresses []netip.Addr `yaml:"addresses" json:"addresses,omitempty"` // at most one a family
	Host      string       `yaml:"host" json:"host,omitempty"`           // instead of addresses: those that this name has, followed as they change
	Port      uint16       `yaml:"port" json:"port,omitempty"`           // 1 to 65535 (default that of the farm; without one the port that the client asked for stays)
	Weight    int          `yaml:"weight" json:"weight"`                 // share among equals, 0 to 65535 (default 1); 0 is a reserve
	Priority  int          `yaml:"priority" json:"priority"`             // higher goes first, 0 to 255 (default 0)

	MaxConnections int        `yaml:"maxConnections" json:"maxConnections,omitempty"` // of this farm at once; full at so many, 1 to 2000000000; 0: no bound
	NewConnections int        `yaml:"newConnections" json:"newConnections,omitempty"` // of this farm a second; more go elsewhere, 1 to 10000000; 0: no bound
	RateLimit      Bandwidths `yaml:"rateLimit" json:"rateLimit,omitzero"`            // of its connections, in to the server, out from it; what is over is dropped; the same in all farms that it stands in. What remains of it is what bandwidth and max-bandwidth look at
	MaxBandwidth   Bandwidths `yaml:"maxBandwidth" json:"maxBandwidth,omitzero"`      // what it is expected to carry, in and out as above: busy protection judges by it; without, it is never busy
	Busy           ServerBusy `yaml:"busy" json:"busy,omitzero"`

	Probes   []string `yaml:"probes" json:"probes,omitempty"`    // instead of the farm's
	Criteria Criteria `yaml:"criteria" json:"criteria,omitzero"` // over its probes, own or the farm's
	Pos      Pos      `yaml:"-" json:"-"`
}

// ServerBusy says when a server is too loaded to be given anything new: above
// rate of its maxBandwidth in any direction, until it is below recovery in
// every one.
type ServerBusy struct {
	Rate     Percent  `yaml:"rate" json:"rate"`         // of maxBandwidth: busy above it, 1% to 100% (default 70%)
	Recovery Percent  `yaml:"recovery" json:"recovery"` // of maxBandwidth: free below it, 1% to rate (default 60%, or rate if that is less)
	Window   Duration `yaml:"window" json:"window"`     // rates are means over it, 1s to 300s (default 1s)
}

func (s *RealServer) defaults() { *s = RealServer{Enabled: true, Weight: 1} }

func (s *RealServer) decodeShort(d *decoder, p *place) {
	text, _, _ := scalarText(p.node)
	if ap, err := netip.ParseAddrPort(text); err == nil && ap.Port() > 0 {
		d.address(p, ap.Addr().String(), &s.Address)
		s.Port = ap.Port()
		return
	}
	if _, err := netip.ParseAddr(text); err != nil {
		d.fail(p, "", "%s is not an address, nor an address with a port such as 10.0.0.1:8080; a name is written {host: %s}", quote(text), text)
		return
	}
	d.address(p, text, &s.Address)
}

// settle moves the short form of the address into the list, takes the farm's
// port where there is none, and names what has no name.
func (s *RealServer) settle(c *checker, f *ServerFarm) {
	if s.Address.IsValid() && !c.given(&s.Addresses) {
		s.Addresses = []netip.Addr{s.Address}
	}
	named := s.Port
	if s.Port == 0 && !c.given(&s.Port) {
		s.Port = f.Port
	}
	if c.given(&s.Name) {
		return
	}
	switch {
	case len(s.Addresses) > 0 && s.Addresses[0].IsValid() && named > 0:
		s.Name = netip.AddrPortFrom(s.Addresses[0], named).String()
	case len(s.Addresses) > 0 && s.Addresses[0].IsValid():
		s.Name = s.Addresses[0].String()
	case s.Host != "" && named > 0:
		s.Name = s.Host + ":" + strconv.Itoa(int(named))
	default:
		s.Name = s.Host
	}
}

func (b *ServerBusy) defaults() {
	*b = ServerBusy{Rate: defaultRate, Recovery: defaultRecovery, Window: Duration(time.Second)}
}
