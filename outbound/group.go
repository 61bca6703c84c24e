package outbound

import (
	"fmt"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/traffic"
)

// MaxLink is the highest number of a link; 0 is nobody.
const MaxLink = 1023

// SlotCount is how many slots a link group has.
const SlotCount = 256

// Spec gives what the slots of a link group of a checked configuration are
// compiled from. number gives the number of a link, 0 if it has none.
func Spec(c *config.LinkGroup, links []*config.Link, number func(link string) uint16) (slots.Spec, error) {
	s := slots.Spec{Name: c.Name, Row: groupRow(c), Words: slots.Words{Members: "links", Group: "group"},
		Algorithm: slots.Algorithm(c.Algorithm), Direction: slots.DirectionOf(c.Direction), Debit: float64(c.Debit), Size: SlotCount,
		Min: c.Min, Max: c.Max, Spill: slots.SpillOf(c.Spill), BusyProtection: c.BusyProtection,
		Activate: slots.Activation{Lower: int(c.Activate.Lower), Upper: int(c.Activate.Upper)},
		Slow:     pick.SlowOnline{Standby: time.Duration(c.SlowOnline.Standby), Ramp: time.Duration(c.SlowOnline.Ramp)}}
	for _, m := range c.Members {
		at := slices.IndexFunc(links, func(l *config.Link) bool { return l.Name == m.Link })
		id := number(m.Link)
		switch {
		case at < 0:
			return s, fmt.Errorf("link group %s: no link %q", c.Name, m.Link)
		case id == 0 || id > MaxLink:
			return s, fmt.Errorf("link group %s: link %q has no number of 1 to %d", c.Name, m.Link, MaxLink)
		case slices.ContainsFunc(s.Members, func(o slots.Member) bool { return o.ID == slots.ID(id) }):
			return s, fmt.Errorf("link group %s: link %q is in it twice, or its number %d is another's", c.Name, m.Link, id)
		}
		s.Members = append(s.Members, memberOf(c, m, links[at], slots.ID(id)))
	}
	return s, nil
}

// newGroup compiles a link group.
func newGroup(c *config.LinkGroup, links []*config.Link, number func(link string) uint16) (*slots.Group, error) {
	s, err := Spec(c, links, number)
	if err != nil {
		return nil, err
	}
	return slots.New(s)
}

// memberOf gives a membership. Limits that the kernel counts itself are left to it: it
// tries another link when one is at its own, and knows sooner which connections have
// ended; unless lower priorities have their turn then, of which it knows nothing. It
// needs the link's row, that of its interface,
// and one of its own, by which an operator takes the link out of this group
// alone.
func memberOf(c *config.LinkGroup, m *config.LinkMember, l *config.Link, id slots.ID) slots.Member {
	row := status.MakeID(status.KindLink, m.Link)
	made := slots.Member{Name: m.Link, ID: id, Weight: m.Weight, Priority: m.Priority, Row: row,
		Needs:     []status.ID{row, status.MakeID(status.KindLinkGroup, c.Name, m.Link)},
		RateLimit: slots.ByDirection(l.RateLimit)}
	full := slices.Contains(c.Spill, config.SpillFull)
	if full || !traffic.InKernel(m.MaxConnections) {
		made.MaxConnections = m.MaxConnections
	}
	if full || !traffic.InKernel(l.MaxConnections) {
		made.MaxEverywhere = l.MaxConnections
	}
	if l.Interface != "" {
		made.Needs = append(made.Needs, status.MakeID(status.KindInterface, l.Interface))
	}
	return made
}

// groupRow is the row in which a link group says whether it is available.
func groupRow(c *config.LinkGroup) status.ID { return status.MakeID(status.KindLinkGroup, c.Name) }
