package outbound

import (
	"time"

	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// Events beside those of rows, which the board makes by itself: that busy
// protection lapsed and works again, the phases of a link that comes back, and
// spells of limits.

// narrate records what changed with a tick of a group. The lock is held, and the
// result not yet noted.
func (o *Outbound) narrate(r *running, result *slots.Result, now time.Time) {
	whom := ""
	if r.Name != r.Group.Name {
		whom = ", for virtual servers with busyProtection"
	}
	for _, e := range r.group.Events(&r.last, result, Owner, whom) {
		o.opts.Board.Record(e)
	}
	for i := range result.Members {
		if s := &result.Members[i]; s.Full && s.Phase != slots.Out {
			o.spell(limitOfLink(s.Name), 0, now)
		}
	}
}

// spell notes that something goes on, and how many new connections met it.
func (o *Outbound) spell(s traffic.Spell, tried uint64, now time.Time) {
	s.Tried = tried
	o.spells.Seen(s, Owner, now, o.opts.Board.Record)
}

// The spells that there are.
func limitOfLink(name string) traffic.Spell {
	return traffic.Spell{ID: status.MakeID(status.KindLink, name), What: "limit reached", Over: "below its limit",
		Whom: "new connections had to try another link", Why: "it has as many connections as it may"}
}

func limitOfServer(name string) traffic.Spell {
	return traffic.Spell{ID: ServerRow(name), What: "limit reached", Over: "below its limit", Whom: "new connections were refused"}
}

func noLink(group string) traffic.Spell {
	return traffic.Spell{ID: status.MakeID(status.KindLinkGroup, group), What: "no link", Over: "links again",
		Whom: "new connections found no link that could take them"}
}
