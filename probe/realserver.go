package probe

import (
	"net/netip"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// virtual adds the row of a virtual server. One that is served has its row from
// its farms, and not from here; one whose service is switched off is down: it
// is there in the configuration, and nobody answers.
func (c *compiler) virtual(m *config.Model, vs *config.VirtualServer) {
	o := owner{id: status.MakeID(status.KindVirtualServer, vs.Name), targets: targetsOf(vs), probes: vs.Probes, criteria: vs.Criteria}
	switch {
	case vs.Serve == nil:
	case !vs.Serve.Enabled:
		o.missing = "switched off: serve.enabled is false"
	case !m.Serves():
		o.missing = "switched off: slb.enabled is false"
	default:
		return
	}
	c.add(o)
}

// farm adds the rows of the servers of a farm, each by its own probes or else
// the farm's. A server of both families is probed on both, for clients of
// either are sent to it. One that is switched off is probed too, so that its
// health is known when it is switched on.
func (c *compiler) farm(f *config.ServerFarm, named func(farm, server string) []netip.Addr) {
	for _, s := range f.Servers {
		o := owner{id: status.MakeID(status.KindRealServer, f.Name, s.Name)}
		o.probes, o.criteria = f.ProbesOf(s)
		addresses := s.Addresses
		if s.Host != "" {
			addresses, o.note = nil, "not probed: "+s.Host+" is not resolved here"
			if named != nil {
				if addresses = named(f.Name, s.Name); len(addresses) == 0 {
					o.missing = s.Host + " has no address"
				}
			}
		}
		for _, a := range addresses {
			o.targets = append(o.targets, netip.AddrPortFrom(a.Unmap(), s.Port))
		}
		c.add(o)
	}
}
