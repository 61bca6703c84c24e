package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// The farm: a rack of servers behind the gateway, which the gateway itself
// balances. Clients know only its address at telecom, or the name rack.lab.example.
const (
	rack    = "rack"
	netRack = 203 // the gateway is .1, the rack .2, its servers .11 and so on
	racked  = 3   // servers in the rack; their weights are racked, ..., 2, 1

	rackVirtual = "rack-telecom" // the virtual server that the gateway serves
	hostRack    = 80             // its host in telecom's public network
)

// rackServer names the n-th server of the rack, from 1.
func rackServer(n int) string { return fmt.Sprintf("rack-%d", n) }

// rackWeight gives its weight.
func rackWeight(n int) int { return racked + 1 - n }

// rackServers are the servers of the rack, each at an address of its own.
func rackServers(o *options) (all []virtualServer) {
	for n := 1; n <= racked; n++ {
		all = append(all, virtualServer{name: rackServer(n), site: rack, addr4: o.addr4(netRack, 10+n), addr6: o.addr6(netRack, 10+n)})
	}
	return all
}

// rackAddresses gives the addresses that clients of the farm know.
func (o *options) rackAddresses() (v4, v6 netip.Addr) {
	return o.addr4(netTelecom, hostRack), o.addr6(netTelecom, hostRack)
}

// rackRoutes gives the rack its servers' addresses and its way out.
func (l lines) rackRoutes(o *options) {
	for _, v := range rackServers(o) {
		l.add(rack, "addr add %s/24 dev %s", v.addr4, gateway)
		l.add(rack, "addr add %s/56 dev %s nodad", v.addr6, gateway)
	}
	l.standard(o, rack, netRack, hostRouter, "")
}

// racks is how many connections each server of the rack had.
func (s spread) racks() string {
	var words []string
	for n := 1; n <= racked; n++ {
		words = append(words, fmt.Sprintf("%s %d", rackServer(n), s.by[rackServer(n)]))
	}
	if s.failed > 0 {
		words = append(words, fmt.Sprintf("%d failed (%v)", s.failed, s.err))
	}
	return strings.Join(words, ", ")
}

// weighed wants each server's share to be that of its weight, of those that
// are given, within one in slack.
func (s spread) weighed(slack int, servers ...int) error {
	total, weights := 0, 0
	for _, n := range s.by {
		total += n
	}
	for _, n := range servers {
		weights += rackWeight(n)
	}
	bad := s.failed > 0 || len(s.by) != len(servers)
	for _, n := range servers {
		off := s.by[rackServer(n)]*weights - total*rackWeight(n)
		bad = bad || max(off, -off)*slack > total*weights
	}
	if bad {
		return fmt.Errorf("%s; want servers %v by their weights", s.racks(), servers)
	}
	return nil
}
