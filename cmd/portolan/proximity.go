package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/proximity"
)

func proximityCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "proximity",
		Short: "Look at measured distances of client networks, and forget them",
		Long: `Look at the one table of measured distances: how far each client network is over
each link, since when that is known, from what, and what it makes of the links.
An entry is made by the first query that a slot for proximity sees, and counts
when its warm-up is over.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return see(cmd, errors.New("proximity needs one of list, clear and stats"))
		},
	}
	cmd.AddCommand(proximityListCommand(), proximityClearCommand(), proximityStatsCommand())
	return cmd
}

const proximityListManual = `List client networks with their distance over each link: the round trip time that
counts and from what it is made, hops, and what each link's score is the sum of
(the lowest is the best). Links are compared here with all that pools measure; a
pool chooses among its own.

With --client, everything about the network of one address, or why there is
nothing. Sources are the method that a link was measured by (icmp, tcp, dns,
udp) and passive, which is clients' own TCP connections.

Exit codes: 0 it is listed; 1 the network of --client has no entry; 2 the
question makes no sense, or there is no server to ask.`

func proximityListCommand() *cobra.Command {
	var client, state, after string
	var limit uint64
	var output *choice
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List client networks with their distances",
		Long:    proximityListManual,
		Example: "  portolan proximity list --client 203.0.113.7\n  portolan proximity list --state warming --limit 20 -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := api.ParseProximityQuery(client, state, after, limit)
			if err != nil {
				return err
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			l, err := c.Proximity(cmd.Context(), q)
			if err != nil {
				return err
			}
			return printProximity(cmd.OutOrStdout(), l, q, output.word == "json")
		},
	}
	cmd.Flags().StringVar(&client, "client", "", "the network of this address only, in full")
	cmd.Flags().StringVar(&state, "state", "", "those in this state only: warming, ready, off, unasked, no-methods")
	cmd.Flags().StringVar(&after, "after", "", "go on after this network, as the list before said")
	cmd.Flags().Uint64Var(&limit, "limit", 100, "at most so many networks")
	output = outputFlag(cmd, "table", "json")
	return cmd
}

func printProximity(w io.Writer, l api.ProximityList, q proximity.Query, asJSON bool) error {
	now := time.Now()
	var err error
	switch {
	case asJSON:
		err = printJSON(w, l)
	case q.Client.IsValid() && len(l.Entries) > 0:
		err = printEntry(w, &l.Entries[0], l.Why, now)
	case q.Client.IsValid():
		_, err = fmt.Fprintf(w, "%s: %s\n", q.Client, l.Why)
	default:
		err = printEntries(w, l, now)
	}
	if err == nil && q.Client.IsValid() && len(l.Entries) == 0 {
		return exit(1)
	}
	return err
}

// printEntries prints a table with a line for each link.
func printEntries(w io.Writer, l api.ProximityList, now time.Time) error {
	var rows [][]string
	for i := range l.Entries {
		e := &l.Entries[i]
		first := []string{e.Network.String(), stateOfEntry(e, now), age(e.Asked, now)}
		for j := range e.Links {
			d := &e.Links[j]
			rows = append(rows, append(first, d.Link, mark(d.Best), trip(d.RTT), hops(d.Hops), sources(d, now), scoreOf(d)))
			first = []string{" ", " ", " "}
		}
		if len(e.Links) == 0 {
			rows = append(rows, append(first, "", "", "", "", "", ""))
		}
	}
	if err := printTable(w, []string{"NETWORK", "STATE", "ASKED", "LINK", "BEST", "RTT", "HOPS", "FROM", "SCORE"}, rows); err != nil {
		return err
	}
	for _, text := range []string{l.Why, next(l)} {
		if text == "" {
			continue
		}
		if _, err := fmt.Fprintln(w, text); err != nil {
			return err
		}
	}
	return nil
}

func next(l api.ProximityList) string {
	if !l.Next.IsValid() {
		return ""
	}
	return "there are more: --after " + l.Next.String()
}

// printEntry prints all that is known of one network.
func printEntry(w io.Writer, e *proximity.Entry, why string, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is %s: %s\n", e.Network, stateOfEntry(e, now), why)
	fmt.Fprintf(&b, "  made %s ago, asked for %s ago\n", age(e.Made, now), age(e.Asked, now))
	for i := range e.Links {
		d := &e.Links[i]
		fmt.Fprintf(&b, "  %s%s: %s\n", d.Link, map[bool]string{true: ", the best"}[d.Best], d.Text)
		if d.Active > 0 {
			via := ""
			if d.Via.IsValid() {
				via = " from " + d.Via.String()
			}
			fmt.Fprintf(&b, "    %s: %s%s, %s ago\n", d.Method, trip(d.Active), via, age(d.ActiveAt, now))
		}
		if d.Passive > 0 {
			fmt.Fprintf(&b, "    passive: %s of %s, the last %s ago\n", trip(d.Passive), counted(d.Heard, "connection"), age(d.PassiveAt, now))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// stateOfEntry is the state, with what is left of a warm-up.
func stateOfEntry(e *proximity.Entry, now time.Time) string {
	if left := e.Counts.Sub(now); e.State == proximity.Warming.String() && left > 0 {
		return fmt.Sprintf("%s (%.1fs left)", e.State, left.Seconds())
	}
	return e.State
}

func mark(best bool) string {
	if best {
		return "*"
	}
	return ""
}

// trip is a round trip time in a few characters.
func trip(d time.Duration) string {
	switch {
	case d == 0:
		return ""
	case d < time.Millisecond:
		return fmt.Sprintf("%dus", d.Microseconds())
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
	default:
		return fmt.Sprintf("%dms", d.Milliseconds())
	}
}

func hops(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// sources is what a distance is made of, each with its age.
func sources(d *proximity.Distance, now time.Time) string {
	var from []string
	if d.Active > 0 {
		from = append(from, fmt.Sprintf("%s %s", d.Method, age(d.ActiveAt, now)))
	}
	if d.Passive > 0 {
		from = append(from, fmt.Sprintf("passive %s", age(d.PassiveAt, now)))
	}
	return strings.Join(from, ", ")
}

// scoreOf is the score with its parts, or why there is none.
func scoreOf(d *proximity.Distance) string {
	if len(d.Parts) == 0 {
		return d.Text
	}
	var parts []string
	for _, f := range slices.Sorted(maps.Keys(d.Parts)) {
		if d.Parts[f] != 0 {
			parts = append(parts, fmt.Sprintf("%s %.1f", f, d.Parts[f]))
		}
	}
	return fmt.Sprintf("%.1f = %s", d.Score, strings.Join(parts, " + "))
}

func proximityClearCommand() *cobra.Command {
	var reason string
	var all bool
	var output *choice
	cmd := &cobra.Command{
		Use:   "clear NETWORK|--all --reason TEXT",
		Short: "Forget measured distances",
		Long: `Forget the entries of all client networks inside NETWORK, or the one around it,
or all of them. The next query of such a network makes a new entry, which counts
when its warm-up is over; until then the next slot of its pool answers.

Exit codes: 0 they are forgotten, also where there were none; 2 the request makes
no sense, or there is no server to ask.`,
		Example: `  portolan proximity clear 203.0.113.0/24 --reason "the ISP moved them to another city"
  portolan proximity clear --all --reason "new lines since this morning"`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			network, err := api.ParseProximityNetwork(strings.Join(args, ""), all)
			if err != nil {
				return err
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			done, err := c.ClearProximity(cmd.Context(), network, reason)
			if err != nil {
				return err
			}
			if output.word == "json" {
				return printJSON(cmd.OutOrStdout(), done)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), entries(done.Entries), "forgotten")
			return err
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().StringVar(&reason, "reason", "", "why (required)")
	output = outputFlag(cmd, "text", "json")
	_ = cmd.MarkFlagRequired("reason") // the flag is defined above
	return cmd
}

func entries(n int) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func proximityStatsCommand() *cobra.Command {
	var output *choice
	cmd := &cobra.Command{
		Use:   "stats",
		Short: "Count entries, measurements, and what came to nothing",
		Long: `Count the entries of the table, what measuring sent and what came of it, and what
was seen on clients' own TCP connections. Counters are since the start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			s, err := c.ProximityStats(cmd.Context())
			switch {
			case err != nil:
				return err
			case output.word == "json":
				return printJSON(cmd.OutOrStdout(), s)
			}
			return printProximityStats(cmd.OutOrStdout(), s)
		},
	}
	output = outputFlag(cmd, "text", "json")
	return cmd
}

func printProximityStats(w io.Writer, s api.ProximityStats) error {
	var b strings.Builder
	fmt.Fprintf(&b, "entries      %d of %d%s\n", s.Table.Entries, s.Table.Max, numbers("; ", s.Table.States))
	if s.Why != "" {
		fmt.Fprintf(&b, "             %s\n", s.Why)
	}
	fmt.Fprintf(&b, "since start  made %d, restored %d, aged %d, cleared %d; refused: table full %d, newPerSecond %d\n",
		s.Table.Made, s.Table.Restored, s.Table.Aged, s.Table.Cleared, s.Table.RefusedFull, s.Table.RefusedRate)
	for _, name := range slices.Sorted(maps.Keys(s.Probes.Methods)) {
		m := s.Probes.Methods[name]
		fmt.Fprintf(&b, "%-12s %d packets: answered %d, silent %d, failed %d, void %d\n", name, m.Packets, m.Answered, m.Silent, m.Failed, m.Void)
	}
	fmt.Fprintf(&b, "not measured%s\n", numbers(" ", s.Probes.Refused))
	fmt.Fprintf(&b, "connections %s\n", numbers(" ", s.Connections))
	fmt.Fprintf(&b, "passive      %d samples taken; of no one link %d, of networks without an entry %d\n", s.Table.Heard, s.Passive.Unowned, s.Passive.Unasked)
	fmt.Fprintf(&b, "solicited    %d; not, for perSecond was reached: %d\n", s.Passive.Solicited, s.Passive.OverRate)
	_, err := io.WriteString(w, b.String())
	return err
}

// numbers writes counts that are not 0 by name.
func numbers[N int | uint64](before string, counts map[string]N) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if counts[name] != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", name, counts[name]))
		}
	}
	if len(parts) == 0 {
		return before + "none"
	}
	return before + strings.Join(parts, ", ")
}
