package dnsserver

import (
	"encoding/hex"

	"github.com/miekg/dns"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/topology"
)

// Table is everything that answers are made from: zones, settings, and pools
// behind the names. It is immutable; [Server.Use] swaps it whole.
type Table struct {
	zones   map[string]*Zone // by apex, canonical
	ecs     bool             // use EDNS Client Subnet as the client (T7)
	udpSize int              // largest UDP answer, octets
	nsid    string           // hexadecimal, as miekg/dns takes it; empty: none

	broken   map[string]bool // apexes of zones that have no good version: SERVFAIL
	states   []ZoneState
	pools    *pools
	topology *topology.Table
	model    *config.Model
}

// defaultUDPSize is the size that fits every path without fragments (the DNS
// flag day of 2020).
const defaultUDPSize = 1232

// newTable makes a table of zones and the settings of the dns section.
func newTable(d *config.DNS, zones ...*Zone) *Table {
	t := &Table{zones: make(map[string]*Zone, len(zones)), ecs: d.ECS, udpSize: d.UDPSize,
		broken: map[string]bool{}, pools: &pools{}}
	if t.udpSize == 0 {
		t.udpSize = defaultUDPSize
	}
	t.nsid = hex.EncodeToString([]byte(d.NSID))
	for _, z := range zones {
		t.zones[z.apex] = z
	}
	return t
}

// Zones gives the zones by apex. The caller must not change the map.
func (t *Table) Zones() map[string]*Zone { return t.zones }

// lookupZone finds the zone with the longest apex that a canonical name is in.
// It gives nil for a name of others, and for one in a broken zone, which must
// not be answered from the zone above it.
func (t *Table) lookupZone(name string) *Zone { return t.zones[t.apexOf(name)] }

// apexOf gives the longest apex, of a broken zone too, that a canonical name
// is in, or nothing.
func (t *Table) apexOf(name string) string {
	for {
		if t.zones[name] != nil || t.broken[name] {
			return name
		}
		if name == "." {
			return ""
		}
		name = parent(name)
	}
}

// zoneFor finds the zone that answers a question. DS at an apex belongs to the
// parent zone, if that is ours too (RFC 4035 3.1.4.1) and has the cut. A parent
// that does not would deny a name that lives.
func (t *Table) zoneFor(name string, qtype uint16) *Zone {
	z := t.lookupZone(name)
	if z != nil && qtype == dns.TypeDS && name == z.apex && name != "." {
		if above := t.lookupZone(parent(name)); above != nil {
			if n := above.find(name); n != nil && n.cut {
				return above
			}
		}
	}
	return z
}
