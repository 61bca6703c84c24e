package flow

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
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
			f.Why = "link " + x.linkOf(number(l.Found.Data)) + Age(l.Found)
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

// Age tells how old an entry of a map is: for how long nobody has used it, and when
// it ends; "" if that is not known.
func Age(el *kernel.Element) string {
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
	if to := w.To; to != nil && (to.Addr() != p.Dest || to.Port() != 0 && to.Port() != p.DestPort) {
		way.To = netip.AddrPortFrom(w.Packet.Dest, w.Packet.DestPort)
	}
	way.Copies = w.Copies
	x.served(&way, w)
	x.routed(&way, w)
	x.translated(&way, w)
	return way, x.limits(&way, p, w)
}

// served tells who serves, as the owner does, or as conntrack knows.
func (x *explaining) served(way *Way, w *kernel.Way) {
	served := x.names.served(w)
	if s := x.to.Session; served == nil && s != nil && x.known != nil {
		served = x.names.session(x.known)
	}
	if served == nil {
		return
	}
	way.VirtualServer, way.Farm, way.Server = served.VirtualServer, served.Farm, served.Server
	if served.By != "" {
		way.By = served.By
	}
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
		if nat.FirstPort != 0 {
			way.NAT += fmt.Sprintf(", ports %d to %d", nat.FirstPort, nat.LastPort)
		}
	}
}

// limits tells the limits that were taken as not reached, and what the packet does
// if one is: it is sent again with all those of one link, virtual server or server
// exceeded.
func (x *explaining) limits(way *Way, p kernel.Packet, w *kernel.Way) error {
	for _, h := range w.Hooks {
		for _, l := range h.Open {
			of, words, ok := x.limit(l)
			if !ok {
				x.note("not looked at: " + l.String() + " (chain " + l.Chain + ")")
				continue
			}
			i := slices.IndexFunc(way.Bounds, func(b Bound) bool { return b.Of == of })
			if i < 0 {
				shares, err := x.without(p, of)
				if err != nil {
					return err
				}
				i, way.Bounds = len(way.Bounds), append(way.Bounds, Bound{Of: of, IfOver: shares})
			}
			if b := &way.Bounds[i]; !slices.Contains(b.Limits, words) {
				b.Limits = append(b.Limits, words)
			}
		}
	}
	return nil
}

// limit tells a limit: as its owner does, or of the link whose chain has it.
func (x *explaining) limit(l kernel.Limit) (of, words string, ok bool) {
	if of, words = x.names.limit(l); words != "" {
		return of, words, true
	}
	if role := x.names.chain(l.Table, l.Chain); role.Kind == Link {
		return "link " + role.Name, l.String(), true
	}
	return "", "", false
}

// mostBounds is of how many links, virtual servers and servers it is told where
// connections go if they are at a limit: each needs a journey of its own.
const mostBounds = 32

// without says where such connections go if those of one are at a limit.
func (x *explaining) without(p kernel.Packet, of string) ([]Share, error) {
	if shares, known := x.bounds[of]; known {
		return shares, nil
	}
	if len(x.bounds) == mostBounds {
		x.note(fmt.Sprintf("it is not told of all where connections go if they are at a limit: of the first %d", mostBounds))
		return nil, nil
	}
	before := x.world.Over
	x.world.Over = func(l kernel.Limit) bool {
		whose, _, _ := x.limit(l)
		return whose == of
	}
	x.world.Shut = func(l kernel.Limit) bool { // nobody comes to the limit of who is known to be full
		return x.names.shut(l) == of
	}
	defer func() { x.world.Over, x.world.Shut = before, nil }()
	others, err := x.world.Journey(p)
	if err != nil {
		return nil, err
	}
	var shares []Share
	for i := range others {
		shares = addShare(shares, x.share(&others[i]))
	}
	x.bounds[of] = shares
	return shares, nil
}

func (x *explaining) share(w *kernel.Way) Share {
	s := Share{Percent: percent(w.Share), End: w.End.String()}
	if id := w.Packet.Mark & kernel.LinkMask; id != 0 {
		s.Link = x.linkOf(id)
	}
	if served := x.names.served(w); served != nil && served.Server != "" {
		s.Server = served.Farm + "/" + served.Server
	}
	return s
}

func addShare(all []Share, s Share) []Share {
	for i := range all {
		if all[i].Link == s.Link && all[i].Server == s.Server && all[i].End == s.End {
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
