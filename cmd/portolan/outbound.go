package main

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/outbound"
	"github.com/portolan-lb/portolan/slots"
	"github.com/portolan-lb/portolan/traffic"
)

// outboundListings is what a gateway has to show.
var outboundListings = []listing{
	{"linkGroup", []int{0}, []string{"groups", "group", "linkgroups", "linkgroup"}, []string{"GROUP", "STATE", "FOR", "ALGORITHM", "SHARES", "LEFT OUT", "WHY"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.LinkGroup, error) {
			return c.LinkGroups(ctx)
		}, groupRow)},
	{"outbound", []int{0, 1}, []string{"outbound"}, []string{"KIND", "NAME", "OUTCOME", "CONNECTIONS", "OCTETS", "LAST", "DOES"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]outbound.Hit, error) { return c.Hits(ctx) }, hitRow)},
	{"", []int{0, 1, 2, 3}, []string{"sessions", "session"}, []string{"PROTOCOL", "FROM", "TO", "LINK", "VIRTUAL SERVER", "REAL SERVER", "SOURCE", "STATE", "EXPIRES", "SENT", "REPLIED", "NOTES"}, of(fetchSessions, sessionRow)},
	{"", []int{0, 1, 2, 3}, []string{"sticky"}, stickyHeader, of(fetchSticky, stickyRow)},
}

// outboundManual is what get's manual says of them.
const outboundManual = `
  groups          link groups: up, down (not available, so that backup has its
                  turn) or unused; who takes part with which share of new
                  connections, and who does not and why
  outbound        how many new connections each virtual server, policy rule, link
                  group and link had, and what became of them: taken; limited (over
                  its limits), dropped, none (no link could take it), full (at a
                  limit, so another was tried), inbound (came in by the link); when
                  that moved last, and what is configured for it
  sessions        connections that go over links: --link; and to virtual servers that
                  this node serves: --virtualserver, --farm, --server; --client
  sticky          which client keeps which link or real server by persistence:
                  --link, --group, --virtualserver, --farm, --server, --client`

func groupRow(g api.LinkGroup, o getOptions) []string {
	var shares, out []string
	for i := range g.Links {
		l := &g.Links[i]
		switch why := l.Why(); {
		case why != "":
			out = append(out, l.Link+" "+why+before(" ", left(l.Until, o.now)))
		case l.Phase == slots.Ramping.String():
			shares = append(shares, fmt.Sprintf("%s %.0f%% (ramp %s)", l.Link, l.Share, left(l.Until, o.now)))
		default:
			shares = append(shares, fmt.Sprintf("%s %.0f%%", l.Link, l.Share))
		}
	}
	state := g.State
	if g.Lapsed {
		state += " busy"
	}
	if g.Row.Hold != nil {
		state += " (held " + g.Row.Hold.State.String() + ")"
	}
	since := ""
	if g.State != "unused" {
		since = age(g.Row.Since, o.now)
	}
	return []string{g.Name, state, since, g.Algorithm, strings.Join(shares, ", "), strings.Join(out, ", "), evidence(g.Row)}
}

// left is how long it is until a moment; "" for none.
func left(until, now time.Time) string {
	if until.IsZero() {
		return ""
	}
	return "for " + age(now, until)
}

func hitRow(h outbound.Hit, o getOptions) []string {
	return []string{h.Kind, h.Name, h.What, fmt.Sprint(h.Connections), fmt.Sprint(h.Octets), age(h.Last, o.now), h.Does}
}

// mostListed is the limit for 0, which says: as many as may be.
func mostListed(limit uint) uint64 {
	if limit == 0 {
		return api.MaxListed
	}
	return uint64(limit)
}

func fetchSessions(ctx context.Context, c *client.Client, o getOptions) ([]api.Session, error) {
	q, err := api.SessionWords{Link: o.link, VirtualServer: o.virtualServer, Farm: o.farm, Server: o.server, Client: o.client, Limit: mostListed(o.limit)}.Query()
	if err != nil {
		return nil, err
	}
	l, err := c.Sessions(ctx, q)
	o.more(l.More, q.Limit)
	return l.Sessions, err
}

func sessionRow(s api.Session, _ getOptions) []string {
	var notes []string
	for _, n := range []struct {
		is   bool
		text string
	}{{s.Inbound, "came in"}, {s.Sticky, "sticky"}, {s.Child, "child"}} {
		if n.is {
			notes = append(notes, n.text)
		}
	}
	source := ""
	if s.Source.IsValid() {
		source = s.Source.String()
	}
	return []string{s.Protocol, end(s.From), end(s.To), s.Link, s.VirtualServer, serverOf(s.Farm, s.Server), source, s.State, s.Expires.String(), volume(s.Sent), volume(s.Replied), strings.Join(notes, ", ")}
}

// end is one end of a session; port 0 is none.
func end(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// serverOf is a real server among all.
func serverOf(farm, server string) string {
	if server == "" {
		return ""
	}
	return farm + "/" + server
}

func volume(t *traffic.Volume) string {
	if t == nil {
		return ""
	}
	return fmt.Sprintf("%d in %d", t.Octets, t.Packets)
}

var stickyHeader = []string{"PERSISTENCE", "GROUP", "VIRTUAL SERVER", "CLIENT", "DESTINATION", "LINK", "REAL SERVER", "EXPIRES"}

func fetchSticky(ctx context.Context, c *client.Client, o getOptions) ([]api.StickyEntry, error) {
	q, err := o.stickyWords().Query()
	if err != nil {
		return nil, err
	}
	limit := mostListed(o.limit)
	if limit > api.MaxListed {
		return nil, api.Errorf(api.Invalid, "limit %d is more than %d; ask for fewer by group, link, virtual server, farm or client", limit, api.MaxListed)
	}
	l, err := c.Sticky(ctx, q, int(limit))
	o.more(l.More, int(limit))
	return l.Entries, err
}

func (o getOptions) stickyWords() api.StickyWords {
	return api.StickyWords{Group: o.group, Link: o.link, VirtualServer: o.virtualServer, Farm: o.farm, Server: o.server, Client: o.client}
}

func stickyRow(e api.StickyEntry, _ getOptions) []string {
	client, destination := "", ""
	if e.Client.IsValid() {
		client = e.Client.String()
	}
	if e.Port > 0 {
		client += fmt.Sprintf(" port %d", e.Port)
	}
	if e.Destination.IsValid() {
		destination = e.Destination.String()
	}
	return []string{e.Persistence, e.Group, e.VirtualServer, client, destination, e.Link, serverOf(e.Farm, e.Server), e.Expires.String()}
}

// linkBalanced is what get links shows of a link's part in a gateway: its number
// in marks, its shares, its connections, and where they seem to come from.
func linkBalanced(b *api.LinkOutbound) []string {
	if b == nil {
		return []string{"", "", "", ""}
	}
	var shares []string
	for _, g := range b.Groups {
		text := fmt.Sprintf("%s %.0f%%", g.Group, g.Share)
		if g.Phase != slots.Serving.String() {
			text += " " + g.Phase
		}
		shares = append(shares, text)
	}
	connections := "?"
	if b.Connections != nil {
		connections = strconv.Itoa(*b.Connections)
	}
	if b.MaxConnections > 0 {
		connections += fmt.Sprintf(" of %d", b.MaxConnections)
	}
	return []string{strconv.Itoa(int(b.Number)), strings.Join(shares, ", "), connections, translation(b)}
}

func translation(b *api.LinkOutbound) string {
	text := string(b.SNAT.Mode)
	if len(b.SNAT.Addresses) > 0 {
		var list []string
		for _, r := range b.SNAT.Addresses {
			list = append(list, r.String())
		}
		text = first(list)
	}
	if b.Shaped {
		text += ", shaped"
	}
	return text
}
