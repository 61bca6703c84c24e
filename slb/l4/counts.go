package l4

import "github.com/portolan-lb/portolan/traffic"

// The kinds of [traffic.Hit] that slb has beside those of both owners.
const (
	HitFarm   = "serverFarm"
	HitServer = "realServer" // named by [ServerKey]
)

// Hits lists what rules count, in the order of the configuration and at 0, with
// where each is read. Waiting of a farm is what its busy action had to deal with,
// None what found nobody alive.
func (p *Plan) Hits() []traffic.Hit { return nil }

// Count is a counted set by real servers: what its elements count is of whom Of
// says. Several servers share an element where they have an address and port in
// common, and are not told apart.
type Count struct {
	Set string
	Out bool // of octets: from the server to clients, the reply direction; false: to the server
	Of  func(key []byte) []ID
}

// Refusals gives the sets that count the resets of servers, in packets of the
// reply direction; none if no farm shuts servers down by them.
func (p *Plan) Refusals() []Count { return nil }

// Octets gives the sets that count what goes to servers and comes from them; none
// if nobody looks at rates.
func (p *Plan) Octets() []Count { return nil }
