package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/probe"
)

func describeCommand() *cobra.Command {
	var output *choice
	cmd := &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Tell everything about one thing, with the evidence",
		Long: `Tell everything about a pool, member, virtualserver, link, site, probe, zone,
linkgroup, serverfarm, realserver or snatpool, or about something that counts
connections (outbound, slb): its state, the last results and failures of its
probes with what was seen, its configuration and its events.

A member is named POOL/MEMBER, a real server FARM/NAME, a probe by its name for
all that it checks, or TARGET/PROBE for one check; outbound and slb take KIND/NAME
as get outbound and get slb show them, such as virtualServer/all or rule/office/1.
KIND/NAME in one word, as events and explain print rows, does too.

Exit codes: 0 it is there, 1 there is no such thing, 2 there is no server to
ask, or no such kind.`,
		Example: `  portolan describe virtualserver web-east
  portolan describe member web/web-east
  portolan describe probe/192.0.2.10:443/https
  portolan describe linkgroup internet
  portolan describe realserver shop/10.0.0.3
  portolan describe outbound rule/office/1`,
		Args:              cobra.RangeArgs(1, 2),
		ValidArgsFunction: completeDescribe,
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := thing(args)
			if err != nil {
				return err
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			d, err := c.Describe(cmd.Context(), kind, name)
			if err != nil {
				return err
			}
			if output.word == "json" {
				return printJSON(cmd.OutOrStdout(), d)
			}
			return printDescription(cmd.OutOrStdout(), d, time.Now())
		},
	}
	output = outputFlag(cmd, "text", "json")
	return cmd
}

// thing reads KIND NAME, or KIND/NAME as rows are written: the row of a pool's
// member is pool/POOL/MEMBER.
func thing(args []string) (kind, name string, err error) {
	word := args[0]
	if len(args) == 2 {
		name = args[1]
	} else if word, name, _ = strings.Cut(args[0], "/"); name == "" {
		return "", "", fmt.Errorf("a name is needed: describe %s NAME", args[0])
	}
	l, ok := findListing(word)
	switch {
	case !ok || l.kind == "":
		return "", "", unknownKind(word, describable())
	case l.kind == "pool" && len(args) == 1 && strings.Contains(name, "/"):
		return "member", name, nil
	}
	return l.kind, name, nil
}

// describable is the kinds that can be described.
func describable() []string {
	var kinds []string
	for _, l := range listings {
		if l.kind != "" {
			kinds = append(kinds, strings.ToLower(l.kind))
		}
	}
	return kinds
}

func printDescription(w io.Writer, d api.Description, now time.Time) error {
	p := &printer{w: w}
	p.line("%s %s", d.Kind, d.Name)
	p.section("State", d.State)
	if len(d.Members) > 0 {
		p.heading("Members")
		for _, m := range d.Members {
			part := "takes part"
			if !m.Active {
				part = "left out"
			}
			p.line("  %s: %s, %s, weight %d, priority %d%s", m.Name, m.State, part, m.Weight, m.Priority, before(": ", m.Why))
		}
	}
	for _, h := range d.Evidence {
		p.evidence(h, now)
	}
	p.section("Configuration", d.Config)
	if len(d.Events) > 0 {
		p.heading("Events")
		for _, e := range d.Events {
			p.line("  %s", joinCells(eventRow(e, getOptions{})))
		}
	}
	return p.err
}

func joinCells(cells []string) string {
	return strings.Join(slices.DeleteFunc(cells, func(c string) bool { return c == "" }), "  ")
}

func before(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

// line prints one line. What is in it may come from the network.
func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w, shown(fmt.Sprintf(format, args...)))
	}
}

// heading starts a section.
func (p *printer) heading(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintln(p.w)
	}
	p.line(format, args...)
}

// section prints an object, if there is one, much as it is configured.
func (p *printer) section(title string, v any) {
	if v == nil {
		return
	}
	p.heading("%s", title)
	p.outline("  ", "  ", v)
}

func (p *printer) evidence(h probe.History, now time.Time) {
	p.heading("Probe %s of %s (%s, every %s, timeout %s, rise %d, fall %d)", h.Probe, h.Target, h.Kind, h.Interval, h.Timeout, h.Rise, h.Fall)
	state := h.Health.String()
	if h.Waiting {
		state = "waiting for its first result"
	}
	p.line("  %s%s, by %s, %d in a row", state, before(" for ", age(h.Since, now)), h.By, h.Streak)
	p.records("last results", h.Last)
	p.records("last failures", h.Failures)
}

func (p *printer) records(title string, records []probe.Record) {
	if len(records) == 0 {
		return
	}
	p.line("  %s", title)
	for _, r := range records {
		p.line("    %s %-7s %s", r.At.Local().Format("15:04:05.000"), r.Outcome, r.Saw)
	}
}
