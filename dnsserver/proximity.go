package dnsserver

import (
	"fmt"
	"slices"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/proximity"
)

// proximitySlot gives a client to the members on the link that is nearest to
// its network. It declines while that is not known (FAQ 1.4.5).
//
//	entry        | chosen                                | declines, and may choose
//	absent       | the configured link                   | warmUp from now on
//	warming      | the configured link                   | when it is over
//	ready        | best of the measured, see View.Rank   | when a link is measured
//	switched off | -                                     | -
type proximitySlot struct {
	compiler *poolCompiler
	plan     *proximity.Plan
	tie      pick.Algorithm // among members on the best link
}

// Shares implements [pick.Algorithm].
func (p *proximitySlot) Shares(in pick.Input, active []*pick.Member, into []pick.Share) (pick.Distribution, bool) {
	v := p.plan.Look(in.Client.Addr, in.Now)
	declined := pick.Distribution{Shares: into, Width: v.Width, Wants: v.Wants, Next: v.Next}
	var roomLinks [8]int
	var roomRated [8]proximity.Rated
	links := roomLinks[:0]
	for _, m := range active {
		links = p.links(in, m, links)
	}
	rank := proximity.Ranking{Best: -1}
	if v.Chooses() {
		rank = v.Rank(links, in.Gauges, roomRated[:0])
	}
	if in.Traced() {
		p.tell(&in, &v, rank, active)
	}
	if rank.Best < 0 {
		return declined, false
	}
	best := rank.Rated[rank.Best].Link
	in.Note(pick.Note{Circle: rank.Circle, Choice: best})
	var roomWinners [8]*pick.Member
	winners := roomWinners[:0]
	for _, m := range active {
		if p.on(in, m, best) {
			winners = append(winners, m)
		}
	}
	d, ok := p.tie.Shares(in.Untraced(), winners, into)
	d.Width, d.Wants = max(d.Width, declined.Width), d.Wants || declined.Wants
	return d, ok
}

// on says whether a member is on a link.
func (p *proximitySlot) on(in pick.Input, m *pick.Member, link int) bool {
	if m.Group == nil {
		return slices.Contains(p.compiler.targets[m.Index].way, link)
	}
	return slices.ContainsFunc(m.Group.ActiveFor(in), func(inner *pick.Member) bool { return p.on(in, inner, link) })
}

// links adds the links of a member that are not there yet: of a nested pool
// those of its leaves that take part for this client.
func (p *proximitySlot) links(in pick.Input, m *pick.Member, into []int) []int {
	if m.Group == nil {
		for _, l := range p.compiler.targets[m.Index].way {
			if !slices.Contains(into, l) {
				into = append(into, l)
			}
		}
		return into
	}
	for _, inner := range m.Group.ActiveFor(in) {
		into = p.links(in, inner, into)
	}
	return into
}

// tell says what the slot saw in each member (T15, FAQ 1.2.28, 1.2.29).
func (p *proximitySlot) tell(in *pick.Input, v *proximity.View, rank proximity.Ranking, active []*pick.Member) {
	for _, m := range active {
		links := p.links(*in, m, nil)
		known, text := false, "no link"
		switch {
		case len(links) == 0:
		case len(rank.Rated) == 0, v.State != proximity.Ready && !slices.ContainsFunc(rank.Rated, func(r proximity.Rated) bool { return r.Static }):
			text = v.Why(in.Now)
		default:
			known, text = p.text(v, rank, links)
		}
		in.Tell(m, known, text)
	}
}

// text says how a member's links stand: the best of them first found.
func (p *proximitySlot) text(v *proximity.View, rank proximity.Ranking, links []int) (known bool, text string) {
	for i := range rank.Rated {
		r := &rank.Rated[i]
		if !slices.Contains(links, r.Link) || known && i != rank.Best {
			continue
		}
		known = r.Standing == proximity.Measured || r.Static
		text = fmt.Sprintf("%s: %s", p.plan.Links[r.Link].Name, r.Text())
	}
	if rank.Lapsed {
		text += "; all are at their rate limits, so none is passed over"
	}
	return known, text
}

// want has what proximity slots looked for measured, once the query is answered;
// never for questions that only explain.
func (q *query) want() {
	wants := false
	for _, m := range q.decisions {
		wants = wants || m.got.wants
	}
	if !wants {
		return
	}
	c := &q.question.client
	a := proximity.Asked{Client: c.addr, Target: c.addr, Proven: q.tcp || q.cookie == cookieValid, Now: q.question.now}
	if c.ecs && c.bits < c.addr.BitLen() {
		a.Target = c.addr.Next() // the first host
	}
	for _, n := range q.question.notes.List() {
		a.Chose = append(a.Chose, proximity.Chosen{Circle: n.Circle, Link: n.Choice})
	}
	q.table.Proximity().Want(a)
}

// Proximity gives the plan of the configuration, for [proximity.Table.Use].
func (t *Table) Proximity() *proximity.Plan {
	if t.pools.proximity == nil {
		return proximity.Compile(&config.Model{}) // of a table without pools
	}
	return t.pools.proximity
}

// untilNext is how long an answer may be kept that rests on what is known to
// change, 0 for an answer that rests on none: a second at least, for what is
// younger is asked for by everybody at once.
func (c *choosing) untilNext(next time.Time) time.Duration {
	if next.IsZero() {
		return 0
	}
	return max(next.Sub(c.q.now).Truncate(time.Second), time.Second)
}
