package kernel

import (
	"errors"
	"net/netip"
)

// Served is a real server as the sessions of one virtual server tell it: where
// they are answered from.
type Served struct {
	Mark     uint32 // masked
	Server   netip.AddrPort
	Protocol uint8 // IANA's number
}

// Lent is an address that sessions towards one server were given by SNAT: of
// each such pair there are as many ports as the pool has.
type Lent struct {
	Address  netip.Addr
	Server   netip.AddrPort
	Protocol uint8
}

// OpenLiveServers is [OpenLive] that counts by servers and lent addresses too.
func OpenLiveServers(mask uint32) (*Live, error) {
	return nil, errors.New("not there yet")
}

// Servers gives the counts of all servers that have had a session, in no order.
// f must not call l's methods.
func (l *Live) Servers(f func(Served, Tally)) {}

// Moved gives the counts of those servers of which one has changed since it was
// called last. It is for one caller; f must not call l's methods.
func (l *Live) Moved(f func(Served, Tally)) {}

// Loans gives how many sessions have a lent address towards a server, in no
// order. f must not call l's methods.
func (l *Live) Loans(f func(Lent, int)) {}
