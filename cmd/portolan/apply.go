package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/portolan-lb/portolan/api"
)

func applyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a configuration in the place of the one that runs",
		Long: `Check a configuration where it stands, send it to the server, and return when
it is served. It is all or nothing: on any error nothing changes. The server
replaces its own file and keeps the last three versions beside it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			built, errs, err := build(args[0])
			if err != nil {
				return err
			}
			if built == nil || errs.Failed() {
				_, _ = fmt.Fprint(cmd.ErrOrStderr(), errs.Render())
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), "Nothing was changed.")
				return exit(1)
			}
			abs, err := filepath.Abs(args[0])
			if err != nil {
				return err
			}
			text, err := os.ReadFile(abs)
			if err != nil {
				return err
			}
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			applied, err := c.Apply(cmd.Context(), api.Change{Base: filepath.Dir(abs), Files: map[string]string{filepath.Base(abs): string(text)}})
			return printApplied(cmd, applied, err)
		},
	}
}

func reloadCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Make the server read its configuration again",
		Long:  "Make the server read its configuration and zone files again, as SIGHUP does, and return when they are served.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := dial(cmd)
			if err != nil {
				return err
			}
			applied, err := c.Reload(cmd.Context())
			return printApplied(cmd, applied, err)
		},
	}
}

func printApplied(cmd *cobra.Command, applied api.Applied, err error) error {
	if err != nil {
		return err
	}
	printDetails(cmd.ErrOrStderr(), applied.Warnings)
	what := "unchanged: already serving"
	if applied.Changed {
		what = "serving"
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s revision %s\n", what, applied.Revision)
	return err
}
