package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/probe"
)

func describeCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "describe KIND NAME",
		Short: "Tell everything about one thing, with the evidence",
		Long: `Tell everything about a pool, member, virtualserver, link, site, probe or zone:
its configuration, its state, the last results and failures of its probes with
what was seen, and its events.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			d, err := c.Describe(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			switch output {
			case "json":
				return printJSON(cmd.OutOrStdout(), d)
			case "text":
				return printDescription(cmd.OutOrStdout(), d, time.Now())
			}
			return badOutput(output, "text", "json")
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

func printDescription(w io.Writer, d api.Description, now time.Time) error {
	p := &printer{w: w}
	p.line("%s %s", d.Kind, d.Name)
	p.section("State", d.State)
	p.section("Configuration", d.Config)
	if len(d.Members) > 0 {
		p.line("\nMembers")
		for _, m := range d.Members {
			p.line("  %s %s weight %d priority %d%s", m.Name, m.State, m.Weight, m.Priority, before(": ", m.Why))
		}
	}
	for _, h := range d.Evidence {
		p.evidence(h, now)
	}
	if len(d.Events) > 0 {
		p.line("\nEvents")
		for _, e := range d.Events {
			p.line("  %s", joinCells(eventRow(e, getOptions{})))
		}
	}
	return p.err
}

func joinCells(cells []string) string {
	s := ""
	for _, c := range cells {
		if c != "" {
			s += c + "  "
		}
	}
	return s
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

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// section prints an object the way JSON has it, which is how it is configured.
func (p *printer) section(title string, v any) {
	if v == nil {
		return
	}
	text, err := json.MarshalIndent(v, "  ", "  ")
	if err != nil {
		p.err = err
		return
	}
	p.line("\n%s\n  %s", title, text)
}

func (p *printer) evidence(h probe.History, now time.Time) {
	p.line("\nProbe %s of %s (%s, every %s, timeout %s, rise %d, fall %d)", h.Probe, h.Target, h.Kind, h.Interval, h.Timeout, h.Rise, h.Fall)
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
