package flow

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/portolan-lb/portolan/kernel"
)

// WriteText writes an explanation for people. With all, every rule that the
// packet came to is listed, too.
func (e *Explanation) WriteText(w io.Writer, all bool) error {
	t := &text{}
	t.line("%s", e.Question)
	t.session(e.Session)
	hook := ""
	for _, f := range e.Findings {
		if f.Hook != hook {
			hook = f.Hook
			t.line("%s", hook)
		}
		t.finding(f)
	}
	for _, g := range e.Groups {
		t.group(g)
	}
	t.line("ways")
	for _, way := range e.Ways {
		t.way(way)
	}
	t.counters(e.Counters)
	for _, n := range e.Notes {
		t.line("note: %s", n)
	}
	if all {
		t.rules(e.Rules)
	}
	_, err := io.WriteString(w, t.String())
	return err
}

type text struct{ strings.Builder }

func (t *text) line(format string, args ...any) { _, _ = fmt.Fprintf(t, format+"\n", args...) }

func (t *text) session(s *Session) {
	if s == nil {
		t.line("session: none, so this is the first packet of a connection")
		return
	}
	words := []string{"in conntrack", "mark " + hex(s.Mark)}
	if s.Link != "" {
		words[0] += " on link " + s.Link
	}
	if s.VirtualServer != "" {
		words[0] += " of virtual server " + s.VirtualServer
	}
	if s.Server != "" {
		words[0] += " with server " + s.Farm + "/" + s.Server
	}
	if s.At.IsValid() {
		words[0] += " at " + end(s.At)
	}
	if s.State != "" {
		words = append(words, s.State)
	}
	for _, w := range []struct {
		is   bool
		word string
	}{{s.Inbound, "came in by the link"}, {s.Placed, "placed by persistence"}, {s.Child, "child of another session"}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	if s.Left > 0 {
		words = append(words, round(s.Left)+" left")
	}
	t.line("session: %s", strings.Join(words, ", "))
}

func hex(n uint32) string { return "0x" + strconv.FormatUint(uint64(n), 16) }

func (t *text) finding(f Finding) {
	word := "no "
	if f.Hit {
		word = "yes"
	}
	subject := ""
	if f.Kind == Persistence || f.Kind == Proximity {
		subject = strings.TrimSpace(f.Kind+" "+f.Name) + ": "
	}
	why := ""
	if f.Why != "" {
		why = ": " + f.Why
	}
	t.line("  %s  %s%s%s", word, subject, f.Text, why)
}

func (t *text) group(g Group) {
	standing := "not available"
	if g.Available {
		standing = "available"
	}
	if g.Why != "" {
		standing += ": " + g.Why
	}
	kind := "link group"
	if g.Kind == ServerFarm {
		kind = "server farm"
	}
	t.line("%s %s, %s, %s", kind, g.Name, g.Algorithm, standing)
	if g.Members != nil {
		wide := 0
		for _, m := range g.Members.Members {
			wide = max(wide, len(m.Member))
		}
		for _, m := range g.Members.Members {
			word := "out"
			if m.Active {
				word = "in "
			}
			why := m.Why
			for _, s := range g.Slots {
				if s.Member == m.Member {
					why = strings.TrimPrefix(why+"; ", "; ") + fmt.Sprintf("%d of %d slots", s.Slots, g.Size)
				}
			}
			t.line("  %s  %s", word, strings.TrimRight(fmt.Sprintf("%-*s  %s", wide, m.Member, why), " "))
		}
	}
	for _, n := range g.Notes {
		t.line("  %s", n)
	}
}

func (t *text) way(w Way) {
	t.line("  %6.2f%%  %s", w.Percent, strings.Join(w.words(), ", "))
	if w.By != "" {
		t.line("           by %s", w.By)
	}
	for _, b := range w.Bounds {
		then := ""
		if len(b.IfOver) > 0 {
			then = "; over it " + shares(b.IfOver)
		}
		of := "limit of " + b.Of
		if strings.HasPrefix(b.Of, "limit policy ") {
			of = b.Of
		}
		t.line("           %s: %s%s", of, strings.Join(b.Limits, ", "), then)
	}
}

func (t *text) counters(list []Counter) {
	if len(list) == 0 {
		return
	}
	t.line("counters")
	for _, c := range list {
		value := ""
		if c.Connections != nil {
			value = fmt.Sprintf("  %d", *c.Connections)
		}
		t.line("  %s %s  %s%s", c.Kind, c.Name, c.What, value)
	}
}

// end writes an address, with the port if there is one.
func end(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// words tells a way in one line.
func (w Way) words() (words []string) {
	switch {
	case len(w.Copies) > 0: // the packet itself is dropped
		for _, a := range w.Copies {
			words = append(words, w.server("directly to "+a.String()+" as it is"))
		}
		return words
	case w.End == kernel.Dropped.String():
		return []string{"dropped"}
	case w.Socket != 0:
		return []string{w.Route}
	}
	if w.Server != "" || w.To.IsValid() {
		words = append(words, w.server("to "+end(w.To)))
	}
	switch {
	case w.Link != "":
		words = append(words, "link "+w.Link)
	case len(words) == 0:
		words = append(words, "no link")
	}
	if w.End == kernel.Refused.String() {
		words = append(words, "refused")
	}
	if w.Route != "" {
		words = append(words, w.Route)
	}
	if w.NAT != "" {
		words = append(words, "as "+w.Source+" ("+w.NAT+")")
	} else if w.End == kernel.Passed.String() {
		words = append(words, "as "+w.Source)
	}
	return words
}

// server tells the server and how it is reached.
func (w Way) server(way string) string {
	if !w.To.IsValid() && len(w.Copies) == 0 {
		way = "as it is"
	}
	if w.Server == "" {
		return way
	}
	return "server " + w.Farm + "/" + w.Server + " " + way
}

func shares(list []Share) string {
	var words []string
	for _, s := range list {
		to := "link " + s.Link
		switch {
		case s.End != kernel.Passed.String():
			to = s.End
		case s.Server != "":
			to = "server " + s.Server
		case s.Link == "":
			to = "by no link"
		}
		words = append(words, fmt.Sprintf("%.2f%% %s", s.Percent, to))
	}
	return strings.Join(words, ", ")
}

func (t *text) rules(list []Rule) {
	t.line("rules of the likeliest way")
	for _, r := range list {
		t.line("  %s %s %s rule %d%s", r.Hook, r.Table, r.Chain, r.Rule, after(": ", r.Tell))
		for _, l := range r.Looks {
			t.line("      %s", l)
		}
		switch {
		case r.Why != "":
			t.line("      ends: %s", r.Why)
		case r.Then != "":
			t.line("      %s", r.Then)
		}
	}
}

func after(before, text string) string {
	if text == "" {
		return ""
	}
	return before + text
}
