package doctor

import (
	"net/netip"
	"slices"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/kernel"
)

// Facts are what is known of the machine, and what it is to do.
type Facts struct {
	Wanted
	Interfaces []kernel.Interface
	Sysctls    map[string]string // by their names with slashes; missing: this kernel has none
	Rules      []kernel.PolicyEntry
	Sockets    []kernel.Listening
	Tracking   kernel.Tracking // Max 0: not known
	Helpers    map[string]bool // of those wanted: whether this kernel has them, as far as can be told
	Legacy     []string        // tables of the old iptables
	Programs   map[string]bool // that have chains in nftables, by name
	Serving    bool            // a server of ours runs

	// Meet tells what chains of others do to a packet; nil: they could not be
	// read. [kernel.Ruleset.Meet] is one.
	Meet func(hook string, p kernel.Passing) kernel.Meeting

	Unseen []Unseen
}

// Unseen is something that could not be looked at.
type Unseen struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Wanted is what a configuration asks of the machine.
type Wanted struct {
	Configured bool // there is a configuration; else it is guessed
	Balances   bool
	Proxies    bool // DNS, transparently
	Inside     []string
	Links      []Link
	Exempt     []netip.Prefix
	Helpers    []config.Helper
	Listeners  []Listener
	ProxyPort  uint16
	Sysctls    []kernel.Sysctl // that owners wish
}

// Link is a line of this machine.
type Link struct {
	Name, Interface string
	NextHop6        bool // configured, so that none is learnt
	KeepsSource     bool // nothing is masqueraded: an address or a pool is chosen, or none
}

// Listener is where DNS is served.
type Listener struct {
	Address  netip.AddrPort
	UDP, TCP bool
}

// WantedOf gives what a configuration asks for. sysctls are the wishes of the
// owners in the kernel (outbound, dnsproxy).
func WantedOf(m *config.Model, sysctls []kernel.Sysctl) Wanted {
	w := Wanted{Configured: true, Balances: m.Balances(), Proxies: m.ProxiesDNS(), Sysctls: sysctls}
	for _, l := range m.DNS.Listeners {
		w.Listeners = append(w.Listeners, Listener{l.Address, slices.Contains(l.Protocols, "udp"), slices.Contains(l.Protocols, "tcp")})
	}
	add := func(names []string) {
		for _, name := range names {
			if !slices.Contains(w.Inside, name) {
				w.Inside = append(w.Inside, name)
			}
		}
	}
	if w.Balances {
		add(m.Outbound.Interfaces)
		w.Exempt, w.Helpers = m.Outbound.Exempt, m.Outbound.Helpers
	}
	if w.Proxies {
		add(m.DNSProxy.Interfaces)
		w.ProxyPort = m.DNSProxy.Port
	}
	for _, l := range m.Links {
		if l.Interface != "" && (w.Balances || w.Proxies) {
			w.Links = append(w.Links, Link{l.Name, l.Interface, l.NextHop6.IsValid(), l.SNAT.Mode == config.SNATNone || len(l.SNAT.Addresses) > 0})
		}
	}
	return w
}

// Guessed is what is asked for without a configuration: this machine is taken
// for a gateway, its interfaces with a default route for links, the others for
// the inside.
func Guessed(interfaces []kernel.Interface) Wanted {
	w := Wanted{Balances: true, Proxies: true, ProxyPort: 5300, Listeners: []Listener{{netip.MustParseAddrPort("127.0.0.1:53"), true, true}}}
	for _, n := range interfaces {
		switch {
		case n.Name == "lo" || !n.Up || !slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() }):
		case n.NextHop4.IsValid() || n.NextHop6.IsValid():
			w.Links = append(w.Links, Link{Name: n.Name, Interface: n.Name})
		default:
			w.Inside = append(w.Inside, n.Name)
		}
	}
	return w
}

// gateway says whether packets of others cross this machine by our doing.
func (w *Wanted) gateway() bool { return w.Balances || w.Proxies }

// touched gives the interfaces of the inside and of links, of those that there
// are.
func (f *Facts) touched() (names []string) {
	all := slices.Clone(f.Inside)
	for _, l := range f.Links {
		all = append(all, l.Interface)
	}
	for _, name := range all {
		if f.nic(name) != nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// nic gives an interface; nil: there is none of the name.
func (f *Facts) nic(name string) *kernel.Interface {
	if i := slices.IndexFunc(f.Interfaces, func(n kernel.Interface) bool { return n.Name == name }); i >= 0 {
		return &f.Interfaces[i]
	}
	return nil
}

// hasIPv6 says whether an interface has an IPv6 address that goes further than
// its segment.
func (f *Facts) hasIPv6(name string) bool {
	n := f.nic(name)
	return n != nil && slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() && !p.Addr().IsLinkLocalUnicast() })
}

// insideIPv6 says whether somebody of the inside may send IPv6 through us.
func (f *Facts) insideIPv6() bool { return slices.ContainsFunc(f.Inside, f.hasIPv6) }
