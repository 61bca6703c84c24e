package main

import (
	"fmt"
	"net/netip"
	"time"
)

// The half of the lab that leaves by the gateway: an office behind it, a third
// ISP, and the world, whose servers each ISP reaches.
const (
	office = "office"
	mobile = "mobile"
	world  = "world"

	netOffice = 31 // the gateway is .1, the office's host .2
	netWorld  = 41 // every address of it is a server's
	upMobile  = 103

	hostResolver = 53 // of an ISP, in the network between it and us
)

// line is an ISP as the office sees it.
type line struct {
	name    string
	transit int // network between it and us
	table   int // of the gateway's routing
	world   int // network between it and the world
	weight  int
}

// uplinks are the links of the office, in the order of the configuration.
var uplinks = []line{
	{telecom, upTelecom, tableTelecom, 111, 3},
	{unicom, upUnicom, tableUnicom, 112, 2},
	{mobile, upMobile, 13, 113, 1},
}

// officeClients is how many clients the office has.
const officeClients = 60

// officeClient gives the address of the n-th client of the office.
func (o *options) officeClient(n int) netip.Addr { return o.addr4(netOffice, 64+n) }

// slow online of the office's links.
const (
	standby = 2 * time.Second
	ramp    = 4 * time.Second
)

// officeCables are those of the office, of mobile and of the world.
func (o *options) officeCables() []cable {
	all := []cable{
		{a: gateway, b: mobile, network: upMobile, hostA: hostBehind, hostB: hostRouter, delay: o.uplink, wired: true},
		{a: gateway, b: office, network: netOffice, hostA: hostRouter, hostB: hostBehind},
	}
	for _, u := range uplinks {
		all = append(all, cable{a: u.name, b: world, network: u.world, hostA: hostRouter, hostB: hostBehind})
	}
	return all
}

// officeRoutes makes the office reach the world by whatever link Portolan
// chooses, and the world answer by the line that a packet came by. The gateway's
// own routes lead over mobile last.
func (l lines) officeRoutes(o *options) {
	l.standard(o, office, netOffice, hostRouter, "")
	l.add(office, "route add local %s dev lo", netip.PrefixFrom(o.officeClient(0), 26))
	l.standard(o, mobile, 113, hostBehind, "")
	l.standard(o, gateway, upMobile, hostRouter, "metric 110")
	l.add(world, "route add local %s dev lo", o.net4(netWorld))
	for _, u := range uplinks {
		if u.name != mobile {
			l.route(o, u.name, netWorld, u.world, hostBehind, "")
		}
		l.route(o, world, u.transit, u.world, hostRouter, "")
		l.add(u.name, "addr add %s dev lo", o.addr4(u.transit, hostResolver))
	}
}

// lineOf names the ISP whose line a source is on, as the world sees it.
func (o *options) lineOf(source netip.Addr) string {
	for _, u := range uplinks {
		if o.net4(u.transit).Contains(source) {
			return u.name
		}
	}
	return fmt.Sprintf("nobody (%s)", source)
}
