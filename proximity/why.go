package proximity

import (
	"fmt"
	"net/netip"
	"time"
)

// Why says in a sentence how the table stands with a client, so that no empty
// table is silent (T15, FAQ 1.2.28). With the zero Addr it is about the table as
// a whole, and empty where that has entries that count.
func (t *Table) Why(client netip.Addr, now time.Time) string {
	p := t.plan.Load()
	if p == nil {
		return "no configuration is in force yet"
	}
	if client.IsValid() {
		v := p.Look(client.Unmap().WithZone(""), now)
		why := v.Why(now)
		if v.static != noLink {
			why = fmt.Sprintf("link %s is configured as the best; %s", p.Links[v.static].Name, why)
		}
		return why
	}
	probe := View{State: Off, plan: p}
	switch {
	case !p.Config.Enabled:
	case !p.asked:
		probe.State = Unasked
	case len(p.Config.Methods) == 0:
		probe.State = NoMethods
	case len(p.Links) == 0:
		return "no pool with a slot for proximity has a member with a link, and no link group goes by it: there is nothing to measure"
	case t.shards.Load().count.Load() == 0:
		if p.flows {
			return "no connection came through a link group that goes by proximity, and nobody asked for a name whose pool has a slot for it"
		}
		return "nobody has asked for a name whose pool has a slot for proximity"
	default:
		return ""
	}
	return probe.Why(now)
}
