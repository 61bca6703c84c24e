package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
)

func holdCommand() *cobra.Command {
	var req api.HoldRequest
	var length time.Duration
	cmd := &cobra.Command{
		Use:   "hold NAME --reason TEXT",
		Short: "Force something down, up, or out of new answers",
		Long: `Put your word over what the probes find: down (the default), up, or drain,
which takes no new clients. NAME is a row such as virtualServer/web, link/isp1,
site/east or pool/web/web-east, or a name alone where only one thing has it. A
hold survives reloads and restarts, is shown wherever the thing is, and ends by
release or when its time is over.`,
		Example: `  portolan hold virtualServer/web-east --reason "kernel update" --for 2h
  portolan hold site/east --state drain --reason "moving racks"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.ID = args[0]
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
			until := ""
			if !held.Until.IsZero() {
				until = " until " + held.Until.Local().Format(time.RFC3339)
			}
			return printHeld(cmd, held, fmt.Sprintf("%s is held %s%s", held.ID, held.State, until))
		},
	}
	cmd.Flags().StringVar(&req.State, "state", "down", "down, up or drain")
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
		Args:  cobra.ExactArgs(1),
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
