package proximity

import (
	"net/netip"
)

// Networks that no packet is ever sent to, besides multicast, link-local and
// the unspecified address: "this network" (RFC 1122 section 3.2.1.3) and those
// reserved, with the limited broadcast (RFC 1112 section 4, RFC 919).
var (
	thisNetwork = netip.MustParsePrefix("0.0.0.0/8")
	reserved    = netip.MustParsePrefix("240.0.0.0/4")
)

// mayAsk says whether a target may be measured at all, by any link.
func mayAsk(target netip.Addr, exclude []netip.Prefix) bool {
	if !target.IsValid() || target.Zone() != "" || target.Is4In6() || target.IsUnspecified() || target.IsMulticast() ||
		target.IsLinkLocalUnicast() || thisNetwork.Contains(target) || reserved.Contains(target) {
		return false
	}
	for _, p := range exclude {
		if p.Contains(target) {
			return false
		}
	}
	return true
}

// mayReach says whether a target may be measured by a link of this source
// address: nothing of this machine is far away. A link on loopback is one of a
// test bench, and its clients are there too.
func mayReach(target, source netip.Addr, own func(netip.Addr) bool) bool {
	if target.IsLoopback() {
		return source.IsLoopback()
	}
	return own == nil || !own(target)
}
