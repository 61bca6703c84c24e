package dnsserver

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/portolan-lb/portolan/config"
	"github.com/portolan-lb/portolan/pick"
	"github.com/portolan-lb/portolan/status"
	"github.com/portolan-lb/portolan/topology"
)

// outline writes a numbered list, each step with lines under it.
type outline struct {
	b    strings.Builder
	step int
	now  time.Time
}

func (o *outline) item(format string, args ...any) {
	o.step++
	fmt.Fprintf(&o.b, "%2d. %s\n", o.step, fmt.Sprintf(format, args...))
}

func (o *outline) line(format string, args ...any) {
	fmt.Fprintf(&o.b, "      %s\n", fmt.Sprintf(format, args...))
}

// WriteText writes the explanation for people: a numbered list from the client
// to the answer. Ages are relative to now.
func (e *Explanation) WriteText(w io.Writer, now time.Time) error {
	o := &outline{now: now}
	fmt.Fprintf(&o.b, "%s %s for %s\n", e.Name, e.Type, e.Client.Address)
	o.item("client %s: %s", e.Client.Known, e.Client.Why)
	for _, id := range e.Assumed {
		o.line("assumed otherwise than it is: %s", id)
	}
	for _, l := range e.Lookup {
		o.item("%s", l)
	}
	if e.Topology != nil {
		o.topology(e.Topology)
	}
	for _, d := range e.Decisions {
		o.decision(d)
	}
	o.reply(e)
	_, err := io.WriteString(w, o.b.String())
	return err
}

func (o *outline) topology(f *topology.Finding) {
	o.item("topology: %s is one network for every rule", f.Network)
	for _, r := range f.Databases {
		o.line("%s", recordText(r))
	}
	if len(f.ISPs) > 0 {
		o.line("isp: %s", strings.Join(f.ISPs, ", "))
	}
	if len(f.Regions) > 0 {
		o.line("regions: %s", strings.Join(f.Regions, ", "))
	}
	for i, r := range f.Rules {
		o.line("rule %d: %s: %s prefers %s, priority %d, %s", i+1, r.Pos, clientsOf(r), placeText(r.Prefer), r.Priority, lengthText(r))
	}
	if len(f.Rules) == 0 {
		o.line("no rule matches")
	}
}

func recordText(r topology.Record) string {
	if r.Error != "" {
		return r.File + ": " + r.Error
	}
	fields := []string{}
	add := func(name, value string) {
		if value != "" {
			fields = append(fields, name+" "+value)
		}
	}
	add("continent", r.Continent)
	add("country", r.Country)
	add("subdivision", strings.Join(r.Subdivisions, "/"))
	add("city", r.City)
	if r.ASN != 0 {
		add("asn", fmt.Sprint(r.ASN))
	}
	if len(fields) == 0 {
		fields = append(fields, "says nothing of it")
	}
	return fmt.Sprintf("%s %s: %s", r.File, r.Network, strings.Join(fields, ", "))
}

func clientsOf(r topology.RuleMatch) string {
	switch {
	case r.Region != "":
		return "region " + r.Region
	case r.Network.IsValid():
		return r.Network.String()
	default:
		return "every client"
	}
}

func lengthText(r topology.RuleMatch) string {
	if r.Network.IsValid() {
		return "matched " + r.Network.String()
	}
	return "matched without a prefix"
}

func placeText(p config.Place) string {
	switch {
	case p.VirtualServer != "":
		return "virtual server " + p.VirtualServer
	case p.Site != "":
		return "site " + p.Site
	case p.Link != "":
		return "link " + p.Link
	default:
		return p.Prefix.String()
	}
}

func (o *outline) decision(d *DecisionTrace) {
	o.item("%s is answered by pool %s, draw %d of %s", d.Name, d.Pool, d.Draw, d.Group)
	for _, p := range d.Picks {
		o.pick(p)
	}
	for _, n := range d.Notes {
		o.line("%s", n)
	}
	if d.Error != "" {
		o.line("%s", d.Error)
	}
	if len(d.Chose) > 0 {
		o.item("chosen: %s", strings.Join(d.Chose, ", "))
	}
	o.item("TTL %d: %s", d.TTL, d.TTLWhy)
	if d.Scope != nil {
		o.item("ECS scope /%d: %s", *d.Scope, d.ScopeWhy)
	}
}

func (o *outline) pick(t *pick.Trace) {
	o.line("pool %s:", t.Group)
	for _, m := range t.Members {
		o.member(m)
	}
	if t.Panic {
		o.line("  too few usable members: health is ignored (panic)")
	}
	if t.Lapsed {
		o.line("  all that take part are busy: busy protection lapses")
	}
	for _, n := range t.Nested {
		o.pick(n)
	}
	for _, s := range t.Slots {
		o.slot(s)
	}
	if len(t.Slots) == 0 {
		o.line("  no slot was asked: %s", t.Reason)
	}
}

func (o *outline) member(m pick.MemberTrace) {
	state := "takes part"
	if !m.Active {
		state = "left out"
	}
	if m.Why != "" {
		state += ": " + m.Why
	}
	o.line("  %s %s", m.Member, state)
	for _, r := range m.Rows {
		age := ""
		if !r.Since.IsZero() {
			age = " for " + o.now.Sub(r.Since).Truncate(time.Second).String()
		}
		o.line("    %s %s%s: %s", r.ID, r.Health, age, r.Evidence)
		if load := r.Load(); load != "" {
			o.line("      %s for %s: %s", load, o.now.Sub(r.LoadSince).Truncate(time.Second), r.LoadWhy)
		}
		if r.Hold != nil {
			o.line("      held %s by %s until %s: %s", r.Hold.State, r.Hold.By, endOf(r.Hold), r.Hold.Reason)
		}
	}
}

// endOf says how long a hold lasts.
func endOf(h *status.Hold) string {
	if h.Until.IsZero() {
		return "released"
	}
	return h.Until.Local().Format(time.RFC3339)
}

func (o *outline) slot(s *pick.SlotTrace) {
	result := "declines"
	if !s.Declined {
		parts := make([]string, len(s.Shares))
		for i, sh := range s.Shares {
			parts[i] = fmt.Sprintf("%s %.4g %%", sh.Member, sh.Percent)
		}
		result = strings.Join(parts, ", ")
	}
	o.line("  %s -> %s", s.Slot, result)
	for _, c := range s.Candidates {
		switch {
		case c.Text != "":
			o.line("    %s: %s", c.Member, c.Text)
		case c.Matched:
			o.line("    %s: score %d", c.Member, c.Score)
		default:
			o.line("    %s: no rule prefers it for this client", c.Member)
		}
	}
}

func (o *outline) reply(e *Explanation) {
	if e.Dropped {
		o.item("no reply")
		return
	}
	o.item("answer: %s%s%s", e.Rcode, suffix(", EDE ", e.EDE), suffix(", ECS ", e.ECS))
	for _, section := range [][]string{e.Answer, e.Authority, e.Additional} {
		for _, rr := range section {
			o.line("%s", rr)
		}
	}
}

func suffix(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
