package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/daemon"
)

func serveCommand() *cobra.Command {
	var o daemon.Options
	var logFormat, logLevel string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server",
		Long: `Run the server in the foreground until SIGINT or SIGTERM. SIGHUP reads the
configuration again; one that is bad changes nothing. If the configuration is
bad at start, the last good one that was kept is served, loudly.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := newLog(cmd.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return err
			}
			o.Log = log
			if o.Socket, err = cmd.Flags().GetString("socket"); err != nil {
				return err
			}
			return daemon.New(o).Run(cmd.Context())
		},
	}
	cmd.Flags().StringVarP(&o.Config, "config", "c", envOr("PORTOLAN_CONFIG", defaultConfig), "configuration, a file or a folder [PORTOLAN_CONFIG]")
	cmd.Flags().StringVar(&o.State, "state", envOr("PORTOLAN_STATE", defaultState), "folder for what a restart needs; empty keeps nothing [PORTOLAN_STATE]")
	logFlags(cmd, &logFormat, &logLevel)
	return cmd
}

func logFlags(cmd *cobra.Command, format, level *string) {
	otherwise := "text"
	if os.Getenv("JOURNAL_STREAM") != "" {
		otherwise = "json"
	}
	cmd.Flags().StringVar(format, "log-format", otherwise, "text or json")
	cmd.Flags().StringVar(level, "log-level", slog.LevelInfo.String(), "debug, info, warn or error")
}
