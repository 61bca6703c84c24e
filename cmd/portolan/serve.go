package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/daemon"
)

func serveCommand() *cobra.Command {
	var o daemon.Options
	var log logFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server in the foreground until SIGINT or SIGTERM. SIGHUP reads the
configuration again; one that is bad changes nothing. If the configuration is
bad at start, the last good one that was kept is served, loudly.

The state folder keeps what a restart needs: the last good configurations, the
operators' holds and the health of what is probed. Ports under 1024 need the
capability CAP_NET_BIND_SERVICE, icmp and tcp-half-open probes CAP_NET_RAW; no
other privilege is used.

Exit codes: 0 it was told to end, 1 it could not start or serve on, 2 it was
called in a wrong way.`,
		Example: `  portolan serve
  portolan serve -c portolan.yaml --state ./state --socket ./portolan.sock`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if o.Log, err = log.open(cmd.ErrOrStderr()); err != nil {
				return err
			}
			if o.Socket, err = cmd.Flags().GetString("socket"); err != nil {
				return err
			}
			ctx, stop := untilTold(cmd)
			defer stop()
			return served(daemon.New(o).Run(ctx))
		},
	}
	cmd.Flags().StringVarP(&o.Config, "config", "c", envOr("PORTOLAN_CONFIG", defaultConfig), "configuration, a file or a folder [PORTOLAN_CONFIG]")
	cmd.Flags().StringVar(&o.State, "state", envOr("PORTOLAN_STATE", defaultState), "folder for what a restart needs; empty keeps nothing [PORTOLAN_STATE]")
	log = addLogFlags(cmd)
	return cmd
}

// served marks an error as one of serving, which is exit code 1.
func served(err error) error {
	if err == nil {
		return nil
	}
	return notServed{fmt.Errorf("cannot serve: %w", err)}
}
