package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/api/client"
	"github.com/portolan-lb/portolan/probe"
	"github.com/portolan-lb/portolan/status"
)

// listing is one kind of thing that get shows.
type listing struct {
	words  []string // the kind, and other ways to write it
	header []string
	fetch  func(ctx context.Context, c *client.Client, o getOptions) (list any, rows [][]string, err error)
}

type getOptions struct {
	pool  string
	after uint64
	limit int
	now   time.Time
}

// of makes a listing's fetch from a call of the client and a row of a table.
func of[T any](call func(context.Context, *client.Client, getOptions) ([]T, error), row func(T, getOptions) []string) func(context.Context, *client.Client, getOptions) (any, [][]string, error) {
	return func(ctx context.Context, c *client.Client, o getOptions) (any, [][]string, error) {
		list, err := call(ctx, c, o)
		rows := make([][]string, len(list))
		for i, v := range list {
			rows[i] = row(v, o)
		}
		return list, rows, err
	}
}

var listings = []listing{
	{[]string{"pools", "pool"}, []string{"POOL", "STATE", "ACTIVE", "MEMBERS", "SLOTS", "NAMES"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Pool, error) { return c.Pools(ctx) }, poolRow)},
	{[]string{"members", "member"}, []string{"POOL", "MEMBER", "STATE", "ACTIVE", "WEIGHT", "PRIORITY", "WHY"}, of(
		func(ctx context.Context, c *client.Client, o getOptions) ([]api.Member, error) {
			return c.Members(ctx, o.pool)
		}, memberRow)},
	{[]string{"virtualservers", "virtualserver", "vs"}, []string{"VIRTUAL SERVER", "STATE", "FOR", "ADDRESSES", "SITE", "LINK", "EVIDENCE"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.VirtualServer, error) {
			return c.VirtualServers(ctx)
		}, virtualServerRow)},
	{[]string{"links", "link"}, []string{"LINK", "STATE", "FOR", "NEXT HOP", "SITE", "EVIDENCE"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Link, error) { return c.Links(ctx) }, linkRow)},
	{[]string{"sites", "site"}, []string{"SITE", "STATE", "FOR", "VIRTUAL SERVERS", "EVIDENCE"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Site, error) { return c.Sites(ctx) }, siteRow)},
	{[]string{"probes", "probe"}, []string{"PROBE", "TARGET", "KIND", "STATE", "FOR", "LAST RESULT"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]probe.History, error) {
			return c.Probes(ctx)
		}, probeRow)},
	{[]string{"zones", "zone"}, []string{"ZONE", "STATE", "SERIAL", "RECORDS", "DYNAMIC NAMES", "FILE", "ERROR"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Zone, error) { return c.Zones(ctx) }, zoneRow)},
	{[]string{"holds", "hold"}, []string{"ROW", "HELD", "UNTIL", "BY", "REASON"}, of(
		func(ctx context.Context, c *client.Client, _ getOptions) ([]api.Hold, error) { return c.Holds(ctx) }, holdRow)},
	{[]string{"events", "event"}, []string{"TIME", "ROW", "CHANGE", "BY", "WHY"}, of(
		func(ctx context.Context, c *client.Client, o getOptions) ([]status.Event, error) {
			return c.Events(ctx, o.after, o.limit)
		}, eventRow)},
}

func getCommand() *cobra.Command {
	var o getOptions
	var output string
	kinds := make([]string, len(listings))
	for i, l := range listings {
		kinds[i] = l.words[0]
	}
	cmd := &cobra.Command{
		Use:       "get KIND",
		Short:     "List " + strings.Join(kinds, ", "),
		Args:      cobra.ExactArgs(1),
		ValidArgs: kinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			if output != "table" && output != "json" {
				return badOutput(output, "table", "json")
			}
			l, ok := findListing(args[0])
			if !ok {
				return fmt.Errorf("nothing is called %q; there are: %s", args[0], strings.Join(kinds, ", "))
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			o.now = time.Now()
			list, rows, err := l.fetch(cmd.Context(), c, o)
			switch {
			case err != nil:
				return err
			case output == "json":
				return printJSON(cmd.OutOrStdout(), list)
			default:
				return printTable(cmd.OutOrStdout(), l.header, rows)
			}
		},
	}
	cmd.Flags().StringVar(&o.pool, "pool", "", "members: of this pool only")
	cmd.Flags().Uint64Var(&o.after, "after", 0, "events: those after this number")
	cmd.Flags().IntVar(&o.limit, "limit", 50, "events: at most the newest so many; 0 is all that is remembered")
	cmd.Flags().StringVarP(&output, "output", "o", "table", "table or json")
	return cmd
}

func findListing(word string) (listing, bool) {
	for _, l := range listings {
		for _, w := range l.words {
			if strings.EqualFold(w, word) {
				return l, true
			}
		}
	}
	return listing{}, false
}

func poolRow(p api.Pool, _ getOptions) []string {
	state := p.State
	switch {
	case p.Waiting:
		state = "waiting"
	case p.Lapsed:
		state += " busy"
	case p.Panic:
		state += " panic"
	}
	return []string{p.Name, state, fmt.Sprintf("%d: %s", len(p.Active), orDash(strings.Join(p.Active, " "))), fmt.Sprint(p.Members),
		strings.Join(p.Slots, ", "), strings.Join(p.Names, " ")}
}

func memberRow(m api.Member, _ getOptions) []string {
	active := "no"
	if m.Active {
		active = "yes"
	}
	return []string{m.Pool, m.Name, m.State, active, fmt.Sprint(m.Weight), fmt.Sprint(m.Priority), m.Why}
}

func virtualServerRow(v api.VirtualServer, o getOptions) []string {
	addrs := make([]string, len(v.Addresses))
	for i, a := range v.Addresses {
		addrs[i] = a.String()
	}
	return []string{v.Name, stateOf(v.Row), age(v.Row.Since, o.now), strings.Join(addrs, " "), v.Site, v.Link, evidence(v.Row)}
}

func linkRow(l api.Link, o getOptions) []string {
	hop := ""
	if l.NextHop.IsValid() {
		hop = l.NextHop.String()
	}
	return []string{l.Name, stateOf(l.Row), age(l.Row.Since, o.now), hop, l.Site, evidence(l.Row)}
}

func siteRow(s api.Site, o getOptions) []string {
	return []string{s.Name, stateOf(s.Row), age(s.Row.Since, o.now), strings.Join(s.VirtualServers, " "), evidence(s.Row)}
}

func probeRow(h probe.History, o getOptions) []string {
	state := h.Health.String()
	if h.Waiting {
		state = "waiting"
	}
	return []string{h.Probe, h.Target, h.Kind, state, age(h.Since, o.now), h.Saw}
}

func zoneRow(z api.Zone, _ getOptions) []string {
	return []string{z.Name, z.State, fmt.Sprint(z.Serial), fmt.Sprint(z.Records), fmt.Sprint(len(z.Names)), z.File, z.Error}
}

func holdRow(h api.Hold, _ getOptions) []string {
	until := "released"
	if !h.Until.IsZero() {
		until = h.Until.Local().Format(time.RFC3339)
	}
	return []string{string(h.ID), h.State.String(), until, h.By, h.Reason}
}

func eventRow(e status.Event, _ getOptions) []string {
	change := e.New
	if e.Old != "" {
		change = e.Old + " -> " + e.New
	}
	return []string{e.Time.Local().Format(time.RFC3339), string(e.ID), change, e.By, e.Why}
}

// stateOf is a row's state in a word or two, with the operator's word on it.
func stateOf(r status.Row) string {
	state := r.Health.String()
	if r.Waiting {
		state = "waiting"
	}
	if r.Busy {
		state += " busy"
	}
	if r.Full {
		state += " full"
	}
	if r.Hold != nil {
		state += " (held " + r.Hold.State.String() + ")"
	}
	return state
}

func evidence(r status.Row) string {
	if r.Hold != nil {
		return "held by " + r.Hold.By + ": " + r.Hold.Reason
	}
	return r.Why
}
