package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/demo"
)

func demoCommand() *cobra.Command {
	var flags logFlags
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three pretend sites and a server over them",
		Long: `Run three pretend sites on 127.0.0.11 to .13, and a real server over them with
DNS on 127.0.0.1:5300. It prints what to try. No root is needed; nothing
outside a temporary folder is written.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := flags.open(cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			ctx, stop := untilTold(cmd)
			defer stop()
			return demo.Run(ctx, cmd.OutOrStdout(), log)
		},
	}
	flags = addLogFlags(cmd)
	cmd.AddCommand(switchCommand("stop", "Let a site of the running demo fail its health checks", true),
		switchCommand("start", "Let a site of the running demo serve again", false))
	return cmd
}

func switchCommand(verb, short string, stop bool) *cobra.Command {
	return &cobra.Command{
		Use:       verb + " SITE",
		Short:     short,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{"east", "west", "north"},
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := demo.Switch(cmd.Context(), args[0], stop)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
}
