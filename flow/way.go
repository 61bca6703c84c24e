package flow

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/portolan-lb/portolan/kernel"
)

// look tells what was looked up in a map of a known role.
func (x *explaining) look(table string, l kernel.Look) (f Finding, ok bool) {
	f = Finding{Role: x.names.set(table, l.Set), Hit: l.Found != nil, Text: l.Text}
	switch f.Kind {
	case Persistence:
		f.Why = "no entry yet"
		if l.Found != nil {
			f.Why = "link " + x.linkOf(number(l.Found.Data)) + lifeOf(l.Found)
		}
	case Proximity:
		f.Why = "not measured yet"
		if l.Found != nil {
			f.Why = "the nearest first: " + x.ranked(number(l.Found.Data))
		}
	default:
		return f, false
	}
	return f, true
}

// lifeOf tells how old an entry is: for how long nobody has used it, and when it ends.
func lifeOf(el *kernel.Element) string {
	if el.Expires <= 0 {
		return ""
	}
	text := ", " + round(el.Expires) + " left"
	if el.Timeout > el.Expires {
		text += fmt.Sprintf(" of %s: last used %s ago", round(el.Timeout), round(el.Timeout-el.Expires))
	}
	return text
}

func round(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

func number(b []byte) uint32 {
	if len(b) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func (x *explaining) linkOf(mark uint32) string {
	id := mark & kernel.LinkMask
	if name := x.names.link(id); name != "" {
		return name
	}
	return fmt.Sprintf("number %d, which is none now", id)
}

// ranked takes apart three links in one number, ten bits each.
func (x *explaining) ranked(n uint32) string {
	var names []string
	for ; n != 0; n >>= 10 {
		if n&kernel.LinkMask != 0 {
			names = append(names, x.linkOf(n))
		}
	}
	return strings.Join(names, ", ")
}

func percent(share float64) float64 { return math.Round(share*1e6) / 1e4 }

// way tells one way, and where the connection goes if the link is at a limit.
func (x *explaining) way(p kernel.Packet, w *kernel.Way) (Way, error) {
	way := Way{Percent: percent(w.Share), End: w.End.String(), Mark: w.Packet.Ct.Mark, Source: p.Source.String()}
	if id := w.Packet.Mark & kernel.LinkMask; id != 0 {
		way.Link = x.linkOf(id)
	}
	way.By = x.ender(w)
	x.routed(&way, w)
	x.translated(&way, w)
	return way, x.limits(&way, p, w)
}

// ender is the rule that decided. That is the last one of a link group, or of an
// entry of persistence, that led to a link; else the last that said where to go
// on, with something to tell, at the hook where a rule ended the packet or else
// at the first. That a link's chain took what was sent there goes without saying,
// as does which rule led to where none took it.
func (x *explaining) ender(w *kernel.Way) string {
	h := w.Hooks[0]
	if l := w.Hooks[len(w.Hooks)-1]; l.End != kernel.Passed { // by a rule, not for want of a route
		h = l
	}
	if h.Socket != nil {
		return socketRule(h)
	}
	last, ended := "", false
	for i := len(h.Visits) - 1; i >= 0; i-- {
		v := &h.Visits[i]
		if v.Then != nil && !ended {
			_, jumps := v.Then.(kernel.Jump)
			_, leaves := v.Then.(kernel.Goto)
			if ended = true; (jumps || leaves) && h.End == kernel.Passed && w.Packet.Mark&kernel.LinkMask == 0 {
				return "no rule of ours"
			}
		}
		role := x.names.chain(v.Table, v.Chain)
		if to, jumps := v.Then.(kernel.Jump); jumps && h.End == kernel.Passed && x.names.chain(v.Table, to.Chain).Kind == Link {
			switch role.Kind {
			case LinkGroup:
				return v.Tell
			case Persistence:
				return "persistence " + role.Name
			}
		}
		if last == "" && v.Then != nil && v.Tell != "" && role.Kind != Link {
			last = v.Tell
		}
	}
	return last
}

// socketRule is the rule that gave a packet to a transparent socket.
func socketRule(h kernel.Passage) (tell string) {
	for i := range h.Visits {
		for _, s := range h.Visits[i].Did {
			if _, is := s.(kernel.TProxy); is {
				tell = h.Visits[i].Tell
			}
		}
	}
	return tell
}

func (x *explaining) routed(way *Way, w *kernel.Way) {
	r := w.Routed
	switch {
	case r == nil:
	case !r.Found:
		way.Route = "by the machine's own routing tables"
	case r.Local() && w.Hooks[0].Socket != nil:
		way.Socket = w.Hooks[0].Socket.Port
		way.Route = fmt.Sprintf("to the transparent socket of port %d", way.Socket)
	case r.Local():
		way.Route, way.Interface = "to this machine", r.Route.Interface
	default:
		way.Table, way.Via, way.Interface = r.Route.Table, r.Route.Via, r.Route.Interface
		way.Route = routeText(r)
	}
}

func routeText(r *kernel.Routed) string {
	ours := r.Rule.Table != 0
	text := "by the machine's own " + tableName(r.Route.Table)
	if ours {
		text = fmt.Sprintf("ip rule %d, %s", r.Rule.Priority, tableName(r.Route.Table))
	}
	switch {
	case r.Route.Kind != kernel.Unreachable:
	case ours:
		return text + ": unreachable, the link has no route"
	default:
		return "by the machine's own routing tables: unreachable"
	}
	if r.Route.Via.IsValid() {
		text += ": via " + r.Route.Via.String()
	} else {
		text += ": directly"
	}
	return text + " dev " + r.Route.Interface
}

// tableName is what the ip program calls a table if it has no names for others.
func tableName(number int) string {
	switch number {
	case unix.RT_TABLE_MAIN:
		return "table main"
	case unix.RT_TABLE_DEFAULT:
		return "table default"
	}
	return fmt.Sprintf("table %d", number)
}

func (x *explaining) translated(way *Way, w *kernel.Way) {
	switch nat := w.NAT; {
	case x.to.Session != nil && x.to.Session.Source.IsValid():
		way.Source = x.to.Session.Source.Addr().String() // chosen once, for the session's life
	case nat == nil:
	case nat.Masquerade:
		way.NAT, way.Source = "masquerade", "the address of "+way.Interface
		if a := x.names.source(way.Interface, w.Packet.IPv6()); a.IsValid() {
			way.Source = a.String()
		}
	default:
		way.NAT, way.Source = "snat", nat.From.String()
		if nat.To.IsValid() && nat.To != nat.From {
			way.Source += " to " + nat.To.String() + ", the same for each client"
		}
	}
}

// limits tells the limits of the link that were taken as not reached, and what
// the packet does if one is: it is sent again with all of the link exceeded.
func (x *explaining) limits(way *Way, p kernel.Packet, w *kernel.Way) error {
	chains := map[kernel.Place]bool{}
	for _, h := range w.Hooks {
		for _, l := range h.Open {
			if x.names.chain(l.Table, l.Chain).Kind != Link {
				x.note("not looked at: " + l.String() + " (chain " + l.Chain + ")")
				continue
			}
			way.Limits = append(way.Limits, l.String())
			chains[kernel.Place{Table: l.Table, Chain: l.Chain}] = true
		}
	}
	if len(chains) == 0 {
		return nil
	}
	before := x.world.Over
	x.world.Over = func(l kernel.Limit) bool { return chains[kernel.Place{Table: l.Table, Chain: l.Chain}] }
	defer func() { x.world.Over = before }()
	others, err := x.world.Journey(p)
	if err != nil {
		return err
	}
	for _, o := range others {
		way.IfOver = addShare(way.IfOver, x.share(&o))
	}
	return nil
}

func (x *explaining) share(w *kernel.Way) Share {
	s := Share{Percent: percent(w.Share), End: w.End.String()}
	if id := w.Packet.Mark & kernel.LinkMask; id != 0 {
		s.Link = x.linkOf(id)
	}
	return s
}

func addShare(all []Share, s Share) []Share {
	for i := range all {
		if all[i].Link == s.Link && all[i].End == s.End {
			all[i].Percent = math.Round((all[i].Percent+s.Percent)*1e4) / 1e4
			return all
		}
	}
	return append(all, s)
}

func (x *explaining) note(text string) {
	for _, n := range x.to.Notes {
		if n == text {
			return
		}
	}
	x.to.Notes = append(x.to.Notes, text)
}
