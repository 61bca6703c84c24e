package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
	"github.com/portolan-lb/portolan/status"
)

func holdCommand() *cobra.Command {
	var req api.HoldRequest
	var length time.Duration
	var state *choice
	cmd := &cobra.Command{
		Use:   "hold NAME --reason TEXT",
		Short: "Force something down, up, or out of new answers",
		Long: `Put your word over what the probes find: down (the default), up, or drain,
which takes no new clients. NAME is a row such as virtualServer/web, link/isp1,
site/east, pool/web/web-east, linkGroup/internet, linkGroup/internet/cable (a
link in one group alone), serverFarm/shop or realServer/shop/10.0.0.3 (a server of
a farm), or a name alone where only one thing has it. A hold survives reloads and restarts, is shown wherever the thing is, and ends by
release or when its time is over. A second hold takes the place of the first.

Exit codes: 0 it is held, 1 there is no such thing, 2 the request makes no
sense, or there is no server to ask.`,
		Example: `  portolan hold virtualServer/web-east --reason "kernel update" --for 2h
  portolan hold site/east --state drain --reason "moving racks"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeHoldable,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.ID, req.State = args[0], state.word
			if cmd.Flags().Changed("for") {
				req.For = length.String()
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			held, err := c.Hold(cmd.Context(), req)
			if err != nil {
				return err
			}
			return printHeld(cmd, held, fmt.Sprintf("%s is held %s until %s", held.ID, held.State, until(held.Hold.Hold)))
		},
	}
	state = choiceFlag(cmd, "state", "", "what to force", "down", "up", "drain")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why, for whoever looks at 3 a.m. (required)")
	cmd.Flags().DurationVar(&length, "for", 0, "how long, such as 2h (default until released)")
	_ = cmd.MarkFlagRequired("reason") // the flag is defined above
	return cmd
}

func releaseCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "release NAME --reason TEXT",
		Short: "End a hold",
		Long: `End a hold: from now on the probes decide again. NAME is as with hold; a hold on
something that has left the configuration can be released too.

Exit codes: 0 it is released, 1 it is not held, 2 the request makes no sense,
or there is no server to ask.`,
		Example:           `  portolan release virtualServer/web-east --reason "update done"`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeHeld,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			held, err := c.Release(cmd.Context(), args[0], reason)
			if err != nil {
				return err
			}
			return printHeld(cmd, held, fmt.Sprintf("%s is released", held.ID))
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why (required)")
	_ = cmd.MarkFlagRequired("reason") // the flag is defined above
	return cmd
}

func printHeld(cmd *cobra.Command, held api.Held, text string) error {
	if held.Warning != "" {
		_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+held.Warning)
	}
	_, err := fmt.Fprintln(cmd.OutOrStdout(), text)
	return err
}

// until says how long a hold lasts.
func until(h status.Hold) string {
	if h.Until.IsZero() {
		return "released"
	}
	return h.Until.Local().Format(time.RFC3339)
}
