package dnsserver

import (
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/status"
)

// DeadTime gives how long caches may go on sending clients over a link after
// answers turn away from it: the largest TTL of the names whose pools heed its
// load. It is 0 for a link that no name heeds, since nothing that it sheds
// changes an answer.
//
// Resolvers that keep answers longer than they may, and what follows a CNAME
// member to another zone, are not known here.
func (t *Table) DeadTime(link string) time.Duration {
	return t.pools.dead[status.MakeID(status.KindLink, link)]
}

// deadTimes gives the dead time of each link that a name heeds.
func (ps *pools) deadTimes(m *config.Model) map[status.ID]time.Duration {
	longest := map[*pool]time.Duration{} // TTL, by the pool that answers
	for _, z := range m.Zones {
		for _, n := range z.Names {
			for _, p := range ps.byName[n.Pool].depends {
				longest[p] = max(longest[p], time.Duration(n.TTL.Max))
			}
		}
	}
	times := map[status.ID]time.Duration{}
	for p, ttl := range longest {
		for _, id := range p.group.Heeds() {
			if id.Kind() == status.KindLink {
				times[id] = max(times[id], ttl)
			}
		}
	}
	return times
}
