package main

import (
	"fmt"
	"net/netip"
	"time"
)

// place is a namespace: a router or a host.
type place struct {
	name string
	tell string
}

// The places. Names of interfaces are the names of what they lead to.
const (
	gateway = "gateway" // Portolan runs here
	wires   = "wires"   // the delay boxes: every cable with a delay goes through it

	telecom, unicom = "telecom", "unicom" // ISPs, and the links to them
	east, west      = "east", "west"      // sites, each with a server that is reached by either link

	home, school = "home", "school" // client networks of telecom
	shop, clinic = "shop", "clinic" // client networks of unicom
)

var places = []place{
	{wires, "every cable with a delay goes through here: pull one by setting an interface down"},
	{gateway, "portolan, a link to each ISP, both sites behind it"},
	{telecom, "an ISP: a router"},
	{unicom, "another ISP: a router"},
	{east, "a site with servers"},
	{west, "a site with servers"},
	{home, "a client network of telecom"},
	{school, "a client network of telecom"},
	{shop, "a client network of unicom"},
	{clinic, "a client network of unicom"},
	{office, "clients behind the gateway; portolan chooses their links"},
	{mobile, "a third ISP, for what the office sends: a router"},
	{rack, "servers that the gateway balances: a farm"},
	{world, "servers that every ISP reaches: they tell which one you came by"},
}

// The networks, by number: 198.18.n.0/24 and 2001:db8:1ab:nn00::/56.
const (
	netHome, netSchool, netShop, netClinic = 11, 12, 21, 22

	netTelecom, netUnicom     = 1, 2     // public addresses behind the gateway, of either ISP
	upTelecom, upUnicom       = 101, 102 // between the gateway (.2) and an ISP (.1)
	netPeering                = 100      // between telecom (.1) and unicom (.2)
	netEast, netWest          = 201, 202 // between the gateway (.1) and a site (.2)
	hostDNS                   = 53
	hostEast, hostWest        = 10, 20
	hostRouter, hostBehind    = 1, 2
	hostClient                = 10
	tableTelecom, tableUnicom = 11, 12 // routing tables of the gateway, one a link
)

// isps, sites and clients, with their networks.
var (
	isps  = []isp{{telecom, netTelecom, upTelecom, tableTelecom, unicom}, {unicom, netUnicom, upUnicom, tableUnicom, telecom}}
	sites = []site{{east, netEast, hostEast}, {west, netWest, hostWest}}
	// Their order is the order in which scenes name them.
	clients = []clientNet{{home, telecom, netHome}, {school, telecom, netSchool}, {shop, unicom, netShop}, {clinic, unicom, netClinic}}
)

type isp struct {
	name    string
	public  int // network that it gave us
	transit int // network between it and us
	table   int
	peer    string
}

type site struct {
	name string
	lan  int
	host int // of its server in either public network
}

type clientNet struct {
	name string
	isp  string
	net  int
}

// cable joins two places. One with a delay goes through a wire.
type cable struct {
	a, b    string
	network int
	hostA   int // addresses of the ends
	hostB   int
	delay   time.Duration
	wired   bool
}

// name is that of the wire, and of the person's word for it: telecom, unicom,
// mobile or peering.
func (c cable) name() string {
	if c.a == gateway {
		return c.b
	}
	return "peering"
}

// cables gives every cable there is.
func (o *options) cables() []cable {
	all := []cable{{a: telecom, b: unicom, network: netPeering, hostA: 1, hostB: 2, delay: o.peering, wired: true}}
	for _, i := range isps {
		all = append(all, cable{a: gateway, b: i.name, network: i.transit, hostA: hostBehind, hostB: hostRouter, delay: o.uplink, wired: true})
	}
	for _, s := range sites {
		all = append(all, cable{a: gateway, b: s.name, network: s.lan, hostA: hostRouter, hostB: hostBehind})
	}
	for _, c := range clients {
		all = append(all, cable{a: c.isp, b: c.name, network: c.net, hostA: hostRouter, hostB: hostClient})
	}
	all = append(all, cable{a: gateway, b: rack, network: netRack, hostA: hostRouter, hostB: hostBehind})
	return append(all, o.officeCables()...)
}

// lines collects, by place, what ip has to do there.
type lines map[string][]string

func (l lines) add(place, format string, args ...any) {
	l[place] = append(l[place], fmt.Sprintf(format, args...))
}

// plug makes the interfaces and addresses of a cable. prefix is that of names
// of namespaces.
func (l lines) plug(o *options, prefix string, c cable) {
	if c.wired {
		for _, end := range [][2]string{{c.a, c.b}, {c.b, c.a}} {
			inside := c.name() + "-" + end[0]
			l.add(wires, "link add name %s type veth peer name %s netns %s%s", inside, end[1], prefix, end[0])
			l.add(wires, "link set dev %s up", inside)
		}
	} else {
		l.add(c.a, "link add name %s type veth peer name %s netns %s%s", c.b, c.a, prefix, c.b)
	}
	for _, end := range []struct {
		at, to     string
		host, peer int
	}{{c.a, c.b, c.hostA, c.hostB}, {c.b, c.a, c.hostB, c.hostA}} {
		l.add(end.at, "link set dev %s address %s up", end.to, ethernet(c.network, end.host))
		l.add(end.at, "addr add %s/24 dev %s", o.addr4(c.network, end.host), end.to)
		l.add(end.at, "addr add %s/56 dev %s nodad", o.addr6(c.network, end.host), end.to)
		for _, peer := range []netip.Addr{o.addr4(c.network, end.peer), o.addr6(c.network, end.peer)} {
			l.add(end.at, "neigh replace %s lladdr %s dev %s nud permanent", peer, ethernet(c.network, end.peer), end.to)
		}
	}
}

// ethernet gives the address of an interface. Neighbours know each other from
// the start, so that no first packet waits for an answer to ARP.
func ethernet(network, host int) string { return fmt.Sprintf("02:00:00:00:%02x:%02x", network, host) }

// route adds a route of both families: a network by a host of another network.
func (l lines) route(o *options, place string, network, via, host int, more string) {
	l.add(place, "route add %s via %s %s", o.net4(network), o.addr4(via, host), more)
	l.add(place, "route add %s via %s %s", o.net6(network), o.addr6(via, host), more)
}

// standard adds a default route of both families.
func (l lines) standard(o *options, place string, via, host int, more string) {
	l.add(place, "route add default via %s %s", o.addr4(via, host), more)
	l.add(place, "route add default via %s %s", o.addr6(via, host), more)
}

// routes makes everything reach everything. What comes in by a link leaves by
// it: the gateway has a table for each, chosen by the source address.
func (l lines) routes(o *options) {
	for n, i := range isps {
		peerHost := 2 - n // telecom is .1 of the peering, unicom .2
		l.route(o, i.name, i.public, i.transit, hostBehind, "")
		other := isps[1-n]
		for _, network := range []int{other.public, other.transit} {
			l.route(o, i.name, network, netPeering, peerHost, "")
		}
		for _, c := range clients {
			if c.isp == other.name {
				l.route(o, i.name, c.net, netPeering, peerHost, "")
			}
		}
		l.standard(o, gateway, i.transit, hostRouter, fmt.Sprintf("metric %d", 100+n))
		l.standard(o, gateway, i.transit, hostRouter, fmt.Sprintf("table %d", i.table))
		for _, network := range []int{i.public, i.transit} {
			l.add(gateway, "rule add from %s lookup %d priority 1000", o.net4(network), i.table)
			l.add(gateway, inet6+"rule add from %s lookup %d priority 1000", o.net6(network), i.table)
		}
		for _, address := range []netip.Addr{o.addr4(i.public, hostDNS), o.addr6(i.public, hostDNS)} {
			l.add(gateway, "addr add %s dev lo", address)
		}
		for _, s := range sites {
			for _, address := range []netip.Addr{o.addr4(i.public, s.host), o.addr6(i.public, s.host)} {
				l.add(s.name, "addr add %s dev lo", address)
			}
			l.add(gateway, "route add %s via %s", o.addr4(i.public, s.host), o.addr4(s.lan, hostBehind))
			l.add(gateway, "route add %s via %s", o.addr6(i.public, s.host), o.addr6(s.lan, hostBehind))
		}
	}
	l.officeRoutes(o)
	l.rackRoutes(o)
	for _, s := range sites {
		l.standard(o, s.name, s.lan, hostRouter, "")
	}
	for _, c := range clients {
		l.standard(o, c.name, c.net, hostRouter, "")
	}
}
